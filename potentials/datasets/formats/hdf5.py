"""Our own file of labelled structures, in HDF5, and readers of other people's HDF5 layouts.

Ours is the flat arrays of `Frames`, one data set each, under their own names: per structure
``n_atoms`` (S,) ``energy`` (S,) ``total_charge`` (S,) ``multiplicity`` (S,) ``cell`` (S,3,3)
``pbc`` (S,3) ``stress`` (S,3,3) ``group`` (S,) ``dipole`` (S,3) ``spin_squared`` (S,), per atom
``atomic_numbers`` (N,) ``positions`` (N,3) ``forces`` (N,3) ``partial_charges`` (N,) ``magmoms``
(N,) and what else `QUANTITIES` has labels of, the structures one after the other. A label that is
not known is not there, or NaN where it is known of others. Each data set with a unit names it in
its attribute ``unit``; the attributes of the file are ``format`` "polcalc-frames", ``version`` 1
and the provenance. Writing loses nothing: an array is stored as float32 only where every number is
one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from potentials.datasets.formats.units import EV_ANGSTROM, Units, make_units
from potentials.datasets.frames import MORE, Frames, Provenance, join, make_frames
from potentials.files import replacing
from potentials.quantities import QUANTITIES

Array = npt.NDArray[Any]

FORMAT, VERSION = "polcalc-frames", 1
UNITS = {
    "positions": "angstrom",
    "cell": "angstrom",
    "energy": "eV",
    "forces": "eV/angstrom",
    "stress": "eV/angstrom^3",
    "total_charge": "e",
    "partial_charges": "e",
    "dipole": "e angstrom",
    "magmoms": "bohr magneton",
    "multiplicity": "2S+1",
}
REQUIRED = (
    "n_atoms",
    "atomic_numbers",
    "positions",
    "energy",
    "total_charge",
    "multiplicity",
    "cell",
    "pbc",
)
OPTIONAL = ("forces", "stress", "partial_charges", "group", "dipole", "magmoms", "spin_squared")
UNITS |= {q.label: q.unit for q in QUANTITIES.values() if q.label in MORE}


def write_hdf5(
    path: str | Path, frames: Frames, beside: Mapping[str, Array] = MappingProxyType({})
) -> None:
    """Write structures at once or not at all.

    Parameters
    ----------
    path : Path
    frames : Frames
    beside : dict   further arrays that are stored, a row an atom or a structure; not read back
    """
    with replacing(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        file.attrs["provenance"] = json.dumps(
            asdict(frames.provenance) | {"units": frames.provenance.units._asdict()},
            ensure_ascii=False,
        )
        for name, array in (frames.arrays() | dict(beside)).items():
            stored = file.create_dataset(
                name, data=_smallest(array), compression="gzip", shuffle=True
            )
            if name in UNITS:
                stored.attrs["unit"] = UNITS[name]


def read_hdf5(path: Path, units: Units | None = None) -> Frames:
    """Read structures from an HDF5 file of a known layout.

    Parameters
    ----------
    path : Path
    units : Units or None   for layouts that do not name them

    Raises
    ------
    ValueError              not HDF5, unknown layout, missing data set or unit
    """
    try:
        return _read(path, units)
    except (OSError, LookupError, TypeError, RuntimeError, ValueError) as error:
        if str(error).startswith("`"):
            raise
        reason = " ".join(str(error).strip("'\"").split())
        raise ValueError(
            f"`{path.name}` must be a whole HDF5 file; got {reason:.200}. Check it."
        ) from error


def _read(path: Path, units: Units | None) -> Frames:
    with h5py.File(path, "r") as file:
        if file.attrs.get("format") == FORMAT:
            return _read_ours(file, path)
        groups = [file[name] for name in file]
        if groups and all(
            isinstance(group, h5py.Group) and {"coord", "numbers", "energy"} <= set(group)
            for group in groups
        ):
            return _read_aimnet(groups, units)
        raise ValueError(
            f"`{path.name}` must have a known layout ({FORMAT}, AIMNet); got"
            f" {', '.join(list(file)[:8])}. Convert it."
        )


def _read_ours(file: h5py.File, path: Path) -> Frames:
    version = int(file.attrs["version"])
    if version > VERSION:
        raise ValueError(
            f"`version` must be at most {VERSION}; got {version} in {path.name}. Update polcalc."
        )
    if missing := [name for name in REQUIRED if name not in file]:
        raise ValueError(f"`{path.name}` must hold {', '.join(missing)}; got none. Write it again.")
    arrays = {name: file[name][()] for name in (*REQUIRED, *OPTIONAL) if name in file}
    stored = json.loads(file.attrs["provenance"])
    more = {name: file[name][()] for name in MORE if name in file}
    frames = make_frames(**arrays, more=more, units=_declared(file, path))
    return replace(frames, provenance=Provenance(**stored | {"units": Units(**stored["units"])}))


def _declared(file: h5py.File, path: Path) -> Units:
    """Read the units of energy, positions and forces, and see that cell and stress follow them."""
    unit = {name: str(file[name].attrs.get("unit", "")) for name in UNITS if name in file}
    required = [name for name in unit if name not in MORE]  # other labels have one unit
    if missing := [name for name in required if not unit[name]]:
        raise ValueError(
            f"`unit` must be an attribute of {', '.join(missing)} in {path.name}; got none. Add it."
        )
    energy, length = unit["energy"], unit["positions"]
    force_energy, _, force_length = unit.get("forces", f"{energy}/{length}").rpartition("/")
    if (
        force_energy != energy
        or unit["cell"] != length
        or unit.get("stress", f"{energy}/{length}^3") != f"{energy}/{length}^3"
    ):
        raise ValueError(
            f"`unit` of forces, cell and stress must follow {energy} and {length}; got {unit} in"
            f" {path.name}. Convert it."
        )
    return make_units(energy, length, "" if force_length == length else force_length)


def _read_aimnet(groups: list[h5py.Group], units: Units | None) -> Frames:
    """AIMNet: one group per number of atoms, (S, N, …) arrays; ``mult`` is 2S + 1."""
    parts = []
    for group in groups:
        n_structures, n_atoms = group["numbers"].shape
        parts.append(
            make_frames(
                n_atoms=np.full(n_structures, n_atoms),
                atomic_numbers=group["numbers"][()],
                positions=group["coord"][()],
                energy=group["energy"][()],
                forces=group["forces"][()] if "forces" in group else None,
                total_charge=group["charge"][()] if "charge" in group else 0,
                multiplicity=group["mult"][()] if "mult" in group else None,
                partial_charges=group["charges"][()] if "charges" in group else None,
                units=units or EV_ANGSTROM,
            )
        )
    return join(parts)


def _smallest(array: Array) -> Array:
    """Halve an array of floats that are all exact in float32."""
    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    return single if np.array_equal(single.astype(np.float64), array, equal_nan=True) else array
