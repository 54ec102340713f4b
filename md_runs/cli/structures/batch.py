"""``polcalc batch``: a great many molecules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import PLAIN, Command, Group, does

app = typer.Typer(
    help="Compute a great many molecules; one that fails is a row with its reason.",
    no_args_is_help=True,
    cls=Group,
    **PLAIN,
)

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT…",
        help="Tables of SMILES (csv with the columns smiles, charge, multiplicity, name; smi),"
        " structure files, ASE databases, and folders of these.",
    ),
]
Jobs = Annotated[
    int, typer.Option("--jobs", min=1, help="Processes that compute, each with one thread.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the batch in --output, asked for the same.")
]
Parquet = Annotated[
    bool,
    typer.Option(
        "--parquet",
        help="Write results.parquet too (pip install 'polcalc[parquet]').",
        rich_help_panel=opt.FILES,
    ),
]


@app.command("energy", cls=Command)
@does("batch.run", "energies")
def energy(
    inputs: Inputs,
    model: opt.Model = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    jobs: Jobs = 1,
    output: opt.Output = Path("polcalc-batch"),
    resume: Resume = False,
    parquet: Parquet = False,
) -> None:
    """Evaluate molecules as they are.

    Writes results.csv, a row for each molecule, geometries.extxyz and manifest.json. Killed at any
    time, the work goes on with --resume. Exit code 1 when a molecule has no result.
    """


@app.command("relax", cls=Command)
@does("batch.run", "minima")
def relax(
    inputs: Inputs,
    model: opt.Model = None,
    optimizer: opt.Optimizer = "auto",
    fmax_eV_per_A: opt.FmaxEvPerA = 0.01,
    steps: opt.RelaxSteps = 500,
    allow_saddle: opt.AllowSaddle = False,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    jobs: Jobs = 1,
    output: opt.Output = Path("polcalc-batch"),
    resume: Resume = False,
    parquet: Parquet = False,
) -> None:
    """Relax molecules; of SMILES from the lowest of some conformers of RDKit.

    Writes results.csv, a row for each molecule, geometries.extxyz and manifest.json. Killed at any
    time, the work goes on with --resume. Exit code 1 when a molecule has no result, did not
    converge, or came to rest on a saddle.
    """
