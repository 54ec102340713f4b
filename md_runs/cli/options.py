"""The options of the shell: each is defined once, with its unit in its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from potentials.shipped import DEFAULT, available

MODEL, STATE, RUN, THERMOSTAT, FILES = (
    "Model",
    "Charge and spin",
    "Dynamics",
    "Temperature",
    "Output",
)
BAROSTAT, EQUILIBRATION, FIXED, SEARCH, TRAINING = (
    "Pressure",
    "Equilibration",
    "What does not move",
    "Search",
    "Training",
)

FIELD = "Electric field"


def shipped_models(incomplete: str) -> list[str]:
    """Name the shipped models that begin so, for the shell; it adds the files itself."""
    return [name for name in available() if name.startswith(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Name the devices that begin so, for the shell."""
    return [name for name in ("auto", "cpu", "cuda") if name.startswith(incomplete)]


Structure = Annotated[
    Path,
    typer.Argument(
        metavar="STRUCTURE",
        help="Structure file, any format ASE reads (xyz, extxyz, cif, …).",
    ),
]
MaybeStructure = Annotated[
    Path | None,
    typer.Argument(
        metavar="[STRUCTURE]",
        help="Structure file, any format ASE reads (xyz, extxyz, cif, …).",
        show_default=False,
    ),
]
Frame = Annotated[
    int | None,
    typer.Option(
        "--frame",
        help="Which structure of a file of several, from 0; negative from the end.",
        show_default=False,
        rich_help_panel=FILES,
    ),
]
Structures = Annotated[
    list[Path],
    typer.Argument(metavar="STRUCTURE…", help="One or more structure files; every frame counts."),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Model file, or the name of a shipped model.",
        autocompletion=shipped_models,
    ),
]

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        help=f"Name of a shipped model, or a model file. Default: {DEFAULT}.",
        show_default=False,
        rich_help_panel=MODEL,
        autocompletion=shipped_models,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        help="Where the model runs.",
        rich_help_panel=MODEL,
        autocompletion=devices,
    ),
]
Dtype = Annotated[
    Literal["float32", "float64"],
    typer.Option(
        "--dtype",
        help="Precision of the network; geometry and sums are float64 always.",
        rich_help_panel=MODEL,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="How the model is evaluated; auto takes the fastest that fits.",
        rich_help_panel=MODEL,
    ),
]

Charge = Annotated[
    int | None,
    typer.Option(
        "--charge",
        help="Total charge in e. Default: what the structure file says, else 0.",
        rich_help_panel=STATE,
    ),
]
Multiplicity = Annotated[
    int | None,
    typer.Option(
        "--multiplicity",
        min=1,
        help=(
            "Spin multiplicity 2S+1. Default: what the structure file says, else the lowest"
            " possible."
        ),
        rich_help_panel=STATE,
    ),
]
PartialCharges = Annotated[
    str | None,
    typer.Option(
        "--partial-charges",
        metavar="gasteiger|FILE",
        help=(
            "For models that see them: from the bonds, or a text file of one number in e per atom."
            " Default: initial charges of the file."
        ),
        show_default=False,
        rich_help_panel=STATE,
    ),
]
Fragments = Annotated[
    Path | None,
    typer.Option(
        "--fragments",
        metavar="FILE",
        help=(
            'JSON file of groups of atoms that know their own state alone: [{"atoms": [0, 1, 2],'
            ' "charge": 1, "multiplicity": 2}, …].'
        ),
        show_default=False,
        rich_help_panel=STATE,
    ),
]
ElectricField = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        "--electric-field-V-per-A",
        metavar="X Y Z",
        help=(
            "Uniform electric field in V/Å, for models with a dipole and structures without a"
            " cell; a positive charge is pulled along it."
        ),
        show_default=False,
        rich_help_panel=FIELD,
    ),
]

Ensemble = Annotated[
    Literal["nve", "nvt", "npt"],
    typer.Option(
        "--ensemble",
        help=(
            "nvt: constant temperature; nve: constant energy; npt: constant temperature and"
            " pressure, for periodic cells."
        ),
        rich_help_panel=RUN,
    ),
]
Steps = Annotated[
    int, typer.Option("--steps", min=1, help="Number of time steps.", rich_help_panel=RUN)
]
TimestepFs = Annotated[
    float,
    typer.Option(
        "--timestep-fs",
        help="Time step in fs; 0.5 does up to 3900 1/cm, polcalc doctor tells your limit.",
        rich_help_panel=RUN,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, help="Seed of initial velocities and thermostat.", rich_help_panel=RUN
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check everything, say what would be done and how long it takes; write nothing.",
        rich_help_panel=FILES,
    ),
]
RelaxFirst = Annotated[
    bool,
    typer.Option(
        "--relax-first", help="Relax to 0.01 eV/Å before the dynamics.", rich_help_panel=RUN
    ),
]
Velocities = Annotated[
    Literal["thermal", "structure"],
    typer.Option(
        "--velocities",
        help=(
            "thermal: drawn at --temperature-K, without drift and tumbling; structure: as in the"
            " file."
        ),
        rich_help_panel=RUN,
    ),
]

OnAlarm = Annotated[
    Literal["stop", "rewind"],
    typer.Option(
        "--on-alarm",
        help=(
            "When a guard sees nonsense: stop with exit code 3, or once go back to the checkpoint"
            " and halve the time step."
        ),
        rich_help_panel=RUN,
    ),
]
AlarmFrames = Annotated[
    int,
    typer.Option(
        "--alarm-frames", min=1, help="Steps written before an alarm.", rich_help_panel=FILES
    ),
]
MaxUncertainty = Annotated[
    float | None,
    typer.Option(
        "--max-uncertainty-eV-per-A",
        help=(
            "Stop where a force is more uncertain than this: 68 % of errors of its components lie"
            " within. Looked at every 25 steps; the log has it in any case."
        ),
        show_default=False,
        rich_help_panel=RUN,
    ),
]
Bonds = Annotated[
    Literal["keep", "free"] | None,
    typer.Option(
        "--bonds",
        help=(
            "keep: a bond broken or formed is an alarm; free: it is not. Default: keep, but free in"
            " periodic cells."
        ),
        show_default=False,
        rich_help_panel=RUN,
    ),
]

TemperatureK = Annotated[
    float,
    typer.Option(
        "--temperature-K",
        help="Temperature in K: of the thermostat, and of thermal velocities.",
        rich_help_panel=THERMOSTAT,
    ),
]
TemperatureEndK = Annotated[
    float | None,
    typer.Option(
        "--temperature-end-K",
        help=(
            "Heat, or cool, from --temperature-K to this one, at a constant rate over the whole"
            " run."
        ),
        show_default=False,
        rich_help_panel=THERMOSTAT,
    ),
]
Thermostat = Annotated[
    Literal["langevin", "bussi", "nose-hoover"] | None,
    typer.Option(
        "--thermostat",
        help=(
            "For nvt and, without bussi, for npt, where the cell gets one of the same kind."
            " Default: langevin."
        ),
        show_default=False,
        rich_help_panel=THERMOSTAT,
    ),
]
ThermostatTimeFs = Annotated[
    float | None,
    typer.Option(
        "--thermostat-time-fs",
        help="Relaxation time of the thermostat in fs (langevin: 1 / friction). Default: 100.",
        show_default=False,
        rich_help_panel=THERMOSTAT,
    ),
]

PressureGPa = Annotated[
    float | None,
    typer.Option(
        "--pressure-GPa",
        help="Pressure in GPa, for npt. Default: 0.0001, which is 1 bar.",
        show_default=False,
        rich_help_panel=BAROSTAT,
    ),
]
Barostat = Annotated[
    Literal["isotropic", "full"] | None,
    typer.Option(
        "--barostat",
        help=(
            "For npt. isotropic: the cell keeps its shape; full: its lengths and angles move."
            " Default: isotropic."
        ),
        show_default=False,
        rich_help_panel=BAROSTAT,
    ),
]
BarostatTimeFs = Annotated[
    float | None,
    typer.Option(
        "--barostat-time-fs",
        help="Time scale of the cell in fs, for npt. Default: 1000.",
        show_default=False,
        rich_help_panel=BAROSTAT,
    ),
]

EquilibratePs = Annotated[
    float,
    typer.Option(
        "--equilibrate-ps",
        help=(
            "Equilibrate so long before the run proper, whose time, log and trajectory then start"
            " anew."
        ),
        rich_help_panel=EQUILIBRATION,
    ),
]
EquilibrateThermostat = Annotated[
    Literal["langevin", "bussi", "nose-hoover"] | None,
    typer.Option(
        "--equilibrate-thermostat",
        help="Thermostat meanwhile, also before an nve run. Default: langevin.",
        show_default=False,
        rich_help_panel=EQUILIBRATION,
    ),
]
EquilibrateFromK = Annotated[
    float | None,
    typer.Option(
        "--equilibrate-from-K",
        help=(
            "Start at this temperature and heat up to --temperature-K meanwhile. Default:"
            " --temperature-K throughout."
        ),
        show_default=False,
        rich_help_panel=EQUILIBRATION,
    ),
]

FixAtoms = Annotated[
    str | None,
    typer.Option(
        "--fix-atoms",
        metavar="0,3,5-8",
        help="Atoms that do not move, counted from 0, beside those of the structure file.",
        show_default=False,
        rich_help_panel=FIXED,
    ),
]
FixBonds = Annotated[
    str | None,
    typer.Option(
        "--fix-bonds",
        metavar="0-1,2-8|hydrogen",
        help="Pairs of atoms that keep their distance; hydrogen: every bond with one.",
        show_default=False,
        rich_help_panel=FIXED,
    ),
]
RigidMotion = Annotated[
    Literal["start", "always", "never"] | None,
    typer.Option(
        "--rigid-motion",
        help=(
            "When drift and, in open space, tumbling are removed: at the start; at the start and"
            " all along; never. Default: start, but never with --velocities structure."
        ),
        show_default=False,
        rich_help_panel=FIXED,
    ),
]

Output = Annotated[
    Path,
    typer.Option(
        "--output", metavar="DIR", help="New directory for all results.", rich_help_panel=FILES
    ),
]
MaybeOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="DIR",
        help="New directory for figures and tables.",
        rich_help_panel=FILES,
    ),
]
VelocitiesEvery = Annotated[
    int | None,
    typer.Option(
        "--velocities-every",
        min=0,
        show_default=False,
        help="Steps between velocities kept alone, for spectra. Default: 2 fs; 0 keeps none.",
        rich_help_panel=FILES,
    ),
]
TrajectoryEvery = Annotated[
    int,
    typer.Option(
        "--trajectory-every",
        min=1,
        help="Steps between frames of the trajectory.",
        rich_help_panel=FILES,
    ),
]
LogEvery = Annotated[
    int,
    typer.Option(
        "--log-every", min=1, help="Steps between lines of the log.", rich_help_panel=FILES
    ),
]
Extxyz = Annotated[
    bool,
    typer.Option(
        "--extxyz", help="Write the trajectory as extxyz too, at the end.", rich_help_panel=FILES
    ),
]
CheckpointEvery = Annotated[
    int,
    typer.Option(
        "--checkpoint-every",
        min=1,
        help="Steps between checkpoints; one more is written at the end.",
        rich_help_panel=FILES,
    ),
]
Restart = Annotated[
    Path | None,
    typer.Option(
        "--restart",
        metavar="DIR",
        help=(
            "Go on with the run in this directory. --steps then says how many in all; everything"
            " else is settled."
        ),
        rich_help_panel=FILES,
    ),
]
AllowChanges = Annotated[
    bool,
    typer.Option(
        "--allow-changes",
        help=(
            "With --restart: go on with another model, dtype, engine, thread count or library; the"
            " manifest says so."
        ),
        rich_help_panel=FILES,
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="FILE", help="Write the numbers to this JSON file.", rich_help_panel=FILES
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

Optimizer = Annotated[
    Literal["auto", "bfgs", "lbfgs", "fire"],
    typer.Option(
        "--optimizer",
        help="How to walk downhill; auto: bfgs up to 100 atoms, lbfgs beyond.",
        rich_help_panel=SEARCH,
    ),
]
AllowSaddle = Annotated[
    bool,
    typer.Option(
        "--allow-saddle",
        help="Keep a structure that came to rest on a saddle; else it is left to its lower side.",
        rich_help_panel=SEARCH,
    ),
]
FmaxEvPerA = Annotated[
    float,
    typer.Option(
        "--fmax-eV-per-A",
        help="Converged when the largest force is below this, in eV/Å.",
        rich_help_panel=SEARCH,
    ),
]
RelaxSteps = Annotated[
    int,
    typer.Option(
        "--steps", min=1, help="Give up after this many steps per frame.", rich_help_panel=SEARCH
    ),
]
Cell = Annotated[
    bool,
    typer.Option(
        "--cell", help="Relax the unit cell too (periodic structures).", rich_help_panel=SEARCH
    ),
]

Embed = Annotated[
    int | None,
    typer.Option(
        "--embed",
        min=1,
        help="Geometries drawn to start from, and as many with turned bonds at most. Default: 10"
        " for each bond that turns and 10 more, at most 150.",
        show_default=False,
        rich_help_panel=SEARCH,
    ),
]
WindowEv = Annotated[
    float,
    typer.Option(
        "--window-eV",
        help="Conformers higher above the lowest are left out, in eV.",
        rich_help_panel=SEARCH,
    ),
]
EmbedSeed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        help="Of the geometries, and of stereocentres that a SMILES leaves open.",
        rich_help_panel=SEARCH,
    ),
]
WeightsTemperatureK = Annotated[
    float, typer.Option("--temperature-K", help="Of the Boltzmann weights, in K.")
]

Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="FILE|NAME",
        help="Labelled structures: a file, or a known set such as rmd17:ethanol:01:test."
        " Or reactions: gscdb:S22, gscdb:all.",
        rich_help_panel=FILES,
    ),
]
Entries = Annotated[
    bool,
    typer.Option(
        "--entries", help="Of reactions, list every entry as well.", rich_help_panel=FILES
    ),
]
