"""Some molecules of a batch, computed by one process: a row for each, whatever becomes of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
import torch

from md_runs import session
from md_runs.batch.inputs import Molecule, Smiles, read
from md_runs.records.structures import OF_THE_WHOLE, to_extxyz
from md_runs.session import Frame, ModelOptions
from md_runs.surfaces.energy import Point, numbers_of, with_results
from md_runs.surfaces.relax_files import ENDED, Task, relax_one
from polcalc import PolarizedCalculator
from polcalc.calculator.calculator import results_of
from polcalc.calculator.electrons import ElectronicState
from potentials.processes import alone
from potentials.quantities import Evaluation

STRUCTURE = "structure"  # of a row: extxyz, not in the table
PREFIX = 12  # hexadecimal digits of a model's SHA-256 that name it

Row = dict[str, Any]


class Chunk(NamedTuple):
    """What a process needs."""

    number: int
    molecules: Sequence[Molecule]
    chosen: ModelOptions
    search: Mapping[str, Any] | None  # arguments of `relax`; None: energies as they are
    threads: int


class Ready(NamedTuple):
    """A molecule that can be computed, and its row."""

    frame: Frame
    state: ElectronicState
    row: Row


class Done(NamedTuple):
    """What became of a chunk."""

    number: int
    rows: list[Row]


def compute(chunk: Chunk) -> Done:
    """Compute the molecules of a chunk; one that fails is a row with its reason."""
    torch.set_num_threads(chunk.threads)
    calculator = session.opened(chunk.chosen)
    rows = [_row(molecule, calculator) for molecule in chunk.molecules]
    ready = []
    for row, molecule in zip(rows, chunk.molecules, strict=True):
        with _told(row):
            found = read(molecule)
            row |= {"name": found.name, "formula": found.atoms.get_chemical_formula()}
            row["warnings"] += found.remarks
            state = calculator.check(found.atoms)
            row |= _state(state)
            ready.append(Ready(Frame(found.name, found.atoms), state, row))
    if chunk.search is None:
        _evaluate(ready, calculator)
    else:
        for each in ready:
            _relax(each, chunk)
    for row in rows:
        row["warnings"] = "; ".join(row["warnings"])
    return Done(chunk.number, rows)


def lost(chunk: Chunk) -> Done:
    """Find the molecule that ends its process: compute the others."""
    middle = len(chunk.molecules) // 2
    if not middle:
        row = _row(chunk.molecules[0], session.opened(chunk.chosen))
        return Done(chunk.number, [row | {"warnings": "", "problem": ENDED}])
    halves = (chunk.molecules[:middle], chunk.molecules[middle:])
    done = [alone(compute, chunk._replace(molecules=half), lost) for half in halves]
    return Done(chunk.number, [row for half in done for row in half.rows])


def _row(molecule: Molecule, calculator: PolarizedCalculator) -> Row:
    content = molecule.content
    return {
        "name": molecule.name or molecule.place,
        "source": molecule.source,
        "place": molecule.place,
        "smiles": content.smiles if isinstance(content, Smiles) else "",
        "model_sha256": calculator.model.sha256[:PREFIX],
        "warnings": [],
        "problem": "",
    }


def _state(state: ElectronicState) -> Row:
    return {
        "charge": state.charge,
        "charge_from": state.charge_source,
        "multiplicity": state.multiplicity,
        "multiplicity_from": state.multiplicity_source,
    }


@contextmanager
def _told(row: Row) -> Iterator[None]:
    """Note in a row what is wrong with a molecule, and what it was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except Exception as error:  # whatever a library raises costs this molecule, no other
            row["problem"] = " ".join(str(error).split()) or type(error).__name__
    row["warnings"] += [" ".join(str(warning.message).split()) for warning in caught]


def _evaluate(ready: Sequence[Ready], calculator: PolarizedCalculator) -> None:
    """Evaluate molecules side by side; one by one where that fails."""
    together: list[Evaluation] = []
    if len(ready) > 1:
        with suppress(Exception):  # of one of them, which will say it again
            together = calculator.evaluate_many([each.frame.atoms for each in ready])
    for number, (frame, state, row) in enumerate(ready):
        with _told(row):
            said = together[number] if together else calculator.evaluate_many([frame.atoms])[0]
            whole = {n: x for n in OF_THE_WHOLE if (x := getattr(said, n)) is not None}
            results = results_of(said) | whole
            if not np.isfinite(results["energy"]):
                raise ValueError("its energy is not a finite number")
            point = Point(frame, state, results)
            row |= numbers_of(point)
            row[STRUCTURE] = to_extxyz(with_results(point))


def _relax(ready: Ready, chunk: Chunk) -> None:
    assert chunk.search is not None
    row = ready.row
    with _told(row):
        relaxed = relax_one(Task(chunk.number, ready.frame, chunk.chosen, chunk.search))
        row["warnings"] += relaxed.remarks
        row["problem"] = relaxed.problem
        if relaxed.steps:
            n_steps, energy, fmax = relaxed.steps[-1]
            row |= {
                "energy_eV": energy,
                "energy_before_eV": relaxed.steps[0][1],
                "largest_forces_eV_per_A": fmax,
                "steps": int(n_steps),
                "converged": relaxed.converged,
                "on_saddle": relaxed.on_saddle,
                "lowest_curvature_eV_per_A2": relaxed.curvature_eV_per_A2,
            }
            row[STRUCTURE] = relaxed.structure
