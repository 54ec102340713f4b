"""Single points: what a model says of structures as they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from rich.table import Table
from rich.text import Text

from md_runs import session
from md_runs.errors import InputError, NotConverged
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded
from md_runs.records.structures import (
    OF_THE_WHOLE,
    further_quantities,
    set_further,
    set_state,
    write_structures,
)
from md_runs.screen import screen, show, tracked
from md_runs.session import Frame, ModelOptions
from polcalc import PolarizedCalculator
from polcalc.calculator.calculator import results_of
from polcalc.calculator.electrons import ElectronicState
from potentials.files import write_text
from potentials.quantities import DEBYE, QUANTITIES, VOLUME_A3, Evaluation, unit_key

SHOWN = 60  # structures listed one by one at most
HEADER = ("name", "formula", "charge", "charge_from", "multiplicity", "multiplicity_from")
# by ASE's names: for people, and in names of columns
UNITS = {quantity.ase: quantity.unit for quantity in QUANTITIES.values() if quantity.ase}
HIDDEN = {"free_energy", "energies"}  # results that say again what the energy says


class Size(NamedTuple):
    """How large a vector or tensor is, as people tell it."""

    unit: str
    of: Callable[[np.ndarray], float]


SIZES = {
    "dipole": Size("D", lambda vector: float(np.linalg.norm(vector)) / DEBYE),
    "polarizability": Size("Å^3", lambda tensor: float(np.trace(tensor)) / 3 * VOLUME_A3),
}


class Point(NamedTuple):
    """One structure, and what the model says of it: results in ASE's units, or why there are none.

    Values of ``results`` are numbers, or arrays whose first axis is the atoms or Cartesian.
    """

    frame: Frame
    state: ElectronicState | None
    results: Mapping[str, Any]
    problem: str = ""


def energy(
    structures: list[Path],
    model: str | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    partial_charges: str | None = None,
    fragments: Path | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    output: Path | None = None,
) -> list[Point]:
    """Evaluate every frame of some files; print a table, and write results to a new directory.

    Raises
    ------
    InputError     bad input; no structure could be evaluated
    NotConverged   some could not
    """
    charges, groups = (
        session.read_partial_charges(partial_charges),
        session.read_fragments(fragments),
    )
    chosen = ModelOptions(model, device, dtype, engine, charge, multiplicity, charges, groups)
    if output is not None:
        check_free(output)
    frames = session.read_named_frames(structures)
    calculator = session.make_calculator(chosen)
    points = [evaluate(frame, calculator) for frame in tracked(frames, "evaluating")]
    good = [point for point in points if not point.problem]
    if not good:
        raise InputError(points[0].problem)
    if output is not None:
        facts = session.describe(calculator) | {"state": None, "n_structures": len(points)}
        files = [session.fingerprint(path) for path in structures]
        with recorded(output, make_manifest("energy", {}, structures=files, **facts)):
            write_structures(output / "energy.extxyz", [with_results(point) for point in good])
            write_text(output / "energy.csv", to_csv(points))
    show(table_of(points))
    for line in session.state_lines(point.state for point in good if point.state):
        screen.print(line)
    for point in points:
        if point.problem:
            screen.print(Text.assemble((point.frame.name, "red"), f": {point.problem}"))
    if output is not None:
        screen.print(f"Results in {output}")
    if len(good) < len(points):
        raise NotConverged(f"{len(points) - len(good)} of {len(points)} structures have no energy.")
    return points


def evaluate(frame: Frame, calculator: PolarizedCalculator) -> Point:
    """Evaluate one structure; what is wrong with it becomes part of the answer."""
    atoms = frame.atoms
    atoms.calc = calculator
    try:
        calculator.reset()  # partial charges are those of this molecule, not of an isomer before it
        session.evaluate_first(atoms)
    except InputError as error:
        return Point(frame, None, {}, str(error))
    results = {name: value for name, value in calculator.results.items() if value is not None}
    whole = {n: x for n, x in further_quantities(atoms).items() if n in OF_THE_WHOLE}
    return Point(frame, calculator.state, results | whole)


def all_results(evaluation: Evaluation) -> dict[str, Any]:
    """Name what a model said of a structure as `Point` wants it."""
    whole = {n: x for n in OF_THE_WHOLE if (x := getattr(evaluation, n)) is not None}
    return results_of(evaluation) | whole


def with_results(point: Point) -> Atoms:
    """Copy a structure with its results, and the state that they are of."""
    assert point.state is not None
    atoms: Atoms = point.frame.atoms.copy()
    atoms.info["name"] = point.frame.name
    set_state(atoms, point.state.charge, point.state.multiplicity)
    known = {name: value for name, value in point.results.items() if name in all_properties}
    atoms.calc = SinglePointCalculator(atoms, **known)
    set_further(atoms, point.results)
    for name in point.results.keys() - known.keys() - set(OF_THE_WHOLE):
        value = np.asarray(point.results[name])
        if value.ndim and len(value) == len(atoms):
            atoms.set_array(name, value)
        else:
            atoms.info[name] = value
    return atoms


def to_csv(points: Sequence[Point]) -> str:
    """List what is known of each structure as a whole, and the largest component of atoms."""
    columns = _columns(points)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [*HEADER, *(_with_unit(name) for name in columns), "problem"],
    )
    for point in points:
        state = (
            ("", "", "", "")
            if (said := point.state) is None
            else (said.charge, said.charge_source, said.multiplicity, said.multiplicity_source)
        )
        values = _values(point)
        writer.writerow(
            [point.frame.name, point.frame.atoms.get_chemical_formula(), *state]
            + [f"{values[name]:.9f}" if name in values else "" for name in columns]
            + [point.problem]
        )
    return text.getvalue()


def table_of(points: Sequence[Point]) -> Table:
    """Lay out for people what the CSV holds."""
    columns = _columns(points)
    table = Table(box=None, pad_edge=False)
    for name in ("structure", "formula"):
        table.add_column(name, overflow="fold")
    for name in ("charge", "2S+1"):
        table.add_column(name, justify="right")
    for name in columns:
        table.add_column(_heading(name), justify="right", no_wrap=True)
    for point in points[:SHOWN]:
        row: list[str | Text] = [point.frame.name, point.frame.atoms.get_chemical_formula()]
        if point.problem or point.state is None:
            table.add_row(*row, "", "", Text("none", "red"))
            continue
        values = _values(point)
        row += [f"{point.state.charge:+d}", str(point.state.multiplicity)]
        table.add_row(*row, *(f"{values[n]:.4f}" if n in values else "" for n in columns))
    if len(points) > SHOWN:
        table.add_row("…", f"{len(points) - SHOWN} more")
    return table


def numbers_of(point: Point) -> dict[str, float]:
    """Name the numbers of a structure as columns of a table, with their units."""
    return {_with_unit(name): value for name, value in _values(point).items()}


def _columns(points: Sequence[Point]) -> list[str]:
    """Name the columns that any of the structures has, in the order of the results."""
    return list(dict.fromkeys(name for point in points for name in _values(point)))


def _heading(column: str) -> str:
    if column == "largest_magmoms":
        return "unpaired electrons of an atom"
    words = column.replace("_", " ").replace("forces", "force").replace("charges", "charge")
    unit = _unit(column)
    return words + (f" ({unit})" if unit else "")


def _with_unit(column: str) -> str:
    unit = unit_key(_unit(column))
    return f"{column}_{unit}" if unit else column


def _unit(column: str) -> str:
    return SIZES[column].unit if column in SIZES else UNITS.get(column.removeprefix("largest_"), "")


def _values(point: Point) -> dict[str, float]:
    """Collect numbers of a structure as they are, of arrays the largest absolute value.

    A force is as large as its vector.
    """
    values = {}
    for name, value in point.results.items():
        if name in HIDDEN:
            continue
        array = np.asarray(value, dtype=float)
        if name in SIZES:
            values[name] = SIZES[name].of(array)
        elif array.ndim == 0:
            values[name] = float(array)
        elif array.ndim == 2 and array.shape[1] == 3:
            values[f"largest_{name}"] = float(np.linalg.norm(array, axis=1).max())
        else:
            values[f"largest_{name}"] = float(np.abs(array).max())
    return values
