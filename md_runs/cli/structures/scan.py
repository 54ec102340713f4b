"""``polcalc scan``: the energy along one or two bonds, angles or dihedral angles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Coordinates = Annotated[
    list[str],
    typer.Option(
        "--coordinate",
        metavar="KIND:ATOMS:FROM:TO:POINTS",
        help="Once or twice: bond:0-1:0.9:2.0:12 (Å), angle:0-1-2:90:130:9 or"
        " dihedral:0-1-2-3:-180:180:37 (degrees); atoms from 0.",
    ),
]
Mode = Annotated[
    Literal["relaxed", "rigid"],
    typer.Option("--mode", help="relaxed: all else moves downhill at each point; rigid: nothing."),
]
Directions = Annotated[
    Literal["both", "forward"],
    typer.Option(
        "--directions",
        help="Relaxed scans go forth, or forth and back, and tell where both differ.",
    ),
]


@does("scans.command", "scan")
def command(
    structure: opt.Structure,
    coordinates: Coordinates,
    model: opt.Model = None,
    frame: opt.Frame = None,
    mode: Mode = "relaxed",
    directions: Directions = "both",
    optimizer: opt.Optimizer = "auto",
    fmax_eV_per_A: opt.FmaxEvPerA = 0.01,
    steps: opt.RelaxSteps = 500,
    fix_atoms: opt.FixAtoms = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    electric_field_V_per_A: opt.ElectricField = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    output: opt.Output = Path("polcalc-scan"),
) -> None:
    """Scan the energy along one or two bonds, angles or dihedral angles.

    Writes scan.csv, scan.png, scan.extxyz (the lowest geometry of each point), scan.json and
    manifest.json. Exit code 1 when a point did not converge.
    """
