"""Structures as extxyz, with charge and multiplicity where every reader of the format finds them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

from ase import Atoms
from ase.io.extxyz import write_xyz

from md_runs.output import partial


def write_structures(path: Path, frames: Iterable[Atoms]) -> None:
    """Write all frames at once or not at all."""
    temporary = partial(path)
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for atoms in frames:
                file.write(_format(atoms))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def append_structure(path: Path, atoms: Atoms) -> None:
    """Append one frame in a single write."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_format(atoms))


def _format(atoms: Atoms) -> str:
    text = io.StringIO()
    write_xyz(text, [atoms])
    return text.getvalue()
