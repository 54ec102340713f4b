"""``polcalc export``: write a model for programs that run TorchScript."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Charge = Annotated[
    int,
    typer.Option(
        "--charge", help="Total charge in e of all structures.", rich_help_panel=opt.STATE
    ),
]
Multiplicity = Annotated[
    int,
    typer.Option(
        "--multiplicity",
        min=1,
        help="Spin multiplicity 2S+1 of all structures.",
        rich_help_panel=opt.STATE,
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE.pt",
        help="File to write. Default: of model and state, as organic+0_1.pt.",
        show_default=False,
        rich_help_panel=opt.FILES,
    ),
]


@does("programs.export", "export")
def command(
    charge: Charge,
    multiplicity: Multiplicity,
    model: opt.Model = None,
    output: File = None,
) -> None:
    """Write a model as a file of metatomic, which LAMMPS, GROMACS, PLUMED and others open.

    They know neither charge nor multiplicity: a file is of one state, and checks nothing.
    """
