"""QMspin: carbenes, singlet and triplet energy at each geometry, energies alone.

``qmspin`` is everything; ``qmspin:random:PART`` the random split of the literature, 20,000 samples to train and 1,000 to validate,
drawn with our own seed, for its indices are not published; ``qmspin:parent:PART`` keeps what comes from one molecule of QM9 together.
PART is train, validation or test.

Files ``geometries_singlet/*.xyz`` and ``geometries_triplet/*.xyz`` of the archive, named by QM9 index, carbene index and the optimised
state: commas between columns, and a comment of fields between ``;`` of which those that name MRCISD+Q and a state hold its energy in
hartree as their last number. The layout was put together from descriptions: the archive itself was not at hand.
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

from potentials.datasets.frames import Frames, Provenance, make_frames
from potentials.datasets.recipe import Part, Recipe, RemoteFile, choose, padded
from potentials.datasets.statistics import split
from potentials.datasets.units import Units

FORM = "qmspin[:SPLIT:PART]"
SPLITS, PARTS = ("random", "parent"), ("train", "validation", "test")
N_TRAIN, N_VALIDATION, SEED = 20_000, 1_000, 0
STATES = {"singlet": 1, "triplet": 3}  # multiplicity
METHOD = "MRCISD+Q"
UNITS = Units("hartree")
NUMBER = re.compile(r"[-+]?\d+\.\d+(?:[eEdD][-+]?\d+)?")
ARCHIVE = RemoteFile("QMspin_Part1_wo_outputs.tar.gz", "http://www.quantum-machine.org/data/qmspin/QMspin_Part1_wo_outputs.tar.gz")


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
            (m for m in archive if m.isfile() and re.search(r"geometries_(singlet|triplet)/[^/]*\.xyz$", m.name)),
            key=lambda member: member.name,
        )
        geometries = [read_geometry(_text(archive, member), PurePosixPath(member.name).stem) for member in members]
    if not geometries:
        raise ValueError(f"`{paths[0].name}` must hold geometries_singlet/*.xyz; got none. Fetch it again.")
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


def read_geometry(text: str, name: str) -> Geometry:
    """Read one file of the archive.

    Raises
    ------
    ValueError   a comment without the energy of either state, another number of atoms
    """
    lines = text.splitlines()
    index = re.search(r"\d+", name)
    if index is None:
        raise ValueError(f"`name` must begin with a QM9 index; got {name}. Check the archive.")
    rows = [line.replace(",", " ").split() for line in lines[2 : 2 + int(lines[0])]]
    if len(rows) != int(lines[0]) or any(len(row) < 4 for row in rows):
        raise ValueError(f"`{name}` must hold {lines[0].strip()} atoms; got {len(rows)} rows. Check the archive.")
    return Geometry(
        parent=int(index.group()),
        atomic_numbers=[atomic_numbers[row[0]] for row in rows],
        positions=[[float(x) for x in row[1:4]] for row in rows],
        energies={multiplicity: _energy(lines[1], state, name) for state, multiplicity in STATES.items()},
    )


def part(fields: list[str]) -> Part:
    """Find the split behind the fields of a name."""
    how, piece = padded(fields, 2, FORM)
    if not how:
        return Part((ARCHIVE,), read_qmspin)
    choose(how, SPLITS, "split", FORM)
    return Part((ARCHIVE,), partial(_read_piece, how, choose(piece, PARTS, "part", FORM)))


def _read_piece(how: str, piece: str, paths: Sequence[Path]) -> Frames:
    frames = read_qmspin(paths)
    wanted = min(N_TRAIN, int(0.8 * len(frames))), min(N_VALIDATION, int(0.1 * len(frames)))  # smaller for a sample of the set
    drawn = split(frames if how == "parent" else replace(frames, group=None), *wanted, seed=SEED)
    chosen: Frames = getattr(drawn, piece)
    return chosen


def _energy(comment: str, state: str, name: str) -> float:
    fields = [field for field in comment.split(";") if METHOD.lower() in field.lower() and state in field.lower()]
    numbers = [NUMBER.findall(field) for field in fields]
    if len(fields) != 1 or not numbers[0]:
        raise ValueError(
            f"`{name}` must have one {METHOD} energy of the {state} in its comment; got {comment.strip()!r}. Check the archive."
        )
    return float(numbers[0][-1].replace("D", "e").replace("d", "e"))


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = archive.extractfile(member)
    assert file is not None
    return file.read().decode("utf-8")


QMSPIN = Recipe(
    form=FORM,
    example="qmspin",
    names=("qmspin", *(f"qmspin:{s}:{p}" for s in SPLITS for p in PARTS)),
    part=part,
    provenance=Provenance(
        name="QMspin",
        description="carbenes from QM9: 7,958 triplet- and 5,022 singlet-optimised geometries, both energies at each; no forces",
        theory="MRCISD+Q-F12/cc-pVDZ-F12 on SA-CASSCF(2e,2o)",
        licence="see the record",
        citation="M. Schwilk, D. N. Tahchieva, O. A. von Lilienfeld, arXiv 2004.10600",
        url="https://archive.materialscloud.org/records/n5m0g-vyd98",
        units=UNITS,
    ),
)
