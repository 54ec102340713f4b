"""``polcalc batch``: a great many molecules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
        help="Tables of SMILES (csv or parquet with the columns smiles, charge, multiplicity, name;"
        " smi),"
        " structure files, ASE databases, and folders of these.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        min=1,
        help="Processes that compute, each with one thread; jobs of the queue with --dask slurm.",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS|FILE|QUEUE",
        help="Compute on the workers of this scheduler, tcp://host:8786 or its scheduler file, in"
        " place of --jobs (pip install 'polcalc[dask]'); or in jobs of slurm, pbs, sge, lsf,"
        " htcondor or oar (pip install 'polcalc[slurm]').",
        show_default=False,
    ),
]
Geometries = Annotated[
    Literal["extxyz", "hdf5"],
    typer.Option(
        "--geometries",
        help="How geometries are written: geometries.extxyz, or geometries.h5, which takes less"
        " room.",
        rich_help_panel=opt.FILES,
    ),
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
Relax = Annotated[bool, typer.Option("--relax", help="Find the minimum of each state as well.")]
Charges = Annotated[
    str, typer.Option("--charges", help="Between commas, as in -1,0,1; auto: those of the model.")
]
Multiplicities = Annotated[
    str, typer.Option("--multiplicities", help="2S+1 between commas, as in 1,3; auto: likewise.")
]
TemperatureK = Annotated[
    float, typer.Option("--temperature-K", help="Of the thermochemistry, in K.")
]
PressureBar = Annotated[float, typer.Option("--pressure-bar", help="Of the ideal gas, in bar.")]


@app.command("energy", cls=Command)
@does("batch.commands", "energies")
def energy(
    inputs: Inputs,
    model: opt.Model = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    jobs: Jobs = 1,
    dask: Dask = None,
    output: opt.Output = Path("polcalc-batch"),
    resume: Resume = False,
    geometries: Geometries = "extxyz",
    parquet: Parquet = False,
) -> None:
    """Evaluate molecules as they are.

    Writes results.csv, a row for each molecule, geometries and manifest.json. Killed at any
    time, the work goes on with --resume. Exit code 1 when a molecule has no result.
    """


@app.command("relax", cls=Command)
@does("batch.commands", "minima")
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
    dask: Dask = None,
    output: opt.Output = Path("polcalc-batch"),
    resume: Resume = False,
    geometries: Geometries = "extxyz",
    parquet: Parquet = False,
) -> None:
    """Relax molecules; of SMILES from the lowest of some conformers of RDKit.

    Writes results.csv, a row for each molecule, geometries and manifest.json. Killed at any
    time, the work goes on with --resume. Exit code 1 when a molecule has no result,
    did not converge, or came to rest on a saddle.
    """


@app.command("states", cls=Command)
@does("batch.commands", "states")
def states(
    inputs: Inputs,
    model: opt.Model = None,
    charges: Charges = "auto",
    multiplicities: Multiplicities = "auto",
    relax: Relax = False,
    fmax_eV_per_A: opt.FmaxEvPerA = 0.01,
    steps: opt.RelaxSteps = 500,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    jobs: Jobs = 1,
    dask: Dask = None,
    output: opt.Output = Path("polcalc-batch"),
    resume: Resume = False,
    geometries: Geometries = "extxyz",
    parquet: Parquet = False,
) -> None:
    """Compare the electronic states of molecules: energies, gaps, ionisation.

    Writes results.csv, a row for each molecule, geometries and manifest.json. Killed at any
    time, the work goes on with --resume. Exit code 1 when a molecule has no result
    or minima that did not converge.
    """


@app.command("vib", cls=Command)
@does("batch.commands", "vibrations")
def vib(
    inputs: Inputs,
    model: opt.Model = None,
    temperature_K: TemperatureK = 298.15,
    pressure_bar: PressureBar = 1.0,
    optimizer: opt.Optimizer = "auto",
    fmax_eV_per_A: opt.FmaxEvPerA = 0.0001,
    steps: opt.RelaxSteps = 500,
    allow_saddle: opt.AllowSaddle = False,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    jobs: Jobs = 1,
    dask: Dask = None,
    output: opt.Output = Path("polcalc-batch"),
    resume: Resume = False,
    geometries: Geometries = "extxyz",
    parquet: Parquet = False,
) -> None:
    """Relax molecules and find their modes, zero-point energies, thermochemistry.

    Writes results.csv, a row for each molecule, geometries and manifest.json. Killed at any
    time, the work goes on with --resume. Exit code 1 when a molecule has no result,
    did not converge, or came to rest on a saddle.
    """


@app.command("conformers", cls=Command)
@does("batch.commands", "conformers")
def conformers(
    inputs: Inputs,
    model: opt.Model = None,
    embed: opt.Embed = None,
    window_eV: opt.WindowEv = 0.3,
    temperature_K: opt.WeightsTemperatureK = 298.15,
    optimizer: opt.Optimizer = "auto",
    fmax_eV_per_A: opt.FmaxEvPerA = 0.005,
    steps: opt.RelaxSteps = 500,
    seed: opt.EmbedSeed = 0,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    jobs: Jobs = 1,
    dask: Dask = None,
    output: opt.Output = Path("polcalc-batch"),
    resume: Resume = False,
    geometries: Geometries = "extxyz",
    parquet: Parquet = False,
) -> None:
    """Find the conformers of molecules, as polcalc conformers does.

    Writes results.csv, a row for each molecule, conformers and manifest.json. Killed at any
    time, the work goes on with --resume. Exit code 1 when a molecule has no
    conformer.
    """


@app.command("md", cls=Command)
@does("batch.commands", "dynamics")
def md(
    inputs: Inputs,
    model: opt.Model = None,
    steps: opt.Steps = 2000,
    timestep_fs: opt.TimestepFs = 0.5,
    temperature_K: opt.TemperatureK = 300.0,
    relax_first: opt.RelaxFirst = False,
    trajectory_every: opt.TrajectoryEvery = 100,
    seed: opt.Seed = 0,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    jobs: Jobs = 1,
    dask: Dask = None,
    output: opt.Output = Path("polcalc-batch"),
    resume: Resume = False,
    geometries: Geometries = "extxyz",
    parquet: Parquet = False,
) -> None:
    """Run dynamics of molecules at constant temperature.

    Writes results.csv, a row for each molecule, frames and manifest.json. Killed at any
    time, the work goes on with --resume. Exit code 1 when a molecule has no result.
    """
