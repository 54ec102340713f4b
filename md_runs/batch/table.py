"""The table of results: CSV, and Parquet on request."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from md_runs.errors import InputError
from potentials.files import replacing

LAST = ("warnings", "problem")  # columns
GROUP = 10_000  # rows of a Parquet file that are written together

Row = Mapping[str, Any]
Columns = Mapping[str, type]  # name -> bool, int, float or str


def columns_of(rows: Iterable[Row], left_out: str) -> Columns:
    """Name what any of the rows has, but for one, with its type: in the order of appearance."""
    found: dict[str, type] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                found.setdefault(name, type(value))
    last = {name: found.pop(name, str) for name in LAST}
    return {name: kind for name, kind in found.items() if name != left_out} | last


def write_csv(path: Path, columns: Columns, rows: Iterable[Row]) -> None:
    """Write a CSV at once or not at all; numbers with nine decimals."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in columns])


def check_parquet() -> None:
    """Refuse Parquet where nothing writes it.

    Raises
    ------
    InputError
    """
    if find_spec("pyarrow") is None:
        raise InputError(
            "`pyarrow` must be installed for `--parquet`. Run: pip install 'polcalc[parquet]'."
        )


def write_parquet(path: Path, columns: Columns, rows: Iterator[Row]) -> None:
    """Write a Parquet file at once or not at all."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    types = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema(
        [(name, types.get(kind, pyarrow.string())) for name, kind in columns.items()]
    )
    with replacing(path) as temporary, ParquetWriter(str(temporary), schema) as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def _cell(value: Any) -> Any:
    return f"{value:.9f}" if isinstance(value, float) else value
