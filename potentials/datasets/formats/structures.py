"""Labelled structures of every format that ASE knows.

Extxyz, ASE databases and trajectories, outputs of programs. ASE's units are eV and Å; a file in
others is read with ``units``. Isolated atoms that the file marks become energies of their elements.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import chemical_symbols

from potentials.datasets.formats.labels import Labels, Wanted, find_labels
from potentials.datasets.formats.reader import read_atoms
from potentials.datasets.formats.states import (
    CHARGES_OF_ATOMS,
    PARTIAL_CHARGE_KEYS,
    says_charge,
    state_of,
)
from potentials.datasets.formats.units import EV_ANGSTROM, Units
from potentials.datasets.frames import Frames, make_frames

Array = npt.NDArray[Any]

ISOLATED = {"isolatedatom", "isolatedatoms", "isolated", "freeatom", "singleatom", "atom", "e0"}
SAME_EV = 1e-3  # energies of one free atom that differ by less agree


def read_structures(
    path: Path,
    units: Units | None = None,
    energies: Array | None = None,
    wanted: Wanted = Wanted(),  # noqa: B008  (a NamedTuple)
) -> Frames:
    """Read labelled structures with ASE.

    Parameters
    ----------
    path : Path
    units : Units or None     of the file; None is eV and Å
    energies : (S,) or None   where they stand in another file
    wanted : Wanted           names of the labels that are to be read; empty: find them

    Raises
    ------
    ValueError                not readable, without energies, labels under several names that
                              differ, forces that are not finite, stress in some structures only
    """
    images, remarks = read_atoms(path)
    labels = find_labels(images, wanted, path.name)
    energy = _energies(labels, images, path, energies)
    given = units or EV_ANGSTROM
    alone = [n for n, atoms in enumerate(images) if _is_isolated(atoms)]
    references, told = _references([images[n] for n in alone], energy[alone], given)
    left = np.setdiff1d(np.arange(len(images)), alone)
    if not len(left):
        raise ValueError(
            f"`{path.name}` must hold structures beside isolated atoms; got none. Add some."
        )
    images = [images[n] for n in left]
    states = [state_of(atoms, f"structure {n} of {path.name}") for n, atoms in enumerate(images)]
    forces = [_force(labels.forces[n], atoms) for n, atoms in zip(left, images, strict=True)]
    stress = [labels.stress[n] for n in left]
    charges, about_charges = _partial_charges(images)
    return make_frames(
        n_atoms=np.array([len(atoms) for atoms in images]),
        atomic_numbers=np.concatenate([atoms.numbers for atoms in images]),
        positions=np.concatenate([atoms.positions for atoms in images]),
        energy=energy[left],
        forces=_known_forces(forces, images, path) if _any(labels.forces) else None,
        total_charge=np.array([state.charge for state in states]),
        multiplicity=np.array([state.multiplicity for state in states]),
        cell=np.stack([atoms.cell.array for atoms in images]),
        pbc=np.stack([atoms.pbc for atoms in images]),
        stress=_stress(stress, images, left, path),
        partial_charges=charges,
        units=given,
        references=references,
        remarks=[
            *remarks,
            *labels.remarks,
            *told,
            *about_charges,
            *_without_forces(labels.forces, images, left),
            *_odd(images),
            *_unmarked(images),
        ],
    )


def _energies(labels: Labels, images: list[Atoms], path: Path, given: Array | None) -> Array:
    if given is not None:
        if len(given) != len(images):
            raise ValueError(
                f"`energies` must have one for each of {len(images)} structures of {path.name}; got"
                f" {len(given)}."
            )
        return np.asarray(given, dtype=np.float64)
    missing = [n for n, value in enumerate(labels.energy) if value is None]
    if missing:
        offered = [remark for remark in labels.remarks if remark.startswith(("no energ", "energy"))]
        raise ValueError(
            f"`{path.name}` must hold an energy for each structure (under a name such as energy or"
            f" REF_energy); got none in structure {missing[0]}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}."
            f" {f'{offered[0]}.' if offered else 'Add it.'}"
        )
    return np.array(labels.energy, dtype=np.float64)


def _is_isolated(atoms: Atoms) -> bool:
    """Say whether a file marks a structure as a free atom, as with config_type=IsolatedAtom."""
    words = (
        re.sub(r"[^a-z0-9]", "", value.lower())
        for value in atoms.info.values()
        if isinstance(value, str)
    )
    return len(atoms) == 1 and not atoms.info.get("charge") and any(w in ISOLATED for w in words)


def _references(
    atoms: list[Atoms], energies: Array, units: Units
) -> tuple[dict[int, float], list[str]]:
    """Take the energy of each element from its free atom; eV."""
    found: dict[int, list[float]] = {}
    for atom, energy in zip(atoms, energies * units.energy_eV, strict=True):
        found.setdefault(int(atom.numbers[0]), []).append(float(energy))
    told = [
        f"the free atoms of {chemical_symbols[z]} have energies from {min(values):.3f} to"
        f" {max(values):.3f} eV; the lowest is its reference energy"
        for z, values in found.items()
        if max(values) - min(values) > SAME_EV
    ]
    return {z: min(values) for z, values in sorted(found.items())}, told


def _force(forces: Array | None, atoms: Atoms) -> Array | None:
    """Forces of a structure; that on a single atom is zero by symmetry."""
    return np.zeros((1, 3)) if forces is None and len(atoms) == 1 else forces


def _known_forces(forces: list[Array | None], images: list[Atoms], path: Path) -> Array:
    """Put forces one after the other, unknown (NaN) where a structure has none."""
    for n, one in enumerate(forces):
        if one is not None and not np.isfinite(one).all():
            raise ValueError(
                f"`forces` must be finite; got others in structure {n} of {path.name}. Remove it."
            )
    return np.concatenate(
        [
            np.full((len(atoms), 3), np.nan) if one is None else np.asarray(one)
            for one, atoms in zip(forces, images, strict=True)
        ]
    )


def _without_forces(forces: list[Array | None], images: list[Atoms], numbers: Array) -> list[str]:
    """Say how many structures have energies alone, where others have forces."""
    alone = [
        int(n) for n, a in zip(numbers, images, strict=True) if forces[n] is None and len(a) > 1
    ]
    if not alone or len(alone) == len(images):
        return []
    return [f"{_structures(alone)} without forces: the energy alone is read"]


def _any(values: list[Array | None]) -> bool:
    return any(value is not None for value in values)


def _stress(
    stress: list[Array | None], images: list[Atoms], numbers: Array, path: Path
) -> Array | None:
    """Stress of all structures, zero for open ones where all periodic ones have it."""
    if not _any(stress):
        return None
    filled = [
        np.zeros((3, 3)) if s is None and not atoms.pbc.any() else s
        for s, atoms in zip(stress, images, strict=True)
    ]
    return _all_or_none("stress", [None if s is None else s[None] for s in filled], numbers, path)


def _all_or_none(label: str, values: list[Any], numbers: Array, path: Path) -> Array:
    missing = [n for n, value in zip(numbers, values, strict=True) if value is None]
    if missing:
        raise ValueError(
            f"`{label}` must be there for all structures of {path.name} or for none; got none in"
            f" structure {missing[0]}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}. Split it."
        )
    return np.concatenate([np.asarray(value) for value in values])


def _partial_charges(images: list[Atoms]) -> tuple[Array | None, list[str]]:
    """Read the charges of the atoms where every structure has them, and name what is not read."""
    found = [_known_charges(atoms) for atoms in images]
    missing = sum(charges is None for charges in found)
    told = []
    if 0 < missing < len(images):
        told = [
            f"charges of atoms are in {len(images) - missing} structures only and were not read"
        ]
    others = {
        name
        for atoms in images
        for name, values in atoms.arrays.items()
        if CHARGES_OF_ATOMS.match(name)
        and name not in (*PARTIAL_CHARGE_KEYS, "initial_charges")
        and np.shape(values) == (len(atoms),)
    }
    for name in sorted(others):
        told.append(f"its column {name} was not read. Rename it to partial_charges to use it")
    if missing:
        return None, told
    return np.concatenate([np.asarray(charges) for charges in found]), told


def _known_charges(atoms: Atoms) -> Array | None:
    results = {} if atoms.calc is None else atoms.calc.results
    for name in PARTIAL_CHARGE_KEYS:
        for place in (results, atoms.arrays):
            if place.get(name) is not None:
                return np.asarray(place[name])
    return None


def _odd(images: list[Atoms]) -> list[str]:
    """Name structures of an odd number of electrons whose charge nobody declares."""
    odd = [n for n, a in enumerate(images) if a.numbers.sum() % 2 and not says_charge(a)]
    if not odd:
        return []
    return [
        f"{_structures(odd)} of an odd number of electrons and no declared charge: taken as neutral"
        " radicals. Write charge= into the file if they are ions"
    ]


def _unmarked(images: list[Atoms]) -> list[str]:
    single = [n for n, atoms in enumerate(images) if len(atoms) == 1]
    if not single or len(single) == len(images):
        return []
    return [
        f"{_structures(single)} of one atom without the mark config_type=IsolatedAtom: taken as"
        " structures like the others. Mark them if they are to set the energies of their elements"
    ]


def _structures(numbers: list[int]) -> str:
    rest = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
    return f"structure {numbers[0]}{rest}"
