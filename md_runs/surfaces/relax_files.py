"""Relax many structures: in several processes, and to the end after any interruption.

What is done is one line of JSON in `JOURNAL` each, written at once; the files of the end are made
of it. A structure that cannot be relaxed is a line with its reason.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ase import Atoms
from rich.table import Table
from rich.text import Text

from md_runs import session
from md_runs.errors import InputError, NotConverged, whole
from md_runs.records.journal import Journal
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free
from md_runs.records.resume import resumable
from md_runs.records.structures import to_extxyz
from md_runs.screen import screen, show, watched
from md_runs.session import Frame, ModelOptions
from md_runs.surfaces.relax import (
    Saddles,
    Step,
    Watch,
    check_minima,
    check_relaxable,
    choose_optimizer,
    ignore,
    relax,
    remarks,
)
from polcalc import PolarizedCalculator
from polcalc.calculator.electrons import ElectronicState
from potentials.files import write_text
from potentials.processes import in_processes
from potentials.shipped import DEFAULT

JOURNAL = "relax.jsonl"
ENDED = "its process ended by itself, twice, perhaps for want of memory"
SHOWN = 60  # structures listed one by one at most


class Task(NamedTuple):
    """What a process needs to relax one structure."""

    number: int
    frame: Frame
    chosen: ModelOptions
    search: Mapping[str, Any]  # arguments of `relax`


@dataclass(frozen=True)
class Row:
    """What became of one structure, as plain values."""

    number: int  # in the order of the files
    name: str
    formula: str
    state: list[Any] | None = None  # fields of `ElectronicState`
    steps: Sequence[Sequence[float]] = ()  # fields of `Step`
    converged: bool = False
    on_saddle: bool = False
    curvature_eV_per_A2: float | None = None
    remarks: Sequence[str] = ()
    hopeless: str = ""  # why it was given up early
    structure: str = ""  # at the end, in extxyz
    problem: str = ""  # why it could not be relaxed


def relax_files(
    structures: list[Path],
    model: str | None = None,
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    cell: bool = False,
    allow_saddle: bool = False,
    charge: int | None = None,
    multiplicity: int | None = None,
    partial_charges: str | None = None,
    fragments: Path | None = None,
    electric_field_V_per_A: tuple[float, float, float] | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    jobs: int = 1,
    output: Path = Path("polcalc-relax"),
    resume: bool = False,
) -> list[Row]:
    """Relax every frame of some files into a directory.

    Writes relaxed.extxyz, relax.csv (step, energy, largest force) and manifest.json, in the order
    of the input. Killed at any time, the work goes on with ``resume``.

    Raises
    ------
    InputError     bad input; no structure can be relaxed
    NotConverged   some could not, did not converge, or came to rest on a saddle
    """
    saddles: Saddles = "keep" if allow_saddle else "leave"
    search = {
        "optimizer": optimizer,
        "fmax_eV_per_A": fmax_eV_per_A,
        "steps": steps,
        "cell": cell,
        "saddles": saddles,
    }
    charges, groups = (
        session.read_partial_charges(partial_charges),
        session.read_fragments(fragments),
    )
    chosen = ModelOptions(
        model,
        device,
        dtype,
        engine,
        charge,
        multiplicity,
        charges,
        groups,
        electric_field_V_per_A,
    )
    if not resume:
        check_free(output)
    frames = session.read_named_frames(structures)
    tasks = [Task(number, frame, chosen, search) for number, frame in enumerate(frames)]
    asked = {
        "charge": charge,
        "multiplicity": multiplicity,
        "fragments": groups,
        "electric_field_V_per_A": electric_field_V_per_A,
    }
    manifest = make_manifest(
        "relax",
        search | asked | {"partial_charges": charges},
        structures=[session.fingerprint(path) for path in structures],
        **session.describe(_first_that_works(tasks)),
    )
    with resumable(output, manifest, resume):
        rows = _complete(tasks, output, jobs)
        rows.sort(key=lambda row: row.number)
        manifest["not_converged"] = sum(not row.converged for row in rows)
        manifest["on_saddle"] = sum(row.on_saddle for row in rows)
        manifest["problems"] = {row.name: row.problem for row in rows if row.problem}
        write_text(output / "relaxed.extxyz", "".join(row.structure for row in rows))
        write_text(output / "relax.csv", steps_csv(rows))
    (output / JOURNAL).unlink()
    _show(rows, output)
    _complain(rows, fmax_eV_per_A, steps, saddles)
    return rows


def relax_one(task: Task, watch: Watch = ignore) -> Row:
    """Relax one structure; what is wrong with it becomes part of the answer."""
    atoms, name = task.frame.atoms, task.frame.name
    formula = atoms.get_chemical_formula()
    calculator = session.opened(task.chosen)
    try:
        _prepare(atoms, calculator, task.search)
        state = calculator.state
        result = relax(atoms, **task.search, watch=watch)
    except Exception as error:  # whatever a library raises costs this structure, not the others
        reason = " ".join(str(error).split()) or type(error).__name__
        return Row(task.number, name, formula, problem=reason)
    atoms.info |= {
        "name": name,
        "converged": result.converged,
        "relax_steps": result.steps[-1].step,
    }
    curvature = None if result.curvature is None else result.curvature.eV_per_A2
    if curvature is not None:
        atoms.info["lowest_curvature_eV_per_A2"] = curvature
    return Row(
        task.number,
        name,
        formula,
        None if state is None else list(state),
        [list(step) for step in result.steps],
        result.converged,
        result.on_saddle,
        curvature,
        list(remarks(result)),
        result.hopeless,
        to_extxyz(atoms),
    )


def steps_csv(rows: Sequence[Row]) -> str:
    """List every step of every structure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frame", "name", *Step._fields])
    for row in rows:
        writer.writerows(
            [row.number, row.name, step, f"{energy:.9f}", f"{fmax:.6f}"]
            for step, energy, fmax in row.steps
        )
    return text.getvalue()


def table_of(rows: Sequence[Row]) -> Table:
    """List structures with their energies, in 80 columns where names and numbers allow it.

    Energies at the start, formulas and curvatures are in the files.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("structure", max_width=18, overflow="fold")
    for name in (
        "charge",
        "2S+1",
        "steps",
        "energy\n(eV)",
        "change\n(eV)",
        "fmax\n(eV/Å)",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("minimum", no_wrap=True)
    for row in rows[:SHOWN]:
        if row.state is None:
            table.add_row(row.name, *[""] * 6, Text("none", "red"))
            continue
        start, (n_steps, end, fmax) = row.steps[0][1], row.steps[-1]
        table.add_row(
            row.name,
            f"{row.state[0]:+d}",
            str(row.state[1]),
            str(n_steps),
            f"{end:.4f}",
            f"{end - start:+.4f}",
            f"{fmax:.4f}",
            _verdict(row),
        )
    if len(rows) > SHOWN:
        table.add_row("…", f"{len(rows) - SHOWN} more in relax.csv")
    return table


def _prepare(atoms: Atoms, calculator: PolarizedCalculator, search: Mapping[str, Any]) -> None:
    """Refuse what cannot be relaxed, before any work is done."""
    check_relaxable(atoms, search["fmax_eV_per_A"], search["cell"])
    choose_optimizer(search["optimizer"], len(atoms))
    calculator.reset()  # partial charges are those of this molecule, not of an isomer before it
    atoms.calc = calculator
    session.evaluate_first(atoms)


def _first_that_works(tasks: Sequence[Task]) -> PolarizedCalculator:
    """Evaluate structures until one can be relaxed, and return the calculator.

    Raises
    ------
    InputError   none can be: the reason of the first
    """
    calculator = session.opened(tasks[0].chosen)
    problems = []
    for task in tasks:
        try:
            _prepare(task.frame.atoms.copy(), calculator, task.search)
            return calculator
        except InputError as error:
            problems.append(error)
    raise problems[0]


def _complete(tasks: Sequence[Task], output: Path, jobs: int) -> list[Row]:
    """Relax what the journal does not hold yet."""
    journal = Journal(output / JOURNAL)
    rows = _rows_of(journal)
    left = [task for task in tasks if task.number not in journal]
    with watched("relaxing", len(left)) as progress:

        def watch(step: Step) -> None:
            progress.tell(
                f"step {step.step}, {step.energy_eV:.4f} eV, {step.fmax_eV_per_A:.3f} eV/Å"
            )

        alone = (relax_one(task, watch) for task in left)
        for row in alone if jobs == 1 else in_processes(relax_beside, left, jobs, _lost):
            rows.append(row)
            journal.add(row.number, [asdict(row)])
            progress.advance()
    return rows


def relax_beside(task: Task) -> Row:
    """Relax one structure in a process of many; which model answers has been said before."""
    torch.set_num_threads(1)
    named = replace(task.chosen, model=task.chosen.model or DEFAULT)
    return relax_one(task._replace(chosen=named))


def _lost(task: Task) -> Row:
    name, atoms = task.frame
    return Row(task.number, name, atoms.get_chemical_formula(), problem=ENDED)


def _rows_of(journal: Journal) -> list[Row]:
    """Read what is done.

    Raises
    ------
    InputError   it is damaged
    """
    with whole("--resume", journal.path):
        rows = [Row(**row) for row in journal.read()]
        steps_csv(rows), table_of(rows)  # which fail where a value is of another kind
        return rows


def _show(rows: Sequence[Row], output: Path) -> None:
    show(table_of(rows))
    for line in session.state_lines(ElectronicState(*row.state) for row in rows if row.state):
        screen.print(line)
    for row in rows:
        for text in (row.problem, *row.remarks):
            if text:
                screen.print(f"{row.name}: {text}")
    screen.print(f"Results in {output}")


def _complain(rows: Sequence[Row], fmax_eV_per_A: float, steps: int, saddles: Saddles) -> None:
    check_minima([row for row in rows if not row.problem], fmax_eV_per_A, steps, saddles)
    if n_problems := sum(bool(row.problem) for row in rows):
        raise NotConverged(f"{n_problems} of {len(rows)} structures could not be relaxed.")


def _verdict(row: Row) -> Text:
    if not row.converged:
        return Text("no", "red")
    return Text("saddle", "red") if row.on_saddle else Text("yes")
