"""What a run leaves behind while it goes: lines of the log and frames of the trajectory, every so many steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms

from md_runs.integrators import Integrator
from md_runs.motion import kinetic_temperature
from md_runs.trajectory import TrajectoryWriter

COLUMNS = ("step", "time_ps", "potential_energy_eV", "kinetic_energy_eV", "total_energy_eV", "conserved_energy_eV", "temperature_K")
FORMATS = ("{:d}", "{:.6f}", "{:.9f}", "{:.9f}", "{:.9f}", "{:.9f}", "{:.4f}")


class Clock(NamedTuple):
    """From steps to time: the time step, and a moment that it is counted from."""

    timestep_fs: float
    step: int = 0
    time_fs: float = 0.0

    def time_fs_at(self, step: int) -> float:
        """Time of a step in fs."""
        return self.time_fs + (step - self.step) * self.timestep_fs


class Log:
    """Rows of numbers, in memory as in a CSV file whose every line is complete when written."""

    def __init__(self, path: Path) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.file = path.open("x", encoding="utf-8", buffering=1)
        self.file.write(",".join(COLUMNS) + "\n")

    @classmethod
    def cut_back(cls, path: Path, n_bytes: int) -> Log:
        """Go on with a file after its first bytes; what follows them is dropped.

        Raises
        ------
        ValueError   the file is shorter
        """
        if path.stat().st_size < n_bytes:
            raise ValueError(f"{path} must hold at least {n_bytes} bytes; got {path.stat().st_size}.")
        log = cls.__new__(cls)
        os.truncate(path, n_bytes)
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        log.rows = [tuple(map(float, line.split(","))) for line in lines]
        log.file = path.open("a", encoding="utf-8", buffering=1)
        return log

    def append(self, row: tuple[float, ...]) -> None:
        """Add a row, in the order of `COLUMNS`, with the digits that the file keeps."""
        words = [form.format(value) for form, value in zip(FORMATS, row, strict=True)]
        self.file.write(",".join(words) + "\n")
        self.rows.append(tuple(map(float, words)))

    def column(self, name: str) -> npt.NDArray[Any]:
        """One quantity over time."""
        place = COLUMNS.index(name)
        return np.array([row[place] for row in self.rows], dtype=np.float64)

    def sync(self) -> int:
        """Wait until the disk has every row; return the size of the file in bytes."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return os.fstat(self.file.fileno()).st_size


class Recorder:
    """Observers of a run: `sample` writes the log, `frame` the trajectory."""

    def __init__(
        self, atoms: Atoms, integrator: Integrator, clock: Clock, degrees_of_freedom: int, log: Log, trajectory: TrajectoryWriter
    ) -> None:
        self.atoms, self.integrator, self.clock = atoms, integrator, clock
        self.degrees_of_freedom, self.log, self.trajectory = degrees_of_freedom, log, trajectory

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.integrator.dynamics.nsteps)

    @property
    def time_fs(self) -> float:
        """Time simulated in fs."""
        return self.clock.time_fs_at(self.step)

    def sample(self) -> None:
        """Write a line of the log.

        Raises
        ------
        ArithmeticError   the energy is not finite
        """
        potential, kinetic = self.atoms.get_potential_energy(), self.atoms.get_kinetic_energy()
        total = potential + kinetic
        if not np.isfinite(total):
            raise ArithmeticError("the energy is not finite.")
        temperature = kinetic_temperature(kinetic, self.degrees_of_freedom)
        conserved = total + self.integrator.bath_energy()
        self.log.append((self.step, self.time_fs / 1000, potential, kinetic, total, conserved, temperature))

    def frame(self) -> None:
        """Hand a frame to the trajectory."""
        self.trajectory.append(self.step, self.time_fs, self.atoms)

    def snapshot(self) -> Atoms:
        """Copy the structure as it is, with what is needed to go on from it."""
        atoms: Atoms = self.atoms.copy()
        atoms.info |= {"charge": self.trajectory.charge, "multiplicity": self.trajectory.multiplicity}
        atoms.info |= {"step": self.step, "time_fs": self.time_fs}
        return atoms

    def sync(self) -> dict[str, int]:
        """Wait until the disk has everything; return how far the files go."""
        return {"log_bytes": self.log.sync(), "n_frames": self.trajectory.sync()}

    def close(self) -> None:
        """Write what is still in memory."""
        try:
            self.trajectory.flush()
        finally:
            self.log.file.close()
