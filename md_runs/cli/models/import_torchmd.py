"""`polcalc import-torchmd`: turn a TensorNet checkpoint of TorchMD-NET into a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli.commands import does


@does("models.import_torchmd", "import_torchmd")
def command(
    source: Annotated[
        Path, typer.Argument(metavar="MODEL.ckpt", help="TorchMD-NET checkpoint of a TensorNet.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT.pt", help="Model file to write; it must not exist.")
    ],
    energy_unit: Annotated[
        str, typer.Option(help="Unit of the model's energies: eV, kcal/mol, kJ/mol, Hartree.")
    ],
    length_unit: Annotated[
        str, typer.Option(help="Unit of the model's lengths: Angstrom, Bohr, nm.")
    ],
    elements: Annotated[
        str,
        typer.Option(
            help="Elements the model was trained on, as in H,C,N,O; the checkpoint does not tell."
        ),
    ] = "",
    so3_origin: Annotated[
        str,
        typer.Option(
            help=(
                "Program path that SO(3) weights were trained with: kernels, plain. O(3)"
                " models do not care."
            )
        ),
    ] = "kernels",
) -> None:
    """Import a TensorNet trained with TorchMD-NET: the same energies and forces, in eV and Å.

    Nothing in the file is executed.
    """
