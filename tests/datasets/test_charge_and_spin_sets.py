"""QMspin and SPICE, on small samples of their formats that this file writes.

The numbers in them are invented.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.units import Bohr, Hartree
from typer.testing import CliRunner

from md_runs.cli.app import app
from potentials.datasets import load_frames
from potentials.datasets.sets.qmspin import ARCHIVE, read_geometry
from potentials.datasets.sets.spice import FILE, formal_charge
from tests.small import write_small_model

COMMENT = (
    "{name}; SA-CASSCF(2e,2o)/vdz-f12; MRCISD+Q-F12 energy singlet {s:.8f}; MRCISD+Q-F12 energy"
    " triplet {t:.8f}"
)


def carbene(parent: int, index: int, state: str) -> tuple[str, str]:
    """FORMAT SAMPLE, not data: a methylene in the layout of QMspin."""
    name = f"{parent:06d}_{index}_{state}"
    atoms = molecule("CH2_s3B1d")
    atoms.positions[0, 0] += 1e-3 * (2 * (parent - 1) + (state == "t"))
    rows = [
        f"{s}, {x:.6f}, {y:.6f}, {z:.6f}"
        for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    comment = COMMENT.format(name=name, s=-39.0 - 1e-4 * parent, t=-39.02 - 1e-4 * parent)
    return name, "\n".join([str(len(atoms)), comment, *rows]) + "\n"


def write_qmspin(folder: Path, n_parents: int = 12) -> None:
    with tarfile.open(folder / ARCHIVE.name, "w:gz") as archive:
        for parent in range(1, n_parents + 1):
            for state, place in (("s", "singlet"), ("t", "triplet")):
                name, text = carbene(parent, 1, state)
                entry = tarfile.TarInfo(f"QMspin_Part1/geometries_{place}/{name}.xyz")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))


def test_qmspin_has_both_states_of_each_geometry(tmp_path: Path) -> None:
    write_qmspin(tmp_path)
    frames = load_frames("qmspin", data=tmp_path)
    assert (
        len(frames) == 48
        and frames.multiplicity.tolist() == [1, 3] * 24
        and not frames.total_charge.any()
    )
    assert (
        frames.forces is None
        and frames.group is not None
        and sorted(set(frames.group.tolist())) == list(range(1, 13))
    )
    assert frames.energy[0] - frames.energy[1] == pytest.approx(0.02 * Hartree, rel=1e-6)
    np.testing.assert_allclose(frames.positions[:3], molecule("CH2_s3B1d").positions, atol=1e-6)
    np.testing.assert_array_equal(frames.positions[:3], frames.positions[3:6])


def test_qmspin_splits(tmp_path: Path) -> None:
    """By parent nothing is shared; at random geometries and parents are."""
    write_qmspin(tmp_path)
    for how in ("random", "parent"):
        parts = [
            load_frames(f"qmspin:{how}:{part}", data=tmp_path)
            for part in ("train", "validation", "test")
        ]
        assert sum(map(len, parts)) == 48 and min(map(len, parts)) > 0
        parents = [
            {round((-39 - e / Hartree) / 1e-4) for e in p.energy[p.multiplicity == 1]}
            for p in parts
        ]
        triplets = [
            {round((-39.02 - e / Hartree) / 1e-4) for e in p.energy[p.multiplicity == 3]}
            for p in parts
        ]
        assert bool((parents[0] | triplets[0]) & (parents[2] | triplets[2])) == (how == "random")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("triplet", "quintet", "one field of MRCISD"),  # no such state
        (
            "singlet -39",
            "singlet -38.1; MRCISD+Q-F12 energy singlet -39",
            "one field of MRCISD",
        ),  # twice
        (
            "singlet -39",
            "singlet 0.95 -39",
            "only number",
        ),  # a second number, a weight of the reference perhaps
        ("-39.0", "-3.9", "near -3"),  # another quantity, or another unit
        ("triplet -39.02", "triplet -38.60", "less than 0.3 hartree"),
        ("triplet -39.02", "triplet -39.00", "that differ"),  # the same number twice
        (
            "MRCISD+Q-F12 energy triplet",
            "MRCISD+Q-F12 total energy triplet",
            "word 4 of field 4",
        ),  # moved by a word
        ("; SA-CASSCF(2e,2o)/vdz-f12", "", "word 4 of field 4"),  # a field less
        ("MRCISD+Q-F12 energy", "E", "one field of MRCISD"),  # without a name nothing is read
        ("C, 0", "C, 1, 0", "three coordinates"),
        ("C, 0", "Cc, 0", "three coordinates"),
    ],
)
def test_qmspin_another_layout_is_refused_and_quoted(old: str, new: str, rule: str) -> None:
    name, text = carbene(1, 1, "s")
    assert old in text
    with pytest.raises(ValueError, match=f"000001_1_s.*{rule}"):
        read_geometry(text.replace(old, new), name)
    with pytest.raises(ValueError, match=r"must hold 3 atoms.*got 2 rows"):
        read_geometry("\n".join(text.splitlines()[:-1]), name)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("carbene_s", ""), ("000001_1", ""), ("000001_1_s", "triplet"), ("999999_1_s", "singlet")],
)
def test_qmspin_names_say_parent_and_state(name: str, folder: str) -> None:
    with pytest.raises(ValueError, match="QM9 index"):
        read_geometry(carbene(1, 1, "s")[1], name, folder)


def test_qmspin_is_validated_by_state_and_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``polcalc validate --data qmspin``: singlet, triplet and gap errors."""
    write_qmspin(tmp_path)
    monkeypatch.setenv("POLCALC_DATA", str(tmp_path))
    model = write_small_model(tmp_path / "m.pt")
    result = CliRunner().invoke(
        app,
        [
            "validate",
            "--model",
            str(model),
            "--data",
            "qmspin",
            "--json",
            str(tmp_path / "errors.json"),
        ],
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "errors.json").read_text())
    assert [(s["charge"], s["multiplicity"], s["n_frames"]) for s in found["by_state"]] == [
        (0, 1, 24),
        (0, 3, 24),
    ]
    [gap] = found["gaps"]
    assert (gap["multiplicities"], gap["n_geometries"]) == ([1, 3], 24)
    assert gap["blind_floor_meV"] == pytest.approx(10 * Hartree, rel=1e-6)
    assert "half the mean gap" in result.stdout and "E(3) -" in result.stdout


def write_spice(path: Path, ammonium_mbis: float = 1.0) -> None:
    """FORMAT SAMPLE, not data: three molecules in the layout of SPICE 2."""
    with h5py.File(path, "w") as file:
        for name, smiles, subset, numbers, total in (
            (
                "10",
                "[O:1]([H:2])[H:3]",
                "SPICE PubChem Set 1 Single Points Dataset v1.2",
                [8, 1, 1],
                0.0,
            ),
            (
                "11",
                "[N+:1]([H:2])([H:3])([H:4])[H:5]",
                "SPICE PubChem Set 2 Single Points Dataset v1.2",
                [7, 1, 1, 1, 1],
                ammonium_mbis,
            ),
            ("12", "[Na+:1].[Cl-:2]", "SPICE Ion Pairs Single Points Dataset v1.1", [11, 17], None),
        ):
            group, n_atoms = file.create_group(name), len(numbers)
            positions = np.arange(3 * 2 * n_atoms, dtype=np.float32).reshape(2, n_atoms, 3)
            gradient = np.full((2, n_atoms, 3), 0.01, dtype=np.float32)
            # hartree/bohr: the first beyond the limit
            gradient[1, 0, 0] = 1.5 if name == "10" else 0.2
            group["smiles"], group["subset"] = [smiles.encode()], [subset.encode()]
            group["atomic_numbers"], group["conformations"] = (
                np.array(numbers, dtype=np.int16),
                positions,
            )
            group["dft_total_energy"], group["dft_total_gradient"] = (
                np.array([-76.1, -76.2]),
                gradient,
            )
            if total is not None:
                group["mbis_charges"] = np.full((2, n_atoms, 1), total / n_atoms, dtype=np.float32)


def read_sample(name: str, folder: Path):  # type: ignore[no-untyped-def]
    return load_frames(name, data=folder, check=lambda frames: None)  # its energies are invented


def test_spice_subset_charge_and_filter(tmp_path: Path) -> None:
    write_spice(tmp_path / FILE.name)
    frames = read_sample("spice:pubchem", tmp_path)
    assert frames.n_atoms.tolist() == [3, 5, 5]  # one of water's two left out
    assert frames.total_charge.tolist() == [0, 1, 1] and frames.multiplicity.tolist() == [1, 1, 1]
    assert frames.energy[0] == pytest.approx(-76.1 * Hartree, rel=1e-7)
    assert frames.forces[0, 0] == pytest.approx(-0.01 * Hartree / Bohr, rel=1e-6)
    assert frames.positions[1, 0] == pytest.approx(3 * Bohr, rel=1e-6)
    assert frames.partial_charges is None
    with_charges = read_sample("spice:all:mbis", tmp_path)
    assert with_charges.n_atoms.tolist() == [3, 5, 5]  # the ion pair has none
    np.testing.assert_allclose(
        np.add.reduceat(with_charges.partial_charges, with_charges.first[:-1]), [0, 1, 1], atol=1e-6
    )
    pair = read_sample("spice:ion-pairs", tmp_path)
    assert pair.n_atoms.tolist() == [2, 2] and not pair.total_charge.any()


def test_spice_charges_that_contradict_each_other(tmp_path: Path) -> None:
    write_spice(tmp_path / FILE.name, ammonium_mbis=0.0)
    with pytest.raises(
        ValueError, match=r"must have the charge of the MBIS charges; differs by 1.00 e for /11"
    ):
        read_sample("spice:pubchem", tmp_path)


@pytest.mark.parametrize(
    ("smiles", "charge"),
    [
        ("[Na+:1].[Cl-:2]", 0),
        ("[Ca+2]", 2),
        ("[Ca++:3]", 2),
        ("[O-:1][S:2]([O-:3])", -2),
        ("[N+:1]([H:2])", 1),
        ("[C:1]-[C:2]", 0),
        ("CC-O", 0),
    ],
)
def test_formal_charge(smiles: str, charge: int) -> None:
    assert formal_charge(smiles) == charge
