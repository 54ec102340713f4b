"""The electric field that a calculator is asked to put a structure in.

The field is uniform, in V/Å, with the sign of physics: E(F) = E - μ·F.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from potentials.terms.field import FIELD

# entries of atoms.info that other programs read as fields, each with a sign and unit of its own
AMBIGUOUS = ("external_field", "electric_field")
Vector = tuple[float, float, float]


def read_field(given: Sequence[float] | np.ndarray | None, inputs: set[str]) -> Vector | None:
    """Check a field in V/Å, for a potential that reads these inputs.

    Raises
    ------
    ValueError   not three finite numbers, or a model that has no dipole
    """
    if given is None:
        return None
    try:
        field = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        field = np.array(np.nan)
    if field.shape != (3,) or not np.isfinite(field).all():
        raise ValueError(
            f"`{FIELD}` must be three finite numbers in V/Å; got {given!r}. Pass (x, y, z)."
        )
    if field.any() and FIELD not in inputs:
        raise ValueError(
            f"`{FIELD}` must be left out for a model that predicts no dipole; got"
            f" {_spelt(field)} V/Å. Take a model with a dipole."
        )
    x, y, z = field.tolist()
    return x, y, z


def field_of(atoms: Atoms, asked: Vector | None, inputs: set[str]) -> Vector | None:
    """Find the field of a structure in V/Å: as asked of the calculator, else of ``atoms.info``.

    None where it is zero.

    Raises
    ------
    ValueError   no field that could be meant, or a periodic structure
    """
    for name in AMBIGUOUS:
        if name in atoms.info:
            raise ValueError(
                f"`{name}` must be left out of atoms.info: some programs read it as E - μ·F,"
                f" others as E + μ·F, in units of their own; got {atoms.info[name]}. Set"
                f' atoms.info["{FIELD}"], in V/Å, where a positive charge is pulled along the'
                " field."
            )
    field = read_field(atoms.info.get(FIELD), inputs) if asked is None else asked
    if field is None or not any(field):
        return None
    if atoms.pbc.any():
        raise ValueError(
            f"`{FIELD}` must be left out for a periodic structure, whose dipole depends on where"
            f" its cell is cut; got {_spelt(field)} V/Å. Take a molecule or a cluster."
        )
    return field


def as_inputs(atoms: Atoms, field: Vector | None, names: Sequence[str]) -> Mapping[str, Any]:
    """Collect the inputs of a structure by name: its field, and what else ``atoms.info`` says."""
    said = {name: atoms.info[name] for name in names if name in atoms.info and name != FIELD}
    return said if field is None else said | {FIELD: field}


def _spelt(field: Sequence[float] | np.ndarray) -> str:
    return f"({', '.join(f'{x:g}' for x in field)})"
