"""Bonds, angles and dihedrals.

Found once, measured along a trajectory, also across the faces of a cell.
"""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from md_runs.analysis.topology import (
    angles_degrees,
    bond_lengths,
    by_name,
    dihedrals_degrees,
    find_topology,
)


def test_ethanol_has_its_bonds():
    topology = find_topology(molecule("CH3CH2OH"))
    assert {name: len(found) for name, found in by_name(topology.bonds).items()} == {
        "C(H2O)–C(H3)": 1,
        "C(CH2)–H": 3,
        "C(CHO)–H": 2,
        "C(CH2)–O(H)": 1,
        "H–O(C)": 1,
    }
    assert {name: len(found) for name, found in by_name(topology.angles).items()} == {
        "C–C(H2)–O": 1,
        "C–C(H2)–H": 3,
        "C–C(HO)–H": 2,
        "H–C(CH)–H": 3,
        "H–C(CO)–H": 1,
        "H–C(CH)–O": 2,
        "C–O–H": 1,
    }
    assert {name: len(found) for name, found in by_name(topology.dihedrals).items()} == {
        "C–C(H2)–O–H": 1,
        "H–C(H2)–C(HO)–H": 6,
        "H–C(H2)–C(H2)–O": 3,
        "H–C(CH)–O–H": 2,
    }
    assert set(topology.molecules.tolist()) == {0}


def test_a_double_bond_is_not_averaged_with_a_single_one():
    """Of acetic acid, C=O 1.20 and C–O 1.35 Å; a mean of both is no length of any bond."""
    atoms = molecule("CH3COOH")
    topology = find_topology(atoms)
    lengths = bond_lengths(topology.bonds, atoms.positions[None], None)[0]
    found = {name: lengths[members] for name, members in by_name(topology.bonds).items()}
    assert found["C(CO)–O"] == pytest.approx([1.20], abs=0.02)
    assert found["C(CO)–O(H)"] == pytest.approx([1.35], abs=0.02)
    assert all(np.ptp(values) < 0.02 for values in found.values())


def test_values_are_those_of_ase():
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    topology = find_topology(atoms)
    frames = atoms.positions[None]
    for term, value in zip(
        topology.bonds, bond_lengths(topology.bonds, frames, None)[0], strict=True
    ):
        assert value == pytest.approx(atoms.get_distance(*term.steps[0][:2]))
    for term, value in zip(
        topology.angles, angles_degrees(topology.angles, frames, None)[0], strict=True
    ):
        (a, middle, _), (_, b, _) = term.steps
        assert value == pytest.approx(atoms.get_angle(a, middle, b))
    for term, value in zip(
        topology.dihedrals, dihedrals_degrees(topology.dihedrals, frames, None)[0], strict=True
    ):
        (a, b, _), _, (c, d, _) = term.steps
        assert value % 360 == pytest.approx(atoms.get_dihedral(a, b, c, d))


def test_a_molecule_across_the_face_of_a_cell_is_whole():
    inside = molecule("CH3CH2OH", vacuum=4.0, pbc=True)
    across = inside.copy()
    across.positions -= inside.positions.mean(axis=0)
    across.wrap()
    assert np.ptp(across.positions, axis=0).max() > 5  # it is cut
    values = []
    for atoms in (inside, across):
        topology = find_topology(atoms)
        frames, cells = atoms.positions[None], atoms.cell.array[None]
        values.append(
            [
                np.sort(bond_lengths(topology.bonds, frames, cells)[0]),
                np.sort(angles_degrees(topology.angles, frames, cells)[0]),
                np.sort(abs(dihedrals_degrees(topology.dihedrals, frames, cells)[0])),
            ]
        )
    for whole, cut in zip(*values, strict=True):
        np.testing.assert_allclose(cut, whole, atol=1e-6)


def test_a_bond_follows_the_cell():
    atoms = bulk("Cu", a=3.6)  # one atom, bonded to its own images
    assert find_topology(atoms).bonds == []
    pair = Atoms("H2", positions=[[0.1, 0, 0], [5.6, 0, 0]], cell=[6, 6, 6], pbc=True)
    (bond,) = find_topology(pair).bonds
    assert bond_lengths([bond], pair.positions[None], 1.1 * pair.cell.array[None])[
        0, 0
    ] == pytest.approx(1.1)


def test_a_straight_chain_has_no_dihedral():
    atoms = molecule("C2H2")
    topology = find_topology(atoms)
    assert len(topology.dihedrals) == 1
    assert np.isnan(dihedrals_degrees(topology.dihedrals, atoms.positions[None], None)).all()
    assert angles_degrees(topology.angles, atoms.positions[None], None)[0] == pytest.approx(180)


def test_molecules_are_told_apart():
    two = molecule("H2O") + molecule("H2O")
    two.positions[3:] += 4
    assert find_topology(two).molecules.tolist() == [0, 0, 0, 1, 1, 1]
