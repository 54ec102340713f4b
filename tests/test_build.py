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
from md_runs.cli.structures.build import build


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
    [atoms], _ = build(smiles)
    assert atoms.get_chemical_formula("hill") == formula
    assert (atoms.info["charge"], atoms.info["multiplicity"]) == (charge, multiplicity)
    distances = atoms.get_all_distances() + 9 * np.eye(len(atoms))
    assert 0.6 < distances.min(1).max() < 1.7  # every atom has a neighbour, none is on another


def test_a_multiplicity_can_be_asked_for() -> None:
    assert build("O=O", multiplicity=3)[0][0].info["multiplicity"] == 3
    with pytest.raises(InputError, match="multiplicity"):
        build("CCO", multiplicity=2)


def test_conformers_differ_and_the_seed_decides() -> None:
    frames, n_open = build("CCCCO", conformers=4, seed=1)
    again, _ = build("CCCCO", conformers=4, seed=1)
    assert 1 < len(frames) <= 4 and n_open == 0
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(frames, again, strict=True))
    ends = [atoms.get_distance(0, 4) for atoms in frames]
    assert np.ptp(ends) > 0.2  # stretched and folded chains
    assert build("CC(O)(F)Cl")[1] == 1


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("", "RDKit reads"),
        ("C1CC", "RDKit reads"),
        ("C(C)(C)(C)(C)C", "valence"),
        ("CCO.O", "one molecule"),
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
