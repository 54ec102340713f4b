"""The lowest curvature of a potential energy surface: is a stationary point a minimum?

Lanczos iterations on force differences: the Hessian is multiplied, never made. Small structures are
exact; of large ones the curvature found is an upper bound.

Source: C. Lanczos, J. Res. Natl. Bur. Stand. 45, 255 (1950); all vectors are kept orthogonal.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.constraints import FixAtoms

from md_runs.readable import readable
from md_runs.structures.rigid import free_atoms, rigid_motions, shape_of

Floats = npt.NDArray[np.float64]
Forces = Callable[[Sequence[Atoms]], Sequence[Floats]]  # (N, 3) eV/Å of each, constraints left out
Result = TypeVar("Result")
Curving = Generator[Sequence[Atoms], Sequence[Floats], Result]  # asks for forces, as `Forces` gives

PRODUCTS = 40  # Hessian-vector products at most
STEP_A = 0.01  # of the atom that moves most, to both sides
BEND_eV_per_A2 = -0.02  # below this a structure is no minimum; above it is rounding and soft modes
KICK_A = 0.15  # of the atom that moves most, to leave a saddle


@readable
class Curvature(NamedTuple):
    """The way along which a surface curves least upwards, or most downwards."""

    eV_per_A2: float
    direction: Floats  # (N, 3), of length 1; zero for fixed atoms

    def summary(self) -> dict[str, str]:
        """Say how much, and what that means."""
        return {
            "lowest": f"{self.eV_per_A2:.4f} eV/Å²",
            "of a": "minimum" if self.is_minimum else "saddle",
        }

    @property
    def is_minimum(self) -> bool:
        """Whether the energy rises, or stays, along every way."""
        return self.eV_per_A2 > BEND_eV_per_A2


def lowest_curvature(atoms: Atoms, forces: Forces) -> Curvature | None:
    """Find the lowest curvature at a structure, rigid motions left out.

    Returns
    -------
    Curvature or None   None where nothing can bend: one free atom, or bonds that are fixed
    """
    search = curving(atoms)
    try:
        frames = next(search)
        while True:
            frames = search.send(forces(frames))
    except StopIteration as end:
        found: Curvature | None = end.value
        return found


def curving(atoms: Atoms) -> Curving[Curvature | None]:
    """Search the lowest curvature as `lowest_curvature`, asking for forces of structures."""
    if not all(isinstance(constraint, FixAtoms) for constraint in atoms.constraints):
        return None
    moving = free_atoms(atoms)
    ones = np.ones(3 * len(moving))
    rigid = rigid_motions(atoms, moving, shape_of(atoms), ones)
    n_free = 3 * len(moving) - len(rigid)
    if n_free < 1:
        return None

    def product(vector: Floats) -> Curving[Floats]:
        return _across(rigid, (yield from _hessian_times(atoms, moving, vector)))

    start = _across(rigid, np.random.default_rng(0).normal(size=3 * len(moving)))
    value, vector = yield from _lanczos(product, start, min(n_free, PRODUCTS))
    direction = np.zeros((len(atoms), 3))
    direction[moving] = vector.reshape(-1, 3)
    return Curvature(value, direction)


def beside(atoms: Atoms, curvature: Curvature) -> tuple[Atoms, Atoms]:
    """Copy a structure to both sides along the lowest curvature, off a saddle."""
    step = curvature.direction * KICK_A / np.linalg.norm(curvature.direction, axis=1).max()
    both = atoms.copy(), atoms.copy()
    both[0].positions += step
    both[1].positions -= step
    return both


def _lanczos(
    product: Callable[[Floats], Curving[Floats]], start: Floats, n_products: int
) -> Curving[tuple[float, Floats]]:
    """Return the lowest eigenvalue and its vector within the space that products span."""
    vectors = [start / np.linalg.norm(start)]
    images: list[Floats] = []
    while True:
        images.append((yield from product(vectors[-1])))
        basis = np.array(vectors)
        rest = _across(basis, _across(basis, images[-1]))
        length = float(np.linalg.norm(rest))
        if len(images) == n_products or length < 1e-6:
            break
        vectors.append(rest / length)
    small = basis @ np.array(images).T
    values, mixtures = np.linalg.eigh((small + small.T) / 2)
    return float(values[0]), np.asarray(mixtures[:, 0] @ basis)


def _hessian_times(atoms: Atoms, moving: list[int], vector: Floats) -> Curving[Floats]:
    """Multiply the Hessian of the moving atoms with a vector (3n,): central differences, eV/Å^2."""
    way = np.zeros((len(atoms), 3))
    way[moving] = vector.reshape(-1, 3)
    step = STEP_A / np.linalg.norm(way, axis=1).max()
    forth, back = atoms.copy(), atoms.copy()
    forth.positions += step * way
    back.positions -= step * way
    ahead, behind = yield [forth, back]
    return np.asarray((behind - ahead)[moving].ravel() / (2 * step))


def _across(rows: Floats, vector: Floats) -> Floats:
    """Take away what lies along orthonormal rows."""
    return np.asarray(vector - rows.T @ (rows @ vector))
