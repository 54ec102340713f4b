"""``polcalc relax``: geometry relaxation of one or many structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", min=1, help="Structures relaxed at once, each by a process of one thread."
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the relaxation in --output, asked for the same."),
]


@does("surfaces.relax_files", "relax_files")
def command(
    structures: opt.Structures,
    model: opt.Model = None,
    optimizer: opt.Optimizer = "auto",
    fmax_eV_per_A: opt.FmaxEvPerA = 0.01,
    steps: opt.RelaxSteps = 500,
    cell: opt.Cell = False,
    allow_saddle: opt.AllowSaddle = False,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    partial_charges: opt.PartialCharges = None,
    fragments: opt.Fragments = None,
    electric_field_V_per_A: opt.ElectricField = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    jobs: Jobs = 1,
    output: opt.Output = Path("polcalc-relax"),
    resume: Resume = False,
) -> None:
    """Relax one or many structures.

    Writes relaxed.extxyz, relax.csv (step, energy, largest force) and manifest.json. A structure
    that cannot be relaxed costs its row. Killed at any time, the work goes on with --resume. Exit
    code 1 when a structure was not relaxed, or came to rest on a saddle that it could not leave.
    """
