"""Point groups and symmetry numbers, of known molecules, turned and a little distorted."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from md_runs.structures.symmetry import find_symmetry


def octahedron() -> Atoms:
    return Atoms("SF6", np.vstack([np.zeros(3), 1.56 * np.eye(3), -1.56 * np.eye(3)]))


def icosahedron() -> Atoms:
    golden = (1 + 5**0.5) / 2
    faces = [(0, a, b) for a in (1, -1) for b in (golden, -golden)]
    return Atoms("B12", [np.roll(face, n) for n in range(3) for face in faces])


def sandwich(twist: float) -> Atoms:
    """Two rings of five, one turned against the other by a fraction of a fifth."""
    turns = 2 * np.pi * np.arange(5) / 5
    rings = [
        [1.3 * np.cos(t), 1.3 * np.sin(t), z]
        for z, shift in ((1.5, 0.0), (-1.5, 2 * np.pi * twist / 5))
        for t in turns + shift
    ]
    return Atoms("FeC10", [[0.0, 0.0, 0.0], *rings])


def peroxide(dihedral_degrees: float) -> Atoms:
    half = np.radians(dihedral_degrees / 2)
    end = np.array([0.95 * np.cos(half), 0.95 * np.sin(half), 0.85])
    turn = np.array([1, -1, -1])
    return Atoms("OOHH", [[0, 0, 0.72], [0, 0, -0.72], end, turn * end])


KNOWN = {
    "H2O": (molecule("H2O"), "C2v", 2),
    "NH3": (molecule("NH3"), "C3v", 3),
    "CH4": (molecule("CH4"), "Td", 12),
    "C6H6": (molecule("C6H6"), "D6h", 12),
    "CH2O": (molecule("H2CO"), "C2v", 2),
    "ethane": (molecule("C2H6"), "D3d", 6),
    "ethene": (molecule("C2H4"), "D2h", 4),
    "allene": (molecule("C3H4_D2d"), "D2d", 4),
    "CO2": (molecule("CO2"), "D∞h", 2),
    "HCl": (molecule("HCl"), "C∞v", 1),
    "argon": (Atoms("Ar"), "Kh", 1),
    "BF3": (molecule("BF3"), "D3h", 6),
    "methanol": (molecule("CH3OH"), "Cs", 1),
    "CHFClBr": (
        Atoms("CHFClBr", [[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-2, 2, -2], [2, -2, -2]]),
        "C1",
        1,
    ),
    "H2O2": (peroxide(115), "C2", 2),
    "SF6": (octahedron(), "Oh", 24),
    "B12": (icosahedron(), "Ih", 60),
    "eclipsed rings": (sandwich(0), "D5h", 10),
    "staggered rings": (sandwich(0.5), "D5d", 10),
    "twisted rings": (sandwich(0.25), "D5", 10),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_molecules(name: str) -> None:
    atoms, group, number = KNOWN[name]
    assert find_symmetry(atoms) == (group, number)
    other = atoms.copy()
    other.rotate(33, (1, 2, 3))
    other.positions += 7.0
    other.rattle(0.005, seed=1)  # where a relaxation ends
    assert find_symmetry(other) == (group, number)


def test_isotopes_tell_atoms_apart() -> None:
    methane = molecule("CH4")
    methane.set_masses([12.011, 2.014, 1.008, 1.008, 1.008])
    assert find_symmetry(methane) == ("C3v", 3)
