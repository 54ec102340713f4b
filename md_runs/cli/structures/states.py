"""``polcalc states``: compare the electronic states of molecules: gaps, minima and crossings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Charges = Annotated[
    str,
    typer.Option(
        "--charges",
        metavar="auto|Q,Q,…",
        help="Total charges in e; auto: those of the card.",
        rich_help_panel=opt.STATE,
    ),
]
Multiplicities = Annotated[
    str,
    typer.Option(
        "--multiplicities",
        metavar="auto|M,M,…",
        help="Multiplicities 2S+1; auto: those of the card that the electrons allow.",
        rich_help_panel=opt.STATE,
    ),
]
Relax = Annotated[
    bool,
    typer.Option(
        "--relax",
        help="Find the minimum of each state, for adiabatic gaps.",
        rich_help_panel=opt.SEARCH,
    ),
]
CrossingOf = Annotated[
    str | None,
    typer.Option(
        "--crossing",
        metavar="M,M",
        help="Find the lowest crossing of two multiplicities, as in 1,3; with the minima of both.",
        show_default=False,
        rich_help_panel=opt.SEARCH,
    ),
]


@does("surfaces.states", "states")
def command(
    structures: opt.Structures,
    model: opt.Model = None,
    charges: Charges = "auto",
    multiplicities: Multiplicities = "auto",
    relax: Relax = False,
    crossing: CrossingOf = None,
    fmax_eV_per_A: opt.FmaxEvPerA = 0.01,
    steps: opt.RelaxSteps = 500,
    allow_saddle: opt.AllowSaddle = False,
    partial_charges: opt.PartialCharges = None,
    electric_field_V_per_A: opt.ElectricField = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    output: opt.Output = Path("polcalc-states"),
) -> None:
    """Compare the electronic states of one or many structures.

    Writes states.csv, states.json, levels.png, and with --relax relaxed.extxyz, with --crossing
    crossing.extxyz. States that the model does not cover are refused by name. Exit code 1 when one
    that was asked for is refused or a search did not converge, 2 when none is left.
    """
