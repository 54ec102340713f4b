"""QMspin and SPICE, on small samples of their formats that this file writes: the numbers in them are invented."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.units import Bohr, Hartree

from potentials.datasets import load_frames
from potentials.datasets.qmspin import ARCHIVE, read_geometry
from potentials.datasets.spice import FILE, formal_charge

COMMENT = "{name}; SA-CASSCF(2e,2o)/vdz-f12; MRCISD+Q-F12 energy singlet {s:.8f}; MRCISD+Q-F12 energy triplet {t:.8f}"


def carbene(parent: int, index: int, state: str) -> tuple[str, str]:
    """FORMAT SAMPLE, not data: a methylene in the layout of QMspin."""
    name = f"{parent:06d}_{index}_{state}"
    atoms = molecule("CH2_s3B1d")
    rows = [f"{s}, {x:.6f}, {y:.6f}, {z:.6f}" for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)]
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
    assert len(frames) == 48 and frames.multiplicity.tolist() == [1, 3] * 24 and not frames.total_charge.any()
    assert frames.forces is None and frames.group is not None and sorted(set(frames.group.tolist())) == list(range(1, 13))
    assert frames.energy[0] - frames.energy[1] == pytest.approx(0.02 * Hartree, rel=1e-6)
    np.testing.assert_allclose(frames.positions[:3], molecule("CH2_s3B1d").positions, atol=1e-6)
    np.testing.assert_array_equal(frames.positions[:3], frames.positions[3:6])


def test_qmspin_splits(tmp_path: Path) -> None:
    """By parent nothing is shared; at random geometries and parents are."""
    write_qmspin(tmp_path)
    for how in ("random", "parent"):
        parts = [load_frames(f"qmspin:{how}:{part}", data=tmp_path) for part in ("train", "validation", "test")]
        assert sum(map(len, parts)) == 48 and min(map(len, parts)) > 0
        parents = [{round((-39 - e / Hartree) / 1e-4) for e in p.energy[p.multiplicity == 1]} for p in parts]
        triplets = [{round((-39.02 - e / Hartree) / 1e-4) for e in p.energy[p.multiplicity == 3]} for p in parts]
        assert bool((parents[0] | triplets[0]) & (parents[2] | triplets[2])) == (how == "random")


def test_qmspin_comment_without_an_energy_is_quoted() -> None:
    _, text = carbene(1, 1, "s")
    with pytest.raises(ValueError, match=r"must have one MRCISD\+Q energy of the triplet in its comment"):
        read_geometry(text.replace("triplet", "quintet"), "000001_1_s")
    with pytest.raises(ValueError, match=r"must hold 3 atoms; got 2 rows"):
        read_geometry("\n".join(text.splitlines()[:-1]), "000001_1_s")


def write_spice(path: Path, ammonium_mbis: float = 1.0) -> None:
    """FORMAT SAMPLE, not data: three molecules in the layout of SPICE 2."""
    with h5py.File(path, "w") as file:
        for name, smiles, subset, numbers, total in (
            ("10", "[O:1]([H:2])[H:3]", "SPICE PubChem Set 1 Single Points Dataset v1.2", [8, 1, 1], 0.0),
            ("11", "[N+:1]([H:2])([H:3])([H:4])[H:5]", "SPICE PubChem Set 2 Single Points Dataset v1.2", [7, 1, 1, 1, 1], ammonium_mbis),
            ("12", "[Na+:1].[Cl-:2]", "SPICE Ion Pairs Single Points Dataset v1.1", [11, 17], None),
        ):
            group, n_atoms = file.create_group(name), len(numbers)
            positions = np.arange(3 * 2 * n_atoms, dtype=np.float32).reshape(2, n_atoms, 3)
            gradient = np.full((2, n_atoms, 3), 0.01, dtype=np.float32)
            gradient[1, 0, 0] = 1.5 if name == "10" else 0.2  # hartree/bohr: the first beyond the limit
            group["smiles"], group["subset"] = [smiles.encode()], [subset.encode()]
            group["atomic_numbers"], group["conformations"] = np.array(numbers, dtype=np.int16), positions
            group["dft_total_energy"], group["dft_total_gradient"] = np.array([-76.1, -76.2]), gradient
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
    np.testing.assert_allclose(np.add.reduceat(with_charges.partial_charges, with_charges.first[:-1]), [0, 1, 1], atol=1e-6)
    pair = read_sample("spice:ion-pairs", tmp_path)
    assert pair.n_atoms.tolist() == [2, 2] and not pair.total_charge.any()


def test_spice_charges_that_contradict_each_other(tmp_path: Path) -> None:
    write_spice(tmp_path / FILE.name, ammonium_mbis=0.0)
    with pytest.raises(ValueError, match=r"must have the charge of the MBIS charges; differs by 1.00 e for /11"):
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
