"""Fragments: groups of atoms that know their own charge and multiplicity and not those of the rest.

A total charge acts on every atom, however far, so the energy of two far molecules is not the sum of
theirs. With fragments an atom is told the state of its own group, as if it were alone: energies of
far groups then add, to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from polcalc.calculator.electrons import ElectronicState, check, whole
from potentials.structure.graph import States

SOURCE = "fragments"
KEYS = {"atoms", "charge", "multiplicity"}


class Fragment(NamedTuple):
    """One group of atoms."""

    atoms: tuple[int, ...]
    charge: int  # e
    multiplicity: int | None  # 2S + 1; None: the lowest that fits its electrons


def read_fragments(given: Sequence[Mapping[str, Any]]) -> tuple[Fragment, ...]:
    """Read what a user writes: ``[{"atoms": [0, 1, 2], "charge": 1, "multiplicity": 2}, …]``.

    Raises
    ------
    ValueError   unknown keys, no atoms, an atom in two fragments, numbers that are not whole
    """
    fragments = []
    for entry in given:
        if unknown := set(entry) - KEYS:
            raise ValueError(
                f"`fragments` must hold only {', '.join(sorted(KEYS))}; got"
                f" {', '.join(sorted(unknown))}. Remove it."
            )
        atoms = tuple(whole("fragments", atom) for atom in entry.get("atoms", ()))
        if not atoms:
            raise ValueError(
                "`fragments` must name the atoms of each; got none. Pass their numbers, from 0."
            )
        multiplicity = entry.get("multiplicity")
        fragments.append(
            Fragment(
                atoms,
                whole("charge", entry.get("charge", 0)),
                None if multiplicity is None else whole("multiplicity", multiplicity),
            )
        )
    named = [atom for fragment in fragments for atom in fragment.atoms]
    if twice := sorted({atom for atom in named if named.count(atom) > 1}):
        raise ValueError(
            f"`fragments` must not share atoms; got {twice} in more than one place. Put each into"
            " one."
        )
    return tuple(fragments)


def states_of(
    fragments: Sequence[Fragment], atoms: Atoms
) -> tuple[States[NDArray[Any]], list[ElectronicState]]:
    """Find the state of each fragment of a structure.

    Atoms in none form a neutral one of the lowest multiplicity.

    Raises
    ------
    ValueError   an atom that is not there, a number of electrons that does not allow the
                 multiplicity
    """
    n_atoms = len(atoms)
    batch = np.full(n_atoms, -1, dtype=np.int64)
    for n, fragment in enumerate(fragments):
        if outside := [atom for atom in fragment.atoms if not 0 <= atom < n_atoms]:
            raise ValueError(
                f"`fragments` must name atoms from 0 to {n_atoms - 1}; got {outside}. Correct the"
                " numbers."
            )
        batch[list(fragment.atoms)] = n
    all_fragments = list(fragments)
    if (batch < 0).any():
        all_fragments.append(Fragment((), 0, None))
        batch[batch < 0] = len(fragments)
    states = [_state(fragment, atoms[batch == n]) for n, fragment in enumerate(all_fragments)]
    charge, multiplicity = (np.array([state[k] for state in states]) for k in (0, 1))
    return States(batch, charge.astype(np.float64), multiplicity), states


def whole_state(states: Sequence[ElectronicState]) -> ElectronicState:
    """Add up charges and unpaired electrons: the state of the whole with all spins parallel."""
    unpaired = sum(state.multiplicity - 1 for state in states)
    return ElectronicState(sum(state.charge for state in states), 1 + unpaired, SOURCE, SOURCE)


def _state(fragment: Fragment, atoms: Atoms) -> ElectronicState:
    n_electrons = int(atoms.numbers.sum()) - fragment.charge
    lowest = 1 + n_electrons % 2
    state = ElectronicState(fragment.charge, fragment.multiplicity or lowest, SOURCE, SOURCE)
    check(atoms, state)
    return state
