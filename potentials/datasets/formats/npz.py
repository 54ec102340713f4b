"""Readers of .npz files: one table row per layout, told apart by the names of the arrays."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from potentials.datasets.formats.states import CHARGE_NAMES, MULTIPLICITY_NAMES, plain
from potentials.datasets.formats.units import Units, make_units
from potentials.datasets.frames import Frames, make_frames

Array = npt.NDArray[Any]


class Layout(NamedTuple):
    """Names of the arrays in one kind of file, and its units if the layout fixes them."""

    atomic_numbers: str
    positions: str
    energy: str
    forces: str
    units: Units | None


LAYOUTS = (
    Layout("nuclear_charges", "coords", "energies", "forces", Units("kcal/mol")),  # rMD17
    Layout(
        "z", "R", "E", "F", Units("kcal/mol")
    ),  # sGDML: MD17 and its coupled-cluster sets; may name its units
    Layout("atomic_numbers", "positions", "energy", "forces", None),
    Layout("numbers", "coord", "energy", "forces", None),
)


def read_npz(path: Path, units: Units | None = None) -> Frames:
    """Read structures of one molecule, S frames of the same atoms.

    Parameters
    ----------
    path : Path
    units : Units or None   of the file; None takes those of its layout

    Raises
    ------
    ValueError              unknown layout, units neither given nor known, a damaged file
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if file[name].dtype != object}
    except (ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"`{path.name}` must be a whole .npz file of numbers; got {error}. Fetch it again."
        ) from error
    layout = _layout_of(path, arrays)
    check_fingerprint(path, arrays)
    declared = _units(path, layout, arrays, units)
    positions, numbers = arrays[layout.positions], arrays[layout.atomic_numbers]
    n_structures, n_atoms = positions.shape[:2]
    if not np.isfinite(arrays.get(layout.forces, np.zeros(1))).all():
        raise ValueError(f"`forces` must be finite; got others in {path.name}. Check the file.")
    lattice = arrays.get("lattice")  # sGDML: columns are lattice vectors
    charge, multiplicity = _state(arrays, n_structures, path)
    return make_frames(
        n_atoms=np.full(n_structures, n_atoms),
        atomic_numbers=np.broadcast_to(numbers, (n_structures, n_atoms)),
        positions=positions,
        energy=arrays[layout.energy],
        forces=arrays.get(layout.forces),
        cell=None if lattice is None else np.broadcast_to(lattice.T, (n_structures, 3, 3)),
        pbc=None if lattice is None else np.ones((n_structures, 3), dtype=bool),
        total_charge=0 if charge is None else charge,
        multiplicity=multiplicity,
        units=declared,
        remarks=_not_read(arrays, layout, positions.shape),
    )


def _state(arrays: dict[str, Array], n_structures: int, path: Path) -> tuple[Array | None, ...]:
    """Read charge and multiplicity, one or one for each structure, under any plain name."""
    found: list[Array | None] = []
    for names in (dict.fromkeys(CHARGE_NAMES, 0), MULTIPLICITY_NAMES):
        values = {
            key: array.ravel() + names[plain(key)]
            for key, array in arrays.items()
            if plain(key) in names and array.dtype.kind in "iuf" and array.size in (1, n_structures)
        }
        first, *others = list(values) or [""]
        if any(not np.array_equal(values[first], values[other]) for other in others):
            raise ValueError(
                f"`{' and '.join(values)}` must agree in {path.name}; they differ. Keep one."
            )
        found.append(values.get(first))
    return tuple(found)


def _not_read(arrays: dict[str, Array], layout: Layout, shape: tuple[int, ...]) -> list[str]:
    """Name arrays that may be labels or states and were not read."""
    read = {*layout[:4], "lattice"}
    likely = re.compile(r"energ|forc|grad|stress|virial|charge|spin|mult|dipole", re.I)
    rest = [
        name
        for name, array in arrays.items()
        if name not in read
        and array.dtype.kind in "iuf"
        and plain(name) not in CHARGE_NAMES | MULTIPLICITY_NAMES.keys()
        and (likely.search(name) or array.shape == shape)
    ]
    return [f"its arrays {', '.join(rest)} were not read"] if rest else []


def check_fingerprint(path: Path, arrays: dict[str, Array]) -> None:
    """Check the fingerprint that sGDML files carry of their own arrays: the MD5 of the MD5 of each.

    Raises
    ------
    ValueError   the numbers are not those that were published
    """
    if "md5" not in arrays or "z" not in arrays:
        return
    whole = hashlib.md5(usedforsecurity=False)
    for name in ("z", "R", "E", "F", "lattice"):
        if name in arrays:
            whole.update(hashlib.md5(arrays[name].tobytes(), usedforsecurity=False).digest())
    stored = _text(arrays["md5"])
    if whole.hexdigest() != stored:
        raise ValueError(
            f"`{path.name}` must match its own fingerprint {stored}; got {whole.hexdigest()}. Fetch"
            " it again."
        )


def _layout_of(path: Path, arrays: dict[str, Array]) -> Layout:
    for layout in LAYOUTS:
        if {layout.atomic_numbers, layout.positions, layout.energy} <= set(arrays):
            return layout
    known = "; ".join(", ".join(layout[:4]) for layout in LAYOUTS)
    raise ValueError(
        f"`{path.name}` must hold one of the known sets of arrays ({known}); got"
        f" {', '.join(arrays)}. Rename its arrays."
    )


def _units(path: Path, layout: Layout, arrays: dict[str, Array], given: Units | None) -> Units:
    if given is not None:
        return given
    if "e_unit" in arrays and "r_unit" in arrays:
        return make_units(_text(arrays["e_unit"]), _text(arrays["r_unit"]))
    if layout.units is None:
        raise ValueError(
            f"`units` must be given for {path.name}, which does not tell them; got none. Pass the"
            " units of energy and length."
        )
    return layout.units


def _text(value: Array) -> str:
    item = value.item()
    return item.decode() if isinstance(item, bytes) else str(item)
