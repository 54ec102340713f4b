"""From a structure file to ASE atoms: the one reader of all commands and of training.

Every frame of the file is read or the file is refused. ``info`` tells charge and multiplicity as
``charge`` and ``multiplicity`` where the file declares them, in whatever format and under whatever
plain name; isotopes are masses. What the file says and is not used is named in the remarks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.db import connect
from ase.db.core import Database
from ase.io import read
from ase.io.formats import (
    UnknownFileTypeError,
    filetype,
    get_compression,
    open_with_compression,
)

from potentials.datasets.formats import xyz
from potentials.datasets.formats.declared import declared
from potentials.datasets.formats.isotopes import (
    HYDROGEN,
    isotopes_of_gaussian,
    keep_masses,
    set_isotopes,
)
from potentials.datasets.formats.molecules.cif import read_cif
from potentials.datasets.formats.molecules.cml import read_cml
from potentials.datasets.formats.molecules.inputs import read_input, read_nwchem
from potentials.datasets.formats.molecules.mol2 import read_mol2
from potentials.datasets.formats.molecules.molfile import read_molfile
from potentials.datasets.formats.molecules.pdb import read_pdb
from potentials.datasets.formats.molecules.qcschema import read_qcschema
from potentials.datasets.formats.states import (
    is_state,
    may_be_state,
    read_state,
    says_charge,
)

Frames = list[tuple[Atoms, list[str]]]
DATABASES = (".db", ".json", ".aselmdb")
XYZ = (".xyz", ".extxyz")
MOLECULES = (".mol", ".sdf", ".sd", ".mdl")
VELOCITIES = ("velocities", "velocity", "velo", "vel")
WHOLE = 1e-3  # of an occupancy


class Reading(NamedTuple):
    """The structures of a file, and what of it was not used."""

    frames: list[Atoms]
    remarks: list[str]


def read_atoms(path: Path) -> Reading:
    """Read every frame of a structure file.

    Raises
    ------
    FileNotFoundError   no such file
    ValueError          not a structure file, an element or a state that cannot be, contradictions
    """
    try:
        return _with_remarks(_reader(path)(path), path)
    except FileNotFoundError:
        raise
    except (KeyError, UnknownFileTypeError) as error:
        raise ValueError(_why_not(path, error)) from error
    except ValueError as error:
        if str(error).startswith("`"):
            raise
        raise ValueError(_why_not(path, error)) from error
    except Exception as error:  # ASE's readers fail in many ways on what is not theirs
        raise ValueError(_why_not(path, error)) from error


def _with_remarks(found: Frames, path: Path) -> Reading:
    """Read the state of every frame, and collect what is not used."""
    if not found or not all(len(atoms) for atoms, _ in found):
        raise ValueError(
            f"`{path.name}` must hold structures with atoms; got none. Check the file."
        )
    remarks: dict[str, list[int]] = {}
    for number, (atoms, told) in enumerate(found):
        for remark in finish(atoms, told, f"structure {number} of {path.name}"):
            remarks.setdefault(remark, []).append(number)
    return Reading(
        [atoms for atoms, _ in found],
        [_counted(remark, numbers, len(found)) for remark, numbers in remarks.items()],
    )


def finish(atoms: Atoms, told: list[str], where: str) -> list[str]:
    """Read the state and the masses of a structure; return all remarks on it.

    Raises
    ------
    ValueError   a state that cannot be, contradictions
    """
    return [*told, *read_state(atoms, where), *keep_masses(atoms), *_ignored(atoms)]


def _reader(path: Path) -> Callable[[Path], Frames]:
    """Choose who reads a file: by its ending, or by what it holds."""
    ending = ending_of(path)
    if ending in DATABASES:
        return _database
    if ending in XYZ:
        return _xyz
    if ending in MOLECULES:
        return _molecules
    return {".mol2": _mol2, ".cml": _cml, ".nw": _nwchem, ".nwi": _nwchem}.get(ending, _other)


def ending_of(path: Path) -> str:
    """Return the ending of a file without that of its compression.

    Raises
    ------
    FileNotFoundError   no such file
    """
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` must be a file; there is none. Check the name.")
    return Path(path.name.removesuffix(get_compression(path.name)[1] or "")).suffix.lower()


def _xyz(path: Path) -> Frames:
    return xyz.read_frames(_text(path) or "", path.name)


def _molecules(path: Path) -> Frames:
    return [(atoms, []) for atoms in read_molfile(_text(path) or "", path.name)]


def _mol2(path: Path) -> Frames:
    return read_mol2(_text(path) or "", path.name)


def _cml(path: Path) -> Frames:
    return [(atoms, []) for atoms in read_cml(_text(path) or "", path.name)]


def _nwchem(path: Path) -> Frames:
    text = _text(path) or ""
    if (atoms := read_nwchem(text, path)) is None:
        return _other(path)
    said, told = declared(text, "nwchem-in", path.name)
    atoms.info |= said
    return [(atoms, told)]


def _database(path: Path) -> Frames:
    return list(rows_of_database(path))


def rows_of_database(path: Path) -> Iterator[tuple[Atoms, list[str]]]:
    """Go through the rows of an ASE database; their key-value pairs become ``info``.

    Other JSON may be a molecule of QCSchema.
    """
    if ending_of(path) == ".json" and (molecule := read_qcschema(_text(path) or "", path.name)):
        yield molecule, []
        return
    database: Database = connect(path)
    for row in database.select():
        atoms = row.toatoms()
        # row.charge would be the sum of initial charges
        atoms.info |= {key: vars(row)[key] for key in row.key_value_pairs}
        if isinstance(row.get("data"), dict):
            nested = row.data.get("info")
            data = row.data if not isinstance(nested, dict) else {**nested, **row.data}
            atoms.info |= {key: value for key, value in data.items() if may_be_state(key)}
        if isinstance(asked := row.get("calculator_parameters"), dict):
            atoms.info |= {
                key: value
                for key, value in asked.items()
                if is_state(key) and key not in atoms.info and isinstance(value, int | float)
            }
        yield atoms, []


def _other(path: Path) -> Frames:
    """Read what ASE alone knows, and look in its text for a state."""
    text = _text(path)
    if text is not None and (atoms := read_input(text, path)) is not None:
        return [(atoms, [])]
    form = filetype(str(path))
    if form in ("xyz", "extxyz"):
        return _xyz(path)
    if form in ("mol", "sdf"):
        return _molecules(path)
    said, told = ({}, []) if text is None else declared(text, form, path.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ASE's readers, about what is no matter here
        if form == "proteindatabank" and text is not None:
            frames: Frames = [(atoms, []) for atoms in read_pdb(text)]
        elif form == "cif" and text is not None:
            frames = read_cif(text)
        else:
            frames = [(atoms, []) for atoms in read(str(path), index=":", format=form)]
    for atoms, _ in frames:
        atoms.info |= said
        if form == "gaussian-in" and text is not None:
            set_isotopes(atoms, isotopes_of_gaussian(text))
    if frames and not says_charge(frames[0][0]) and "initial_magmoms" not in frames[0][0].arrays:
        frames[0][1].extend(told)  # lines that were not used
    return frames


def _text(path: Path) -> str | None:
    """Return the text of a file, also a compressed one, or None where it is none."""
    with open_with_compression(str(path), "rb") as file:
        data = file.read()
    return None if b"\0" in data[:65536] else data.decode("utf-8", errors="replace")


def _ignored(atoms: Atoms) -> Iterable[str]:
    """Name what a structure says and no command honours."""
    for name in VELOCITIES:
        if name in atoms.arrays and "momenta" not in atoms.arrays:
            yield (
                f"its column {name} was not read as velocities, for its unit is not known. Write a"
                " column momenta, in ASE's units, to use them"
            )
    occupancy = atoms.arrays.get("occupancy")
    partial = occupancy is not None and bool(
        (np.abs(np.asarray(occupancy, dtype=np.float64) - 1) > WHOLE).any()
    )
    sites = atoms.info.get("occupancy")
    if isinstance(sites, dict):
        partial = any(
            len(site) > 1 or any(abs(float(share) - 1) > WHOLE for share in site.values())
            for site in sites.values()
            if isinstance(site, dict)
        )
    if partial:
        yield "some of its sites are occupied in part; all are taken as whole atoms"


def _counted(remark: str, numbers: list[int], n_frames: int) -> str:
    if n_frames == 1:
        return f"{remark}."
    rest = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
    return f"{remark} (structure {numbers[0]}{rest})."


def _why_not(path: Path, error: Exception) -> str:
    """Say what an ASE reader meant."""
    said = str(error).strip("'\"() ,").split("\n")[0][:120]
    if isinstance(error, UnknownFileTypeError):
        what = "it knows no such format"
    elif isinstance(error, KeyError) and len(said) <= 3:
        what = (
            f"{said} is no element; write H and a column masses"
            if said.capitalize() in HYDROGEN
            else f"{said} is no element"
        )
    else:
        what = f"{type(error).__name__}: {said}"
    return f"`{path.name}` must be a structure file that ASE reads; got {what}. Check it."
