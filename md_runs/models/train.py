"""``polcalc train``: train a potential on labelled structures as a configuration says."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from md_runs.errors import InputError, RunFailed, as_input_error
from md_runs.models.errors_table import errors_table
from md_runs.models.template import template as configuration
from md_runs.records.manifest import make_manifest
from md_runs.records.output import MANIFEST, check_free, claim, ending, write_figure
from md_runs.screen import errors, screen
from polcalc.engines.native.training import GRADIENTS
from potentials.build import build
from potentials.deviations import named_errors
from potentials.training import Training, override, prepare, read_config, write_model
from potentials.training.preparation import TrainingTask

CURVE = "learning_curve.png"


def train(
    config: Path | None = None,
    output: Path = Path("polcalc-train"),
    time_budget_min: float | None = None,
    max_epochs: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    data: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    dry_run: bool = False,
    template: bool = False,
) -> None:
    """Train a potential, or print a configuration to start from.

    Writes model.pt (with its card), report.json, log.csv, learning_curve.png, TensorBoard files,
    checkpoint.pt and manifest.json. Killed at any time, the training goes on with --resume as if
    nothing had happened.
    """
    if template:
        return print(configuration(config), end="")
    if config is None:
        raise InputError(
            "`CONFIG.toml` must be given; got none. polcalc train --template FILE > train.toml"
            " writes one for a file of labels."
        )
    # the processes of the other devices run this command too
    leads = os.environ.get("LOCAL_RANK", "0") == "0"
    if leads:
        check_output(output, resume, "train")
    with as_input_error():
        chosen = override(
            read_config(config), max_epochs=max_epochs, time_budget_min=time_budget_min, seed=seed
        )
        text = config.read_text(encoding="utf-8")
    with as_input_error():
        task = prepare(chosen, data)
        if dry_run:
            return screen.print(_plan_table(task, output))
    manifest = make_manifest("train", chosen.to_dict(), seed=chosen.seed)
    with as_input_error():
        training = Training(
            task,
            output,
            device=device,
            devices=devices,
            resume=resume,
            on_validation=print_row,
            gradients=GRADIENTS,
        )
    if leads and not resume:
        claim(output, manifest)
        for remark in task.remarks:
            errors.print(f"warning: {remark}")
    if leads and not resume and task.start is not None:
        made = f"; made fresh: {', '.join(training.fresh)}" if training.fresh else ""
        screen.print(f"{chosen.name} starts from {chosen.training.start}{made}")
    with ending(output, manifest) if leads else nullcontext():
        watched_run(training)
        if not training.fabric.is_global_zero:
            return
        report = write_model(training, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), text)
        write_figure(output / CURVE, plot_history(report["history"], chosen.name))
        manifest["sha256"] = report["sha256"]
    kind = "test" if "test" in report["errors"] else "validation"
    screen.print(f"{chosen.name}: errors on the {kind} structures")
    screen.print(errors_table(report["errors"][kind]))
    screen.print(f"Results in {output}")


def _plan_table(task: TrainingTask, output: Path) -> Table:
    """Say what a training would learn from, and for how long."""
    config, train = task.config, task.train
    potential = build(task.spec)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    schedule = config.schedule
    for name, text in {
        "model": (
            f"{config.name}: {task.spec['architecture']['name']},"
            f" {sum(p.numel() for p in potential.parameters()):,} parameters, cutoff"
            f" {potential.cutoff:g} Å"
        ),
        "starts from": "" if task.start is None else str(config.training.start),
        "training": f"{len(train):,} structures, σ {task.scale:.3g} eV/Å",
        "validation": f"{len(task.validation):,} structures",
        "test": "none" if task.test is None else f"{len(task.test):,} structures",
        "length": (
            f"{schedule.time_budget_min:g} min"
            if schedule.time_budget_min is not None
            else f"{schedule.max_epochs} epochs"
        ),
        "output": f"{output}; nothing is written: a dry run",
    }.items():
        if text:
            table.add_row(name, text)
    return table


def plot_history(history: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Validation errors and loss against epochs, all logarithmic."""
    epochs = [row["epoch"] for row in history]
    curves = [
        (label, {"MAE": name.format("mae"), "RMSE": name.format("rmse")})
        for label, name in named_errors(history[0]).items()
        if not name.endswith("_per_atom")
    ]
    curves.append(("loss", {"training": "train_loss", "validation": "validation_loss"}))
    figure = Figure(figsize=(8, 2 + 2 * len(curves)), layout="constrained")
    axes = figure.subplots(len(curves), 1, sharex=True)
    figure.suptitle(title)
    for axis, (label, columns) in zip(axes, curves, strict=True):
        for name, column in columns.items():
            known = [
                (epoch, row[column])
                for epoch, row in zip(epochs, history, strict=True)
                if row[column]
            ]
            if known:
                axis.plot(*zip(*known, strict=True), lw=1.2, label=name)
                axis.set_yscale("log")
                axis.legend(frameon=False)
        axis.set_ylabel(label if label == "loss" else f"validation {label}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("epoch")
    return figure


def check_output(output: Path, resume: bool, command: str) -> None:
    """See that a directory is free, or holds what a command left unfinished there."""
    if not resume:
        return check_free(output)
    try:
        manifest = json.loads((output / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"`--resume` must find a training in {output}; got no {MANIFEST}. Start without"
            " --resume."
        ) from error
    if manifest.get("command") != command:
        raise InputError(
            f"`--resume` must find a training in {output}; got a run of {manifest.get('command')}."
            " Choose its directory."
        )
    for rest in output.glob(".*.partial"):  # of a write that was killed
        rest.unlink()
    return None


def print_row(row: Mapping[str, Any]) -> None:
    """Print a line per validation where no one watches the bar."""
    if not errors.is_terminal:
        print(
            f"{timedelta(seconds=round(row['elapsed_s']))}  epoch {row['epoch']:g} "
            f" {_errors_of(row)}  {row['ms_per_step']:.1f} ms/step",
            flush=True,
        )


def _errors_of(row: Mapping[str, Any]) -> str:
    """Mean absolute errors of all quantities in one line."""
    parts = [
        f"{label.partition(' (')[0]} {row[name.format('mae')]:.4g} {label.partition('(')[2][:-1]}"
        for label, name in named_errors(row).items()
        if row[name.format("mae")] is not None and not name.endswith("_per_atom")
    ]
    return "validation " + ", ".join(parts)


def watched_run(training: Training) -> None:
    """Train, and show how far it is.

    Raises
    ------
    RunFailed   numbers that are not finite
    """
    with _watch(training):
        try:
            training.run()
        except FloatingPointError as error:
            raise RunFailed(str(error)) from error


def _watch(training: Training) -> AbstractContextManager[object]:
    """Show progress, errors and the time left, from a thread of its own."""
    if not errors.is_terminal or not training.fabric.is_global_zero:
        return nullcontext()
    return Live(
        get_renderable=lambda: _line(training), console=errors, refresh_per_second=2, transient=True
    )


def _line(training: Training) -> Table:
    state, done = training.progress, training.done
    line = Table.grid(padding=(0, 1))
    left = (
        f"{timedelta(seconds=round(state.elapsed_s * (1 - done) / done))} left"
        if done > 0 and state.elapsed_s > 0
        else "compiling"
    )
    found = _errors_of(state.history[-1]) if state.history else ""
    for _ in range(4):
        line.add_column(no_wrap=True)
    line.add_row(
        f"epoch {training.epoch}", ProgressBar(total=1.0, completed=done, width=20), found, left
    )
    return line
