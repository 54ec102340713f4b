"""``polcalc finetune``: make a model right for labelled structures of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does
from md_runs.cli.models.train import DataFolder, Resume
from md_runs.cli.reference.data import (
    EnergyName,
    EnergyUnit,
    ForcesName,
    ForcesUnit,
    LengthUnit,
)

Labelled = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA...",
        help="Labelled structures: extxyz, ASE database, HDF5, npz, …, or known sets.",
        show_default=False,
    ),
]
Minutes = Annotated[
    float,
    typer.Option(
        "--minutes",
        metavar="MINUTES",
        min=0.01,
        help="Minutes of training at most; few structures take less.",
        rich_help_panel=opt.TRAINING,
    ),
]
Test = Annotated[
    str | None,
    typer.Option(
        "--test",
        metavar="DATA",
        help="Labelled structures to compare before and after. Default: those of validation.",
        rich_help_panel=opt.TRAINING,
    ),
]
Rehearsal = Annotated[
    list[str] | None,
    typer.Option(
        "--rehearsal",
        metavar="DATA",
        help="Structures that the model knows; may be repeated. Default: its own, where they come"
        " with the package.",
        show_default=False,
        rich_help_panel=opt.TRAINING,
    ),
]
RehearsalShare = Annotated[
    float,
    typer.Option(
        "--rehearsal-share",
        metavar="FRACTION",
        min=0.0,
        max=0.9,
        help="Of what is trained on, so that little is forgotten; 0: nothing is rehearsed.",
        rich_help_panel=opt.TRAINING,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        help="Of the split and the order.",
        rich_help_panel=opt.TRAINING,
    ),
]


@does("models.finetune", "finetune")
def command(
    structures: Labelled,
    model: opt.Model = None,
    output: opt.Output = Path("polcalc-finetune"),
    minutes: Minutes = 20.0,
    test: Test = None,
    rehearsal: Rehearsal = None,
    rehearsal_share: RehearsalShare = 0.5,
    energy: EnergyName = None,
    forces: ForcesName = None,
    energy_unit: EnergyUnit = None,
    length_unit: LengthUnit = None,
    forces_unit: ForcesUnit = None,
    data: DataFolder = None,
    device: opt.Device = "auto",
    seed: Seed = 0,
    resume: Resume = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Go on training a model on labelled structures, from 10 of them up.

    Energies of elements are put on the level of theory of the labels first, and the model rehearses
    structures that it knows. Writes model.pt (with its card), report.json, report.txt, log.csv,
    learning_curve.png, checkpoint.pt and manifest.json.
    """
