"""What the card of a model says of a structure.

Inside what it was trained on, outside, or impossible.

An error where the number would mean nothing, one warning of each sort where it is an extrapolation.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers as NUMBER_OF
from ase.data import chemical_symbols as SYMBOLS
from ase.formula import Formula
from numpy.typing import NDArray

from polcalc.calculator.electrons import DEFAULT_SOURCE, ElectronicState, StateWarning
from polcalc.calculator.reach import remarks
from polcalc.calculator.stretched import LongBonds
from polcalc.engines.base import Structure
from polcalc.engines.neighbors import Floats, NeighborList
from potentials.card import Card
from potentials.potential import Potential
from potentials.quantities import Evaluation
from potentials.terms.uncertainty import Uncertainty

COINCIDENT = 0.1  # Å; no two nuclei of a molecule come this near, but atoms read twice do
MEANING = {
    "total_charge": "charge",
    "partial_charges": "charge",
    "unpaired_electrons": "multiplicity",
}
LOOK_EVERY = 25  # steps between looks at how certain a model is
# a longer run than the training data meets slightly shorter contacts without leaving their domain
CONTACT_MARGIN = 0.95


class ExtrapolationWarning(UserWarning):
    """The model is asked for something that it was not trained on."""


class Domain:
    """Check structures against the card of a model.

    Parameters
    ----------
    card : Card
    potential : Potential   tells whether charge and multiplicity enter at all
    """

    def __init__(self, card: Card, potential: Potential) -> None:
        self.card = card
        self._elements = set(card.elements)
        self._states = {(charge, multiplicity) for charge, multiplicity, *_ in card.states}
        self._known_errors = {
            (formula, charge, multiplicity): error
            for formula, charge, multiplicity, error in card.known_errors
        }
        self._inputs = {MEANING[name] for name in potential.state_inputs}
        self._is_split = "experts" in potential.spec
        self._looked_up = {MEANING[name] for name in potential.looked_up}
        self._closest = _closest_distances(card)
        self._long_bonds = LongBonds(card, potential.cutoff)
        self._training_errors = {
            (formula, charge, multiplicity): error
            for formula, charge, multiplicity, error in card.training_errors
        }
        self._neighbors = NeighborList(float(self._closest.max()) + 1e-3, skin=0.5)
        self._told: set[object] = set()
        self._looked_at: set[tuple[bytes, int, int]] = set()  # compositions, in their states
        known = next((t for t in potential.terms if isinstance(t, Uncertainty)), None)
        self._warn_above = None if known is None else float(known.warn_above)
        self._steps = -1  # since there were atoms or states that were not looked at
        self._cutoff = potential.cutoff
        self._terms = {term.name for term in potential.terms}
        # groups that know their own charges are no guess
        self._unsaid = {"ions"} if potential.trunk.electrons.hides else set()
        self._last: tuple[NDArray[np.int64], ElectronicState] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the pairs: the next check lists them anew."""
        self._neighbors.reset()
        self._pairs: tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats] | None = None
        self._numbers = b""

    def forget_warnings(self) -> None:
        """Warn of every sort again."""
        self._told.clear()
        self._looked_at.clear()
        self._last = None

    def check_composition(
        self,
        atomic_numbers: NDArray[np.int64],
        state: ElectronicState,
        periodic: bool,
        parts: Sequence[ElectronicState] = (),
    ) -> None:
        """Check elements, charge and multiplicity: of each part where there are fragments.

        Raises
        ------
        ValueError   no atoms, an element never seen, a charge or multiplicity never seen that the
                     model ignores or has in a table
        """
        if len(atomic_numbers) == 0:
            raise ValueError("`atoms` must hold at least one atom; got none. Check the structure.")
        unknown = sorted(set(atomic_numbers.tolist()) - self._elements) if self._elements else []
        if unknown:
            raise ValueError(
                "`atoms` must hold elements that the model was trained on:"
                f" {_symbols(self._elements)}; got {_symbols(unknown)}. Use a model trained on"
                " them."
            )
        for part in parts or (state,):
            self._check_state(part)
        if not parts:
            self._check_ion(atomic_numbers, state)
        if (self._known_errors or self._training_errors) and not parts:
            self._check_known_errors(_formula(atomic_numbers), state)
        if periodic and state.charge:
            known = (
                "a uniform background of the opposite charge: energies and pressures depend on its"
                " size"
                if "coulomb" in self._terms
                else "no well defined energy without a background charge"
            )
            self._tell(
                "periodic",
                f"A periodic cell of charge {state.charge:+d} has {known}. Compare energies of one"
                " cell alone, add a counter ion, or set pbc=False for a molecule.",
            )

    def check_said(self, atomic_numbers: NDArray[np.int64], state: ElectronicState) -> None:
        """Warn of an odd number of electrons where nothing says the charge: it may be an ion."""
        n_electrons = int(atomic_numbers.sum()) - state.charge
        if state.charge_source == DEFAULT_SOURCE and n_electrons % 2:
            formula = _formula(atomic_numbers)
            self._tell(
                ("unsaid", formula),
                f"{formula} has {n_electrons} electrons and nothing says its charge: computed as a"
                f" neutral radical, multiplicity {state.multiplicity}. Pass charge=0 if that is"
                " meant, or the charge of the ion.",
                StateWarning,
            )

    def check_kept_charge(self, atomic_numbers: NDArray[np.int64], state: ElectronicState) -> None:
        """Warn where atoms came or went but atoms.info says the same charge or unpaired electrons.

        Repeat, slices and sums of structures keep atoms.info.
        """
        before, self._last = self._last, (atomic_numbers.copy(), state)
        if before is None:
            return
        old, new = Counter(before[0].tolist()), Counter(atomic_numbers.tolist())
        if old == new or not (old <= new or new <= old):
            return
        for value, source, unchanged, shown in (
            (
                state.charge,
                state.charge_source,
                before[1][0::2] == state[0::2],
                f"{state.charge:+d}",
            ),
            (
                state.multiplicity > 2,
                state.multiplicity_source,
                before[1][1::2] == state[1::2],
                f"multiplicity {state.multiplicity}",
            ),
        ):
            if value and source.startswith("info") and unchanged:
                formulas = f"{_formula(before[0])} became {_formula(atomic_numbers)}"
                key = source.removeprefix("info").partition("]")[0] + "]"
                self._tell(
                    ("kept", key, formulas),
                    f"Atoms came or went while {source} stayed {shown}: {formulas}. Set"
                    f" atoms.info{key} to what the new structure has; where one part of it alone is"
                    " charged or open-shell, pass fragments= to the calculator.",
                )

    def check_geometry(self, structure: Structure) -> None:
        """Check that positions are finite and no two atoms nearer than the training data.

        Called at every step.

        Raises
        ------
        ValueError   positions or cell not finite, two atoms in one place
        """
        positions = structure.positions
        if not np.isfinite(positions).all():
            atom = int(np.nonzero(~np.isfinite(positions).all(1))[0][0])
            raise ValueError(
                f"`positions` must be finite; got {positions[atom].tolist()} Å for atom {atom}."
                " Check the structure."
            )
        if not np.isfinite(structure.cell).all():
            raise ValueError(
                f"`cell` must be finite; got {structure.cell.tolist()} Å. Check the structure."
            )
        composition = structure.atomic_numbers.tobytes()
        if (looked_at := (composition, structure.charge, structure.multiplicity)) not in (
            self._looked_at
        ):
            self._looked_at.add(looked_at)
            self._steps = -1
            for kind, text in remarks(self.card, self._cutoff, self._terms, structure):
                if kind not in self._unsaid:
                    self._tell(kind, text)
        searched = self._neighbors.update(positions, structure.cell, structure.pbc)
        if searched or self._pairs is None or structure.atomic_numbers.tobytes() != self._numbers:
            self._list_pairs(structure)
        assert self._pairs is not None
        idx_i, idx_j, shift, closest_squared = self._pairs
        vectors = positions.take(idx_j, 0) - positions.take(idx_i, 0)
        if structure.pbc.any():
            vectors += shift @ structure.cell
        squared = np.einsum("pk,pk->p", vectors, vectors)
        close = squared < closest_squared
        if close.any():
            self._complain(structure, close.nonzero()[0], squared)
        for pair, text in self._long_bonds.remarks(structure):
            self._tell(("long", pair), text)

    def check_certainty(self, structure: Structure, evaluation: Evaluation) -> None:
        """Warn once where a force is more uncertain than hardly any of a new molecule is.

        Called at every step, it looks at the first of other atoms and at one of `LOOK_EVERY`.
        """
        if self._warn_above is None:
            return
        self._steps += 1
        if self._steps % LOOK_EVERY:
            return
        forces_eV_per_A = evaluation.forces_uncertainty
        if forces_eV_per_A.max(initial=0.0) <= self._warn_above:
            return
        atom = int(forces_eV_per_A.argmax())
        self._tell(
            "uncertain",
            f"The model is unsure of this structure: the force on atom {atom}"
            f" ({SYMBOLS[structure.atomic_numbers[atom]]}) to {forces_eV_per_A[atom]:.2f} eV/Å; of"
            f" new molecules like those that it was trained on, 99.5 % stay below"
            f" {self._warn_above:.2f}. See `calc.uncertainty`.",
        )

    def _check_state(self, state: ElectronicState) -> None:
        pair = state.charge, state.multiplicity
        self._check_seen(state)
        if pair in self._states:
            return
        named = (
            ", ".join(
                f"{charge:+d}/{multiplicity}" for charge, multiplicity in sorted(self._states)
            )
            or "none known"
        )
        for name, value, seen, neutral in (
            ("charge", state.charge, {charge for charge, _ in self._states}, 0),
            (
                "multiplicity",
                state.multiplicity,
                {multiplicity for _, multiplicity in self._states},
                None,
            ),
        ):
            ignored = (
                name not in self._inputs
                and value not in seen
                and (bool(seen) or (neutral is not None and value != neutral))
            )
            in_table = name in self._looked_up and value not in seen and bool(seen)
            if ignored or in_table:
                why = f"ignores the {name}" if ignored else f"has a table of the {name}"
                raise ValueError(
                    f"`{name}` must be one that the model was trained on, for it {why}"
                    f" (charge/multiplicity: {named}); got {value}"
                    f" ({state.charge_source if name == 'charge' else state.multiplicity_source})."
                    " Use a model that knows it."
                )
        if self._states:
            self._tell(
                pair,
                f"The model never saw charge {pair[0]:+d} with multiplicity {pair[1]} (seen,"
                f" charge/multiplicity: {named}).",
            )

    def _check_seen(self, state: ElectronicState) -> None:
        """Warn where the model takes this state for another one that it was trained on, too."""
        if self._is_split:
            return
        charge, multiplicity = state.charge, state.multiplicity
        alike = sorted(
            (q, m)
            for q, m in self._states
            if (q - m - charge + multiplicity) % 2 == 0  # the electrons allow both
            and ("charge" not in self._inputs or q == charge)
            and ("multiplicity" not in self._inputs or m == multiplicity)
        )
        if len(alike) > 1:
            blind = " and the ".join(
                name for name in ("charge", "multiplicity") if name not in self._inputs
            )
            named = ", ".join(f"{q:+d}/{m}" for q, m in alike)
            self._tell(
                ("alike", tuple(alike)),
                f"The model ignores the {blind} and gives the same energy to states that it was"
                f" trained on (charge/multiplicity: {named}). Use a model that tells them apart.",
            )

    def _check_ion(self, atomic_numbers: NDArray[np.int64], state: ElectronicState) -> None:
        """Warn where a charge may sit on an element that no ion of it had in training."""
        known = self.card.elements_of_ions.get(f"{state.charge:+d}")
        if known and (new := sorted(set(atomic_numbers.tolist()) - set(known))):
            self._tell(
                ("ion", state.charge, tuple(new)),
                f"In training, structures of charge {state.charge:+d} held {_symbols(known)} alone;"
                f" here there is {_symbols(new)}, too. What the charge does there is a guess.",
            )

    def _check_known_errors(self, formula: str, state: ElectronicState) -> None:
        error_eV = self._known_errors.get((formula, state.charge, state.multiplicity))
        if error_eV is not None:
            self._tell(
                (formula, state.charge, state.multiplicity),
                f"The model is known to be wrong for {formula} of charge {state.charge:+d} and"
                f" multiplicity {state.multiplicity}: its energy above the ground state by"
                f" {error_eV:+.1f} eV. Use the method that it was trained on, or another model.",
            )

        error_eV = self._training_errors.get((formula, state.charge, state.multiplicity))
        if error_eV is not None:
            self._tell(
                ("training", formula, state.charge, state.multiplicity),
                f"The model errs by {error_eV:.2f} eV on average for {formula} of charge"
                f" {state.charge:+d} and multiplicity {state.multiplicity} in its own training"
                " data. Use the method that it was trained on, or another model.",
            )

    def _list_pairs(self, structure: Structure) -> None:
        idx_i, idx_j, shift = (x.numpy() for x in self._neighbors.pairs)
        numbers = structure.atomic_numbers
        self._pairs = idx_i, idx_j, shift, self._closest[numbers[idx_i], numbers[idx_j]] ** 2
        self._numbers = numbers.tobytes()

    def _complain(self, structure: Structure, close: NDArray[np.int64], squared: Floats) -> None:
        assert self._pairs is not None
        idx_i, idx_j = self._pairs[:2]
        for pair in close:
            i, j, distance = int(idx_i[pair]), int(idx_j[pair]), float(squared[pair]) ** 0.5
            names = sorted(SYMBOLS[structure.atomic_numbers[n]] for n in (i, j))
            if distance < COINCIDENT:
                raise ValueError(
                    f"`positions` must not put atoms on top of each other; got {distance:.3f} Å"
                    f" between atoms {i} and {j} ({'-'.join(names)}). Check the structure."
                )
            self._tell(
                tuple(names),
                f"Atoms {i} and {j} ({'-'.join(names)}) are {distance:.2f} Å apart; the closest in"
                f" the training data are {self.card.closest_distances_A['-'.join(names)]:.2f} Å.",
            )

    def _tell(
        self, key: object, message: str, category: type[UserWarning] = ExtrapolationWarning
    ) -> None:
        """Warn once of each sort."""
        if key not in self._told:
            self._told.add(key)
            warnings.warn(message, category, stacklevel=2)


def _formula(atomic_numbers: NDArray[np.int64]) -> str:
    return str(Formula.from_list([SYMBOLS[n] for n in atomic_numbers]).format("hill"))


def _symbols(numbers: set[int] | list[int]) -> str:
    return ", ".join(SYMBOLS[n] for n in sorted(numbers))


def _closest_distances(card: Card) -> Floats:
    """Tabulate the distance below which a pair of elements is outside the data: (Z, Z) Å."""
    closest = np.full((len(SYMBOLS), len(SYMBOLS)), COINCIDENT)
    for names, distance in card.closest_distances_A.items():
        a, b = (NUMBER_OF[symbol] for symbol in names.split("-"))
        closest[a, b] = closest[b, a] = max(COINCIDENT, CONTACT_MARGIN * distance)
    return closest
