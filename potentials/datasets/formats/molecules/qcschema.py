"""Molecules of QCSchema JSON, alone or in the input or output of a calculation; lengths in bohr."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from ase import Atoms

from potentials.datasets.formats.isotopes import set_isotopes
from potentials.datasets.formats.units import BOHR

STATE = {"molecular_charge": "charge", "molecular_multiplicity": "multiplicity"}


def read_qcschema(text: str, name: str) -> Atoms | None:
    """Read the molecule, charge and multiplicity where they are said; None: another JSON.

    Raises
    ------
    ValueError   a molecule that is not whole, ghost atoms
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return None
    molecule = content.get("molecule", content) if isinstance(content, dict) else None
    if not isinstance(molecule, dict) or not {"symbols", "geometry"} <= molecule.keys():
        return None
    if not all(molecule.get("real") or [True]):
        raise ValueError(f"`{name}` must hold atoms alone; it has ghost atoms. Leave them out.")
    try:
        return _molecule(molecule)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must hold symbols and three lengths for each; got {error}. Correct it."
        ) from error


def _molecule(molecule: dict[str, Any]) -> Atoms:
    symbols = [symbol.capitalize() for symbol in molecule["symbols"]]
    positions = np.reshape(np.array(molecule["geometry"], dtype=np.float64), (-1, 3)) * BOHR
    atoms = Atoms(symbols, positions=positions)
    numbers = molecule.get("mass_numbers") or []
    usual = np.round(atoms.get_masses())
    set_isotopes(
        atoms, {n: int(a) for n, a in enumerate(numbers) if int(a) > 0 and int(a) != usual[n]}
    )
    atoms.info = {key: molecule[old] for old, key in STATE.items() if molecule.get(old) is not None}
    return atoms
