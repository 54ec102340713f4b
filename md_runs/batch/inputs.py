"""Molecules of files and folders as a stream: SMILES, tables of SMILES, structures.

Tables are csv, or Parquet (`pyarrow`), which is read a piece at a time.

A molecule is read by the process that computes it; here the text alone goes by.
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from ase import Atoms

from md_runs import session
from md_runs.errors import InputError, whole
from md_runs.records.reader import forget_results
from md_runs.records.structures import set_state
from md_runs.structures.smiles import build
from potentials.datasets.pieces import Piece, parse, pieces

SMILES = (".smi", ".smiles")
TABLE = ".csv"
PARQUET = (".parquet", ".pq")
COLUMNS = ("smiles", "charge", "multiplicity", "name")


class Smiles(NamedTuple):
    """A molecule as a line tells it; what is empty is left to the SMILES."""

    smiles: str
    charge: str = ""
    multiplicity: str = ""


class Unreadable(NamedTuple):
    """In place of the molecules of a file that cannot be read."""

    reason: str


class Molecule(NamedTuple):
    """A molecule, not read yet."""

    name: str  # empty: what the structure says, or its place
    place: str  # in its file, as in set.sdf:17
    source: str  # the file
    content: Piece | Smiles | Unreadable


class Known(NamedTuple):
    """A molecule that was read."""

    name: str
    atoms: Atoms
    remarks: list[str]


def molecules(inputs: list[Path]) -> Iterator[Molecule]:
    """Go through the molecules of files and folders, in the order in which they are named.

    Raises
    ------
    InputError   an input is missing, a table has no SMILES
    """
    for path in files_of(inputs):
        found = _named(path)
        first = list(islice(found, 2))
        for number, (name, content) in enumerate(chain(first, found)):
            place = f"{path.name}:{number}" if len(first) > 1 else path.name
            yield Molecule(name, place, str(path), content)


def files_of(inputs: list[Path]) -> Iterator[Path]:
    """Name the files; of a folder those in it, by their names.

    Raises
    ------
    InputError   an input is missing
    """
    for path in inputs:
        if path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != ".")
        elif path.is_file():
            yield path
        else:
            raise InputError(
                f"`INPUT` must be an existing file or folder; got {path}. Check the name."
            )


def fingerprint(path: Path) -> dict[str, str]:
    """Name an input, also a folder of many files, so that it is known again.

    Raises
    ------
    InputError   it is missing
    """
    if not path.is_dir():
        return session.fingerprint(next(files_of([path])))
    known = hashlib.sha256()
    for file in files_of([path]):
        known.update(f"{file.name}\0{session.fingerprint(file)['sha256']}\n".encode())
    return {"path": str(path), "sha256": known.hexdigest()}


def read(molecule: Molecule) -> Known:
    """Read a molecule: its structure, or one of its SMILES.

    Raises
    ------
    InputError, ValueError   it cannot be
    """
    content = molecule.content
    if isinstance(content, Unreadable):
        raise InputError(content.reason)
    if isinstance(content, Smiles):
        atoms, remarks = _built(content)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ASE's readers
            atoms, remarks = parse(content, molecule.place)
        forget_results(atoms)
    name = molecule.name or str(atoms.info.get("name") or molecule.place)
    return Known(name, atoms, remarks)


def _named(path: Path) -> Iterator[tuple[str, Piece | Smiles | Unreadable]]:
    ending = path.suffix.lower()
    if ending in SMILES:
        yield from _lines(path)
    elif ending == TABLE:
        yield from _rows(path)
    elif ending in PARQUET:
        yield from _parquet(path)
    else:
        try:
            yield from (("", piece) for piece in pieces(path))
        except (ValueError, OSError) as error:
            yield "", Unreadable(str(error))


def _lines(path: Path) -> Iterator[tuple[str, Smiles]]:
    """Read lines of a SMILES and a name."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if words := line.split(None, 1):
                yield "".join(words[1:]).strip(), Smiles(words[0])


def _rows(path: Path) -> Iterator[tuple[str, Smiles]]:
    """Read a table with the columns that `COLUMNS` names; others are left."""
    with (
        whole("INPUT", path),
        path.open(encoding="utf-8-sig", errors="replace", newline="") as file,
    ):
        table = csv.DictReader(file)
        table.fieldnames = _columns(table.fieldnames or (), path)
        yield from map(_row, table)


def _parquet(path: Path) -> Iterator[tuple[str, Smiles]]:
    """Read a Parquet file with these columns.

    Raises
    ------
    InputError   pyarrow is not installed, it is no such file
    """
    if find_spec("pyarrow") is None:
        raise InputError(
            f"`pyarrow` must be installed to read {path}. Run: pip install 'polcalc[parquet]'."
        )
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            known = dict(zip(names, _columns(names, path), strict=True))
            wanted = [name for name, plain in known.items() if plain in COLUMNS]
            for batch in file.iter_batches(columns=wanted):
                for row in batch.to_pylist():
                    yield _row({known[name]: _text(value) for name, value in row.items()})
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"`INPUT` must be a whole Parquet file; {path} is not:"
            f" {' '.join(str(error).split()):.200}. Write it again."
        ) from error


def _columns(names: Sequence[str], path: Path) -> list[str]:
    """Take names of columns in any case, and see that there are SMILES."""
    plain = [name.strip().lower() for name in names]
    if COLUMNS[0] not in plain:
        raise InputError(
            f"`INPUT` must have a column smiles (and charge, multiplicity, name) where it is a"
            f" table; got {path} with {', '.join(plain) or 'none'}. Name it."
        )
    return plain


def _row(row: Mapping[str, str | None]) -> tuple[str, Smiles]:
    smiles, charge, multiplicity, name = ((row.get(c) or "").strip() for c in COLUMNS)
    return name, Smiles(smiles, charge, multiplicity)


def _text(value: Any) -> str:
    """Write a number of a table as csv would; whole numbers may be kept as others, with gaps."""
    if value is None or value != value:  # NaN: pandas' gap
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _built(said: Smiles) -> tuple[Atoms, list[str]]:
    """Make a structure, in the state of its line where that says one."""
    charge, multiplicity = _whole("charge", said.charge), _whole("multiplicity", said.multiplicity)
    atoms = build(said.smiles).frames[0]
    drawn = atoms.info["charge"]
    if charge is None or charge == drawn:
        set_state(atoms, drawn, multiplicity or atoms.info["multiplicity"])
        return atoms, []
    set_state(atoms, charge, multiplicity or 1)
    if multiplicity is None:
        del atoms.info["multiplicity"]  # the lowest
    return atoms, [f"computed with its charge {charge:+d}, its SMILES has {drawn:+d}"]


def _whole(column: str, text: str) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        raise InputError(
            f"`{column}` must be a whole number; got {text!r}. Correct the table."
        ) from None
