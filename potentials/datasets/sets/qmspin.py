"""QMspin: carbenes, singlet and triplet energy at each geometry, energies alone.

``qmspin`` is everything; ``qmspin:random:PART`` the random split of the literature, 20,000 samples
to train and 1,000 to validate, drawn with our own seed, for its indices are not published;
``qmspin:parent:PART`` keeps what comes from one molecule of QM9 together. PART is train, validation
or test.

Files ``geometries_singlet/*.xyz`` and ``geometries_triplet/*.xyz`` of the archive, named by QM9
index, carbene index and the optimised state, ``s`` or ``t``: commas between columns, and a comment
of fields between ``;`` of which those that name MRCISD+Q and a state hold its energy in hartree.

The archive itself was not at hand. What is known of its layout: the readme of the record (names,
numbers of files, levels of theory), and one public program, which takes the fourth word of the
fourth field of the comment for an energy. Nothing is therefore read on trust: each energy must be
the only number of the only field that names its method and state, be near the sum of the atoms,
differ from that of the other state by no more than carbenes do, and one of them must stand where
that program looks. Anything else is refused, with the comment quoted.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers

from potentials.datasets.formats.units import HARTREE, Units
from potentials.datasets.frames import Frames, Provenance, make_frames
from potentials.datasets.recipe import Part, Recipe, RemoteFile, choose, padded
from potentials.datasets.splits import split
from potentials.datasets.statistics import atom_energies

FORM = "qmspin[:SPLIT:PART]"
SPLITS, PARTS = ("random", "parent"), ("train", "validation", "test")
N_TRAIN, N_VALIDATION, SEED = 20_000, 1_000, 0
STATES = {"singlet": 1, "triplet": 3}  # multiplicity
METHOD = re.compile(r"mrci(sd)?(-f12)?\+q", re.IGNORECASE)
UNITS = Units("hartree")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?:[eEdD][-+]?\d+)?(?![\w.])")  # a word of its own
# QM9 index, carbene index, optimised state
NAME = re.compile(r"(?:.*[^\d])?0*([1-9]\d*)\D+(\d+)\D*([st])")
QM9 = 133_885  # molecules
# field and word, from 0, where the one known reader of the files finds an energy
KNOWN_PLACE = (3, 3)
OF_THE_ATOMS = 0.95, 1.05  # total energy over the estimate for its atoms
LARGEST_GAP = 0.3  # hartree; vertical gaps of carbenes stay within 100 kcal/mol, 0.16 hartree
ARCHIVE = RemoteFile(
    "QMspin_Part1_wo_outputs.tar.gz",
    "http://www.quantum-machine.org/data/qmspin/QMspin_Part1_wo_outputs.tar.gz",
)


class Geometry(NamedTuple):
    """One file."""

    parent: int  # QM9 index
    atomic_numbers: list[int]
    positions: list[list[float]]  # Å
    energies: dict[int, float]  # multiplicity -> hartree


def read_qmspin(paths: Sequence[Path]) -> Frames:
    """Read the archive: two structures, singlet and triplet, for each geometry."""
    with tarfile.open(paths[0]) as archive:
        members = sorted(
            (
                m
                for m in archive
                if m.isfile() and re.search(r"geometries_(singlet|triplet)/[^/]*\.xyz$", m.name)
            ),
            key=lambda member: member.name,
        )
        geometries = [_read_member(archive, member) for member in members]
    if not geometries:
        raise ValueError(
            f"`{paths[0].name}` must hold geometries_singlet/*.xyz; got none. Fetch it again."
        )
    samples = [(g, multiplicity) for g in geometries for multiplicity in STATES.values()]
    return make_frames(
        n_atoms=np.array([len(g.atomic_numbers) for g, _ in samples]),
        atomic_numbers=np.concatenate([g.atomic_numbers for g, _ in samples]),
        positions=np.concatenate([g.positions for g, _ in samples]),
        energy=np.array([g.energies[multiplicity] for g, multiplicity in samples]),
        multiplicity=np.array([multiplicity for _, multiplicity in samples]),
        group=np.array([g.parent for g, _ in samples]),
        units=UNITS,
    )


def read_geometry(text: str, name: str, folder: str = "") -> Geometry:
    """Read one file of the archive.

    Parameters
    ----------
    text : str
    name : str     of the file, without suffix
    folder : str   "singlet" or "triplet", where the name of its folder says so

    Raises
    ------
    ValueError   anything that does not fit the layout
    """
    lines = text.splitlines()
    named = NAME.fullmatch(name)
    if named is None or int(named.group(1)) > QM9 or (folder and named.group(3) != folder[0]):
        place = f" in geometries_{folder}" if folder else ""
        raise ValueError(
            "`name` must be QM9 index, carbene index and the optimised state, s or t; got"
            f" {name}{place}. Check the archive."
        )
    numbers, positions = _atoms(lines, name)
    return Geometry(int(named.group(1)), numbers, positions, _energies(lines[1], numbers, name))


def part(fields: list[str]) -> Part:
    """Find the split behind the fields of a name."""
    how, piece = padded(fields, 2, FORM)
    if not how:
        return Part((ARCHIVE,), read_qmspin)
    choose(how, SPLITS, "split", FORM)
    return Part((ARCHIVE,), partial(_read_piece, how, choose(piece, PARTS, "part", FORM)))


def _read_piece(how: str, piece: str, paths: Sequence[Path]) -> Frames:
    frames = read_qmspin(paths)
    # smaller for a sample of the set
    wanted = (min(N_TRAIN, int(0.8 * len(frames))), min(N_VALIDATION, int(0.1 * len(frames))))
    drawn = split(frames if how == "parent" else replace(frames, group=None), *wanted, seed=SEED)
    chosen: Frames = getattr(drawn, piece)
    return chosen


def _atoms(lines: list[str], name: str) -> tuple[list[int], list[list[float]]]:
    rows = [line.replace(",", " ").split() for line in lines[2:] if line.strip()]
    wanted = lines[0].strip() if lines else ""
    if wanted != str(len(rows)) or any(
        len(row) != 4 or row[0] not in atomic_numbers for row in rows
    ):
        raise ValueError(
            f"`{name}` must hold {wanted} atoms, each a symbol and three coordinates; got"
            f" {len(rows)} rows. Check the archive."
        )
    return [atomic_numbers[row[0]] for row in rows], [[float(x) for x in row[1:]] for row in rows]


def _energies(comment: str, numbers: list[int], name: str) -> dict[int, float]:
    """Read the energy of each state in hartree, and check it against the atoms and the comment."""
    fields = comment.split(";")
    energies = {
        multiplicity: _energy(fields, state, name) for state, multiplicity in STATES.items()
    }
    lowest, highest = sorted(energies.values())
    expected = float(atom_energies(np.array(numbers)).sum()) / HARTREE
    if not all(
        OF_THE_ATOMS[0] < energy / expected < OF_THE_ATOMS[1] for energy in energies.values()
    ):
        raise _misfit(
            name, comment, f"total energies near {expected:.1f} hartree, the sum of its atoms"
        )
    if not 0 < highest - lowest < LARGEST_GAP:
        raise _misfit(
            name,
            comment,
            f"energies of singlet and triplet that differ, by less than {LARGEST_GAP} hartree",
        )
    field, word = KNOWN_PLACE
    words = fields[field].split() if len(fields) > field else []
    if (
        len(words) <= word
        or not NUMBER.fullmatch(words[word])
        or _value(words[word]) not in energies.values()
    ):
        raise _misfit(
            name, comment, f"one of the two energies as word {word + 1} of field {field + 1}"
        )
    return energies


def _energy(fields: list[str], state: str, name: str) -> float:
    found = [field for field in fields if METHOD.search(field) and state in field.lower()]
    numbers = [number for field in found for number in NUMBER.findall(field)]
    if len(found) != 1 or len(numbers) != 1:
        raise _misfit(
            name,
            ";".join(fields),
            f"one field of MRCISD+Q and the {state}, with its energy as the only number",
        )
    return _value(numbers[0])


def _misfit(name: str, comment: str, rule: str) -> ValueError:
    return ValueError(
        f"`{name}` must have {rule}; got the comment {comment.strip()!r}. Check the archive: its"
        " layout is another one."
    )


def _value(number: str) -> float:
    return float(number.replace("D", "e").replace("d", "e"))


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Geometry:
    file, path = archive.extractfile(member), PurePosixPath(member.name)
    assert file is not None
    return read_geometry(
        file.read().decode("utf-8"), path.stem, path.parent.name.removeprefix("geometries_")
    )


QMSPIN = Recipe(
    form=FORM,
    example="qmspin",
    names=("qmspin", *(f"qmspin:{s}:{p}" for s in SPLITS for p in PARTS)),
    part=part,
    provenance=Provenance(
        name="QMspin",
        description=(
            "carbenes from QM9: 7,958 triplet- and 5,022 singlet-optimised geometries, both"
            " energies at each; no forces"
        ),
        theory="MRCISD+Q-F12/cc-pVDZ-F12 on SA-CASSCF(2e,2o)",
        licence="see the record",
        citation="M. Schwilk, D. N. Tahchieva, O. A. von Lilienfeld, arXiv 2004.10600",
        url="https://archive.materialscloud.org/records/n5m0g-vyd98",
        units=UNITS,
    ),
)
