"""Which bonds a relaxation made or broke.

Between the two limits a distance is neither: a stretched bond is not broken, a hydrogen bond is
none.
"""

from __future__ import annotations

from typing import NamedTuple

from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list

BONDED, APART = 1.25, 1.4  # of the sum of covalent radii: bonded below, not bonded above
NAMED = 6  # bonds listed one by one at most

Pair = tuple[int, int]


class BondChanges(NamedTuple):
    """Pairs of atoms, counted from 0, with their elements."""

    broken: tuple[str, ...]
    made: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in words; empty where nothing changed."""
        return "; ".join(
            f"{what} {', '.join(bonds[:NAMED])}"
            + (f" and {len(bonds) - NAMED} more" if len(bonds) > NAMED else "")
            for what, bonds in (("broken", self.broken), ("made", self.made))
            if bonds
        )


def changed_bonds(before: Atoms, after: Atoms) -> BondChanges:
    """Compare two geometries of the same atoms."""
    broken = _pairs(before, BONDED) - _pairs(after, APART)
    made = _pairs(after, BONDED) - _pairs(before, APART)
    symbols = before.get_chemical_symbols()

    def name(pair: Pair) -> str:
        return "–".join(f"{symbols[n]}{n}" for n in pair)

    return BondChanges(tuple(map(name, sorted(broken))), tuple(map(name, sorted(made))))


def _pairs(atoms: Atoms, limit: float) -> set[Pair]:
    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=limit))
    return {(int(a), int(b)) for a, b in zip(i, j, strict=True) if a < b}
