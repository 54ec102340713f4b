"""The point group of a molecule, and its symmetry number: in how many ways it turns onto itself.

Every operation maps three directions of atoms onto three directions of like atoms; all such
mappings are tried. Isotopes tell atoms apart.
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms

Floats = npt.NDArray[np.float64]

TOLERANCE_A = 0.1  # by which an operation may miss an atom
ROUGH = 4.0  # times that, before an operation is fitted to all atoms
ANGLE = 0.05  # by which products of unit vectors may miss 0 and 1
ALIKE = 0.1  # operations whose elements differ by less are the same
NAMES = {60: "I", 24: "O"}  # by the number of rotations


class Symmetry(NamedTuple):
    """What a molecule looks like after turning and mirroring it."""

    point_group: str  # Schoenflies: C2v, D3h, Td, C∞v, …; Kh of an atom
    symmetry_number: int  # rotations that map it onto itself, the one by nothing included


def find_symmetry(atoms: Atoms) -> Symmetry:
    """Find the point group of a molecule in open space."""
    labels = _labels(atoms)
    positions = atoms.positions - atoms.get_center_of_mass()
    if len(atoms) == 1:
        return Symmetry("Kh", 1)
    axes = np.linalg.svd(positions)[1]
    if axes[1] < TOLERANCE_A:
        both = _maps(-np.eye(3), positions, labels)
        return Symmetry("D∞h", 2) if both else Symmetry("C∞v", 1)
    operations = _operations(positions, labels)
    rotations = [o for o in operations if np.linalg.det(o) > 0]
    mirrored = [o for o in operations if np.linalg.det(o) < 0]
    return Symmetry(_name(rotations, mirrored), len(rotations))


def _labels(atoms: Atoms) -> npt.NDArray[np.int64]:
    """Number the kinds of atoms: element and isotope."""
    kinds = np.stack([atoms.numbers, np.rint(atoms.get_masses())], axis=1)
    return np.asarray(np.unique(kinds, axis=0, return_inverse=True)[1]).ravel()


def _operations(positions: Floats, labels: npt.NDArray[np.int64]) -> list[Floats]:
    """List the orthogonal matrices that map the atoms onto like atoms."""
    radii = np.linalg.norm(positions, axis=1)
    chosen = _references(positions, labels, radii)
    frame = _frame(*positions[list(chosen)])
    alike = [
        [m for m in range(len(labels)) if labels[m] == labels[n] and _near(radii[m], radii[n])]
        for n in chosen
    ]
    found: list[Floats] = []
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    for a in alike[0]:
        for b in alike[1]:
            if a == b or not _near(distances[a, b], distances[chosen]):
                continue
            image = _frame(positions[a], positions[b])
            for hand in (1.0, -1.0):
                rough = image.T @ np.diag([1.0, 1.0, hand]) @ frame
                partners = _partners(rough, positions, labels, ROUGH * TOLERANCE_A)
                if partners is None:
                    continue
                operation = _fitted(positions, positions[partners], np.linalg.det(rough))
                new = all(np.abs(operation - o).max() > ALIKE for o in found)
                if new and _maps(operation, positions, labels):
                    found.append(operation)
    return found


def _references(positions: Floats, labels: npt.NDArray[np.int64], radii: Floats) -> tuple[int, int]:
    """Choose two atoms that span a plane with the centre, of which few are alike."""
    count = [
        sum(labels[m] == labels[n] and _near(radii[m], radii[n]) for m in range(len(labels)))
        for n in range(len(labels))
    ]
    best: tuple[float, int, int] | None = None
    for a, b in permutations(range(len(labels)), 2):
        area = np.linalg.norm(np.cross(positions[a], positions[b]))
        if area < 5 * TOLERANCE_A * max(radii[a], radii[b]):
            continue
        cost = count[a] * count[b] - 1e-3 * area
        if best is None or cost < best[0]:
            best = cost, a, b
    if best is None:  # nearly on a line: the pair that is furthest from it
        pairs = list(permutations(range(len(labels)), 2))
        areas = [np.linalg.norm(np.cross(positions[a], positions[b])) for a, b in pairs]
        return pairs[int(np.argmax(areas))]
    return best[1:]


def _frame(first: Floats, second: Floats) -> Floats:
    """Orthonormal rows: along the first, in the plane of both, across it."""
    x = first / np.linalg.norm(first)
    y = second - (second @ x) * x
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)])


def _maps(operation: Floats, positions: Floats, labels: npt.NDArray[np.int64]) -> bool:
    return _partners(operation, positions, labels, TOLERANCE_A) is not None


def _partners(
    operation: Floats, positions: Floats, labels: npt.NDArray[np.int64], tolerance_A: float
) -> npt.NDArray[np.int64] | None:
    """Find the atom that each atom falls onto; None where one falls beside all like it."""
    distances = np.linalg.norm((positions @ operation.T)[:, None] - positions[None], axis=-1)
    distances[labels[:, None] != labels] = np.inf
    nearest = distances.argmin(axis=1)
    hit = distances.min(axis=1) < tolerance_A
    return nearest if hit.all() and len(set(nearest.tolist())) == len(nearest) else None


def _fitted(positions: Floats, images: Floats, determinant: float) -> Floats:
    """Fit an operation to all atoms that it maps, not to two of them (Kabsch)."""
    left, _, right = np.linalg.svd(images.T @ positions)
    flat = np.linalg.det(left @ right) * determinant < 0
    return np.asarray(left @ np.diag([1.0, 1.0, -1.0 if flat else 1.0]) @ right)


def _name(rotations: list[Floats], mirrored: list[Floats]) -> str:
    """Name the group from the operations that are in it."""
    inverts = any(np.abs(o + np.eye(3)).max() < ALIKE for o in mirrored)
    if (size := len(rotations)) in NAMES and _order(rotations) <= 5:
        return NAMES[size] + ("h" if mirrored else "")
    if size == 12 and _order(rotations) == 3:
        return "Th" if inverts else "Td" if mirrored else "T"
    n = _order(rotations)
    axis = _axis(next((r for r in rotations if _turns(r) == n), np.eye(3)))
    normals = [_axis(-o) for o in mirrored if _near(np.trace(o), 1.0)]  # of mirror planes
    if n == 1 and not size > 1:
        return "Cs" if normals else "Ci" if inverts else "C1"
    across = any(abs(abs(normal @ axis) - 1) < ANGLE for normal in normals)
    if size == n:
        kind = "h" if across else "v" if normals else ""
        return f"S{2 * n}" if mirrored and not normals else f"C{n}{kind}"
    if n == 2 and normals:  # any of three axes may be the main one
        return "D2h" if inverts else "D2d"
    return f"D{n}" + ("h" if across else "d" if normals else "")


def _order(rotations: list[Floats]) -> int:
    return max(map(_turns, rotations))


def _turns(rotation: Floats) -> int:
    """How often a rotation is repeated until nothing is turned."""
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    if angle < ANGLE:
        return 1
    fractions = [(n, k) for n in range(2, 13) for k in range(1, n)]
    return min(fractions, key=lambda f: (round(abs(2 * np.pi * f[1] / f[0] - angle), 2), f[0]))[0]


def _axis(rotation: Floats) -> Floats:
    """The unit vector that a rotation leaves alone."""
    values, vectors = np.linalg.eig(rotation)
    return np.asarray(vectors[:, int(np.argmin(np.abs(values - 1)))].real)


def _near(a: float, b: float) -> bool:
    return bool(abs(a - b) < TOLERANCE_A)
