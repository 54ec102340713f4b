"""Pair lists that live longer than one step.

A skin, and a rule that proves the list still complete.

The list is searched up to cutoff + skin and kept as long as no pair outside it can have come closer
than the cutoff. Write u_i for how far atom i is from where the deformation F of the cell would
carry it. A pair that was not listed had a distance of at least cutoff + skin, and F shortens a
vector at most by its smallest singular value σ, so its distance now is at least σ (cutoff + skin) -
2 max|u|. While that is above the cutoff the list is complete; with an unchanged cell σ is 1.

Small open systems take all pairs, whatever their distance: such a list holds as long as the atoms
are the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potentials.structure.pairs import Pairs, all_pairs, find_pairs

Floats = NDArray[np.float64]

STATIC_LIMIT = 32  # atoms; molecules up to here are nearly complete graphs at the usual cutoffs
ROUNDING = 1e-9  # Å, far above what float64 loses in the bound


class Reference(NamedTuple):
    """Where pairs were searched; a search there gives the same pairs in the same order."""

    positions: Floats  # (N, 3) Å
    cell: Floats  # (3, 3) Å


class NeighborList:
    """Pairs of one structure, searched again only when needed.

    Parameters
    ----------
    cutoff : float      Å, complete up to here
    skin : float        Å, searched in addition; 0 searches at every change
    backend : str       of `find_pairs`

    Attributes
    ----------
    pairs : Pairs       i, j, shift; some may be longer than the cutoff
    n_searches : int    how often pairs were searched
    """

    def __init__(self, cutoff: float, skin: float = 0.5, backend: str = "auto") -> None:
        if not skin >= 0:
            raise ValueError(f"`skin` must not be negative; got {skin} Å. Pass 0 for no skin.")
        self.cutoff, self.skin, self.backend = float(cutoff), float(skin), backend
        self.n_searches = 0
        self.reset()

    def reset(self) -> None:
        """Forget the list: the next update searches."""
        self.pairs: Pairs = all_pairs(0)
        self._pbc: tuple[bool, ...] | None = None
        self._positions: Floats = np.zeros((0, 3))
        self._cell: Floats = np.zeros((3, 3))

    def update(self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> bool:
        """Make the list complete for these positions; say whether it was searched anew.

        Parameters
        ----------
        positions : (N, 3)  Å
        cell : (3, 3)       Å
        pbc : (3,)
        """
        periodic = tuple(pbc.tolist())
        if (
            periodic == self._pbc
            and len(positions) == len(self._positions)
            and self._complete(positions, cell)
        ):
            return False
        self.reset()  # a search that fails must not leave the old list behind
        self.pairs = self._search(positions, cell, pbc)
        self._pbc, self._positions, self._cell = periodic, positions.copy(), cell.copy()
        self.n_searches += 1
        return True

    @property
    def reference(self) -> Reference:
        """Where the pairs were searched, a copy."""
        return Reference(self._positions.copy(), self._cell.copy())

    def within(self, positions: Floats, cell: Floats) -> Pairs:
        """Return the pairs inside the cutoff alone; the list must be up to date."""
        idx_i, idx_j, shift = self.pairs
        at = _tensor(positions)
        vectors = at[idx_j] - at[idx_i]
        if any(self._pbc or ()):
            vectors = vectors + shift @ _tensor(cell)
        near = vectors.square().sum(-1) < self.cutoff**2
        return self.pairs if bool(near.all()) else (idx_i[near], idx_j[near], shift[near])

    @property
    def static(self) -> bool:
        """Whether the list holds every pair and never needs a search for these atoms."""
        return self._pbc is not None and not any(self._pbc) and len(self._positions) <= STATIC_LIMIT

    def _search(self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> Pairs:
        if not pbc.any() and len(positions) <= STATIC_LIMIT:
            return all_pairs(len(positions))
        return find_pairs(
            _tensor(positions),
            _tensor(cell),
            torch.tensor(pbc),
            self.cutoff + self.skin,
            self.backend,
        )

    def _complete(self, positions: Floats, cell: Floats) -> bool:
        """Prove that no pair outside the list is inside the cutoff.

        Comparisons with NaN are false, and search.
        """
        if self.static:
            return True
        if self.skin == 0:
            return bool((positions == self._positions).all() and (cell == self._cell).all())
        assert self._pbc is not None
        if not any(self._pbc) or (cell == self._cell).all():
            moved, shortest = positions - self._positions, 1.0
        else:
            deformation = _deformation(self._cell, cell, np.array(self._pbc))
            moved = positions - self._positions @ deformation
            shortest = float(np.linalg.svd(deformation, compute_uv=False)[-1])
        farthest = np.einsum("ij,ij->i", moved, moved).max(initial=0.0) ** 0.5
        return bool(shortest * (self.cutoff + self.skin) - 2 * farthest >= self.cutoff + ROUNDING)


def _deformation(old: Floats, new: Floats, pbc: NDArray[np.bool_]) -> Floats:
    """Return a matrix F with ``old[k] @ F = new[k]`` for every periodic lattice vector k."""
    return np.eye(3) + np.linalg.pinv(old[pbc]) @ (new[pbc] - old[pbc])


def _tensor(array: Floats) -> Tensor:
    return torch.tensor(array, dtype=torch.float64)
