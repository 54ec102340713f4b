"""Total charge and multiplicity of a structure.

Where they come from, and whether its electrons can have them.

``multiplicity`` is 2S + 1, unpaired electrons are 2S. The first source that says something wins:
the calculator's arguments, ``atoms.info``, the sums of ``initial_charges`` and ``initial_magmoms``,
charge 0 and the lowest multiplicity that fits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from potentials.card import html_table
from potentials.structure.states import (
    CHARGE_KEYS,
    MULTIPLICITY_KEYS,
    SPIN_KEY,
    SUM_TOLERANCE,
    fits,
    is_spin_of,
    multiplicity_of_spin,
)

DEFAULT_SOURCE = "default"  # of a charge that nobody gave


class StateWarning(UserWarning):
    """The electronic state was chosen for want of anything that says it, and may not be meant."""


class ElectronicState(NamedTuple):
    """Total charge and multiplicity of one structure, and who said so."""

    charge: int  # e
    multiplicity: int  # 2S + 1
    charge_source: str
    multiplicity_source: str

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"charge {self.charge:+d} ({self.charge_source}), multiplicity {self.multiplicity}"
            f" ({self.multiplicity_source})"
        )

    def _repr_html_(self) -> str:
        """Lay charge, multiplicity and who said so out for a notebook."""
        return html_table(
            {
                "charge": f"{self.charge:+d} ({self.charge_source})",
                "multiplicity": f"{self.multiplicity} ({self.multiplicity_source})",
            }
        )


class Given(NamedTuple):
    """A value and its source."""

    value: int
    source: str


def resolve(
    atoms: Atoms, charge: int | None = None, multiplicity: int | None = None
) -> ElectronicState:
    """Find charge and multiplicity of a structure.

    Parameters
    ----------
    atoms : Atoms             its info, initial charges and magnetic moments are read, never written
    charge : int or None      e, given to the calculator; wins over everything
    multiplicity : int or None  2S + 1, likewise

    Raises
    ------
    ValueError                not a whole number, sources of one kind that disagree, an impossible
                              number of electrons
    """
    the_charge = (
        _argument("charge", charge)
        or _info(atoms, dict.fromkeys(CHARGE_KEYS, 0))
        or _charge_sum(atoms)
        or Given(0, DEFAULT_SOURCE)
    )
    n_electrons = count_electrons(atoms, the_charge.value)
    the_multiplicity = (
        _argument("multiplicity", multiplicity)
        or _info(atoms, MULTIPLICITY_KEYS)
        or _spin(atoms, n_electrons)
        or _magmom_sum(atoms)
        or Given(1 + n_electrons % 2, "lowest that fits")
    )
    state = ElectronicState(
        the_charge.value, the_multiplicity.value, the_charge.source, the_multiplicity.source
    )
    check(atoms, state)
    _check_spin(atoms, state)
    return state


def count_electrons(atoms: Atoms, charge: int) -> int:
    """Count the electrons of a structure of this charge.

    Raises
    ------
    ValueError   the charge takes more electrons than there are
    """
    n_protons = int(atoms.numbers.sum())
    if charge > n_protons:
        raise ValueError(
            f"`charge` must be at most {n_protons:+d}, the protons of {atoms.symbols}; got"
            f" {charge:+d}. Pass a smaller charge."
        )
    return n_protons - charge


def check(atoms: Atoms, state: ElectronicState) -> None:
    """Raise ValueError where the number of electrons does not allow the multiplicity.

    Name the nearest that fit.
    """
    n_electrons = count_electrons(atoms, state.charge)
    if fits(state.multiplicity, n_electrons):
        return
    near = [m for m in (state.multiplicity - 1, state.multiplicity + 1) if fits(m, n_electrons)]
    choices = near or [1 + n_electrons % 2]
    named = " or ".join(f"multiplicity={m}" for m in choices)
    first = 1 + n_electrons % 2
    series = ", ".join(str(m) for m in (first, first + 2) if fits(m, n_electrons)) + (
        ", …" if fits(first + 4, n_electrons) else ""
    )
    raise ValueError(
        f"`multiplicity` must fit {n_electrons} electrons ({'odd' if n_electrons % 2 else 'even'}):"
        f" {series}; got {state.multiplicity} ({state.multiplicity_source}) for {atoms.symbols},"
        f" charge {state.charge:+d} ({state.charge_source}). Pass {named}, or another charge."
    )


def whole(name: str, value: Any) -> int:
    """Read a whole number of any type: int, numpy integer, 1.0, an array of one."""
    try:
        number = (
            float(np.asarray(value).item())
            if not isinstance(value, (bool, np.bool_, str))
            else float("nan")
        )
    except (TypeError, ValueError):
        number = float("nan")
    if not number.is_integer():
        raise ValueError(f"`{name}` must be a whole number; got {value!r}. Pass an integer.")
    return int(number)


def _argument(name: str, value: int | None) -> Given | None:
    return None if value is None else Given(whole(name, value), "calculator")


def _info(atoms: Atoms, keys: dict[str, int]) -> Given | None:
    """Read what all keys present agree on."""
    found = {
        key: whole(f'atoms.info["{key}"]', atoms.info[key]) + add
        for key, add in keys.items()
        if atoms.info.get(key) is not None
    }
    if not found:
        return None
    if len(set(found.values())) > 1:
        said = ", ".join(f"{key}={atoms.info[key]!r}" for key in found)
        raise ValueError(f"`atoms.info` must say one thing; got {said}. Keep one of these keys.")
    key = next(iter(found))
    return Given(found[key], f'info["{key}"]')


def _spin(atoms: Atoms, n_electrons: int) -> Given | None:
    """Read a bare spin where one meaning alone is likely.

    2S + 1 that fits the electrons, or zero.
    """
    if atoms.info.get(SPIN_KEY) is None:
        return None
    spin = atoms.info[SPIN_KEY]
    number = whole(f'atoms.info["{SPIN_KEY}"]', spin)
    multiplicity = multiplicity_of_spin(number, n_electrons)
    if multiplicity is None:
        raise ValueError(
            f'`atoms.info["{SPIN_KEY}"]` means 2S + 1 to some programs and 2S to others, and must'
            f" fit {n_electrons} electrons as 2S + 1; got {spin!r}. Set"
            ' atoms.info["multiplicity"] (2S + 1) instead, or the charge that is missing.'
        )
    how = "read as 2S + 1" if number else "no unpaired electrons"
    return Given(multiplicity, f'info["{SPIN_KEY}"], {how}')


def _check_spin(atoms: Atoms, state: ElectronicState) -> None:
    """Refuse a bare spin that contradicts the multiplicity of another entry, whatever it means."""
    spin = atoms.info.get(SPIN_KEY)
    if spin is None or not state.multiplicity_source.startswith("info"):
        return
    if not is_spin_of(state.multiplicity, float(np.asarray(spin).item())):
        raise ValueError(
            f"`atoms.info` must say one thing; got {SPIN_KEY}={spin} and multiplicity"
            f" {state.multiplicity} ({state.multiplicity_source}). Keep one of these keys."
        )


def _charge_sum(atoms: Atoms) -> Given | None:
    charges = atoms.arrays.get("initial_charges")
    if charges is None or not charges.any():
        return None
    return Given(
        _near_whole("charge", "initial_charges", float(charges.sum())), "sum of initial_charges"
    )


def _magmom_sum(atoms: Atoms) -> Given | None:
    magmoms = atoms.arrays.get("initial_magmoms")
    if magmoms is None or not magmoms.any():
        return None
    if magmoms.ndim > 1:
        raise ValueError(
            "`initial_magmoms` must be one number per atom; got vectors. Pass multiplicity to the"
            " calculator."
        )
    return Given(
        1 + abs(_near_whole("multiplicity", "initial_magmoms", float(magmoms.sum()))),
        "sum of initial_magmoms",
    )


def _near_whole(name: str, array: str, total: float) -> int:
    if not abs(total - round(total)) <= SUM_TOLERANCE:
        raise ValueError(
            f'`{array}` must add up to a whole number; got {total:.3f}. Set atoms.info["{name}"]'
            " instead."
        )
    return round(total)
