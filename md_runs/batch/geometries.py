"""Geometries of a batch in one file, written as a stream: extxyz, or HDF5 of flat arrays.

The HDF5 is the layout of labelled structures that `polcalc train` and `validate` read, with the
name of each molecule beside.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from ase import Atoms
from ase.io.extxyz import read_xyz

from potentials.datasets.formats.hdf5 import FORMAT, UNITS, VERSION
from potentials.datasets.frames import Provenance
from potentials.files import replacing

Geometries = Literal["extxyz", "hdf5"]

NAMES: dict[Geometries, str] = {"extxyz": "geometries.extxyz", "hdf5": "geometries.h5"}
GROUP = 1000  # structures written at once
PER_ATOM = {"atomic_numbers": (np.int64, ()), "positions": (np.float64, (3,))}
FORCES = {"forces": (np.float64, (3,))}
PER_STRUCTURE = {
    "n_atoms": (np.int64, ()),
    "energy": (np.float64, ()),
    "total_charge": (np.float64, ()),
    "multiplicity": (np.int64, ()),
    "cell": (np.float64, (3, 3)),
    "pbc": (np.bool_, (3,)),
}


def write_geometries(directory: Path, kind: Geometries, structures: Iterable[str]) -> None:
    """Write structures, given as extxyz, at once or not at all."""
    with replacing(directory / NAMES[kind]) as temporary:
        if kind == "extxyz":
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(structures)
        else:
            _write_hdf5(temporary, structures)


def _write_hdf5(path: Path, structures: Iterable[str]) -> None:
    frames = _frames(structures)
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        about = Provenance(name="polcalc batch")
        file.attrs["provenance"] = json.dumps(
            asdict(about) | {"units": about.units._asdict()}, ensure_ascii=False
        )
        first = list(islice(frames, GROUP))
        known = all("forces" in _results(atoms) for atoms in first)
        columns = PER_STRUCTURE | PER_ATOM | (FORCES if known else {})
        for name, (kind, shape) in columns.items():
            _dataset(file, name, kind, shape)
            if name in UNITS:
                file[name].attrs["unit"] = UNITS[name]
        _dataset(file, "name", h5py.string_dtype(), ())
        while first:
            _append(file, first, list(columns))
            first = list(islice(frames, GROUP))


def _frames(structures: Iterable[str]) -> Iterator[Atoms]:
    for text in structures:
        yield from read_xyz(StringIO(text), slice(None))


def _dataset(file: h5py.File, name: str, kind: Any, shape: tuple[int, ...]) -> None:
    chunks = (GROUP, *shape)
    limits = (None, *shape)
    file.create_dataset(
        name, (0, *shape), kind, maxshape=limits, chunks=chunks, compression="gzip", shuffle=True
    )


def _append(file: h5py.File, frames: list[Atoms], columns: list[str]) -> None:
    rows: dict[str, list[Any]] = {name: [] for name in [*columns, "name"]}
    for atoms in frames:
        results = _results(atoms)
        values = {
            "n_atoms": [len(atoms)],
            "energy": [results.get("energy", np.nan)],
            "total_charge": [atoms.info["charge"]],
            "multiplicity": [atoms.info["multiplicity"]],
            "cell": [atoms.cell.array],
            "pbc": [atoms.pbc],
            "name": [str(atoms.info.get("name", ""))],
            "atomic_numbers": atoms.numbers,
            "positions": atoms.positions,
            "forces": results.get("forces", np.full((len(atoms), 3), np.nan)),
        }
        for name, some in rows.items():
            some.extend(values[name])
    for name, some in rows.items():
        stored = file[name]
        before = len(stored)
        stored.resize(before + len(some), axis=0)
        stored[before:] = some


def _results(atoms: Atoms) -> dict[str, Any]:
    return {} if atoms.calc is None else dict(atoms.calc.results)
