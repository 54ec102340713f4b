"""QM9: 133,885 small molecules of H, C, N, O, F at their minima, and twelve properties of each.

No forces.

``qm9:TARGET`` is everything that is sound, 130,831 molecules; ``qm9:TARGET:train`` 120,000 of them,
from which a training draws 110,000 and 10,000 to validate as the literature does, and
``qm9:TARGET:test`` the other 10,831, drawn with our own seed. The target stands where other sets
have the energy: `QUANTITIES` tells its unit. ``U0``, ``U``, ``H``, ``G`` are total energies; with
``-atomization`` behind the name those of the free atoms are taken away.

Left out are the 3,054 molecules whose bonds are not those of their SMILES after relaxation, by the
list of the authors.

One file of the archive is one molecule, extended xyz in their own way: the number of atoms; a line
of the number of the molecule, three rotational constants and the properties; a line for each atom
with symbol, x, y, z in Å and its Mulliken charge; frequencies; SMILES; InChI. Numbers may be
written 1.5*^-6.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers, chemical_symbols

from potentials.datasets.formats.units import EV_ANGSTROM, HARTREE
from potentials.datasets.frames import Frames, Provenance, make_frames
from potentials.datasets.recipe import Part, Recipe, RemoteFile, choose, padded
from potentials.datasets.splits import split

Array = npt.NDArray[np.float64]

FORM = "qm9:TARGET[:PART]"
PARTS = ("train", "test")
N_TRAIN, SEED = 120_000, 0
N_MOLECULES = 133_885
HEAD, END = 9, -1  # lines of text around the list of those left out
# behind the rotational constants
COLUMNS = ("mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv")
IN_HARTREE = ("homo", "lumo", "gap", "zpve", "U0", "U", "H", "G")  # read as eV
FIRST = 5  # word of the second line: behind "gdb", the number and the rotational constants
QUANTITIES = {
    "mu": "dipole moment, D",
    "alpha": "isotropic polarisability, bohr^3",
    "homo": "energy of the highest occupied orbital, eV",
    "lumo": "energy of the lowest unoccupied orbital, eV",
    "gap": "gap between the two orbitals, eV",
    "r2": "electronic spatial extent, bohr^2",
    "zpve": "zero-point vibrational energy, eV",
    "U0": "energy at 0 K, eV",
    "U": "energy at 298.15 K, eV",
    "H": "enthalpy at 298.15 K, eV",
    "G": "free energy at 298.15 K, eV",
    "Cv": "heat capacity at 298.15 K, cal/(mol K)",
}
# which of the table each is; the others are energies
STANDS_FOR = {
    "mu": "dipole_moment",
    "alpha": "isotropic_polarizability",
    "homo": "orbital_energy",
    "lumo": "orbital_energy",
    "gap": "orbital_energy",
    "r2": "spatial_extent",
    "zpve": "vibrational_energy",
    "Cv": "heat_capacity",
}
FREE_ATOMS = {  # hartree, of the same method, from the authors' atomref.txt
    "U0": {"H": -0.500273, "C": -37.846772, "N": -54.583861, "O": -75.064579, "F": -99.718730},
    "U": {"H": -0.498857, "C": -37.845355, "N": -54.582445, "O": -75.063163, "F": -99.717314},
    "H": {"H": -0.497912, "C": -37.844411, "N": -54.581501, "O": -75.062219, "F": -99.716370},
    "G": {"H": -0.510927, "C": -37.861317, "N": -54.598897, "O": -75.079532, "F": -99.733544},
}
ATOMIZATION = "-atomization"
TARGETS = (*COLUMNS, *(f"{name}{ATOMIZATION}" for name in FREE_ATOMS))
ARCHIVE = RemoteFile(
    "dsgdb9nsd.xyz.tar.bz2",
    "https://ndownloader.figshare.com/files/3195389",
    "3a63848ac80691bdb8d41834b575afad345b9300d7a2db0c38adb7f6eaa8360c",
)
LEFT_OUT = RemoteFile(
    "uncharacterized.txt",
    "https://ndownloader.figshare.com/files/3195404",
    "3aa5115d540b356de94791d4a74c3bf1ed91c469ecf52a4f5d7cc0506fe02e24",
)


class Molecule(NamedTuple):
    """One file."""

    number: int  # from 1
    atomic_numbers: list[int]
    positions: list[list[float]]  # Å
    properties: dict[str, float]  # by the names in `COLUMNS`, energies in hartree


def read_qm9(paths: Sequence[Path], target: str = "U0", piece: str = "") -> Frames:
    """Read the archive and the list of those that are left out.

    Parameters
    ----------
    paths : two paths   archive and list
    target : str        one of `TARGETS`
    piece : str         one of `PARTS`, or nothing for all

    Raises
    ------
    ValueError          a file that is not of this form, or none
    """
    left_out = read_left_out(paths[1].read_text(encoding="utf-8"), paths[1].name)
    with tarfile.open(paths[0]) as archive:
        texts = (
            (member.name, archive.extractfile(member))
            for member in archive
            if member.isfile() and member.name.endswith(".xyz")
        )
        read = [
            read_molecule(file.read().decode("utf-8"), name)
            for name, file in texts
            if file is not None
        ]
    molecules = sorted(
        (molecule for molecule in read if molecule.number not in left_out),
        key=lambda molecule: molecule.number,
    )
    if not molecules:
        raise ValueError(
            f"`{paths[0].name}` must hold files *.xyz of molecules; got none. Fetch it again."
        )
    quantity = STANDS_FOR.get(target)
    frames = make_frames(
        n_atoms=np.array([len(m.atomic_numbers) for m in molecules]),
        atomic_numbers=np.concatenate([m.atomic_numbers for m in molecules]),
        positions=np.concatenate([m.positions for m in molecules]),
        energy=np.array([target_of(m, "U0" if quantity else target) for m in molecules]),
        multiplicity=1,
        more={quantity: np.array([target_of(m, target) for m in molecules])} if quantity else {},
    )
    if not piece:
        return frames
    # smaller for a sample of the set
    drawn = split(frames, min(N_TRAIN, int(0.9 * len(frames))), 0, SEED)
    return drawn.train if piece == "train" else drawn.test


def read_molecule(text: str, name: str) -> Molecule:
    """Read one file.

    Raises
    ------
    ValueError   anything that does not fit the form
    """
    lines = text.splitlines()
    try:
        n_atoms = int(lines[0])
        tag, number, *words = lines[1].split()
        rows = [line.split() for line in lines[2 : 2 + n_atoms]]
        values = [_number(word) for word in words[FIRST - 2 :]]
        properties = dict(zip(COLUMNS, values, strict=True))
        if tag != "gdb" or len(rows) != n_atoms or any(len(row) != 5 for row in rows):
            raise ValueError("wrong number of columns")
        return Molecule(
            int(number),
            [atomic_numbers[row[0]] for row in rows],
            [[_number(x) for x in row[1:4]] for row in rows],
            properties,
        )
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"`{name}` must be a molecule of QM9 in the form of its authors; got {error}. Fetch the"
            " archive again."
        ) from error


def read_left_out(text: str, name: str) -> set[int]:
    """Read the numbers of the molecules that are left out.

    The first word of each line between head and end.

    Raises
    ------
    ValueError   no such lines
    """
    rows = text.splitlines()[HEAD:END]
    words = [row.split()[0] if row.strip() else "" for row in rows]
    if not words or not all(word.isdecimal() and int(word) <= N_MOLECULES for word in words):
        raise ValueError(
            f"`{name}` must list molecules of QM9 by number from line {HEAD + 1} on. Fetch it"
            " again."
        )
    return {int(word) for word in words}


def target_of(molecule: Molecule, target: str) -> float:
    """One property of a molecule, in the unit of `QUANTITIES`."""
    name = target.removesuffix(ATOMIZATION)
    value = molecule.properties[name]
    if target != name:
        value -= sum(FREE_ATOMS[name][chemical_symbols[z]] for z in molecule.atomic_numbers)
    return value * HARTREE if name in IN_HARTREE else value


def part(fields: list[str]) -> Part:
    """Find the target and the part behind the fields of a name."""
    target, piece = padded(fields, 2, FORM)
    choose(target, TARGETS, "target", FORM)
    choose(piece, ("", *PARTS), "part", FORM)
    name = target.removesuffix(ATOMIZATION)
    quantity = QUANTITIES[name] + (", less that of the free atoms" if name != target else "")
    return Part((ARCHIVE, LEFT_OUT), partial(read_qm9, target=target, piece=piece), quantity)


def _number(word: str) -> float:
    return float(word.replace("*^", "e"))


QM9 = Recipe(
    form=FORM,
    example="qm9:U0",
    names=tuple(
        f"qm9:{target}{piece}" for target in TARGETS for piece in ("", *(f":{p}" for p in PARTS))
    ),
    part=part,
    provenance=Provenance(
        name="QM9",
        description=(
            "130,831 molecules of up to nine heavy atoms at their minima; twelve properties, one a"
            " name, no forces"
        ),
        theory="B3LYP/6-31G(2df,p)",
        licence="CC0-1.0",
        citation=(
            "R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, Sci. Data 1, 140022 (2014)"
        ),
        url="https://doi.org/10.6084/m9.figshare.c.978904",
        units=EV_ANGSTROM,
    ),
)
