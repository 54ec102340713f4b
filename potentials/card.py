"""The card of a model: what a user must know of it, and the kinds of its entries."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from html import escape
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ase.data import chemical_symbols

# what tables show -> how ``limits`` names it
NAMED = {
    "ionisation": re.compile(r"\bioni[sz]ation energ|\bionization potential|\bIPs?\b", re.I),
    "affinity": re.compile(r"\belectron affinit|\bEAs?\b", re.I),
    "gap": re.compile(r"\bgaps?\b", re.I),
    "barrier": re.compile(r"\bbarriers?\b", re.I),
}

TWO = " of two"  # marks the names of states of two atoms alone


@dataclass(repr=False)
class Card:
    """What a user must know of a model."""

    name: str = ""
    description: str = ""
    limits: str = ""  # where it fails, and what to take instead
    elements: list[int] = field(default_factory=list)  # atomic numbers seen in training
    states: list[list[int]] = field(default_factory=list)  # [charge, multiplicity, count]
    # "-1" -> atomic numbers in structures of this charge; of no charge: not known
    elements_of_ions: dict[str, list[int]] = field(default_factory=dict)
    # [formula, charge, multiplicity, eV]: states found to be wrong
    known_errors: list[list[Any]] = field(default_factory=list)
    # "C-H" -> Å, symbols sorted
    closest_distances_A: dict[str, float] = field(default_factory=dict)
    # "C-H" -> Å, farthest that two such atoms were nearest neighbours; empty: not known
    longest_bonds_A: dict[str, float] = field(default_factory=dict)
    # "+0/3", "+0/3 of two" atoms alone (`state_name`) -> likewise, in that state; empty: not known
    longest_bonds_of_states_A: dict[str, dict[str, float]] = field(default_factory=dict)
    # [formula, charge, multiplicity, eV]: mean errors of species that training left large, as
    # `potentials.training.evaluate.wrong_species` finds them at its end
    training_errors: list[list[Any]] = field(default_factory=list)
    # per atom, references subtracted: [lowest, highest]
    energy_range_eV: list[float] = field(default_factory=list)
    force_max_eV_per_A: float | None = None
    n_atoms_max: int | None = None  # of the largest structure; None: not known
    # "+1/2", charge and multiplicity -> atoms of the largest structure in it; empty: not known
    largest_of_states: dict[str, int] = field(default_factory=dict)
    periodic: bool | None = None  # whether any structure was periodic; None: not known
    units: dict[str, str] = field(
        default_factory=lambda: {"energy": "eV", "length": "Å", "forces": "eV/Å", "charge": "e"}
    )
    reference_energies_eV: dict[str, float] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)  # name, source, licence, sha256
    test_errors: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # configuration and what came of it
    audit: dict[str, Any] = field(default_factory=dict)  # what `polcalc audit --store` found
    uncertainty: dict[str, Any] = field(default_factory=dict)  # what `polcalc calibrate` found
    command: str = ""
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line: a card is pages long."""
        return f"Card({', '.join(f'{name}: {text}' for name, text in self._summary().items())})"

    def _repr_html_(self) -> str:
        """Lay the summary out for a notebook."""
        return html_table(self._summary() | {"where it fails": self.limits})

    def _summary(self) -> dict[str, str]:
        return {
            "name": self.name or "none",
            "elements": " ".join(chemical_symbols[z] for z in self.elements) or "not told",
            "states": ", ".join(f"{row[0]:+d}/{row[1]}" for row in self.states) or "not told",
        }

    def caveats(self, shown: Iterable[str]) -> list[str]:
        """Return the sentences of ``limits`` that speak of what is shown, names in `NAMED`."""
        asked = [NAMED[name] for name in shown]
        sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", self.limits)
        return [text for text in sentences if any(name.search(text) for name in asked)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, whatever subclass of str or float they came as.

        A reader allows nothing else.
        """
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Card:
        """Read plain values.

        Raises
        ------
        ValueError   entries that a newer version added, or of another kind than they must be
        """
        if not isinstance(values, dict):
            raise ValueError(f"`card` must hold entries by name; got {type(values).__name__}.")
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"`card` must hold known entries; got {', '.join(sorted(unknown))}. Update polcalc."
            )
        kinds = get_type_hints(cls)
        for name, value in values.items():
            if not fits(value, kinds[name]):
                raise ValueError(
                    f"`card` must hold {name} as {_kind(kinds[name])}; got {value!r:.60}."
                )
        card = cls(**values)
        card.check()
        return card

    def check(self) -> None:
        """See that rows are complete and elements are elements.

        Raises
        ------
        ValueError
        """
        wrong = [
            name
            for name, right in {
                "elements": all(0 < z < len(chemical_symbols) for z in self.elements),
                "elements_of_ions": all(
                    0 < z < len(chemical_symbols)
                    for zs in self.elements_of_ions.values()
                    for z in zs
                ),
                "states": all(len(row) == 3 for row in self.states),
                "largest_of_states": all(n > 0 for n in self.largest_of_states.values()),
                "known_errors": all(
                    len(row) == 4 and all(map(fits, row, (str, int, int, float)))
                    for row in self.known_errors
                ),
                "training_errors": all(
                    len(row) == 4 and all(map(fits, row, (str, int, int, float)))
                    for row in self.training_errors
                ),
                "closest_distances_A": all(map(_is_pair, self.closest_distances_A)),
                "longest_bonds_A": all(map(_is_pair, self.longest_bonds_A)),
                "longest_bonds_of_states_A": all(
                    _is_pair(pair)
                    for table in self.longest_bonds_of_states_A.values()
                    for pair in table
                ),
                "energy_range_eV": len(self.energy_range_eV) in (0, 2),
                "audit": all(
                    isinstance(finding, dict) and {"check", "verdict", "text"} <= set(finding)
                    for finding in _listed(self.audit.get("findings", []))
                ),
                "training": all(
                    isinstance(self.training.get(name, {}), dict)
                    for name in ("start", "validation_errors")
                ),
                "test_errors": isinstance(self.test_errors.get("dataset", {}), dict),
            }.items()
            if not right
        ]
        if wrong:
            raise ValueError(f"`card` must hold complete entries; {', '.join(wrong)} is not.")


def joint_domain(cards: Sequence[Card]) -> dict[str, Any]:
    """Put together what several models know: elements, distances, ranges, sizes, by the entries.

    What one of them does not tell, all of them do not.
    """
    ranges = [card.energy_range_eV for card in cards if card.energy_range_eV]
    forces = [card.force_max_eV_per_A for card in cards if card.force_max_eV_per_A is not None]
    atoms = [card.n_atoms_max for card in cards]
    bonded = all(card.longest_bonds_A for card in cards)
    of_states = [card.longest_bonds_of_states_A for card in cards]
    charges = {charge for card in cards for charge in card.elements_of_ions}
    told = all(card.elements_of_ions or all(q == 0 for q, *_ in card.states) for card in cards)
    wrong = {tuple(row[:3]): row for card in cards for row in card.training_errors}
    return {
        "elements": sorted({element for card in cards for element in card.elements}),
        "elements_of_ions": {
            charge: sorted({z for card in cards for z in card.elements_of_ions.get(charge, ())})
            for charge in sorted(charges)
            if told
        },
        "closest_distances_A": by_pair(min, [card.closest_distances_A for card in cards]),
        "longest_bonds_A": by_pair(max, [card.longest_bonds_A for card in cards if bonded]),
        "longest_bonds_of_states_A": {
            state: by_pair(max, [tables[state] for tables in of_states if state in tables])
            for state in sorted({state for tables in of_states for state in tables})
            if all(of_states)
        },
        "training_errors": sorted(wrong.values(), key=lambda row: -row[3]),
        "energy_range_eV": [min(r[0] for r in ranges), max(r[1] for r in ranges)] if ranges else [],
        "force_max_eV_per_A": max(forces, default=None),
        "n_atoms_max": None if None in atoms else max(n for n in atoms if n is not None),
        "largest_of_states": {
            state: max(card.largest_of_states.get(state, 0) for card in cards)
            for state in sorted({state for card in cards for state in card.largest_of_states})
            if all(card.largest_of_states for card in cards)
        },
        "periodic": None
        if any(c.periodic is None for c in cards)
        else any(c.periodic for c in cards),
    }


def by_pair(
    choose: Callable[[list[float]], float], tables: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """Choose among the distances of each pair of elements."""
    pairs = sorted({pair for table in tables for pair in table})
    return {pair: choose([table[pair] for table in tables if pair in table]) for pair in pairs}


def state_name(charge: int, multiplicity: int, n_atoms: int = 0) -> str:
    """Name a state as cards do: ``"+1/2"``, and ``"+1/2 of two"`` of two atoms alone."""
    return f"{charge:+d}/{multiplicity}{TWO if n_atoms == 2 else ''}"


def html_table(rows: Mapping[str, str]) -> str:
    """Lay names and texts out for a notebook."""
    lines = (
        f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"
        for name, text in rows.items()
        if text
    )
    return f"<table>{''.join(lines)}</table>"


def _kind(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint)).replace("typing.", "")


def _is_pair(name: str) -> bool:
    symbols = name.split("-")
    return len(symbols) == 2 and set(symbols) <= set(chemical_symbols)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value is of the kind that an annotation says; numbers must be finite."""
    if kind is Any:
        return True
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(v, inner[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            isinstance(k, str) and fits(v, inner[1]) for k, v in value.items()
        )
    if kind is float:
        return _is_number(value) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, NoneType if kind is None else kind)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
