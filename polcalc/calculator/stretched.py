"""Bonds of small species that are longer than any in the training data, and not yet two pieces.

A network that never saw a bond break may say anything between the longest bond it knows and its
cutoff, where atoms no longer see each other.
"""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers as NUMBER_OF
from ase.data import chemical_symbols as SYMBOLS
from numpy.typing import NDArray

from polcalc.engines.base import Structure
from polcalc.engines.neighbors import Floats
from potentials.card import Card

MARGIN = 1.05  # a longer run than the data meets slightly longer bonds
MOST_ATOMS = 30  # of what is looked at, at every step: all distances of more would cost time


class LongBonds:
    """Look for atoms whose nearest neighbour is farther than nearest neighbours were in training.

    Parameters
    ----------
    card : Card       says how far these were, or nothing
    cutoff : float    Å, beyond which atoms do not see each other
    """

    def __init__(self, card: Card, cutoff: float) -> None:
        self.cutoff, self.known = cutoff, card.longest_bonds_A
        self._longest = np.full((len(SYMBOLS), len(SYMBOLS)), np.inf)
        for names, distance in self.known.items():
            a, b = (NUMBER_OF[symbol] for symbol in names.split("-"))
            self._longest[a, b] = self._longest[b, a] = MARGIN * distance

    def remarks(self, structure: Structure) -> list[tuple[str, str]]:
        """Return a pair of elements and a sentence for each bond that is too long."""
        n_atoms = len(structure.atomic_numbers)
        if not self.known or not 1 < n_atoms <= MOST_ATOMS or structure.pbc.any():
            return []
        nearest, distance = _nearest(structure.positions)
        numbers = structure.atomic_numbers
        longest = self._longest[numbers, numbers[nearest]]
        found: dict[str, str] = {}
        for i in np.flatnonzero((distance > longest) & (distance < self.cutoff)):
            j = int(nearest[i])
            pair = "-".join(sorted((SYMBOLS[numbers[i]], SYMBOLS[numbers[j]])))
            found.setdefault(
                pair,
                f"Atoms {i} and {j} ({pair}) are {distance[i]:.2f} Å apart with nothing nearer; in"
                f" the training data nearest neighbours of these elements reach"
                f" {self.known[pair]:.2f} Å. The model does not know how this bond breaks.",
            )
        return list(found.items())


def _nearest(positions: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Find the nearest neighbour of each atom, and its distance in Å: (N,), (N,)."""
    vectors = positions[:, None] - positions
    squared = np.einsum("ijk,ijk->ij", vectors, vectors)
    np.fill_diagonal(squared, np.inf)
    nearest = squared.argmin(1)
    return nearest, np.sqrt(squared[np.arange(len(positions)), nearest])
