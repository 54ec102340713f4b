"""Reader of every structure format that ASE knows.

Extxyz, ASE databases and trajectories, outputs of programs.

Labels are those ASE recognises (single-point results), else arrays and ``info`` entries under the
usual names. ASE's units are eV and Å; a file in others is read with ``units``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.db import connect
from ase.db.core import Database
from ase.io import iread
from ase.stress import voigt_6_to_full_3x3_stress

from potentials.datasets.formats.states import CHARGE_KEYS, MULTIPLICITY_KEYS, SPIN_KEY, state_of
from potentials.datasets.formats.units import EV_ANGSTROM, Units
from potentials.datasets.frames import Frames, make_frames

Array = npt.NDArray[Any]

ENERGY_KEYS = ("energy", "Energy", "REF_energy", "dft_energy", "total_energy")
FORCE_KEYS = ("forces", "force", "REF_forces", "dft_forces")
PARTIAL_CHARGE_KEYS = (
    "partial_charges",
    "charges",
    "hirshfeld_charges",
    "mbis_charges",
    "atomic_charges",
)
DATABASES = (".db", ".json", ".aselmdb")


def read_structures(
    path: Path, units: Units | None = None, energies: Array | None = None
) -> Frames:
    """Read labelled structures with ASE.

    Parameters
    ----------
    path : Path
    units : Units or None     of the file; None is eV and Å
    energies : (S,) or None   where they stand in another file

    Raises
    ------
    ValueError                not readable, without energies, forces in some structures only
    """
    try:
        images = list(_database(path) if path.suffix in DATABASES else iread(path, index=":"))
    except FileNotFoundError:
        raise
    except Exception as error:  # ASE's readers fail in many ways on what is not theirs
        raise ValueError(
            f"`{path.name}` must be a structure file that ASE reads; got {type(error).__name__}:"
            f" {error}. Check it."
        ) from error
    if not images:
        raise ValueError(f"`{path.name}` must hold structures; got none. Check the file.")
    states = [state_of(atoms, f"structure {n} of {path.name}") for n, atoms in enumerate(images)]
    forces = [_found(atoms, FORCE_KEYS, atoms.arrays) for atoms in images]
    charges = [_found(atoms, PARTIAL_CHARGE_KEYS, atoms.arrays) for atoms in images]
    stress = [_stress(atoms) for atoms in images]
    return make_frames(
        n_atoms=np.array([len(atoms) for atoms in images]),
        atomic_numbers=np.concatenate([atoms.numbers for atoms in images]),
        positions=np.concatenate([atoms.positions for atoms in images]),
        energy=(
            np.array([_energy(atoms, n, path) for n, atoms in enumerate(images)])
            if energies is None
            else _matching(energies, images, path)
        ),
        forces=_all_or_none("forces", forces, path),
        total_charge=np.array([state.charge for state in states]),
        multiplicity=np.array([state.multiplicity for state in states]),
        cell=np.stack([atoms.cell.array for atoms in images]),
        pbc=np.stack([atoms.pbc for atoms in images]),
        stress=(
            None
            if stress[0] is None
            else _all_or_none("stress", [None if s is None else s[None] for s in stress], path)
        ),
        partial_charges=(
            None
            if any(c is None for c in charges)
            else np.concatenate([np.asarray(c) for c in charges])
        ),
        units=units or EV_ANGSTROM,
    )


def _database(path: Path) -> Iterator[Atoms]:
    """Yield the rows of an ASE database; its key-value pairs become ``info``."""
    database: Database = connect(path)
    for row in database.select():
        atoms = row.toatoms()
        atoms.info |= {
            key: vars(row)[key] for key in row.key_value_pairs
        }  # row.charge would be the sum of initial charges
        if isinstance(row.get("data"), dict):
            atoms.info |= {
                key: row.data[key]
                for key in (*CHARGE_KEYS, *MULTIPLICITY_KEYS, SPIN_KEY)
                if key in row.data
            }
        yield atoms


def _found(atoms: Atoms, names: tuple[str, ...], elsewhere: dict[str, Any]) -> Any:
    results = {} if atoms.calc is None else atoms.calc.results
    for name in names:
        for place in (results, elsewhere):
            if place.get(name) is not None:
                return place[name]
    return None


def _energy(atoms: Atoms, number: int, path: Path) -> float:
    energy = _found(atoms, ENERGY_KEYS, atoms.info)
    if energy is None:
        names = ", ".join(ENERGY_KEYS)
        raise ValueError(
            f"`{path.name}` must hold an energy ({names}) for each structure; got none in structure"
            f" {number}. Add it."
        )
    return float(energy)


def _stress(atoms: Atoms) -> Array | None:
    stress = _found(atoms, ("stress",), atoms.info)
    if stress is None:
        return None
    values = np.asarray(stress, dtype=np.float64)
    return voigt_6_to_full_3x3_stress(values) if values.size == 6 else values.reshape(3, 3)


def _all_or_none(label: str, values: list[Any], path: Path) -> Array | None:
    missing = [n for n, value in enumerate(values) if value is None]
    if len(missing) == len(values):
        return None
    if missing:
        raise ValueError(
            f"`{label}` must be there for all structures of {path.name} or for none; got none in"
            f" structure {missing[0]}. Split it."
        )
    return np.concatenate([np.asarray(value) for value in values])


def _matching(energies: Array, images: list[Atoms], path: Path) -> Array:
    if len(energies) != len(images):
        raise ValueError(
            f"`energies` must have one for each of {len(images)} structures of {path.name}; got"
            f" {len(energies)}."
        )
    return energies
