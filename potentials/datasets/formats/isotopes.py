"""Masses of isotopes that structure files name: D, T, mass numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from ase import Atoms

HYDROGEN = {"D": 2, "T": 3}  # symbol -> mass number
GAUSSIAN_ATOM = re.compile(r"\s*[A-Z][a-z]?(?:-\w+)*(?:\([^)]*\))?[\s,]+-?\d+\.\d", re.I)
GAUSSIAN_ISOTOPE = re.compile(r"\([^)]*\biso=(\d+)", re.I)
# (atomic number, mass number) -> u, AME 2020; others weigh their mass number, off by 0.1 %
MASSES_U = {
    (1, 1): 1.00782503,
    (1, 2): 2.01410178,
    (1, 3): 3.01604928,
    (6, 12): 12.0,
    (6, 13): 13.00335484,
    (6, 14): 14.00324199,
    (7, 14): 14.00307400,
    (7, 15): 15.00010890,
    (8, 16): 15.99491462,
    (8, 17): 16.99913176,
    (8, 18): 17.99915961,
    (16, 32): 31.97207117,
    (16, 34): 33.96786701,
    (17, 35): 34.96885269,
    (17, 37): 36.96590257,
}


def set_isotopes(atoms: Atoms, mass_numbers: Mapping[int, int]) -> None:
    """Give atoms, by their place in the structure, the masses of isotopes; the rest keep theirs."""
    if not mass_numbers:
        return
    masses = atoms.get_masses()
    for place, number in mass_numbers.items():
        masses[place] = MASSES_U.get((int(atoms.numbers[place]), number), float(number))
    atoms.set_masses(masses)


def isotopes_of_gaussian(text: str) -> dict[int, int]:
    """Read mass numbers of the atom lines of a Gaussian input, as in H(Iso=2), by place."""
    lines = [line for line in text.splitlines() if GAUSSIAN_ATOM.match(line)]
    found = (GAUSSIAN_ISOTOPE.search(line) for line in lines)
    return {place: int(match[1]) for place, match in enumerate(found) if match}


def keep_masses(atoms: Atoms) -> list[str]:
    """Use a column of masses or mass numbers, whatever its plain name.

    Returns
    -------
    remarks : list of str   what cannot be masses and was not used
    """
    remarks = []
    for name in [name for name in atoms.arrays if name.lower() in ("mass", "isotope", "isotopes")]:
        values = np.asarray(atoms.arrays.pop(name), dtype=object)
        try:
            numbers = values.astype(np.float64)
        except ValueError:
            numbers = np.full(len(atoms), np.nan)
        given = numbers > 0
        near = np.abs(numbers - atoms.numbers * 2.2) < 3 + atoms.numbers  # no mass is far from it
        if numbers.shape != (len(atoms),) or not (near | ~given).all() or np.isnan(numbers).any():
            remarks.append(f"its column {name} holds no masses in u and was not used")
        elif name.lower() == "mass":
            atoms.set_masses(np.where(given, numbers, atoms.get_masses()))
        else:
            set_isotopes(
                atoms, {int(n): int(numbers[n]) for n in np.flatnonzero(given) if numbers[n]}
            )
    return remarks
