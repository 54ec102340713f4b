"""GSCDB: reference energies of reactions and complexes, to judge a method by, never to train it.

``gscdb:SET`` is one of its sets, ``gscdb:all`` all of them. The energy of an entry is the sum of
coefficient × energy over its species. A bare proton has no electrons and the energy 0; entries of
proton affinities leave it out. The file gives energies in hartree, positions in Å, and a field as
E + μ·f in atomic units; here everything is in eV and Å, and a field has the physical sign, E - μ·F.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ase import Atoms

from potentials.datasets.catalogue import ENVIRONMENT, data_folders, find_file
from potentials.datasets.checksum import checksum
from potentials.datasets.formats.units import BOHR, HARTREE
from potentials.datasets.recipe import RemoteFile, choose

FILE = RemoteFile("gscdb_development.json.gz", "")
SOURCE = "https://github.com/JiashuLiang/GSCDB"
FORM = "gscdb:SET"
ALL = "all"
FIELD = "electric_field_V_per_A"  # in ``info`` of a species that is in one
AXES = ("X", "Y", "Z")


class Entry(NamedTuple):
    """A reaction and its reference energy."""

    name: str
    set_name: str
    reference_eV: float
    stoichiometry: tuple[tuple[float, str], ...]  # coefficient and species

    def energy_eV(self, energies: Mapping[str, float]) -> float:
        """Add up the energies of its species in eV."""
        return sum(coefficient * energies[species] for coefficient, species in self.stoichiometry)


class Reactions(NamedTuple):
    """Entries with the species that they are made of."""

    sets: dict[str, str]  # name of each set -> what it is about
    entries: list[Entry]
    # charge and multiplicity in ``info``, and a field, V/Å, of those that are in one
    species: dict[str, Atoms]
    sha256: str  # of the file


def is_reactions(name: str) -> bool:
    """Whether a name stands for reactions and not for labelled structures."""
    return name.split(":")[0] == "gscdb"


def read_reactions(name: str = f"gscdb:{ALL}", data: str | Path | None = None) -> Reactions:
    """Read a set, or all of them.

    Parameters
    ----------
    name : str           ``gscdb:SET`` or ``gscdb:all``
    data : str or Path   folder with the file; default: those of POLCALC_DATA, else ``./data``

    Raises
    ------
    FileNotFoundError    the file is not on this machine
    ValueError           unknown set, damaged file
    """
    path = _present(data)
    try:
        content = json.loads(gzip.decompress(path.read_bytes()))
        sets = {
            name: f"{description} ({kind})"
            for name, (kind, description) in content["kinds"].items()
        }
        entries = [
            Entry(
                entry,
                set_name,
                reference * HARTREE,
                tuple((float(coefficient), species) for coefficient, species in stoichiometry),
            )
            for entry, set_name, reference, stoichiometry in content["reactions"]
        ]
        species = {
            species: _atoms(*described) for species, described in content["molecules"].items()
        }
    except (OSError, EOFError, zlib.error, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{path}` must be a whole file of reactions; got {type(error).__name__}: {error}. "
            "Copy it again."
        ) from error
    wanted = choose(name.partition(":")[2], (ALL, *sets), "set", FORM)
    chosen = [entry for entry in entries if wanted in (ALL, entry.set_name)]
    needed = {species for entry in chosen for _, species in entry.stoichiometry}
    return Reactions(
        sets={set_name: about for set_name, about in sets.items() if wanted in (ALL, set_name)},
        entries=chosen,
        species={name: atoms for name, atoms in species.items() if name in needed},
        sha256=checksum(path),
    )


def is_proton(atoms: Atoms) -> bool:
    """Whether a species is a bare proton, which has no electrons."""
    return bool(atoms.numbers.tolist() == [1] and atoms.info["charge"] == 1)


def _atoms(
    symbols: str, positions: Any, charge: int, multiplicity: int, field: Mapping[str, float] | None
) -> Atoms:
    atoms = Atoms(symbols.split(), positions, info={"charge": charge, "multiplicity": multiplicity})
    if field:
        atoms.info[FIELD] = [-field.get(axis, 0.0) * HARTREE / BOHR for axis in AXES]
    return atoms


def _present(data: str | Path | None) -> Path:
    path = find_file(FILE, data)
    if path is None:
        where = ", ".join(map(str, data_folders(data)))
        raise FileNotFoundError(
            f"`data` must hold {FILE.name} for {FORM}; got no such file in {where}. "
            f"It is the part of GSCDB to develop with ({SOURCE}): copy it there, "
            f"or set {ENVIRONMENT} to its folder."
        )
    return path
