"""``polcalc data``: list known reference data, fetch them, check a file before training on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli.commands import PLAIN, Command, Group, does

app = typer.Typer(
    help="Reference data: list known sets, fetch them, check a file.",
    no_args_is_help=True,
    cls=Group,
    **PLAIN,
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A known set or a part of it, such as rmd17:ethanol:01:train."
    ),
]
Source = Annotated[
    str, typer.Argument(metavar="FILE|NAME", help="A file of labelled structures, or a known set.")
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder with files of known sets. Default: POLCALC_DATA, else ./data.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="DIR",
        help="Folder for the files. Default: POLCALC_DATA, else ./data.",
        show_default=False,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="FILE|NAME",
        help="A second set that must not share structures, such as the test set.",
    ),
]
EnergyUnit = Annotated[
    str | None,
    typer.Option(
        "--energy-unit",
        metavar="UNIT",
        help="Of the file: eV, kcal/mol, kJ/mol, hartree, … Default: what its format says.",
    ),
]
LengthUnit = Annotated[
    str | None,
    typer.Option(
        "--length-unit",
        metavar="UNIT",
        help="Of the file: angstrom, bohr, nm. Default: what its format says.",
    ),
]
ForcesUnit = Annotated[
    str | None,
    typer.Option(
        "--forces-unit",
        metavar="UNIT",
        help=(
            "Of the file: energy/length, as in hartree/bohr. Default: that of energy and length;"
            " per bohr beside hartree."
        ),
    ),
]
StressUnit = Annotated[
    str | None,
    typer.Option(
        "--stress-unit",
        metavar="UNIT",
        help="Of the file: GPa, kbar, … Default: that of energy and length.",
    ),
]
EnergyName = Annotated[
    str | None,
    typer.Option("--energy", metavar="NAME", help="Name of the energies to read, in the file."),
]
ForcesName = Annotated[
    str | None,
    typer.Option(
        "--forces", metavar="NAME", help="Name of the forces to read; -NAME turns their sign."
    ),
]
StressName = Annotated[
    str | None,
    typer.Option("--stress", metavar="NAME", help="Name of the stress or the virials to read."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command("list", cls=Command)
@does("reference.data", "list_sets")
def list_sets(data: Folder = None, json: AsJson = False) -> None:
    """List the known data sets, and how many of their parts are on this machine."""


@app.command("fetch", cls=Command)
@does("reference.data", "fetch_set")
def fetch_set(name: Name, output: Output = None) -> None:
    """Download the files of a known set; files that are there already are left as they are."""


@app.command(cls=Command)
@does("reference.data", "check")
def check(
    source: Source,
    against: Against = None,
    data: Folder = None,
    energy_unit: EnergyUnit = None,
    length_unit: LengthUnit = None,
    forces_unit: ForcesUnit = None,
    stress_unit: StressUnit = None,
    energy: EnergyName = None,
    forces: ForcesName = None,
    stress: StressName = None,
    json: AsJson = False,
) -> None:
    """Look through labelled structures: units, electrons, repeats, overlap, contacts, ranges.

    Exit code 1 when something is wrong with them, 2 when they cannot be read.
    """
