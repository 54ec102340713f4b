"""``polcalc train``: train a potential on labelled structures as a configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

ConfigFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG.toml]",
        help="What to train, on what, and how; with --template, a file of labels.",
        show_default=False,
    ),
]
Template = Annotated[
    bool,
    typer.Option(
        "--template",
        help="Print a commented configuration, for a file of labels where one is named.",
    ),
]
TimeBudget = Annotated[
    float | None,
    typer.Option(
        "--time-budget-min",
        help="Minutes of training; replaces the length in the file.",
        rich_help_panel=opt.TRAINING,
    ),
]
MaxEpochs = Annotated[
    int | None,
    typer.Option(
        "--max-epochs",
        min=1,
        help="Passes over the structures; replaces the length in the file.",
        rich_help_panel=opt.TRAINING,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        help="Seed of weights and order. Default: as in the file.",
        rich_help_panel=opt.TRAINING,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the training in --output.", rich_help_panel=opt.TRAINING
    ),
]
Devices = Annotated[
    int,
    typer.Option(
        "--devices", min=1, help="Number of GPUs (or CPU processes).", rich_help_panel=opt.MODEL
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder with the files of known data sets.",
        rich_help_panel=opt.FILES,
    ),
]


@does("models.train", "train")
def command(
    config: ConfigFile = None,
    output: opt.Output = Path("polcalc-train"),
    time_budget_min: TimeBudget = None,
    max_epochs: MaxEpochs = None,
    seed: Seed = None,
    resume: Resume = False,
    data: DataFolder = None,
    device: opt.Device = "auto",
    devices: Devices = 1,
    dry_run: opt.DryRun = False,
    template: Template = False,
) -> None:
    """Train a potential, or print a configuration to start from.

    Writes model.pt (with its card), report.json, log.csv, learning_curve.png, TensorBoard files,
    checkpoint.pt and manifest.json. Killed at any time, the training goes on with --resume as if
    nothing had happened.
    """
