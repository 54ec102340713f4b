"""Errors of a method against reference energies of reactions, by entry and by set, in kcal/mol."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.units import kcal, mol
from rich.table import Table

from polcalc import PolarizedCalculator
from potentials.card import Card
from potentials.datasets.sets.gscdb import FIELD, Reactions, is_proton
from potentials.files import write_text

KCAL_PER_MOL = kcal / mol  # eV
BATCH_STRUCTURES = 200
# of each structure the energy in eV, or why there is none
Method = Callable[[Sequence[Atoms]], Sequence["float | str"]]


class Result(NamedTuple):
    """An entry with what a method says of it."""

    name: str
    set_name: str
    reference_kcal_per_mol: float
    predicted_kcal_per_mol: float | None  # None where it was skipped
    skipped: str = ""  # why

    @property
    def error_kcal_per_mol(self) -> float | None:
        """Predicted minus reference."""
        return (
            None
            if self.predicted_kcal_per_mol is None
            else self.predicted_kcal_per_mol - self.reference_kcal_per_mol
        )


def judge(reactions: Reactions, method: Method) -> list[Result]:
    """Compare a method with the reference of every entry.

    An entry is skipped where the method has no energy for one of its species.
    """
    answers = answer(reactions.species, method)
    energies = {name: energy for name, energy in answers.items() if not isinstance(energy, str)}
    results = []
    for entry in reactions.entries:
        reasons = [
            str(answers[species]) for _, species in entry.stoichiometry if species not in energies
        ]
        predicted = None if reasons else entry.energy_eV(energies) / KCAL_PER_MOL
        results.append(
            Result(
                entry.name,
                entry.set_name,
                entry.reference_eV / KCAL_PER_MOL,
                predicted,
                reasons[0] if reasons else "",
            )
        )
    return results


def answer(species: Mapping[str, Atoms], method: Method) -> dict[str, float | str]:
    """Ask a method for the energy of every species in eV, or the reason why there is none.

    A bare proton has the energy 0. No method is asked for a species in an electric field.
    """
    answers: dict[str, float | str] = {}
    asked = []
    for name, atoms in species.items():
        if is_proton(atoms):
            answers[name] = 0.0
        elif FIELD in atoms.info:
            answers[name] = "an electric field, which the method does not take"
        else:
            asked.append(name)
    answers |= zip(asked, method([species[name] for name in asked]), strict=True)
    return answers


def with_model(calculator: PolarizedCalculator) -> Method:
    """Make a method of a model: it answers for the elements and states that its card names."""
    card = calculator.model.card

    def energies(structures: Sequence[Atoms]) -> list[float | str]:
        answers: list[float | str] = [unknown_to(card, atoms) for atoms in structures]
        known = [n for n, reason in enumerate(answers) if not reason]
        for start in range(0, len(known), BATCH_STRUCTURES):
            batch = known[start : start + BATCH_STRUCTURES]
            found = calculator.calculate_many([structures[n] for n in batch])
            for n, results in zip(batch, found, strict=True):
                answers[n] = results["energy"]
        return answers

    return energies


def unknown_to(card: Card, atoms: Atoms) -> str:
    """Say which elements or which state of a structure a model never saw; nothing if it saw all."""
    foreign = sorted(set(atoms.numbers.tolist()) - set(card.elements)) if card.elements else []
    if foreign:
        return "the model does not know " + ", ".join(chemical_symbols[n] for n in foreign)
    state = atoms.info["charge"], atoms.info["multiplicity"]
    if card.states and state not in {
        (charge, multiplicity) for charge, multiplicity, *_ in card.states
    }:
        return f"the model does not know charge {state[0]:+d} with multiplicity {state[1]}"
    return ""


def errors_by_set(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Sum up the errors of each set in kcal/mol: mean absolute, signed, largest; and skips."""
    sets: dict[str, list[Result]] = {}
    for result in results:
        sets.setdefault(result.set_name, []).append(result)
    return {name: _errors(mine) for name, mine in sets.items()}


def _errors(results: Sequence[Result]) -> dict[str, Any]:
    errors = np.array(
        [error for result in results if (error := result.error_kcal_per_mol) is not None]
    )
    return {
        "n": len(errors),
        "mae_kcal_per_mol": float(np.abs(errors).mean()) if len(errors) else None,
        "mse_kcal_per_mol": float(errors.mean()) if len(errors) else None,
        "max_kcal_per_mol": float(np.abs(errors).max()) if len(errors) else None,
        "n_skipped": len(results) - len(errors),
        "skipped": dict(Counter(result.skipped for result in results if result.skipped)),
    }


# what is printed and written


def sets_table(sets: Mapping[str, Mapping[str, Any]]) -> Table:
    """List the errors of each set, and under them what was skipped."""
    table = Table(box=None, pad_edge=False)
    for name in ("set", "entries", "MAE (kcal/mol)", "mean error", "largest", "skipped"):
        table.add_column(name, justify="left" if name in ("set", "skipped") else "right")
    for name, found in sets.items():
        numbers = (found[f"{kind}_kcal_per_mol"] for kind in ("mae", "mse", "max"))
        shown = [
            "–" if number is None else f"{number:{form}}"
            for number, form in zip(numbers, (".2f", "+.2f", ".2f"), strict=True)
        ]
        reasons = "; ".join(f"{n}: {reason}" for reason, n in found["skipped"].items())
        table.add_row(name, str(found["n"]), *shown, reasons)
    return table


def entries_table(results: Sequence[Result]) -> Table:
    """List the entries one by one."""
    table = Table(box=None, pad_edge=False)
    for name in ("set", "entry", "reference (kcal/mol)", "predicted", "error"):
        table.add_column(name, justify="left" if name in ("set", "entry") else "right")
    for result in results:
        predicted, error = result.predicted_kcal_per_mol, result.error_kcal_per_mol
        shown = (
            (result.skipped, "")
            if predicted is None or error is None
            else (f"{predicted:.2f}", f"{error:+.2f}")
        )
        table.add_row(result.set_name, result.name, f"{result.reference_kcal_per_mol:.2f}", *shown)
    return table


def write_csv(
    output: Path, results: Sequence[Result], sets: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write sets.csv and entries.csv."""
    columns = [key for key in next(iter(sets.values())) if key != "skipped"]
    rows = [[name, *(found[key] for key in columns)] for name, found in sets.items()]
    write_text(output / "sets.csv", _csv(["set", *columns], rows))
    entries = [
        [
            r.set_name,
            r.name,
            r.reference_kcal_per_mol,
            r.predicted_kcal_per_mol,
            r.error_kcal_per_mol,
            r.skipped,
        ]
        for r in results
    ]
    header = [
        "set",
        "entry",
        "reference_kcal_per_mol",
        "predicted_kcal_per_mol",
        "error_kcal_per_mol",
        "skipped",
    ]
    write_text(output / "entries.csv", _csv(header, entries))


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
