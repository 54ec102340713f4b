"""The electronic states of molecules.

Which of them a model covers, their energies, gaps, minima and crossings.

Every energy of every state of every structure comes from batched evaluations. Energies are compared
for one structure at a time: a gap is E(higher multiplicity) - E(lower multiplicity) of one charge,
an ionisation energy E(charge + 1) - E(charge).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from md_runs.errors import as_input_error
from md_runs.readable import readable
from md_runs.structures.bonds import BondChanges, changed_bonds
from md_runs.surfaces.crossing import Crossing, Surfaces, find_crossings
from md_runs.surfaces.curvature import Curvature, beside, lowest_curvature
from md_runs.surfaces.lockstep import Floats, Place, largest, search
from md_runs.surfaces.relax import AT_REST_EV_PER_A, ATTEMPTS, Saddles
from polcalc import PolarizedCalculator
from potentials.card import Card
from potentials.structure.graph import State
from potentials.structure.states import STATE_KEYS, fits

BATCH = 256  # structures handed over at once; the calculator cuts them into batches that fit


class Refused(NamedTuple):
    """A state that was asked for and cannot be had."""

    charge: int  # e
    multiplicity: int | None  # None: any
    why: str


@readable
@dataclass
class Levels:
    """What was found for one structure."""

    atoms: Atoms  # as given
    states: list[State]
    refused: list[Refused]
    energies_eV: dict[State, float] = field(default_factory=dict)  # at the given geometry
    minima: dict[State, Atoms] = field(default_factory=dict)
    converged: dict[State, bool] = field(default_factory=dict)
    curvatures: dict[State, Curvature] = field(default_factory=dict)  # lowest, at the minima
    # minimum -> state -> energy there
    at_minima_eV: dict[State, dict[State, float]] = field(default_factory=dict)
    crossings: dict[int, Crossing] = field(default_factory=dict)  # charge ->
    # of vertical differences, first and second state -> eV that 68 % of errors lie within
    uncertainties_eV: dict[tuple[State, State], float] = field(default_factory=dict)

    def summary(self) -> dict[str, str]:
        """Say what is known of each state, charge/multiplicity."""
        said = {"formula": self.atoms.get_chemical_formula()}
        for q, m in self.states:
            energy, relaxed = self.energies_eV.get((q, m)), self.relaxed_eV((q, m))
            words = ["not computed" if energy is None else f"{energy:.4f} eV"]
            if relaxed is not None:
                words.append(f"minimum {relaxed:.4f} eV")
            if (q, m) in self.converged and not self.converged[q, m]:
                words.append("not converged")
            if self.on_saddle((q, m)):
                words.append("a saddle")
            said[f"{q:+d}/{m}"] = " ".join(words)
        refused = {f"{r.charge:+d}/{r.multiplicity or 'any'}" for r in self.refused}
        return said | {"refused": " ".join(sorted(refused))}

    def relaxed_eV(self, state: State) -> float | None:
        """Energy of a state at its own minimum."""
        return self.at_minima_eV[state][state] if state in self.at_minima_eV else None

    def bond_changes(self, state: State) -> BondChanges:
        """Name bonds that broke or formed between the given geometry and a minimum.

        Gaps then compare different molecules.
        """
        return changed_bonds(self.atoms, self.minima[state])

    def on_saddle(self, state: State) -> bool:
        """Whether the search of a state ended where the energy falls to two sides."""
        return state in self.curvatures and not self.curvatures[state].is_minimum

    def gaps(self) -> list[dict[str, Any]]:
        """List E(higher) - E(lower multiplicity) for each two multiplicities of a charge, in eV."""
        pairs = [(a, b) for a, b in combinations(sorted(self.states), 2) if a[0] == b[0]]
        return [
            {"charge": a[0], "multiplicities": [a[1], b[1]], **self._difference(a, b)}
            for a, b in pairs
        ]

    def ionisations(self) -> list[dict[str, Any]]:
        """List E(charge + 1) - E(charge) between the lowest states of neighbouring charges, in eV.

        It is the ionisation energy of the first and the electron affinity of the second.
        """
        charges = sorted({charge for charge, _ in self.states})
        pairs = [(self.lowest(q), self.lowest(q + 1)) for q in charges if q + 1 in charges]
        return [{"from": list(a), "to": list(b), **self._difference(a, b)} for a, b in pairs]

    def shown(self) -> list[str]:
        """Name the kinds of differences that there are, as `Card.caveats` knows them."""
        charges = {charge for charge, _ in self.states}
        kinds = {
            "gap": len(charges) < len(self.states),
            "ionisation": any({q, q + 1} <= charges for q in charges if q >= 0),
            "affinity": any({q, q + 1} <= charges for q in charges if q < 0),
        }
        return [kind for kind, there in kinds.items() if there]

    def lowest(self, charge: int) -> State:
        """Find the lowest state of a charge: of the minima where they are known."""
        return min(
            (s for s in self.states if s[0] == charge),
            key=lambda s: self.at_minima_eV.get(s, self.energies_eV)[s],
        )

    def _difference(self, a: State, b: State) -> dict[str, float | None]:
        energy_a, energy_b = self.relaxed_eV(a), self.relaxed_eV(b)
        return {
            "vertical_eV": self.energies_eV[b] - self.energies_eV[a],
            "vertical_uncertainty_eV": self.uncertainties_eV.get((a, b)),
            "adiabatic_eV": None if energy_a is None or energy_b is None else energy_b - energy_a,
            "at_minimum_of_first_eV": (
                self.at_minima_eV[a][b] - self.at_minima_eV[a][a]
                if a in self.at_minima_eV
                else None
            ),
            "at_minimum_of_second_eV": (
                self.at_minima_eV[b][b] - self.at_minima_eV[b][a]
                if b in self.at_minima_eV
                else None
            ),
        }


def choose(
    atoms: Atoms, card: Card, charges: Sequence[int] | None, multiplicities: Sequence[int] | None
) -> Levels:
    """Find which states that are asked for a model covers for this structure.

    Parameters
    ----------
    charges : list or None          e; None: those of the card
    multiplicities : list or None   2S + 1; None: those of the card that the electrons allow
    """
    known = sorted({(charge, multiplicity) for charge, multiplicity, *_ in card.states})
    if multiplicities is None:
        return _choose_from_card(atoms, known, charges)
    asked = product(sorted({q for q, _ in known}) if charges is None else charges, multiplicities)
    levels = Levels(atoms, [], [])
    for charge, multiplicity in asked:
        if why := _refusal(atoms, known, charge, multiplicity):
            levels.refused.append(Refused(charge, multiplicity, why))
        else:
            levels.states.append((charge, multiplicity))
    levels.states.sort()
    return levels


def evaluate(calculator: PolarizedCalculator, found: Sequence[Levels]) -> None:
    """Fill in the energy of each state at the given geometries."""
    jobs = [(levels, state) for levels in found for state in levels.states]
    results = _results(calculator, [in_state(levels.atoms, *state) for levels, state in jobs])
    for (levels, state), result in zip(jobs, results, strict=True):
        levels.energies_eV[state] = result["energy"]
    if "energy_uncertainty" in calculator.model.potential.predicts:
        for levels in found:
            for a, b in combinations(sorted(levels.states), 2):
                bar = calculator.uncertainty_of_difference(
                    in_state(levels.atoms, *a), in_state(levels.atoms, *b)
                )
                assert bar is not None
                levels.uncertainties_eV[a, b] = bar


def relax(
    calculator: PolarizedCalculator,
    found: Sequence[Levels],
    fmax_eV_per_A: float,
    steps: int,
    saddles: Saddles = "leave",
) -> None:
    """Find the minimum of each state, all in step, and the energies of all states there.

    What came to rest on a saddle leaves it to its lower side, as in `relax.relax`.
    """
    jobs = [(levels, state) for levels in found for state in levels.states]
    minima = [in_state(levels.atoms, *state) for levels, state in jobs]

    def places(frames: Sequence[Atoms]) -> list[Place]:
        return [
            Place(r["energy"], r["forces"], largest(r["forces"]) <= fmax_eV_per_A)
            for r in _results(calculator, frames)
        ]

    def forces(frames: Sequence[Atoms]) -> list[Floats]:
        return [r["forces"] for r in _results(calculator, frames)]

    left = list(range(len(jobs)))
    for attempt in range(ATTEMPTS + 1):
        done = search([minima[n] for n in left], places, steps)
        saddle_points = []
        for n, converged in zip(left, done, strict=True):
            levels, state = jobs[n]
            levels.minima[state], levels.converged[state] = minima[n], converged
            levels.curvatures.pop(state, None)
            at_rest = converged and largest(minima[n].get_forces()) <= AT_REST_EV_PER_A
            if at_rest and (curvature := lowest_curvature(minima[n], forces)) is not None:
                levels.curvatures[state] = curvature
            if levels.on_saddle(state):
                saddle_points.append(n)
        if not saddle_points or saddles == "keep" or attempt == ATTEMPTS:
            break
        left = saddle_points
        for n in left:
            levels, state = jobs[n]
            sides = beside(minima[n], levels.curvatures[state])
            energies = [r["energy"] for r in _results(calculator, sides)]
            minima[n].positions = sides[int(np.argmin(energies))].positions
    there = [(levels, state, other) for levels, state in jobs for other in levels.states]
    results = _results(
        calculator, [in_state(levels.minima[state], *other) for levels, state, other in there]
    )
    for (levels, state, other), result in zip(there, results, strict=True):
        levels.at_minima_eV.setdefault(state, {})[other] = result["energy"]


def cross(
    calculator: PolarizedCalculator,
    found: Sequence[Levels],
    multiplicities: tuple[int, int],
    fmax_eV_per_A: float,
    steps: int,
) -> None:
    """Find the lowest crossing of two multiplicities for each charge that has both.

    After `relax`.
    """
    a, b = multiplicities
    jobs = [
        (levels, q)
        for levels in found
        for q in sorted({q for q, _ in levels.states})
        if {(q, a), (q, b)} <= set(levels.states)
    ]

    def surfaces(frames: Sequence[Atoms]) -> list[Surfaces]:
        both = [
            in_state(atoms, atoms.info["charge"], m) for atoms in frames for m in multiplicities
        ]
        results = _results(calculator, both)
        return [
            Surfaces(np.array([x["energy"], y["energy"]]), np.stack([x["forces"], y["forces"]]))
            for x, y in zip(results[::2], results[1::2], strict=True)
        ]

    starts = [(levels.minima[q, a], levels.minima[q, b]) for levels, q in jobs]
    for (levels, q), crossing in zip(
        jobs, find_crossings(starts, surfaces, fmax_eV_per_A, steps), strict=True
    ):
        levels.crossings[q] = crossing


def in_state(atoms: Atoms, charge: int, multiplicity: int) -> Atoms:
    """Copy a structure into an electronic state; nothing else in the copy says one."""
    copy: Atoms = atoms.copy()
    copy.info = {key: value for key, value in atoms.info.items() if key not in STATE_KEYS}
    copy.info |= {"charge": charge, "multiplicity": multiplicity}
    return copy


def _choose_from_card(atoms: Atoms, known: list[State], charges: Sequence[int] | None) -> Levels:
    levels = Levels(atoms, [], [])
    for charge in sorted({q for q, _ in known}) if charges is None else charges:
        fitting = [(q, m) for q, m in known if q == charge and not _refusal(atoms, known, q, m)]
        levels.states.extend(fitting)
        if not fitting and charges is not None:
            levels.refused.append(Refused(charge, None, _uncovered(atoms, known, charge)))
    levels.states.sort()
    return levels


def _refusal(atoms: Atoms, known: list[State], charge: int, multiplicity: int) -> str:
    """Say why a state cannot be had; nothing where it can."""
    n_electrons = int(atoms.numbers.sum()) - charge
    if n_electrons < 0 or not fits(multiplicity, n_electrons):
        return f"{n_electrons} electrons ({'odd' if n_electrons % 2 else 'even'}) cannot have it"
    if known and (charge, multiplicity) not in known:
        return f"the model never saw it (seen, charge/multiplicity: {_named(known)})"
    return ""


def _uncovered(atoms: Atoms, known: list[State], charge: int) -> str:
    if charge not in {q for q, _ in known}:
        return f"the model never saw this charge (seen, charge/multiplicity: {_named(known)})"
    n_electrons = int(atoms.numbers.sum()) - charge
    return (
        f"no multiplicity of the card (charge/multiplicity: {_named(known)}) fits {n_electrons}"
        " electrons"
    )


def _named(known: list[State]) -> str:
    return (
        ", ".join(f"{charge:+d}/{multiplicity}" for charge, multiplicity in known)
        or "none known: pass --charges and --multiplicities"
    )


def _results(calculator: PolarizedCalculator, frames: Sequence[Atoms]) -> list[dict[str, Any]]:
    with as_input_error():
        return [
            r
            for start in range(0, len(frames), BATCH)
            for r in calculator.calculate_many(frames[start : start + BATCH])
        ]
