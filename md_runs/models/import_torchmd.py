"""`polcalc import-torchmd`: turn a TensorNet checkpoint of TorchMD-NET into a model file."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import torch
import typer
from ase.data import atomic_numbers

from md_runs.errors import as_input_error
from md_runs.records.output import check_new
from potentials import checkpoint
from potentials.import_torchmd import convert, read


def import_torchmd(
    source: Path,
    output: Path,
    energy_unit: str,
    length_unit: str,
    elements: str = "",
    so3_origin: str = "kernels",
) -> None:
    """Import a TensorNet trained with TorchMD-NET: the same energies and forces, in eV and Å.

    Nothing in the file is executed.
    """
    check_new(output)
    with as_input_error():
        content = read(source)
        numbers = parse_elements(elements)
        potential, card = convert(
            content,
            energy_unit=energy_unit,
            length_unit=length_unit,
            elements=numbers,
            so3_origin=so3_origin,
        )
    origin = {"name": source.name, "source": "imported checkpoint", "sha256": content.sha256}
    options = [
        "--energy-unit",
        energy_unit,
        "--length-unit",
        length_unit,
        "--so3-origin",
        so3_origin,
    ]
    options += ["--elements", elements] if elements else []
    line = shlex.join(["polcalc", "import-torchmd", source.name, output.name, *options])
    card = replace(
        card, name=output.stem, dataset=origin, command=line, versions={"torch": torch.__version__}
    )
    with as_input_error():
        sha256 = checkpoint.save(output, potential, card)
    architecture = potential.spec["architecture"]
    n_weights = sum(p.numel() for p in potential.parameters() if p.requires_grad)
    typer.echo(
        f"{output}: TensorNet {architecture['group']}, {architecture['channels']} channels,"
        f" {architecture['n_layers']} layers, cutoff {potential.cutoff:.4g} Å, {n_weights:,}"
        f" parameters, SHA-256 {sha256[:12]}"
    )
    if not elements:
        typer.echo(
            "The trained elements are not recorded: pass --elements to have other elements refused."
        )


def parse_elements(text: str) -> list[int]:
    """Read "H,C,N" as atomic numbers."""
    symbols = [symbol.strip() for symbol in text.split(",") if symbol.strip()]
    if unknown := [symbol for symbol in symbols if symbol not in atomic_numbers]:
        raise ValueError(
            f"`elements` must be chemical symbols, as in H,C,N,O; got {', '.join(unknown)}. Correct"
            " the list."
        )
    return [atomic_numbers[symbol] for symbol in symbols]
