"""What a data set is: where its files come from, and how a part of it becomes frames.

A name is ``SET:FIELD:…``, such as ``rmd17:ethanol:01:train``; each set says what its fields mean. A
known set is one row of the table in ``catalogue``, made from these parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from potentials.datasets.frames import Frames, Provenance


class RemoteFile(NamedTuple):
    """A file of a data set and where to get it."""

    name: str  # file name, the same in every data folder
    url: str
    sha256: str = ""  # of the file itself; empty where no one published it
    archive: str = (
        ""  # name of the archive that the address leads to, if it does not lead to the file itself
    )
    member: str = ""  # end of the path inside the archive
    archive_sha256: str = ""
    made_by: str = ""  # the command that computes the file, if nobody publishes it


class Part(NamedTuple):
    """The files that one name stands for, and how they are read together."""

    files: tuple[RemoteFile, ...]
    read: Callable[[Sequence[Path]], Frames]
    quantity: str = (
        ""  # what stands where others have the energy, with its unit; empty: the energy in eV
    )


class Recipe(NamedTuple):
    """One data set."""

    form: str  # of its names, for people
    example: str
    names: tuple[str, ...]  # every name that stands for files of its own
    part: Callable[[list[str]], Part]
    provenance: Provenance


def choose(value: str, choices: Sequence[str], field: str, form: str) -> str:
    """Return a field of a name, or raise ValueError with the choices."""
    if value not in choices:
        raise ValueError(
            f"`{field}` must be one of {', '.join(choices)}; got {value or 'nothing'!r}. Names have"
            f" the form {form}."
        )
    return value


def padded(fields: Sequence[str], most: int, form: str) -> list[str]:
    """Fill the fields of a name up with empty ones.

    Raises
    ------
    ValueError   there are too many
    """
    if len(fields) > most:
        raise ValueError(
            f"`name` must have the form {form}; got {len(fields)} fields, at most {most}. Leave out"
            f" {':'.join(fields[most:])}."
        )
    return [*fields, *[""] * (most - len(fields))]
