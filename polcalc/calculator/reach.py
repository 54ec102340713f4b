"""How far a structure is from those that a model was trained on, beyond elements and contacts.

Size, also in its state, periodicity, what its card forbids, parts that do not see each other, ions
side by side.
Looked at once for each composition and state; each remark is a warning of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.formula import Formula
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from polcalc.engines.base import Structure
from polcalc.engines.neighbors import NeighborList
from potentials.card import Card, state_name

Integers = NDArray[np.int64]

BONDED = 1.3  # of the sum of covalent radii
# of the mean number of atoms of the test molecules, where a card does not say the largest
LARGER = 3.0
MANY = 8  # molecules side by side are a liquid, or what comes near one
LONG_RANGE = {"coulomb", "ewald", "dispersion"}  # terms that reach beyond the cutoff
CONDENSED = re.compile(r"[^.]*\b(?:not|never|no)\b[^.]*\b(?:liquid|crystal|periodic)[^.]*\.", re.I)


def remarks(
    card: Card, cutoff: float, terms: set[str], structure: Structure
) -> Iterator[tuple[str, str]]:
    """Say what of a structure is outside what the model saw: the kind of each, and a sentence."""
    n_atoms = len(structure.atomic_numbers)
    if (limit := largest(card)) is not None and n_atoms > limit[0]:
        yield "size", f"The structure has {n_atoms} atoms; {limit[1]}. Energies may be off by eV."
    state = state_name(structure.charge, structure.multiplicity)
    if (seen := card.largest_of_states.get(state, n_atoms)) < n_atoms:
        yield (
            f"state {state}",
            f"The structure has {n_atoms} atoms with charge {structure.charge:+d} and"
            f" multiplicity {structure.multiplicity}; the largest of that state in the training"
            f" data has {seen}. Energies, and differences from other states, may be off by eV.",
        )
    periodic = bool(structure.pbc.any())
    if periodic and (card.periodic is False or (card.periodic is None and card.dataset)):
        known = "never saw" if card.periodic is False else "is not known to have seen"
        yield (
            "periodic",
            f"The model {known} a periodic structure: densities, stresses, lattices are guesses.",
        )
    molecules = _molecules(structure)
    n_molecules = int(molecules.max()) + 1
    forbidden = CONDENSED.search(card.limits)
    if forbidden and (periodic or n_molecules >= MANY):
        yield "forbidden", f"The card of the model says: {' '.join(forbidden.group().split())}"
    if n_molecules == 1 or structure.fragments is not None:
        return
    names = [_formula(structure.atomic_numbers[molecules == n]) for n in range(n_molecules)]
    if not terms & LONG_RANGE:
        yield from _unseen(structure, cutoff)
    odd = [
        name
        for n, name in enumerate(names)
        if int(structure.atomic_numbers[molecules == n].sum()) % 2
    ]
    if len(odd) > 1:
        listed = ", ".join(odd[:4]) + (", …" if len(odd) > 4 else "")
        yield (
            "ions",
            f"{listed} side by side have odd numbers of electrons: ions or radicals. The model"
            " knows the charge of the whole alone, and how it is shared out is a guess.",
        )


def largest(card: Card) -> tuple[float, str] | None:
    """Return the number of atoms up to which a model is at home, and why; None if nobody knows."""
    if card.n_atoms_max is not None:
        return card.n_atoms_max, f"the largest in the training data has {card.n_atoms_max}"
    for found in (card.test_errors, card.training.get("validation_errors", {})):
        n_atoms, n_frames = (_number(found.get(name)) for name in ("n_atoms", "n_frames"))
        if n_atoms and n_frames:
            mean = n_atoms / n_frames
            return LARGER * mean, f"those that the model was tested on have {mean:.0f} on average"
    return None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _unseen(structure: Structure, cutoff: float) -> Iterator[tuple[str, str]]:
    """Say which parts no chain of neighbours within the cutoff connects."""
    parts = _connected(structure, cutoff, np.full(len(chemical_symbols), np.inf))
    if (count := int(parts.max()) + 1) > 1:
        smallest = min(range(count), key=lambda n: int((parts == n).sum()))
        yield (
            "apart",
            f"{count} parts, one of them {_formula(structure.atomic_numbers[parts == smallest])},"
            f" are further than {cutoff:g} Å from each other, the cutoff of the model: no force"
            " acts between them, not even that of charges.",
        )


def _molecules(structure: Structure) -> Integers:
    """Number the molecule of each atom (N,)."""
    radii = covalent_radii[structure.atomic_numbers]
    return _connected(structure, 2 * BONDED * float(radii.max()), BONDED * covalent_radii)


def _connected(structure: Structure, far_A: float, radii: NDArray[np.float64]) -> Integers:
    """Number what is connected by distances below ``far_A`` and the sum of two radii."""
    neighbors = NeighborList(far_A, skin=0.0)
    neighbors.update(structure.positions, structure.cell, structure.pbc)
    i, j, shift = (x.numpy() for x in neighbors.pairs)
    vectors = structure.positions[j] - structure.positions[i]
    if structure.pbc.any():
        vectors = vectors + shift @ structure.cell
    reach = radii[structure.atomic_numbers]
    near = np.linalg.norm(vectors, axis=1) < np.minimum(far_A, reach[i] + reach[j])
    n_atoms = len(structure.atomic_numbers)
    bonds = coo_matrix((np.ones(near.sum()), (i[near], j[near])), shape=(n_atoms, n_atoms))
    return np.asarray(connected_components(bonds, directed=False)[1], dtype=np.int64)


def _formula(atomic_numbers: Integers) -> str:
    symbols = [chemical_symbols[n] for n in atomic_numbers]
    return str(Formula.from_list(symbols).format("hill"))
