"""Structures that the user names, for every command.

The file is read by the reader of `potentials.datasets`, which training shares. Labels of an earlier
calculation are left behind: beside a new geometry or state they would be false.
"""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from md_runs.errors import InputError
from md_runs.records.structures import set_further
from md_runs.screen import errors
from potentials.datasets.formats.labels import is_label
from potentials.datasets.formats.reader import read_atoms


def read_file(path: Path) -> list[Atoms]:
    """Read every frame of a file, and say what of it is not used.

    Raises
    ------
    InputError   the file is missing, empty or not a structure file
    """
    if not path.is_file():
        raise InputError(f"`STRUCTURE` must be an existing file; got {path}. Check the name.")
    try:
        frames, remarks = read_atoms(path)
    except (ValueError, OSError) as error:
        raise InputError(f"`STRUCTURE`: {error}") from error
    for atoms in frames:
        forget_results(atoms)
    for remark in remarks:
        errors.print(f"warning: {path.name}: {remark}")
    return frames


def forget_results(atoms: Atoms) -> None:
    """Leave energies, forces and moving points of another calculation behind."""
    atoms.calc = None
    set_further(atoms, {})
    for place in (atoms.info, atoms.arrays):
        for key in [key for key in place if is_label(key, place[key], len(atoms))]:
            del place[key]
