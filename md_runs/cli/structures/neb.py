"""``polcalc neb``: find the path of lowest energy between two structures, and its barrier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Start = Annotated[Path, typer.Argument(metavar="START", help="Structure file.")]
End = Annotated[
    Path,
    typer.Argument(metavar="END", help="Structure file with the same atoms in the same order."),
]
StartFrame = Annotated[
    int | None,
    typer.Option(
        "--start-frame", help="Which structure of START, where that holds several, from 0."
    ),
]
EndFrame = Annotated[
    int | None, typer.Option("--end-frame", help="Likewise of END; -1 is the last.")
]
Images = Annotated[int, typer.Option("--images", min=1, help="Images between the two ends.")]
Spring = Annotated[
    float, typer.Option("--spring-eV-per-A2", help="Strength of the springs between images.")
]
Climb = Annotated[
    bool,
    typer.Option("--climb/--no-climb", help="Let the highest image climb to the saddle point."),
]
RelaxEnds = Annotated[
    bool,
    typer.Option("--relax-ends/--no-relax-ends", help="Relax both ends to --fmax-eV-per-A before."),
]
Fmax = Annotated[
    float,
    typer.Option(
        "--fmax-eV-per-A", help="Converged when the largest force on the band is below this."
    ),
]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Give up after this many steps.")]


@does("surfaces.neb", "neb")
def command(
    start: Start,
    end: End,
    model: opt.Model = None,
    start_frame: StartFrame = None,
    end_frame: EndFrame = None,
    images: Images = 9,
    relax_ends: RelaxEnds = True,
    climb: Climb = True,
    spring_eV_per_A2: Spring = 0.1,
    optimizer: opt.Optimizer = "fire",
    fmax_eV_per_A: Fmax = 0.02,
    steps: Steps = 1000,
    fix_atoms: opt.FixAtoms = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    partial_charges: opt.PartialCharges = None,
    fragments: opt.Fragments = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    output: opt.Output = Path("polcalc-neb"),
) -> None:
    """Find the path of lowest energy between two structures, and its barrier.

    Writes path.extxyz, path.csv, barrier.png, saddle.extxyz, search.csv and neb.json. Exit code 1
    when the band did not converge.
    """
