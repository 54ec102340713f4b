"""``polcalc calibrate``: how far may a model be believed?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does
from md_runs.cli.models.train import DataFolder

Held = Annotated[
    list[Path] | None,
    typer.Option(
        "--new",
        metavar="FILE",
        help=(
            "Structures that the model was never trained on. Default: those that its training held"
            " back."
        ),
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Write the model there. Default: into its own file; its SHA-256 changes.",
        show_default=False,
    ),
]


@does("trust.calibrate", "calibrate")
def command(
    model: opt.ModelArgument,
    data: DataFolder = None,
    new: Held = None,
    output: Output = None,
    json: opt.AsJson = False,
) -> None:
    """Give a model its uncertainty: of energies, of forces, of gaps.

    It takes the structures that the model was trained on, and those that its training held back
    (validation and test), from the files that its card names. Minutes; no training.
    """
