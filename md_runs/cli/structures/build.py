"""``polcalc build``: a structure from a SMILES, with the charge and multiplicity that it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from md_runs.errors import InputError, as_input_error
from md_runs.records.structures import write_structures
from md_runs.surfaces.smiles import build

screen = Console(highlight=False, soft_wrap=True)
FORMATS = (".xyz", ".extxyz")


def command(
    smiles: Annotated[
        str,
        typer.Argument(
            metavar="SMILES",
            help='In quotes: "CCO", "CC(=O)[O-]", "[CH3]"; an ion pair: "[NH4+].[Cl-]".',
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="New file, .xyz or .extxyz.")
    ],
    conformers: Annotated[
        int,
        typer.Option(
            "--conformers",
            min=1,
            help="Different conformers at most, one frame each, the lowest first.",
        ),
    ] = 1,
    multiplicity: Annotated[
        int | None,
        typer.Option(
            "--multiplicity",
            min=1,
            help="Spin multiplicity 2S+1. Default: of the radical electrons of the SMILES.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            help="Of the conformers, and of stereocentres that the SMILES leaves open.",
        ),
    ] = 0,
) -> None:
    """Make a three-dimensional structure of a SMILES.

    Conformers come from ETKDG and are relaxed with MMFF94, or UFF where that has no parameters:
    good to start from, no result. Molecules and ions that no bond connects are placed side by side.
    Charge and multiplicity are written into the file, where every command finds them.
    """
    if output.suffix.lower() not in FORMATS:
        raise InputError(
            f"`--output` must end in {' or '.join(FORMATS)}, which keep charge and multiplicity;"
            f" got {output}. Rename it."
        )
    if output.exists():
        raise InputError(
            f"`--output` must be a new file; got {output}, which exists. Choose another name."
        )
    frames, n_open, n_parts = build(smiles, conformers, seed, multiplicity)
    with as_input_error():
        output.parent.mkdir(parents=True, exist_ok=True)
        write_structures(output, frames)
    first = frames[0]
    number = "" if conformers == 1 else f", {len(frames)} different conformers"
    if n_parts > 1:
        number += f", {n_parts} parts side by side"
    state = f"charge {first.info['charge']:+d}, multiplicity {first.info['multiplicity']}"
    screen.print(
        f"{output}: {first.get_chemical_formula('hill')}, {len(first)} atoms, {state}{number}",
        markup=False,
    )
    if n_open:
        screen.print(
            f"{n_open} stereocentres or double bonds that the SMILES leaves open were chosen by the"
            " seed",
            markup=False,
        )
