"""``polcalc convert``: the trajectory of a run in a format that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli.commands import does

Source = Annotated[
    Path,
    typer.Argument(
        metavar="TRAJECTORY", help="trajectory.h5md of polcalc md, or the directory of the run."
    ),
]
Target = Annotated[
    Path, typer.Argument(metavar="OUT", help="New file: .extxyz, .xyz or .traj says the format.")
]
Every = Annotated[int, typer.Option("--every", min=1, help="Take each so many frames.")]


@does("records.convert", "convert")
def command(source: Source, target: Target, every: Every = 1) -> None:
    """Write the trajectory of a run as extxyz, xyz or ASE's traj.

    Each frame keeps energy, forces, velocities, cell, time, charge and multiplicity; a file that
    ends in .xyz holds the same as one in .extxyz.
    """
