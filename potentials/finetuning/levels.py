"""Levels of theory: what takes the energies of a model to those of other labels.

Methods count energies from zeros of their own. What differs by element, and by charge and
multiplicity, is fitted first, so that training has only the rest to learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from potentials.datasets import Frames, fit_reference_energies, fit_state_energies
from potentials.datasets.shifts import shifted
from potentials.structure.graph import State


class Level(NamedTuple):
    """What the energies of one level have beyond those of another."""

    per_element: dict[str, float]  # eV an atom
    per_state: dict[State, float]  # eV a structure, beyond the neutral singlet


def fit_level(
    frames: Frames, said: np.ndarray, atoms: Mapping[int, float], *, by_state: bool
) -> Level:
    """Fit what labels have beyond what a model says, by least squares.

    Parameters
    ----------
    frames : Frames   S labelled structures
    said : (S,)       eV, of the model
    atoms : dict      atomic number -> eV, what labels of free atoms have beyond the model; these
                      decide what the compositions leave open, as those of one molecule do
    by_state : bool   whether charge and multiplicity have energies of their own
    """
    elements = np.unique(frames.atomic_numbers).tolist()
    known = set(elements) <= set(atoms)
    guess = {chemical_symbols[z]: atoms[z] if known else 0.0 for z in elements}
    rest = shifted(
        replace(frames, energy=frames.energy - said, references={}),
        {symbol: -energy for symbol, energy in guess.items()},
    )
    found, states = fit_state_energies(rest) if by_state else (fit_reference_energies(rest), {})
    others = {chemical_symbols[z]: energy for z, energy in atoms.items() if z not in elements}
    per_element = {
        symbol: guess[symbol] + found[z] for z, symbol in zip(elements, guess, strict=True)
    }
    return Level(per_element | others, states)


def to_level(frames: Frames, level: Level) -> Frames:
    """Put labels on a level; elements and states that it does not name stay as they are."""
    symbols = [chemical_symbols[z] for z in np.unique(frames.atomic_numbers)]
    moved = shifted(frames, {symbol: level.per_element.get(symbol, 0.0) for symbol in symbols})
    own = zip(frames.total_charge.tolist(), frames.multiplicity.tolist(), strict=True)
    added = [level.per_state.get((int(charge), multiplicity), 0.0) for charge, multiplicity in own]
    return replace(moved, energy=moved.energy + np.array(added))


def spec_on_level(spec: Mapping[str, Any], level: Level) -> dict[str, Any]:
    """Put the constants of a spec on a level: energies of elements, and of states if it has any.

    An uncertainty is that of the weights which it was calibrated for, and is left out.
    """
    terms = [dict(term) for term in spec["terms"] if term["name"] != "uncertainty"]
    if not any(term["name"] == "reference_energies" for term in terms):
        terms.append({"name": "reference_energies", "energies_eV": {}})
    for term in terms:
        if term["name"] == "reference_energies":
            own = term["energies_eV"]
            term["energies_eV"] = dict(own) | {
                symbol: own.get(symbol, 0.0) + energy
                for symbol, energy in level.per_element.items()
            }
        if term["name"] == "state_energies":
            states = {(q, m): energy for q, m, energy in term["energies_eV"]}
            for state, energy in level.per_state.items():
                states[state] = states.get(state, 0.0) + energy
            term["energies_eV"] = [[*state, energy] for state, energy in states.items()]
    return {**spec, "terms": terms}
