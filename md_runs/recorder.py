"""What a run leaves behind while it goes: lines of the log and frames of the trajectory, every so many steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from md_runs.integrators import Integrator
from md_runs.motion import kinetic_temperature
from md_runs.trajectory import TrajectoryWriter

COLUMNS = ("step", "time_ps", "potential_energy_eV", "kinetic_energy_eV", "total_energy_eV", "conserved_energy_eV", "temperature_K")
FORMATS = ("{:d}", "{:.6f}", "{:.9f}", "{:.9f}", "{:.9f}", "{:.9f}", "{:.4f}")


class Log:
    """Rows of numbers, in memory and in a CSV file whose every line is complete when written."""

    def __init__(self, path: Path) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.file = path.open("x", encoding="utf-8", buffering=1)
        self.file.write(",".join(COLUMNS) + "\n")

    def append(self, row: tuple[float, ...]) -> None:
        """Add a row, in the order of `COLUMNS`."""
        self.rows.append(row)
        self.file.write(",".join(form.format(value) for form, value in zip(FORMATS, row, strict=True)) + "\n")

    def column(self, name: str) -> npt.NDArray[Any]:
        """One quantity over time."""
        place = COLUMNS.index(name)
        return np.array([row[place] for row in self.rows], dtype=np.float64)


class Recorder:
    """Observers of a run: `sample` writes the log, `frame` the trajectory."""

    def __init__(
        self, atoms: Atoms, integrator: Integrator, timestep_fs: float, degrees_of_freedom: int, log: Path, trajectory: TrajectoryWriter
    ) -> None:
        self.atoms, self.integrator, self.timestep_fs = atoms, integrator, timestep_fs
        self.degrees_of_freedom, self.log, self.trajectory = degrees_of_freedom, Log(log), trajectory

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.integrator.dynamics.nsteps)

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
        self.log.append((self.step, self.step * self.timestep_fs / 1000, potential, kinetic, total, conserved, temperature))

    def frame(self) -> None:
        """Hand a frame to the trajectory."""
        self.trajectory.append(self.step, self.step * self.timestep_fs, self.atoms)

    def snapshot(self) -> Atoms:
        """Copy the structure as it is, with what is needed to go on from it."""
        atoms: Atoms = self.atoms.copy()
        atoms.info |= {"charge": self.trajectory.charge, "multiplicity": self.trajectory.multiplicity}
        atoms.info |= {"step": self.step, "time_fs": self.step * self.timestep_fs}
        return atoms

    def close(self) -> None:
        """Write what is still in memory."""
        self.trajectory.flush()
        self.log.file.close()
