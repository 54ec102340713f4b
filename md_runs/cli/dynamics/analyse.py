"""``polcalc analyse``: read runs, fill the sections, write the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN…", help="One or more directories of polcalc md; several are drawn together."
    ),
]
SkipPs = Annotated[
    float | None,
    typer.Option(
        "--skip-ps",
        min=0,
        help=(
            "Leave out this much at the start. Default: a fifth of a run without --equilibrate-ps."
        ),
        show_default=False,
    ),
]
FramesEvery = Annotated[
    int, typer.Option("--frames-every", min=1, help="Take each so many frames of the trajectory.")
]


@does("analysis.analyse", "analyse")
def command(
    runs: Runs,
    output: opt.Output = Path("polcalc-analyse"),
    skip_ps: SkipPs = None,
    frames_every: FramesEvery = 1,
) -> None:
    """Write a report on one or several runs.

    Writes report.html, which needs no other file, each figure as PNG and its numbers as CSV, into
    the output directory.
    """
