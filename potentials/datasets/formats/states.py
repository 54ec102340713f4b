"""Charge and multiplicity of a structure in a file.

Under which names they stand, and what each name means.

The same names mean the same to the calculator; a test holds the two tables together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

CHARGE_KEYS = ("charge", "total_charge")
# keys that have one meaning, and what to add to their value to get 2S + 1
MULTIPLICITY_KEYS = {
    "multiplicity": 0,
    "spin_multiplicity": 0,
    "mult": 0,
    "total_spin": 0,
    "unpaired_electrons": 1,
    "num_unpaired_electrons": 1,
    "uhf": 1,
}
SPIN_KEY = "spin"  # 2S + 1 to some programs, 2S to others; the number of electrons tells which
SUM_TOLERANCE = 0.05  # e or electrons, what partial charges of three digits add up to


class State(NamedTuple):
    """Charge and multiplicity of one structure."""

    charge: float  # e
    multiplicity: int  # 2S + 1


def state_of(atoms: Atoms, where: str) -> State:
    """Read the state of a structure.

    From ``info``, else from initial charges and magnetic moments, else neutral and lowest.

    Raises
    ------
    ValueError   names that contradict each other, numbers that are not whole
    """
    charge = _agreed(atoms, dict.fromkeys(CHARGE_KEYS, 0), where)
    if charge is None:
        charge = _sum(atoms, "initial_charges", where)
    electrons = int(atoms.numbers.sum()) - charge
    multiplicity = _agreed(atoms, MULTIPLICITY_KEYS, where)
    if multiplicity is None and SPIN_KEY in atoms.info:
        multiplicity = _spin(atoms, electrons, where)
    if multiplicity is None and "initial_magmoms" in atoms.arrays:
        multiplicity = 1 + abs(_sum(atoms, "initial_magmoms", where))
    return State(charge, 1 + electrons % 2 if multiplicity is None else multiplicity)


def _agreed(atoms: Atoms, keys: dict[str, int], where: str) -> int | None:
    found = {
        key: _whole(key, atoms.info[key], where) + add
        for key, add in keys.items()
        if atoms.info.get(key) is not None
    }
    if len(set(found.values())) > 1:
        raise ValueError(
            f"`{' and '.join(found)}` must agree; got {list(found.values())} in {where}. Keep one"
            " of them."
        )
    return next(iter(found.values()), None)


def _spin(atoms: Atoms, electrons: int, where: str) -> int:
    """Take 2S + 1 where the number of electrons allows it, else 2S.

    Their parities differ, so one alone can fit.
    """
    spin = _whole(SPIN_KEY, atoms.info[SPIN_KEY], where)
    return spin if spin > 0 and (spin + electrons) % 2 == 1 else spin + 1


def _sum(atoms: Atoms, name: str, where: str) -> int:
    if name not in atoms.arrays:
        return 0
    if atoms.arrays[name].ndim > 1:
        raise ValueError(
            f"`{name}` must be one number per atom; got vectors in {where}. Write"
            " info['multiplicity'] instead."
        )
    total = float(atoms.arrays[name].sum())
    if not abs(total - round(total)) <= SUM_TOLERANCE:
        raise ValueError(
            f"`{name}` must add up to a whole number; got {total:.3f} in {where}. Write charge and"
            " multiplicity instead."
        )
    return round(total)


def _whole(key: str, value: Any, where: str) -> int:
    try:
        number = float(np.asarray(value).item())
    except (TypeError, ValueError):
        number = float("nan")
    if not number.is_integer():
        raise ValueError(f"`{key}` must be a whole number; got {value!r} in {where}. Correct it.")
    return int(number)
