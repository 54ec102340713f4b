"""Structures for the contract tests, and graphs of them."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from potentials.structure.graph import AtomicGraph, from_ase

MIRROR = np.diag([-1.0, 1.0, 1.0])


def chiral_molecule() -> Atoms:
    """Five different atoms around a carbon, close enough to repel each other: no symmetry at all.

    Partial charges add up to 1.
    """
    positions = np.array(
        [
            [0, 0, 0],
            [0.6, 0.7, 0.6],
            [-0.8, -0.7, 0.8],
            [-0.9, 0.8, -0.7],
            [0.9, -0.8, -0.9],
            [1.2, 1.6, 0.3],
        ]
    )
    return Atoms("CHFONH", 0.8 * positions, charges=[0.4, 0.1, -0.3, -0.2, 0.3, 0.7])


def triclinic_crystal() -> Atoms:
    """Three atoms in a skew cell about as large as the cutoff."""
    cell = [[3.3, 0.0, 0.0], [0.9, 2.9, 0.2], [-0.7, 0.5, 3.6]]
    return Atoms(
        "COH",
        [[0.1, 0.2, 0.3], [1.5, 0.9, 0.8], [1.1, 2.2, 2.4]],
        cell=cell,
        pbc=True,
        charges=[0.5, -0.3, 0.1],
    )


def tiny_crystal() -> Atoms:
    """Two atoms in a cell far smaller than the cutoff, left-handed.

    Atoms see many images, their own among them.
    """
    cell = [[1.9, 0.1, 0.0], [0.3, 0.2, 2.2], [0.4, 1.7, 0.3]]
    return Atoms("CH", [[0.0, 0.0, 0.0], [1.0, 0.7, 1.2]], cell=cell, pbc=True, charges=[0.2, -0.1])


def slab() -> Atoms:
    """Periodic in two directions, open in the third, without a third cell vector."""
    cell = [[2.4, 0.0, 0.0], [0.6, 2.6, 0.0], [0.0, 0.0, 0.0]]
    return Atoms(
        "COH",
        [[0.0, 0.1, 0.2], [1.2, 0.8, 1.0], [0.3, 1.5, -0.9]],
        cell=cell,
        pbc=[True, True, False],
        charges=[0.5, -0.3, 0.1],
    )


CRYSTALS = {"triclinic": triclinic_crystal, "tiny": tiny_crystal}
ALL = {"molecule": chiral_molecule, "slab": slab, **CRYSTALS}


def graph_of(atoms: Atoms, cutoff: float, charge: int = 1, multiplicity: int = 3) -> AtomicGraph:
    """Make a graph with the atoms' initial charges as partial charges.

    Charged and not a singlet unless told otherwise.
    """
    return from_ase(
        atoms,
        cutoff,
        charge=charge,
        multiplicity=multiplicity,
        partial_charges=atoms.get_initial_charges(),
    )


def rotation(seed: int = 0) -> np.ndarray:
    """Return a random proper rotation (3, 3)."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.linalg.det(q)


def transformed(
    atoms: Atoms, matrix: np.ndarray, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Atoms:
    """Apply a matrix to positions and cell, then translate."""
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ matrix.T)
    moved.positions = atoms.positions @ matrix.T + np.array(shift)
    return moved
