"""``polcalc info``: what a model is for, how wrong it is, and where it fails."""

from __future__ import annotations

from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

MaybeModel = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help="Model file, or the name of a shipped model. Default: the one of who names none.",
        show_default=False,
        autocompletion=opt.shipped_models,
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Checksums, versions, and how it was made, as well.")
]


@does("models.info", "info")
def command(model: MaybeModel = None, verbose: Verbose = False, json: opt.AsJson = False) -> None:
    """Show what a model is for, how wrong it is, and where it fails."""
