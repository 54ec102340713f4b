"""``polcalc finetune``: make a model right for labelled structures of one's own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from rich.console import Console
from rich.table import Table

from md_runs.errors import as_input_error
from md_runs.models.train import (
    CURVE,
    check_output,
    plot_history,
    print_row,
    watched_run,
)
from md_runs.records.manifest import make_manifest
from md_runs.records.output import claim, ending, write_figure
from md_runs.screen import errors, screen
from polcalc.engines.native.supported import Unsupported, check_supported
from polcalc.engines.native.training import GRADIENTS
from potentials.datasets import Frames, load_frames
from potentials.datasets.formats.labels import Wanted
from potentials.datasets.formats.units import Units, declared_units
from potentials.datasets.statistics import states
from potentials.deviations import named_errors
from potentials.finetuning import FineTuning, base_of, finish, plan
from potentials.finetuning.finetune import joined
from potentials.potential import Potential
from potentials.shipped import DEFAULT
from potentials.training import Training

PAGE = "report.txt"
WIDTH = 100  # characters of a line of the page


def finetune(
    structures: Sequence[str],
    model: str | None = None,
    output: Path = Path("polcalc-finetune"),
    minutes: float = 20.0,
    test: str | None = None,
    rehearsal: Sequence[str] | None = None,
    rehearsal_share: float = 0.5,
    energy: str | None = None,
    forces: str | None = None,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    forces_unit: str | None = None,
    data: Path | None = None,
    device: str = "auto",
    seed: int = 0,
    resume: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Go on training a model on labelled structures, from 10 of them up; return the report.

    Energies of elements are put on the level of theory of the labels first, and the model rehearses
    structures that it knows. Writes model.pt (with its card), report.json, report.txt, log.csv,
    learning_curve.png, checkpoint.pt and manifest.json.

    Raises
    ------
    InputError   what is wrong with structures, model or options; nothing is written
    RunFailed    the training met numbers that are not finite
    """
    output, start = Path(output), model or DEFAULT
    wanted = Wanted(energy or "", forces or "")
    check_output(output, resume, "finetune")
    with as_input_error():
        units = declared_units(energy_unit or "", length_unit or "", forces_unit or "")
        parts = [_read(source, data, units, wanted) for source in structures]
        base = base_of(start, joined(parts))
        tuning = plan(
            base,
            parts,
            name=output.name,
            start=start,
            minutes=minutes,
            test=None if test is None else load_frames(test, data=data),
            rehearsal=rehearsal or (),
            rehearsal_share=rehearsal_share,
            data=data,
            gradients=choose_gradients(base.potential, device),
            seed=seed,
        )
    for remark in tuning.task.remarks:
        errors.print(f"warning: {remark}")
    screen.print(_plan_table(tuning, minutes))
    if dry_run:
        return {}
    manifest = make_manifest("finetune", tuning.task.config.to_dict(), seed=seed)
    with as_input_error():
        training = Training(
            tuning.task,
            output,
            device=device,
            resume=resume,
            on_validation=print_row,
            gradients=GRADIENTS,
        )
    if not resume:
        claim(output, manifest)
    with ending(output, manifest):
        watched_run(training)
        report = finish(tuning, training, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
        write_figure(output / CURVE, plot_history(report["history"], output.name))
        with (output / PAGE).open("w", encoding="utf-8") as file:
            _print_page(Console(file=file, width=WIDTH), tuning, report, output)
        manifest["sha256"] = report["sha256"]
    _print_page(screen, tuning, report, output)
    return report


def _read(source: str, data: Path | None, units: Units | None, wanted: Wanted) -> Frames:
    """Read a file as it is declared, or a known set, which declares itself."""
    if not any(wanted) and units is None:
        return load_frames(source, data=data)
    return load_frames(source, data=data, units=units, wanted=wanted)


def choose_gradients(potential: Potential, device: str) -> str:
    """Choose compiled code to differentiate the loss where it can."""
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return "autograd"
    try:
        check_supported(potential, potential.dtype)
    except Unsupported:
        return "autograd"
    return "native"


def _plan_table(tuning: FineTuning, minutes: float) -> Table:
    """Say what is done with what."""
    task, size, base = tuning.task, tuning.size, tuning.base
    schedule = task.config.schedule
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    said = ", ".join(f"{q:+d}/{m}: {n}" for q, m, n in states(task.labelled))
    new = sorted(set(task.labelled.atomic_numbers.tolist()) - set(base.card.elements))
    for name, text in {
        "starts from": f"{base.card.name}, {base.path.name}",
        "training": f"{size.n_train} structures of {task.config.data.train} ({said})",
        "validation": f"{size.n_validation} structures, that choose when to stop",
        "test": "" if task.test is None else f"{len(task.test)} structures",
        "new elements": " ".join(chemical_symbols[z] for z in new),
        "level": _level(tuning),
        "rehearsal": _rehearsed(tuning),
        "length": (
            f"{minutes:g} min at most, or {schedule.max_epochs} epochs of"
            f" {len(task.train) // task.config.training.batch_size} steps"
        ),
        "gradients": task.config.training.gradients,
    }.items():
        if text:
            table.add_row(name, text)
    return table


def _level(tuning: FineTuning) -> str:
    elements = ", ".join(f"{s} {e:+.3f}" for s, e in tuning.level.per_element.items())
    of_states = ", ".join(f"{q:+d}/{m} {e:+.3f}" for (q, m), e in tuning.level.per_state.items())
    return f"{elements}{'; ' if of_states else ''}{of_states} eV added to the model's energies"


def _rehearsed(tuning: FineTuning) -> str:
    if tuning.old is None:
        return (
            f"none: what {tuning.base.card.name} knew beside the structures will be forgotten."
            " --rehearsal names structures that it knows"
        )
    share = tuning.size.n_rehearsed / len(tuning.task.train)
    n_old = len(tuning.old.rehearsed)
    return f"{n_old} structures of the model's own, {share:.0%} of what is trained on"


def _print_page(
    console: Console, tuning: FineTuning, report: Mapping[str, Any], output: Path
) -> None:
    """Tell what came of it on one page."""
    training = report["training"]
    console.print(f"{report['name']}: {tuning.base.card.name} fine-tuned\n")
    console.print(_plan_table(tuning, tuning.task.config.schedule.time_budget_min or 0.0))
    ended = " (stopped early)" if training["stopped_early"] else ""
    console.print(
        f"\n{training['steps']:,} steps in {training['minutes']:.1f} minutes{ended};"
        f" validation errors as it went: {CURVE}, log.csv\n"
    )
    compared = training["compared"]
    kind = "test" if tuning.task.test is not None else "validation"
    console.print(before_and_after(f"new: {kind}", compared["before"], compared["after"]))
    if "old_before" in compared:
        console.print(before_and_after("old domain", compared["old_before"], compared["old_after"]))
    console.print(
        f"\nResults in {output}. To use it:\n  polcalc relax X.xyz --model {output}/model.pt"
    )
    console.print(f'  atoms.calc = PolarizedCalculator("{output}/model.pt")')


def before_and_after(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    """List mean absolute errors before and after, overall and by electronic state."""
    table = Table(box=None, pad_edge=False)
    for name in (kind, "quantity", "before", "after"):
        table.add_column(name, justify="left" if name in (kind, "quantity") else "right")
    rows = [(f"all ({before['n_frames']})", before, after)]
    if len(before["by_state"]) > 1:
        rows += [
            (f"  charge {b['charge']:+d}, multiplicity {b['multiplicity']} ({b['n_frames']})", b, a)
            for b, a in zip(before["by_state"], after["by_state"], strict=True)
        ]
    for label, one, other in rows:
        for quantity, key in named_errors(one).items():
            values = [found[key.format("mae")] for found in (one, other)]
            if None not in values:
                table.add_row(label, quantity, *(f"{value:.2f}" for value in values))
                label = ""
    return table
