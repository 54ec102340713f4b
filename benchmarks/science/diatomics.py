"""Does a model know how two atoms come together and part? Its curves against our own DFT labels.

    python -m benchmarks.science.diatomics --model organic
        --output benchmarks/results/diatomics.json

Every labelled distance of every two atoms in every state of `organic-open-shells`, on the energy
scale that its labels share with the model. A point is *silent* where the model is off by more than
0.5 eV and its calculator says nothing. GFN2-xTB has another zero of energy: it is told by its curve
alone, both curves zero at the distance where the labels are lowest.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from benchmarks.measure import command_line, machine, write
from polcalc import PolarizedCalculator
from polcalc.calculator.domain import ExtrapolationWarning
from potentials.checkpoint import Model, load
from potentials.datasets import Frames, load_frames
from potentials.labels.gfn2 import gfn2
from potentials.labels.method import Failed
from potentials.structure.graph import State

OFF_EV = 0.5
FEWEST = 4  # distances that make a curve


class Curve(NamedTuple):
    """Labels of two atoms in one state, by rising distance."""

    symbols: tuple[str, str]
    state: State
    distance: list[float]  # Å
    energy: list[float]  # eV


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__, "--model", "--output")
    parser.add_argument("--frames", default="organic-open-shells", help="labels of two atoms")
    arguments = parser.parse_args(given)
    frames = load_frames(arguments.frames)
    assert isinstance(frames, Frames)
    model = load(arguments.model)
    rows = [measure(model, curve) for curve in curves(frames)]
    report = {
        "machine": machine(),
        "model": model.card.name or Path(arguments.model).name,
        "summary": summary(rows),
        "rows": rows,
    }
    write(report, text(report), arguments.output)


def curves(frames: Frames) -> list[Curve]:
    """Collect the curves among labelled structures."""
    found: dict[tuple[tuple[str, str], State], list[tuple[float, float]]] = {}
    for n in np.flatnonzero(frames.n_atoms == 2):
        rows = frames.slice_of(int(n))
        a, b = sorted(int(z) for z in frames.atomic_numbers[rows])
        state = round(float(frames.total_charge[n])), int(frames.multiplicity[n])
        apart = float(np.linalg.norm(np.diff(frames.positions[rows], axis=0)))
        pair = chemical_symbols[a], chemical_symbols[b]
        found.setdefault((pair, state), []).append((apart, float(frames.energy[n])))
    return [
        Curve(*key, *map(list, zip(*sorted(points), strict=True)))
        for key, points in sorted(found.items(), key=lambda item: (abs(item[0][1][0]), item[0]))
        if len(points) >= FEWEST
    ]


def measure(model: Model, curve: Curve) -> dict[str, Any]:
    """Compare a model and GFN2-xTB with the labels of a curve, in eV; None: refused."""
    charge, multiplicity = curve.state
    calculator = PolarizedCalculator(
        model, device="cpu", dtype="float64", charge=charge, multiplicity=multiplicity
    )
    answers = [_answer(calculator, curve.symbols, r) for r in curve.distance]
    errors = [
        None if energy is None else energy - label
        for (energy, _), label in zip(answers, curve.energy, strict=True)
    ]
    warned = [said for _, said in answers]
    return {
        "atoms": "-".join(curve.symbols),
        "charge": charge,
        "multiplicity": multiplicity,
        "distance_A": [round(r, 3) for r in curve.distance],
        "errors_eV": [None if e is None else round(e, 3) for e in errors],
        "warned": warned,
        "silent_A": [
            round(r, 2)
            for r, e, said in zip(curve.distance, errors, warned, strict=True)
            if e is not None and abs(e) > OFF_EV and not said
        ],
        "gfn2_errors_eV": _gfn2_errors(curve),
    }


def _answer(
    calculator: PolarizedCalculator, symbols: tuple[str, str], distance: float
) -> tuple[float | None, bool]:
    """Ask for an energy in eV, None if it is refused, and whether a warning comes with it."""
    atoms = Atoms(symbols, [[0, 0, 0], [0, 0, distance]])
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            calculator.check(atoms)
            energy = float(calculator.get_potential_energy(atoms))
    except ValueError:
        return None, True
    return energy, any(issubclass(w.category, ExtrapolationWarning) for w in caught)


def _gfn2_errors(curve: Curve) -> list[float | None]:
    numbers = np.array([chemical_symbols.index(s) for s in curve.symbols])
    energies: list[float] = []
    for r in curve.distance:
        try:
            found = gfn2(numbers, np.array([[0, 0, 0], [0, 0, r]]), *curve.state).energy
        except Failed:
            found = np.nan
        energies.append(found)
    lowest = int(np.argmin(curve.energy))
    labels = np.array(curve.energy) - curve.energy[lowest]
    errors = np.array(energies) - energies[lowest] - labels
    return [round(float(e), 3) if np.isfinite(e) else None for e in errors]


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count points and curves that are off, with and without a warning."""
    errors = [e for row in rows for e in row["errors_eV"] if e is not None]
    gfn2_errors = [e for row in rows for e in row["gfn2_errors_eV"] if e is not None]
    return {
        "curves": len(rows),
        "points": sum(len(row["distance_A"]) for row in rows),
        "points refused": sum(row["errors_eV"].count(None) for row in rows),
        "points off by more than 0.5 eV": sum(abs(e) > OFF_EV for e in errors),
        "of these without a warning": sum(len(row["silent_A"]) for row in rows),
        "curves with such points": sum(bool(row["silent_A"]) for row in rows),
        "median error in eV": round(float(np.median(np.abs(errors))), 3) if errors else None,
        "GFN2-xTB, points off by more than 0.5 eV": sum(abs(e) > OFF_EV for e in gfn2_errors),
    }


def text(report: Mapping[str, Any]) -> str:
    """Write the counts and a row for each curve as Markdown."""
    lines = [
        f"`{report['model']}` against the DFT labels of two atoms. Largest error of a curve in eV,"
        " and where; distances at which it is off by more than 0.5 eV without a warning. GFN2-xTB:"
        " by its curve alone. –: refused, or no convergence.",
        "",
        *(f"* {name}: {number}" for name, number in report["summary"].items()),
        "",
        "| atoms | charge, multiplicity | points | largest error, eV | at, Å | silent at, Å |"
        " GFN2-xTB, eV |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        error, where = _worst(row["errors_eV"], row["distance_A"])
        other, _ = _worst(row["gfn2_errors_eV"], row["distance_A"])
        silent = ", ".join(f"{r:.2f}" for r in row["silent_A"])
        lines.append(
            f"| {row['atoms']} | {row['charge']:+d}, {row['multiplicity']} |"
            f" {len(row['distance_A'])} | {error} | {where} | {silent} | {other} |"
        )
    return "\n".join(lines) + "\n"


def _worst(errors: Sequence[float | None], distances: Sequence[float]) -> tuple[str, str]:
    told = [(abs(e), e, r) for e, r in zip(errors, distances, strict=True) if e is not None]
    if not told:
        return "–", "–"
    _, error, where = max(told)
    return f"{error:+.2f}", f"{where:.2f}"


if __name__ == "__main__":
    main()
