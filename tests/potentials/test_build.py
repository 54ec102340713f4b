"""Structures from SMILES: state, geometry, conformers, and what is refused."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from md_runs.cli.app import app
from md_runs.errors import InputError

pytest.importorskip("rdkit", reason="needs RDKit")
from md_runs.structures.smiles import CONTACT, build, is_achiral, read_smiles


@pytest.mark.parametrize(
    ("smiles", "formula", "charge", "multiplicity"),
    [
        ("CCO", "C2H6O", 0, 1),
        ("CC(=O)[O-]", "C2H3O2", -1, 1),
        ("C[NH3+]", "CH6N", 1, 1),
        ("[CH3]", "CH3", 0, 2),
        ("[CH2]", "CH2", 0, 3),
        ("[H][H]", "H2", 0, 1),
        ("Cl", "HCl", 0, 1),
    ],
)
def test_the_smiles_says_the_state(
    smiles: str, formula: str, charge: int, multiplicity: int
) -> None:
    [atoms], *_ = build(smiles)
    assert atoms.get_chemical_formula("hill") == formula
    assert (atoms.info["charge"], atoms.info["multiplicity"]) == (charge, multiplicity)
    distances = atoms.get_all_distances() + 9 * np.eye(len(atoms))
    assert 0.6 < distances.min(1).max() < 1.7  # every atom has a neighbour, none is on another


def test_a_multiplicity_can_be_asked_for() -> None:
    assert build("O=O", multiplicity=3).frames[0].info["multiplicity"] == 3
    with pytest.raises(InputError, match="multiplicity"):
        build("CCO", multiplicity=2)


@pytest.mark.parametrize("seed", [0, 1, 2**70])
def test_conformers_differ_whatever_the_seed(seed: int) -> None:
    frames, n_open, _ = build("CCCCO", conformers=8, seed=seed)
    again = build("CCCCO", conformers=8, seed=seed).frames
    assert len(frames) == 8 and n_open == 0
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(frames, again, strict=True))
    ends = [atoms.get_distance(0, 4) for atoms in frames]
    assert np.ptp(ends) > 0.2  # stretched and folded chains
    assert build("CC(O)(F)Cl").n_open == 1


def test_conformers_are_counted_once_they_differ() -> None:
    assert len(build("CCCCCCCC", conformers=25).frames) == 25  # of ten embedded at once
    assert len(build("O=C=O", conformers=5).frames) == 1
    assert len(build("CC(=O)Nc1ccc(O)cc1", conformers=9).frames) > 1  # its hydroxyl group turns


@pytest.mark.parametrize(
    ("smiles", "number"),
    [
        ("CCCC", 2),  # anti, and one of the two gauche forms
        ("CCCCC", 4),
        ("OO", 1),  # twisted to one side or to the other
    ],
)
def test_mirror_images_of_achiral_molecules_are_one_conformer(smiles: str, number: int) -> None:
    assert len(build(smiles, conformers=20).frames) == number


@pytest.mark.parametrize(
    ("smiles", "achiral"),
    [
        ("CCCC", True),
        ("C[C@H](F)Cl", False),
        ("CC(F)Cl", True),  # open: both are meant
        ("C[C@H](O)[C@@H](C)O", True),  # meso
        ("C[C@H](O)[C@H](C)O", False),
    ],
)
def test_what_is_its_own_mirror_image(smiles: str, achiral: bool) -> None:
    assert is_achiral(read_smiles(smiles)) is achiral


@pytest.mark.parametrize(("smiles", "degrees"), [("[CH2]", 109.5), ("F[C]F", 109.5)])
def test_carbenes_are_bent(smiles: str, degrees: float) -> None:
    atoms = build(smiles).frames[0]
    [carbon] = np.flatnonzero(atoms.numbers == 6)
    a, b = np.flatnonzero(atoms.numbers != 6)
    assert atoms.get_angle(a, carbon, b) == pytest.approx(degrees, abs=1)


@pytest.mark.parametrize(
    ("smiles", "charge", "parts", "nearest_A"),
    [
        ("[NH4+].[Cl-]", 0, [[0, 2, 3, 4, 5], [1]], CONTACT * (1.2 + 1.8)),
        ("CC(=O)[O-].[Na+]", 0, [[0, 1, 2, 3, 5, 6, 7], [4]], None),
        ("[Na+].O.O", 1, [[0], [1, 3, 4], [2, 5, 6]], None),
    ],
)
def test_parts_are_placed_side_by_side(
    smiles: str, charge: int, parts: list[list[int]], nearest_A: float | None
) -> None:
    [atoms], _, n_parts = build(smiles)
    assert (atoms.info["charge"], n_parts) == (charge, len(parts))
    distances = atoms.get_all_distances()
    for n, part in enumerate(parts):
        before = [atom for earlier in parts[:n] for atom in earlier]
        if before:
            nearest = distances[np.ix_(part, before)].min()
            assert 1.8 < nearest < 3.6
            assert nearest_A is None or nearest == pytest.approx(nearest_A, abs=0.1)


def test_an_ion_sits_at_the_charge_of_the_other() -> None:
    atoms = build("CC(=O)[O-].[Na+]").frames[0]
    assert np.argmin(np.delete(atoms.get_distances(4, range(8)), 4)) in (2, 3)  # an oxygen


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("", "RDKit reads"),
        ("C1CC", "RDKit reads"),
        ("C(C)(C)(C)(C)C", "valence"),
        ("[Xe]F", "MMFF94 or UFF"),
    ],
)
def test_what_is_refused(smiles: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build(smiles)


def test_the_command_writes_what_other_commands_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ion.xyz"
    done = CliRunner().invoke(app, ["build", "C[NH3+]", "-o", str(path)])
    assert done.exit_code == 0 and "charge +1, multiplicity 1" in done.output
    atoms = ase.io.read(path)
    assert (
        atoms.info["charge"] == 1
        and atoms.info["multiplicity"] == 1
        and atoms.info["smiles"] == "C[NH3+]"
    )
    before = path.read_bytes()
    for arguments in (
        ["CCO", "-o", str(path)],
        ["CCO", "-o", str(tmp_path / "a.pdb")],
        ["C1CC", "-o", str(tmp_path / "b.xyz")],
    ):
        assert CliRunner().invoke(app, ["build", *arguments]).exit_code == 2
    assert path.read_bytes() == before and sorted(p.name for p in tmp_path.rglob("*.*")) == [
        "ion.xyz"
    ]


def test_isotopes_stay(tmp_path: Path) -> None:
    path = tmp_path / "heavy.extxyz"
    assert CliRunner().invoke(app, ["build", "[2H]O[2H]", "-o", str(path)]).exit_code == 0
    assert ase.io.read(path).get_masses() == pytest.approx([2.014, 15.999, 2.014], abs=1e-3)
