"""Drift and rotation, as far as a structure is free to make them: they change no distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from ase import Atoms

from md_runs.dynamics.constraints import fixed_atoms

Array = npt.NDArray[np.float64]
Geometry = Literal["monatomic", "linear", "nonlinear"]

# smallest moment of inertia over the largest, below which a molecule is linear: CO2 bent by about
# one degree
LINEAR = 1e-4
RANK = 1e-8  # of the largest; what is smaller is zero
MONATOMIC: Geometry = "monatomic"


def free_atoms(atoms: Atoms) -> list[int]:
    """Indices of the atoms that are not fixed."""
    return [int(n) for n in np.flatnonzero(~fixed_atoms(atoms))]


def shape_of(atoms: Atoms) -> Geometry | None:
    """Shape of a molecule that is free to rotate; None for one that is not."""
    if atoms.pbc.any() or atoms.constraints:
        return None
    if len(atoms) == 1:
        return MONATOMIC
    moments = atoms.get_moments_of_inertia()
    return "linear" if moments[0] < LINEAR * moments[-1] else "nonlinear"


def rigid_motions(
    atoms: Atoms, moving: Sequence[int], geometry: Geometry | None, root: Array
) -> Array:
    """Return orthonormal mass-weighted directions (r, 3n) of motions that change no distance.

    Fixed atoms stay in place.

    A linear molecule does not rotate about its axis, a periodic structure not at all. ``root``
    (3n,) holds square roots of masses.
    """
    rows = [np.broadcast_to(axis, (len(atoms), 3)) for axis in np.eye(3)]
    if not atoms.pbc.any() and geometry != MONATOMIC:
        _, axes = atoms.get_moments_of_inertia(vectors=True)  # ascending moments
        centred = atoms.positions - atoms.get_center_of_mass()
        rows += [np.cross(axis, centred) for axis in axes[1 if geometry == "linear" else 0 :]]
    motions = np.array(rows)  # (k, N, 3)
    held = np.delete(motions, moving, axis=1).reshape(len(motions), -1)
    allowed = _null_space(held) @ motions[:, moving].reshape(len(motions), -1)
    _, sizes, directions = np.linalg.svd(allowed * root, full_matrices=False)
    # about an axis that holds all atoms nothing turns
    return np.asarray(directions[sizes > RANK * sizes.max(initial=1.0)])


def _null_space(rows: Array) -> Array:
    """Combinations (c, k) of k rows that are zero."""
    combinations, sizes, _ = np.linalg.svd(np.hstack([rows, np.zeros((len(rows), len(rows)))]))
    return np.asarray(combinations.T[sizes <= RANK * sizes.max(initial=1.0)])
