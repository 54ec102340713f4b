"""``polcalc polarization``: draw and list where a model says that the electrons are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Charges = Annotated[
    str | None,
    typer.Option(
        "--charges",
        metavar="Q,Q,…",
        help=(
            "Draw these total charges side by side, each with its lowest multiplicity, and tell how"
            " the arrows turn."
        ),
        show_default=False,
        rich_help_panel=opt.STATE,
    ),
]
Magnify = Annotated[
    float | None,
    typer.Option(
        "--magnify",
        help=(
            "Length of an arrow over that of its displacement. Default: so that arrows can be seen."
        ),
    ),
]
Picture = Annotated[
    Path,
    typer.Option("--output", metavar="FILE", help="New picture, .png.", rich_help_panel=opt.FILES),
]


@does("electrons.polarization", "polarization")
def command(
    structure: opt.Structure,
    model: opt.Model = None,
    frame: opt.Frame = None,
    charges: Charges = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    partial_charges: opt.PartialCharges = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    magnify: Magnify = None,
    json: opt.JsonFile = None,
    output: Picture = Path("polarization.png"),
) -> None:
    """Draw a molecule with its charges, its dipole, and the points that moved from its nuclei.

    What the model predicts of them. Moving points are latent: nothing ties them to a dipole unless
    they are the shells of electrons of which the model makes its dipole.
    """
