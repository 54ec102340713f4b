"""Structures as extxyz, with charge and multiplicity where every reader of the format finds them.

Models with moving points add two vector columns: ``polarization_vectors``, their displacement from
the nuclei, and ``virtual_points``.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io.extxyz import write_xyz
from numpy.typing import NDArray

from polcalc import PolarizedCalculator
from potentials.files import replacing

VECTORS, POINTS = "polarization_vectors", "virtual_points"  # columns, Å


def write_structures(path: Path, frames: Iterable[Atoms]) -> None:
    """Write all frames at once or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for atoms in frames:
            file.write(_format(atoms))


def append_structure(path: Path, atoms: Atoms) -> None:
    """Append one frame in a single write."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_format(atoms))


def polarization_of(atoms: Atoms) -> NDArray[np.float64] | None:
    """Displacements of the moving points in Å, (N, 3), after an evaluation.

    None where the model has none.
    """
    if not isinstance(atoms.calc, PolarizedCalculator):
        return None
    try:
        return np.asarray(atoms.calc.polarization_vectors)
    except PropertyNotImplementedError:
        return None


def set_polarization(atoms: Atoms, vectors: NDArray[np.float64] | None) -> None:
    """Give a structure the columns of its moving points, or take those of another model away.

    Parameters
    ----------
    vectors : (N, 3) or None   displacements, Å
    """
    for name in (VECTORS, POINTS):
        atoms.arrays.pop(name, None)
    if vectors is not None:
        atoms.set_array(VECTORS, vectors, shape=(3,))
        atoms.set_array(POINTS, atoms.positions + vectors, shape=(3,))


def _format(atoms: Atoms) -> str:
    text = io.StringIO()
    if isinstance(atoms.calc, PolarizedCalculator):
        calculator, atoms = atoms.calc, atoms.copy()
        atoms.calc = calculator
        set_polarization(atoms, None if calculator.check_state(atoms) else polarization_of(atoms))
    write_xyz(text, [atoms])
    return text.getvalue()
