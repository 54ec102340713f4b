"""Bonds, angles and dihedral angles: read, measured, set.

To set one, the atoms behind it move as a rigid group: those that hang on its last atom, of a
dihedral angle on its third.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.constraints import FixInternals
from ase.neighborlist import natural_cutoffs, neighbor_list

from md_runs.errors import InputError
from md_runs.structures.bonds import BONDED

Floats = npt.NDArray[np.float64]

KINDS = {"bond": 2, "angle": 3, "dihedral": 4}  # atoms of each
EXAMPLE = "dihedral:0-1-2-3:-180:180:37"
FORM = re.compile(r"(bond|angle|dihedral):(\d+(?:-\d+)*):([^:]+):([^:]+):(\d+)")
LINEAR_DEG = 1.0  # nearer to 0 or 180 an angle has no direction in which it bends
MOST_POINTS = 10_000


class Coordinate(NamedTuple):
    """What is scanned, and where."""

    kind: str  # in `KINDS`
    atoms: tuple[int, ...]  # from 0
    values: Floats  # (n,) Å or degrees

    @property
    def unit(self) -> str:
        """Å or °."""
        return "Å" if self.kind == "bond" else "°"

    @property
    def column(self) -> str:
        """Name in tables, with the unit."""
        return f"{self} ".replace(" ", "_") + ("A" if self.kind == "bond" else "deg")

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.kind} {'-'.join(map(str, self.atoms))}"

    def of(self, atoms: Atoms) -> float:
        """Measure it: Å, or degrees from 0 to 180, of dihedral angles from 0 to 360."""
        measure: dict[str, Any] = {"bond": atoms.get_distance, "angle": atoms.get_angle}
        return float(measure.get(self.kind, atoms.get_dihedral)(*self.atoms))


def read_coordinate(text: str) -> Coordinate:
    """Read a coordinate: kind:atoms:from:to:points.

    Raises
    ------
    InputError
    """
    found = FORM.fullmatch(text.strip())
    ends = [_number(part) for part in found.groups()[2:4]] if found else [np.nan]
    if found is None or np.isnan(ends).any():
        raise InputError(
            f"`--coordinate` must be kind:atoms:from:to:points, as in {EXAMPLE}; got {text!r}."
            " Correct it."
        )
    kind, atoms, n_points = found[1], tuple(map(int, found[2].split("-"))), int(found[5])
    if len(atoms) != KINDS[kind] or len(set(atoms)) != len(atoms):
        raise InputError(
            f"`--coordinate` must name {KINDS[kind]} different atoms for {kind}; got {found[2]}."
            " Correct it."
        )
    if not 2 <= n_points <= MOST_POINTS:
        raise InputError(
            f"`--coordinate` must have 2 to {MOST_POINTS} points; got {n_points}. Correct it."
        )
    values = np.linspace(ends[0], ends[1], n_points)
    if kind == "bond" and values.min() <= 0:
        raise InputError(
            f"`--coordinate` must be above 0 Å for bond; got {values.min():g}. Correct it."
        )
    if kind == "angle" and not (values.min() >= LINEAR_DEG and values.max() <= 180 - LINEAR_DEG):
        raise InputError(
            f"`--coordinate` must be from {LINEAR_DEG:g} to {180 - LINEAR_DEG:g}° for angle; got"
            f" {values.min():g} to {values.max():g}°. Correct it."
        )
    return Coordinate(kind, atoms, values)


def check_coordinates(coordinates: Sequence[Coordinate], atoms: Atoms) -> None:
    """Refuse what a structure does not have.

    Raises
    ------
    InputError   none, too many, atoms that are not there, the same twice
    """
    if not 1 <= len(coordinates) <= 2:
        raise InputError(
            f"`--coordinate` must be given once or twice, as in {EXAMPLE}; got {len(coordinates)}."
        )
    beyond = sorted({n for one in coordinates for n in one.atoms if n >= len(atoms)})
    if beyond:
        raise InputError(
            f"`--coordinate` must name atoms from 0 to {len(atoms) - 1}; got"
            f" {', '.join(map(str, beyond))}. Correct it."
        )
    if len({(one.kind, min(one.atoms, one.atoms[::-1])) for one in coordinates}) < len(coordinates):
        raise InputError("`--coordinate` must be two different ones; got the same twice. Drop one.")


def set_to(atoms: Atoms, coordinates: Sequence[Coordinate], values: Sequence[float]) -> Atoms:
    """Copy a structure with other values of its coordinates; of rings the last atom alone moves."""
    moved: Any = atoms.copy()
    moved.set_constraint()
    for coordinate, value in zip(coordinates, values, strict=True):
        group = group_of(atoms, coordinate) or [coordinate.atoms[-1]]
        if coordinate.kind == "bond":
            moved.set_distance(*coordinate.atoms, value, fix=0, indices=group)
        elif coordinate.kind == "angle":
            moved.set_angle(*coordinate.atoms, value, indices=group)
        else:
            moved.set_dihedral(*coordinate.atoms, value, indices=group)
    moved.set_constraint(atoms.constraints)
    result: Atoms = moved
    return result


def held(coordinates: Sequence[Coordinate], values: Sequence[float]) -> FixInternals:
    """Hold coordinates at values while all else moves."""
    fixed: dict[str, list[list[object]]] = {kind: [] for kind in KINDS}
    for coordinate, value in zip(coordinates, values, strict=True):
        fixed[coordinate.kind].append([float(value), list(coordinate.atoms)])
    return FixInternals(
        bonds=fixed["bond"] or None,
        angles_deg=fixed["angle"] or None,
        dihedrals_deg=fixed["dihedral"] or None,
    )


def group_of(atoms: Atoms, coordinate: Coordinate) -> list[int]:
    """List the atoms that move with a coordinate; none where it belongs to a ring."""
    chain = coordinate.atoms
    cut = (chain[1], chain[2]) if coordinate.kind == "dihedral" else chain[-2:]
    group = _hanging_on(atoms, cut[1], cut[0])
    if chain[-1] not in group:  # a dihedral angle of atoms that are not bonded in this order
        group = _hanging_on(atoms, chain[-1], chain[-2])
    kept = chain[:2] if coordinate.kind == "dihedral" else chain[:-1]
    return [] if group & set(kept) else sorted(group)


def _hanging_on(atoms: Atoms, root: int, without: int) -> set[int]:
    """Collect the atoms that bonds connect with one, but for its bond with another."""
    neighbors: dict[int, list[int]] = {}
    cutoffs = natural_cutoffs(atoms, mult=BONDED)
    for i, j in zip(*neighbor_list("ij", atoms, cutoffs), strict=True):
        if {int(i), int(j)} != {root, without}:
            neighbors.setdefault(int(i), []).append(int(j))
    group, new = {root}, [root]
    while new:
        new = [n for atom in new for n in neighbors.get(atom, ()) if n not in group]
        group |= set(new)
    return group


def _number(text: str) -> float:
    """Read a finite number; NaN where there is none."""
    try:
        value = float(text)
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan
