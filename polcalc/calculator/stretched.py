"""Bonds of small species that are longer than any in the training data, and not yet two pieces.

A network that never saw a bond break may say anything between the longest bond it knows and its
cutoff, where atoms no longer see each other. What it knows of one state tells nothing of another,
and two atoms alone nothing of the same bond in a molecule.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers as NUMBER_OF
from ase.data import chemical_symbols as SYMBOLS
from numpy.typing import NDArray

from polcalc.engines.base import Structure
from polcalc.engines.neighbors import Floats
from potentials.card import TWO, Card, by_pair, state_name

MARGIN = 1.05  # a longer run than the data meets slightly longer bonds
MOST_ATOMS = 30  # of what is looked at, at every step: all distances of more would cost time


class Known(NamedTuple):
    """How far nearest neighbours were in training, in structures of one kind."""

    table: dict[str, float]  # "C-H" -> Å
    of_state: frozenset[str]  # the pairs that were seen in the state asked for
    unseen: float  # Å, of other pairs: 0 where each that is not told is one never seen

    @property
    def longest(self) -> Floats:
        """Lay the distances out as a table (Z, Z) in Å, with a margin."""
        longest = np.full((len(SYMBOLS), len(SYMBOLS)), self.unseen)
        for names, distance in self.table.items():
            a, b = (NUMBER_OF[symbol] for symbol in names.split("-"))
            longest[a, b] = longest[b, a] = MARGIN * distance
        return longest


class LongBonds:
    """Look for atoms whose nearest neighbour is farther than nearest neighbours were in training.

    Parameters
    ----------
    card : Card       says how far these were, or nothing
    cutoff : float    Å, beyond which atoms do not see each other
    """

    def __init__(self, card: Card, cutoff: float) -> None:
        self.cutoff, self._card = cutoff, card
        self._told = bool(card.longest_bonds_A or card.longest_bonds_of_states_A)
        self._known: dict[str, tuple[Known, Floats]] = {}

    def remarks(self, structure: Structure) -> list[tuple[str, str]]:
        """Return a name and a sentence for each bond that is too long."""
        n_atoms = len(structure.atomic_numbers)
        if not self._told or not 1 < n_atoms <= MOST_ATOMS or structure.pbc.any():
            return []
        state = state_name(structure.charge, structure.multiplicity, n_atoms)
        if state not in self._known:
            known = self._look_up(state, n_atoms == 2)
            self._known[state] = known, known.longest
        known, longest = self._known[state]
        nearest, distance = _nearest(structure.positions)
        numbers = structure.atomic_numbers
        too_long = distance > longest[numbers, numbers[nearest]]
        found: dict[str, str] = {}
        for i in np.flatnonzero(too_long & (distance < self.cutoff)):
            j = int(nearest[i])
            pair = "-".join(sorted((SYMBOLS[numbers[i]], SYMBOLS[numbers[j]])))
            found.setdefault(
                f"{pair} {state}",
                f"Atoms {i} and {j} ({pair}) are {distance[i]:.2f} Å apart with nothing nearer; in"
                f" the training data {_seen(known, pair, structure)}."
                " The model does not know how this bond breaks.",
            )
        return list(found.items())

    def _look_up(self, state: str, two: bool) -> Known:
        """Look up what is known of a state; of molecules, what their other states tell besides."""
        tables = self._card.longest_bonds_of_states_A
        if not tables:
            return Known(self._card.longest_bonds_A, frozenset(), np.inf)
        alike = {name: table for name, table in tables.items() if (TWO in name) == two}
        own = alike.get(state, {})
        if two and alike:
            return Known(own, frozenset(own), 0.0)
        others = by_pair(max, list(alike.values() or tables.values()))
        return Known(others | own, frozenset(own), np.inf)


def _seen(known: Known, pair: str, structure: Structure) -> str:
    where = ""
    if known.unseen == 0 or pair in known.of_state:
        of = " of two atoms alone" if known.unseen == 0 else ""
        state = f"charge {structure.charge:+d} and multiplicity {structure.multiplicity}"
        where = f" in structures{of} with {state}"
    if pair not in known.table:
        return f"these elements are not nearest neighbours{where}"
    return f"nearest neighbours of these elements reach {known.table[pair]:.2f} Å{where}"


def _nearest(positions: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Find the nearest neighbour of each atom, and its distance in Å: (N,), (N,)."""
    vectors = positions[:, None] - positions
    squared = np.einsum("ijk,ijk->ij", vectors, vectors)
    np.fill_diagonal(squared, np.inf)
    nearest = squared.argmin(1)
    return nearest, np.sqrt(squared[np.arange(len(positions)), nearest])
