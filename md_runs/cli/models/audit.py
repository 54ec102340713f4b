"""``polcalc audit``: does a potential behave as physics asks, whatever it was trained on?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Structures = Annotated[
    list[Path] | None,
    typer.Option(
        "--structure",
        metavar="FILE",
        help=(
            "Molecules to audit with: the first two frames. Default: small ones of the elements on"
            " the card."
        ),
        show_default=False,
    ),
]
Store = Annotated[
    bool,
    typer.Option(
        "--store", help="Write the result into the card of the model; its SHA-256 changes."
    ),
]


@does("models.audit", "audit")
def command(
    model: opt.ModelArgument,
    structure: Structures = None,
    store: Store = False,
    device: opt.Device = "auto",
    json: opt.AsJson = False,
) -> None:
    """Audit a model: far molecules, copies, charges, the cutoff, close contacts.

    Exit code 1 when a check fails: energies of far molecules that do not add although each knows
    its own state, an energy or force that jumps, a number that is not finite. Warnings do not
    change the exit code.
    """
