"""``polcalc build``: a structure from a SMILES, with the charge and multiplicity that it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli.commands import does


@does("structures.smiles", "build_file")
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
