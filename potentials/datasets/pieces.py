"""A file of many structures piece by piece, so that memory does not grow with the file.

Xyz, extxyz, sd files and databases are read as a stream; of these the text of a structure is parsed
by whoever wants it, as the reader of whole files would. Other formats are read at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ase import Atoms
from ase.io.formats import open_with_compression

from potentials.datasets.formats import xyz
from potentials.datasets.formats.molecules import molfile
from potentials.datasets.formats.reader import (
    DATABASES,
    MOLECULES,
    XYZ,
    ending_of,
    finish,
    read_atoms,
    rows_of_database,
)

MOST_LINES = 2**31  # of a frame


class Piece(NamedTuple):
    """One structure of a file."""

    ending: str  # of the file, which says the format
    content: str | Atoms  # text that is not parsed yet, or a structure with its state


class Parsed(NamedTuple):
    """One structure, and what of it was not used."""

    atoms: Atoms
    remarks: list[str]


def pieces(path: Path) -> Iterator[Piece]:
    """Go through the structures of a file.

    Text that cannot be parsed is a piece as well; what follows it is read where that can be found.

    Raises
    ------
    FileNotFoundError, ValueError   as `read_atoms`
    """
    ending = ending_of(path)
    if ending in XYZ:
        yield from (Piece(ending, text) for text in _frames(_lines(path)))
    elif ending in MOLECULES:
        yield from (Piece(ending, text) for text in _records(_lines(path)))
    elif ending in DATABASES:
        yield from (Piece(ending, atoms) for atoms, _ in rows_of_database(path))
    else:
        yield from (Piece(ending, atoms) for atoms in read_atoms(path).frames)


def parse(piece: Piece, name: str) -> Parsed:
    """Parse one structure, called by a name in what is said of it.

    Raises
    ------
    ValueError   it is damaged, an element or a state that cannot be
    """
    if isinstance(piece.content, Atoms):
        atoms, told = piece.content, list[str]()
    elif piece.ending in XYZ:
        ((atoms, told),) = xyz.read_frames(piece.content, name)
    else:
        ((atoms),), told = molfile.read_molfile(piece.content, name), []
        if title := piece.content.split("\n", 1)[0].strip():
            atoms.info.setdefault("name", title)
    if not len(atoms):
        raise ValueError(f"`{name}` must hold atoms; got none. Check the file.")
    return Parsed(atoms, finish(atoms, told, name))


def _lines(path: Path) -> Iterator[str]:
    with (
        open_with_compression(str(path), "rb") as file,
        TextIOWrapper(file, encoding="utf-8", errors="replace") as text,
    ):
        yield from text


def _frames(lines: Iterator[str]) -> Iterator[str]:
    """Cut an xyz file at its numbers of atoms, up to a line that should be one and is none."""
    line = next(lines, "")
    while line:
        if not line.strip():
            line = next(lines, "")
            continue
        n_atoms = int(line) if line.strip().isdecimal() else -1
        frame = [line, *islice(lines, min(n_atoms + 1, MOST_LINES))]
        line = next(lines, "")
        while line.lstrip().startswith("VEC"):
            frame.append(line)
            line = next(lines, "")
        yield "".join(frame)
        if n_atoms < 0:
            return


def _records(lines: Iterator[str]) -> Iterator[str]:
    """Cut an sd file at its marks."""
    record: list[str] = []
    for line in lines:
        if not line.startswith(molfile.END):
            record.append(line)
            continue
        if any(map(str.strip, record)):
            yield "".join(record)
        record = []
    if any(map(str.strip, record)):
        yield "".join(record)
