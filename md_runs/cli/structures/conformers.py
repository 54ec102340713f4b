"""``polcalc conformers``: the shapes of one molecule, and how often each occurs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Molecule = Annotated[
    str,
    typer.Argument(
        metavar="SMILES|STRUCTURE", help='A SMILES in quotes, "CCCO", or a structure file.'
    ),
]
Fmax = Annotated[
    float,
    typer.Option(
        "--fmax-eV-per-A",
        help="Converged when the largest force is below this, in eV/Å.",
        rich_help_panel=opt.SEARCH,
    ),
]


@does("conformers.command", "conformers")
def command(
    molecule: Molecule,
    model: opt.Model = None,
    frame: opt.Frame = None,
    embed: opt.Embed = None,
    window_eV: opt.WindowEv = 0.3,
    temperature_K: opt.WeightsTemperatureK = 298.15,
    optimizer: opt.Optimizer = "auto",
    fmax_eV_per_A: Fmax = 0.005,
    steps: opt.RelaxSteps = 500,
    seed: opt.EmbedSeed = 0,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    output: opt.Output = Path("polcalc-conformers"),
) -> None:
    """Find the conformers of a molecule, their energies and Boltzmann weights.

    Geometries are drawn by ETKDG and relaxed; those that are the same minimum are kept once, those
    of another stereoisomer not at all. Writes conformers.extxyz and conformers.csv, the lowest
    first, conformers.png and manifest.json. Exit code 1 when none is found.
    """
