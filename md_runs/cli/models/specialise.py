"""``polcalc specialise``: give a model weights of its own for each electronic state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does
from md_runs.cli.models.train import ConfigFile, DataFolder

States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="CHARGE,MULTIPLICITY",
        help="State with an expert; may be repeated. Default: all of the base.",
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        help="Trainings at once, one thread each.",
        rich_help_panel=opt.TRAINING,
    ),
]


@does("models.specialise", "specialise")
def command(
    base: opt.ModelArgument,
    config: ConfigFile,
    output: opt.Output = Path("polcalc-specialise"),
    state: States = None,
    data: DataFolder = None,
    processes: Processes = 1,
) -> None:
    """Train an expert for each state from MODEL and write them as one model.

    CONFIG.toml says how long and with which optimizer each is trained, on which data; the spec is
    that of MODEL. Where MODEL has experts, theirs go on. Interrupted, the same command goes on.
    Writes model.pt, and a folder for each state.
    """
