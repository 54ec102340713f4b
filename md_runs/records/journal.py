"""What jobs have done so far: a line of JSON for each, there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from md_runs.errors import whole
from potentials.files import sync_file

Rows = Sequence[dict[str, Any]]  # what a job says, as plain values


class Journal:
    """A file of finished jobs, known by their numbers.

    Where each line begins is all that is held in memory.

    Parameters
    ----------
    path : Path   may be there already; a line that a kill cut short is taken away

    Raises
    ------
    InputError   another line is damaged
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[int, int] = {}  # number -> first byte
        self._end = 0
        if path.is_file():
            with whole("--resume", path), path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        self._places[int(json.loads(line)["number"])] = self._end
                        self._end += len(line)
            os.truncate(path, self._end)

    def __contains__(self, number: int) -> bool:
        """Whether a job is done."""
        return number in self._places

    @property
    def numbers(self) -> Set[int]:
        """Which jobs are done."""
        return self._places.keys()

    def add(self, number: int, rows: Rows) -> None:
        """Note what a job says; the disk has it when this returns."""
        line = json.dumps({"number": number, "rows": rows}).encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
        sync_file(self.path)
        self._places[number] = self._end
        self._end += len(line)

    def read(self) -> Iterator[dict[str, Any]]:
        """Go through the rows of all jobs in the order of their numbers.

        Raises
        ------
        InputError   a line is damaged
        """
        if not self._places:
            return
        with self.path.open("rb") as file:
            for number in sorted(self._places):
                with whole("--resume", self.path):
                    file.seek(self._places[number])
                    rows: Rows = [dict(row) for row in json.loads(file.readline())["rows"]]
                yield from rows
