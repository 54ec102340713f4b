"""``polcalc ts``: a saddle point from a guess, checked, with the ways down to both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Guess = Annotated[
    Path,
    typer.Argument(
        metavar="GUESS",
        help="Structure near the saddle point, or a directory of polcalc neb or polcalc scan.",
    ),
]
Steps = Annotated[
    int,
    typer.Option(
        "--steps", min=1, help="Give up after this many steps.", rich_help_panel=opt.SEARCH
    ),
]
Irc = Annotated[bool, typer.Option("--irc/--no-irc", help="Follow the ways down to both sides.")]
IrcSteps = Annotated[
    int, typer.Option("--irc-steps", min=1, help="Points of a way down at most, 0.1 u^½ Å apart.")
]


@does("reactions.command", "ts")
def command(
    guess: Guess,
    model: opt.Model = None,
    frame: opt.Frame = None,
    fmax_eV_per_A: opt.FmaxEvPerA = 0.005,
    steps: Steps = 200,
    irc: Irc = True,
    irc_steps: IrcSteps = 200,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    output: opt.Output = Path("polcalc-ts"),
) -> None:
    """Find a saddle point near a guess, and where the ways down from it end.

    Searches with Sella (pip install 'polcalc[sella]') and the analytic Hessian. Writes
    saddle.extxyz, mode.extxyz (its imaginary mode, animated), search.csv, ts.json; of the ways down
    irc.extxyz, irc.csv, irc.png and ends.extxyz. Exit code 1 when it did not converge, or not one
    mode is imaginary.
    """
