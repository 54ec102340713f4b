"""``polcalc drive``: compute what i-PI, or another program that speaks its protocol, sends."""

from __future__ import annotations

from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Unix = Annotated[
    str | None,
    typer.Option(
        "--unix",
        metavar="NAME|PATH",
        help="Unix socket where the server listens: its name in i-PI, or a path.",
        show_default=False,
    ),
]
Host = Annotated[str, typer.Option("--host", help="Where the server listens.")]
Port = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65535, help="Port of the server. i-PI: 31415 by default."),
]


@does("programs.drive", "drive")
def command(
    structure: opt.Structure,
    unix: Unix = None,
    host: Host = "localhost",
    port: Port = None,
    model: opt.Model = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    frame: opt.Frame = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
) -> None:
    """Compute what i-PI, or another program that speaks its protocol, sends.

    The server tells positions and cell; elements, charge and multiplicity are those of STRUCTURE,
    and so is whether it is periodic. Start the server first; several of these share the replicas.
    """
