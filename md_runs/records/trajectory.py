"""Trajectories in HDF5, laid out as H5MD 1.1 (https://www.nongnu.org/h5md/h5md.html).

``particles/trajectory`` holds species, mass, box, and per frame position, velocity and force;
``observables`` holds per frame the potential and kinetic energy, total charge and multiplicity.
What a model predicts beyond energy and forces is there under its name in the table of quantities:
``polarization`` of moving points, charges of atoms, the dipole. Every dataset carries its unit.
Forces are in kJ/mol/Å, because readers of H5MD know no eV; `read_trajectory` gives ASE units back.
``observables/dt`` is the time between frames in ps, where MDAnalysis looks for it.

``parameters/velocities`` holds velocities alone, in single precision and more often than frames:
spectra need them every 2 fs. Beside them is what the model predicts of the whole structure, the
dipole about the centre of mass. Readers take what is below ``particles`` for frames, so they are
not there.

Frames are collected in memory and written in blocks. The file is open for a millisecond per block,
in HDF5's single-writer mode, which orders the writes so that the file is readable whenever the
process dies.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.neighborlist import natural_cutoffs, neighbor_list

from md_runs.records.output import reserve
from md_runs.records.structures import USUAL, further_quantities, set_further
from md_runs.records.superblock import mend_superblock
from md_runs.records.versions import version_of
from potentials.files import replacing, sync_file
from potentials.quantities import QUANTITIES, Quantity

Array = npt.NDArray[Any]

PARTICLES, OBSERVABLES = "particles/trajectory", "observables"
# shared by all, through hard links
STEP, TIME = f"{PARTICLES}/position/step", f"{PARTICLES}/position/time"
VELOCITIES = "parameters/velocities"
EV_PER_A = units.kJ / units.mol  # eV/Å of one kJ/mol/Å
A_PER_FS = 1 / units.fs  # ASE velocity of one Å/fs
VELOCITY_SERIES = tuple(f"{VELOCITIES}/{name}" for name in ("step", "time", "value"))
FORMAT = ("v110", "v110")  # the oldest HDF5 format with single-writer mode
CHUNK_BYTES = 2**18
BOND = 1.25  # of the sum of covalent radii
FLUSH_SECONDS = 5.0
ROOM_BYTES = 2**18  # for numbers per frame, 64 kB, and HDF5's own tables


def group_of(name: str) -> str:
    """Say where a quantity of the table lies, with a row per frame."""
    return f"{PARTICLES if QUANTITIES[name].per == 'atom' else OBSERVABLES}/{name}"


class TrajectoryWriter:
    """Append frames to an H5MD file that is readable at any time.

    Parameters
    ----------
    path : Path          new file
    atoms : Atoms        species, masses, pbc; positions in Å
    charge : float       total charge in e
    multiplicity : int   2S + 1
    interval_fs : float  between frames
    author : str
    """

    def __init__(
        self,
        path: Path,
        atoms: Atoms,
        *,
        charge: int,
        multiplicity: int,
        interval_fs: float,
        author: str = "polcalc",
    ) -> None:
        self.path, self.charge, self.multiplicity = path, charge, multiplicity
        self.interval_fs = interval_fs
        self.has_cell = bool(atoms.cell.rank == 3)
        self.further = tuple(further_quantities(atoms))
        self.block = max(1, min(1000, CHUNK_BYTES // (24 * len(atoms))))  # frames in memory at most
        self.velocity_block = max(1, min(1000, CHUNK_BYTES // (12 * len(atoms))))
        self.frames: list[dict[str, Any]] = []
        self.velocities: list[tuple[Any, ...]] = []
        self.of_whole = [name for name in self.further if QUANTITIES[name].per == "structure"]
        self.per_mass = 1 / (A_PER_FS * atoms.get_masses()[:, None])  # momenta to Å/fs
        self.last_flush, self.n_frames, self.n_velocities = time.monotonic(), 0, 0
        if path.exists():
            raise FileExistsError(f"{path} exists.")
        # for the largest block: two chunks of everything
        self.room = 2 * self.block * 24 * (4 * len(atoms) + 3) + ROOM_BYTES
        n_numbers = sum(math.prod(QUANTITIES[name].shape) for name in self.of_whole)
        self.room += 2 * self.velocity_block * (12 * len(atoms) + 16 + 8 * n_numbers)
        with replacing(path) as temporary:
            with temporary.open("xb") as empty:
                reserve(empty.fileno(), self.room)
            with h5py.File(temporary, "w", libver=FORMAT) as file:
                _write_header(file, author)
                _make_datasets(file, atoms, self.block, self.has_cell, self.further)
                _make_velocities(file, len(atoms), self.velocity_block, self.of_whole)

    @classmethod
    def cut_back(
        cls,
        path: Path,
        atoms: Atoms,
        n_frames: int,
        n_velocities: int,
        *,
        charge: int,
        multiplicity: int,
        interval_fs: float,
    ) -> TrajectoryWriter:
        """Go on with a file after its first frames and velocities; what follows is dropped.

        The frames are copied to a new file, which takes the place of the old one: a file that was
        killed within a write may hold anything behind its last whole frame.

        Raises
        ------
        ValueError   the file holds fewer frames
        """
        new = path.with_name(f".{path.name}.cut")
        new.unlink(missing_ok=True)
        try:
            writer = cls(
                new, atoms, charge=charge, multiplicity=multiplicity, interval_fs=interval_fs
            )
            writer._make_room(path.stat().st_size)
            with _opened(path) as old, h5py.File(new, "r+", libver=FORMAT) as file:
                with _whole(path):
                    found = min(len(values) for values in _along_time(old))
                    known = min(len(old[name]) for name in writer.velocity_series)
                if found < n_frames:
                    raise ValueError(f"{path} must hold at least {n_frames} frames; got {found}.")
                if known < n_velocities:
                    raise ValueError(
                        f"{path} must hold velocities at {n_velocities} times; got {known}."
                    )
                for names, count, block in (
                    (writer.datasets, n_frames, writer.block),
                    (writer.velocity_series, n_velocities, writer.velocity_block),
                ):
                    for name in names:
                        for start in range(0, count, block):
                            with _whole(path):
                                rows = old[name][start : min(start + block, count)]
                            _extend(file[name], rows)
            sync_file(new)
            os.replace(new, path)
        finally:
            new.unlink(missing_ok=True)
        writer.path, writer.n_frames, writer.n_velocities = path, n_frames, n_velocities
        return writer

    @property
    def velocity_series(self) -> list[str]:
        """Names of everything that has a row per time of velocities alone."""
        return [*VELOCITY_SERIES, *(f"{VELOCITIES}/{name}" for name in self.of_whole)]

    @property
    def datasets(self) -> list[str]:
        """Names of everything that has a row per frame."""
        observables = [
            f"{OBSERVABLES}/{name}/value"
            for name in ("potential_energy", "kinetic_energy", "charge", "multiplicity", "dt")
        ]
        box = [f"{PARTICLES}/box/edges/value"] if self.has_cell else []
        further = [f"{group_of(name)}/value" for name in self.further]
        return [
            STEP,
            TIME,
            *(f"{PARTICLES}/{name}/value" for name in ("position", "velocity", "force")),
            *observables,
            *box,
            *further,
        ]

    def append(self, step: int, time_fs: float, atoms: Atoms) -> None:
        """Take a frame; its energy and forces are those the calculator holds already."""
        frame = {
            STEP: step,
            TIME: time_fs,
            f"{PARTICLES}/position/value": atoms.get_positions(),
            f"{PARTICLES}/velocity/value": atoms.get_velocities() / A_PER_FS,
            f"{PARTICLES}/force/value": atoms.get_forces(apply_constraint=False) / EV_PER_A,
            f"{OBSERVABLES}/potential_energy/value": atoms.get_potential_energy(),
            f"{OBSERVABLES}/kinetic_energy/value": atoms.get_kinetic_energy(),
            f"{OBSERVABLES}/charge/value": self.charge,
            f"{OBSERVABLES}/multiplicity/value": self.multiplicity,
            f"{OBSERVABLES}/dt/value": self.interval_fs / 1000,
        }
        if self.has_cell:
            frame[f"{PARTICLES}/box/edges/value"] = atoms.cell.array.copy()
        said = further_quantities(atoms) if self.further else {}
        frame |= {f"{group_of(name)}/value": said[name] for name in self.further}
        self.frames.append(frame)
        self.n_frames += 1
        if len(self.frames) >= self.block or time.monotonic() - self.last_flush > FLUSH_SECONDS:
            self.flush()

    def append_velocities(self, step: int, time_fs: float, atoms: Atoms) -> None:
        """Take velocities alone, and what the model said of the whole structure."""
        velocities = (atoms.arrays["momenta"] * self.per_mass).astype(np.float32)
        said = further_quantities(atoms) if self.of_whole else {}
        if "dipole" in said and self.charge:
            said["dipole"] = said["dipole"] - self.charge * atoms.get_center_of_mass()
        self.velocities.append((step, time_fs, velocities, *(said[n] for n in self.of_whole)))
        self.n_velocities += 1
        if len(self.velocities) >= self.velocity_block:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory."""
        self.last_flush = time.monotonic()
        if not (self.frames or self.velocities):
            return
        self._make_room(self.room)
        with h5py.File(self.path, "r+", libver=FORMAT) as file:
            file.swmr_mode = True
            for name in self.frames[0] if self.frames else ():
                _extend(file[name], np.array([frame[name] for frame in self.frames]))
            for name, rows in zip(
                self.velocity_series, zip(*self.velocities, strict=True), strict=False
            ):
                _extend(file[name], np.array(rows))
        self.drop()

    def drop(self) -> None:
        """Forget what is in memory."""
        self.frames.clear()
        self.velocities.clear()

    def sync(self) -> dict[str, int]:
        """Wait until the disk has everything; return how many frames and velocities there are."""
        self.flush()
        sync_file(self.path)
        return {"n_frames": self.n_frames, "n_velocities": self.n_velocities}

    def _make_room(self, n_bytes: int) -> None:
        """Take the space of the next writes from the disk: HDF5 does not survive a full one.

        It gives back what it does not use.
        """
        with self.path.open("r+b") as file:
            reserve(file.fileno(), n_bytes)


def open_trajectory(path: str | Path) -> h5py.File:
    """Open a trajectory to read, also one whose writer was killed while writing or opening it."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "already open" not in str(error):
            raise
    try:
        return h5py.File(path, "r", swmr=True)
    except OSError as error:
        if "not already open" not in str(error):
            raise
    mend_superblock(path)
    return h5py.File(path, "r")


def read_trajectory(path: str | Path, index: slice = slice(None)) -> Iterator[Atoms]:
    """Yield frames in ASE units, with energy, forces, velocities; state and time in ``info``.

    What moving points did is in the arrays ``polarization_vectors`` and ``virtual_points``.
    """
    with open_trajectory(path) as file:
        particles, observables = file[PARTICLES], file[OBSERVABLES]
        n_frames = min(len(values) for values in _along_time(file))
        pbc = [flag == b"periodic" for flag in particles["box"].attrs["boundary"]]
        for n in range(*index.indices(n_frames)):
            atoms = Atoms(
                numbers=particles["species"][()],
                positions=particles["position/value"][n],
                masses=particles["mass"][()],
                velocities=particles["velocity/value"][n] * A_PER_FS,
                cell=particles["box/edges/value"][n] if "edges" in particles["box"] else None,
                pbc=pbc,
            )
            charge = float(observables["charge/value"][n])
            atoms.info |= {
                "charge": int(charge) if charge.is_integer() else charge,
                "multiplicity": int(observables["multiplicity/value"][n]),
            }
            atoms.info |= {"step": int(file[STEP][n]), "time_fs": float(file[TIME][n])}
            energy, forces = (
                float(observables["potential_energy/value"][n]),
                particles["force/value"][n] * EV_PER_A,
            )
            said = {name: file[group_of(name)]["value"][n] for name in _further_in(file)}
            further = {QUANTITIES[name].ase: x for name, x in said.items() if QUANTITIES[name].ase}
            atoms.calc = SinglePointCalculator(
                atoms, energy=energy, free_energy=energy, forces=forces, **further
            )
            set_further(atoms, said)
            yield atoms


def _opened(path: Path) -> h5py.File:
    with _whole(path):
        return open_trajectory(path)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Tell a file that cannot be read from a disk that cannot be written to."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{path} must be a whole trajectory; got one that cannot be read ({error})."
        ) from error


def _further_in(file: h5py.File) -> list[str]:
    """Name the quantities of the table that a file holds beyond energy and forces."""
    return [name for name in QUANTITIES if name not in USUAL and group_of(name) in file]


def _along_time(file: h5py.File) -> list[h5py.Dataset]:
    """Every dataset with a row per frame.

    The shortest counts when the writer was killed between two of them.
    """
    further = [name for name in _further_in(file) if QUANTITIES[name].per == "atom"]
    named = ["position", "velocity", "force", *further]
    groups = [file[OBSERVABLES][name] for name in file[OBSERVABLES]] + [
        file[PARTICLES][name] for name in named
    ]
    return [file[STEP], file[TIME], *(group["value"] for group in groups)]


def _write_header(file: h5py.File, author: str) -> None:
    header = file.create_group("h5md")
    header.attrs["version"] = np.array([1, 1], dtype=np.int32)
    header.create_group("author").attrs["name"] = author
    creator = header.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "polcalc", version_of("polcalc")


def _make_datasets(
    file: h5py.File, atoms: Atoms, block: int, has_cell: bool, further: Sequence[str]
) -> None:
    """Create every dataset, empty along time; all share one list of steps and times."""
    n_atoms = len(atoms)
    step = file.create_dataset(STEP, (0,), maxshape=(None,), chunks=(1024,), dtype="i8")
    moment = file.create_dataset(TIME, (0,), maxshape=(None,), chunks=(1024,), dtype="f8")
    moment.attrs["unit"] = "fs"

    def add(name: str, shape: tuple[int, ...], dtype: str, unit: str | None) -> None:
        group = file.require_group(name)
        frames = block if shape else 1024
        value = group.create_dataset(
            "value", (0, *shape), maxshape=(None, *shape), chunks=(frames, *shape), dtype=dtype
        )
        if unit:
            value.attrs["unit"] = unit
        if "step" not in group:
            group["step"], group["time"] = step, moment

    _describe_atoms(file, atoms)
    particles = file[PARTICLES]
    particles["species"], particles["mass"] = atoms.numbers, atoms.get_masses()
    particles["mass"].attrs["unit"] = "u"
    box = particles.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = np.array([b"periodic" if flag else b"none" for flag in atoms.pbc])
    add(f"{PARTICLES}/position", (n_atoms, 3), "f8", "Angstrom")
    add(f"{PARTICLES}/velocity", (n_atoms, 3), "f8", "Angstrom fs-1")
    add(f"{PARTICLES}/force", (n_atoms, 3), "f8", "kJ mol-1 Angstrom-1")
    if has_cell:
        add(f"{PARTICLES}/box/edges", (3, 3), "f8", "Angstrom")
    for name in further:
        quantity = QUANTITIES[name]
        shape = (n_atoms, *quantity.shape) if quantity.per == "atom" else quantity.shape
        add(group_of(name), shape, "f8", _h5md_unit(quantity))
    add(f"{OBSERVABLES}/potential_energy", (), "f8", "eV")
    add(f"{OBSERVABLES}/kinetic_energy", (), "f8", "eV")
    add(f"{OBSERVABLES}/charge", (), "f8", "e")
    add(f"{OBSERVABLES}/multiplicity", (), "i8", None)
    add(f"{OBSERVABLES}/dt", (), "f8", "ps")


def _make_velocities(file: h5py.File, n_atoms: int, block: int, of_whole: Sequence[str]) -> None:
    """Create the series of velocities alone, empty, and those of the whole structure."""
    quantities = [QUANTITIES[name] for name in of_whole]
    further = [(q.name, q.shape, "f8", _h5md_unit(q)) for q in quantities]
    series: list[tuple[str, tuple[int, ...], str, str | None]] = [
        ("step", (), "i8", None),
        ("time", (), "f8", "fs"),
        ("value", (n_atoms, 3), "f4", "Angstrom fs-1"),
        *further,
    ]
    for name, shape, dtype, unit in series:
        made = file.create_dataset(
            f"{VELOCITIES}/{name}",
            (0, *shape),
            maxshape=(None, *shape),
            chunks=(block if shape else 1024, *shape),
            dtype=dtype,
        )
        if unit:
            made.attrs["unit"] = unit


def _h5md_unit(quantity: Quantity) -> str:
    return quantity.unit.replace("Å", "Angstrom")


def _describe_atoms(file: h5py.File, atoms: Atoms) -> None:
    """Say elements, names, masses and bonds where VMD looks for them.

    Its reader of H5MD takes them by species, from a group of its own; atoms of bonds count from 1.
    """
    species, first = np.unique(atoms.numbers, return_index=True)
    symbols = np.array([chemical_symbols[z].encode() for z in species])
    bonded = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=BOND))
    bonds = np.array([(i + 1, j + 1) for i, j in zip(*bonded, strict=True) if i < j])
    group = file.create_group("parameters/vmd_structure")
    group["indexOfSpecies"], group["atomicnumber"] = species, species
    group["name"] = group["type"] = symbols
    group["mass"] = atoms.get_masses()[first]
    group["bond_from"], group["bond_to"] = bonds.reshape(-1, 2).astype(np.int32).T


def _extend(dataset: h5py.Dataset, rows: Array) -> None:
    n_before = len(dataset)
    dataset.resize(n_before + len(rows), axis=0)
    dataset[n_before:] = rows
