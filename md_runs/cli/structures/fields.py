"""``polcalc fields``: energy, dipole and polarizability of a structure against a field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Direction = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        "--direction",
        metavar="X Y Z",
        help="Of the field. Default: that of the dipole.",
        show_default=False,
        rich_help_panel=opt.FIELD,
    ),
]
Strongest = Annotated[
    float,
    typer.Option(
        "--strongest-V-per-A",
        help="From the opposite of this field to it, in V/Å.",
        rich_help_panel=opt.FIELD,
    ),
]
Points = Annotated[
    int,
    typer.Option(
        "--points",
        help="Fields in all, an odd number; the middle one is none.",
        rich_help_panel=opt.FIELD,
    ),
]


@does("electrons.fields", "fields")
def command(
    structure: opt.Structure,
    model: opt.Model = None,
    frame: opt.Frame = None,
    direction: Direction = None,
    strongest_V_per_A: Strongest = 0.2,
    points: Points = 11,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    partial_charges: opt.PartialCharges = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    output: opt.Output = Path("polcalc-fields"),
) -> None:
    """Put a structure, as it is, in fields from one direction to the opposite one.

    Writes fields.csv, fields.json and fields.png: energy with its linear and quadratic part, dipole
    and polarizability. The nuclei stay; an ion is taken about its centre of mass.
    """
