"""``polcalc serve``: keep models loaded and answer other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does
from potentials.shipped import DEFAULT

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        help=f"A model to keep loaded; again for more, of which the first is the one that answers"
        f" where none is named. Default: {DEFAULT}.",
        show_default=False,
        rich_help_panel=opt.MODEL,
    ),
]
Socket = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        metavar="PATH",
        help="Where to answer. Default: $POLCALC_SOCKET, else polcalc.sock in $XDG_RUNTIME_DIR.",
        show_default=False,
    ),
]


@does("programs.serve", "serve")
def command(
    models: Models = None,
    socket: Socket = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
) -> None:
    """Keep models loaded and answer other programs of this user, on a Unix socket.

    ORCA, CREST, Gaussian and scripts ask through polcalc-engrad (docs/programs.md); what is sent
    and answered is one JSON object a line.
    """
