"""Bonds, angles, dihedrals and molecules of the first frame, and their values along a trajectory.

Atoms of a trajectory are not wrapped, so a bond keeps the lattice shift that it had in the first
frame.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.geometry import get_angles, get_dihedrals
from ase.neighborlist import natural_cutoffs, neighbor_list
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from md_runs.analysis.series import Floats
from md_runs.dynamics.guards import BOND

# bonds walked along: from, to, lattice shift
Steps = tuple[tuple[int, int, tuple[float, ...]], ...]
BENT_DEGREES = 89.0  # from a right angle; a dihedral along straight bonds is not defined


class Term(NamedTuple):
    """A bond, angle or dihedral: the bonds that it walks along, and its name.

    Bonds and angles are named by environment, for a mean over C=O and C–O is neither: in
    parentheses stands what else is bonded to both atoms of a bond, and to those in the middle of
    an angle or dihedral. The C=O of an amide is C(CN)–O, a methyl C–H C(CH2)–H.
    """

    name: str
    steps: Steps


class Topology(NamedTuple):
    """What is bonded to what."""

    bonds: list[Term]
    angles: list[Term]
    dihedrals: list[Term]
    molecules: npt.NDArray[np.int64]  # (N,) number of the molecule of each atom


def find_topology(atoms: Atoms) -> Topology:
    """Bond what is closer than 1.25 times the sum of covalent radii, as the guards of a run do."""
    i, j, shift = neighbor_list("ijS", atoms, natural_cutoffs(atoms, mult=BOND))
    # both ways
    bonds = [(int(a), int(b), tuple(map(float, s))) for a, b, s in zip(i, j, shift, strict=True)]
    leaving: dict[int, Steps] = {
        n: tuple(bond for bond in bonds if bond[0] == n) for n in range(len(atoms))
    }
    ones = np.ones(len(i))
    _, molecules = connected_components(
        coo_matrix((ones, (i, j)), shape=(len(atoms), len(atoms))), directed=False
    )
    symbols = atoms.get_chemical_symbols()
    forward = [bond for bond in bonds if bond[0] < bond[1]]
    angles = [(_back(a), b) for n in range(len(atoms)) for a, b in combinations(leaving[n], 2)]
    torsions = [
        (_back(a), middle, b)
        for middle in forward
        for a in leaving[middle[0]]
        for b in leaving[middle[1]]
        if a[1] != middle[1] and b[1] != middle[0] and a[1] != b[1]
    ]

    def environment(atom: int, *others: int) -> str:
        """Name an atom, and what is bonded to it besides some others."""
        left = Counter(symbols[bond[1]] for bond in leaving[atom])
        left.subtract(symbols[other] for other in others)
        words = (f"{symbol}{n if n > 1 else ''}" for symbol, n in sorted(left.items()) if n > 0)
        around = "".join(words)
        return f"{symbols[atom]}({around})" if around else symbols[atom]

    return Topology(
        [
            Term(_joined([environment(a, b), environment(b, a)]), ((a, b, s),))
            for a, b, s in forward
        ],
        [
            Term(_joined([symbols[a], environment(middle, a, b), symbols[b]]), steps)
            for steps in angles
            for (a, middle, _), (_, b, _) in [steps]
        ],
        [
            Term(
                _joined([symbols[a], environment(b, a, c), environment(c, b, d), symbols[d]]), steps
            )
            for steps in torsions
            for (a, b, _), (_, c, _), (_, d, _) in [steps]
        ],
        molecules.astype(np.int64),
    )


def bond_lengths(terms: list[Term], positions: Floats, cells: Floats | None) -> Floats:
    """Lengths in Å: (F, T), for positions (F, N, 3) and cells (F, 3, 3)."""
    (vectors,) = _vectors(terms, positions, cells)
    return np.asarray(np.linalg.norm(vectors, axis=-1))


def angles_degrees(terms: list[Term], positions: Floats, cells: Floats | None) -> Floats:
    """Angles in degrees: (F, T)."""
    first, second = _vectors(terms, positions, cells)
    return np.asarray(
        get_angles(-first.reshape(-1, 3), second.reshape(-1, 3)).reshape(len(positions), -1)
    )


def dihedrals_degrees(terms: list[Term], positions: Floats, cells: Floats | None) -> Floats:
    """Dihedrals in degrees, from -180 to 180; NaN where three of the atoms are in line: (F, T)."""
    vectors = [v.reshape(-1, 3) for v in _vectors(terms, positions, cells)]
    bent = np.ones(len(vectors[0]), dtype=np.bool_)
    for first, second in pairwise(vectors):
        bent &= np.abs(get_angles(first, second) - 90) < BENT_DEGREES
    values = np.full(len(bent), np.nan)
    values[bent] = (get_dihedrals(*(v[bent] for v in vectors)) + 180) % 360 - 180
    return values.reshape(len(positions), -1)


def by_name(terms: list[Term]) -> dict[str, list[int]]:
    """Group terms that have the same name."""
    groups: dict[str, list[int]] = {}
    for number, term in enumerate(terms):
        groups.setdefault(term.name, []).append(number)
    return dict(sorted(groups.items()))


def _vectors(terms: list[Term], positions: Floats, cells: Floats | None) -> list[Floats]:
    """Bond vectors (F, T, 3) along each step of the terms."""
    found = []
    for steps in zip(*(term.steps for term in terms), strict=True):
        i, j = np.array([s[0] for s in steps]), np.array([s[1] for s in steps])
        vectors = positions[:, j] - positions[:, i]
        if cells is not None:
            vectors += np.array([s[2] for s in steps]) @ cells
        found.append(vectors)
    return found


def _back(bond: tuple[int, int, tuple[float, ...]]) -> tuple[int, int, tuple[float, ...]]:
    return bond[1], bond[0], tuple(-s for s in bond[2])


def _joined(names: list[str]) -> str:
    """Join names from the end that comes first in the alphabet."""
    return "–".join(min(names, names[::-1]))
