"""What a run leaves behind while it goes.

Lines of the log and frames of the trajectory, every so many steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms, units

from md_runs.dynamics.integrators import Integrator
from md_runs.dynamics.momenta import kinetic_temperature
from md_runs.records.structures import further_quantities, set_further, set_state
from md_runs.records.trajectory import TrajectoryWriter
from potentials.quantities import QUANTITIES, unit_key

COLUMNS = (
    "step",
    "time_ps",
    "potential_energy_eV",
    "kinetic_energy_eV",
    "total_energy_eV",
    "conserved_energy_eV",
    "temperature_K",
)
# where the cell moves; the pressure includes that of the moving atoms
CELL_COLUMNS = ("volume_A3", "pressure_GPa")
TARGET_COLUMN = ("target_K",)  # where the target temperature changes
FORMATS = {
    "step": "{:d}",
    "time_ps": "{:.6f}",
    "temperature_K": "{:.4f}",
    "target_K": "{:.4f}",
    "volume_A3": "{:.6f}",
}
FORMAT = "{:.9f}"


def further_columns(atoms: Atoms) -> dict[str, float]:
    """Name the components of what the model predicts of a structure beyond the energy.

    Of forces, how uncertain the least certain one is.
    Names carry the unit, as in ``dipole_x_e_A``; values are those of the last evaluation.
    """
    columns = {}
    for name, values in further_quantities(atoms).items():
        quantity = QUANTITIES[name]
        if quantity.per == "structure":
            for place, value in np.ndenumerate(values):
                axes = "".join(f"{'xyz'[n]}" for n in place)
                label = "_".join(part for part in (name, axes, unit_key(quantity.unit)) if part)
                columns[label] = float(value)
        elif name == "forces_uncertainty":
            columns["forces_uncertainty_max_eV_per_A"] = float(np.max(values))
    return columns


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

    def __init__(self, path: Path, columns: tuple[str, ...] = COLUMNS) -> None:
        self.columns, self.rows = columns, list[tuple[float, ...]]()
        self.file = path.open("x", encoding="utf-8", buffering=1)
        self.file.write(",".join(columns) + "\n")

    @classmethod
    def cut_back(
        cls, path: Path, n_bytes: int, columns: Collection[str], further: Collection[str]
    ) -> Log:
        """Go on with a file after its first bytes; what follows them is dropped.

        Raises
        ------
        ValueError   the file is shorter, or lacks a column, or has others than those and further
        """
        if path.stat().st_size < n_bytes:
            raise ValueError(
                f"{path} must hold at least {n_bytes} bytes; got {path.stat().st_size}."
            )
        log = cls.__new__(cls)
        os.truncate(path, n_bytes)
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        log.columns = tuple(header.split(","))
        if not set(columns) <= set(log.columns) <= {*columns, *further}:
            raise ValueError(
                f"{path} must have the columns {', '.join(columns)}; got {header:.80}."
            )
        log.rows = [tuple(map(float, line.split(","))) for line in lines]
        if any(len(row) != len(log.columns) for row in log.rows):
            raise ValueError(f"{path} must hold {len(log.columns)} numbers in every row.")
        log.file = path.open("a", encoding="utf-8", buffering=1)
        return log

    def append(self, values: Mapping[str, float]) -> None:
        """Add a row with the digits that the file keeps."""
        words = [FORMATS.get(name, FORMAT).format(values[name]) for name in self.columns]
        self.file.write(",".join(words) + "\n")
        self.rows.append(tuple(map(float, words)))

    def column(self, name: str) -> npt.NDArray[Any]:
        """One quantity over time."""
        place = self.columns.index(name)
        return np.array([row[place] for row in self.rows], dtype=np.float64)

    def sync(self) -> int:
        """Wait until the disk has every row; return the size of the file in bytes."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return os.fstat(self.file.fileno()).st_size


class Recorder:
    """Observers of a run: `sample` writes the log, `frame` and `velocities` the trajectory.

    ``target_K`` tells what the thermostat aims at.
    """

    def __init__(
        self,
        atoms: Atoms,
        integrator: Integrator,
        clock: Clock,
        degrees_of_freedom: int,
        log: Log,
        trajectory: TrajectoryWriter,
        target_K: Callable[[], float],
    ) -> None:
        self.atoms, self.integrator, self.clock, self.target_K = atoms, integrator, clock, target_K
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
        values = {
            "step": self.step,
            "time_ps": self.time_fs / 1000,
            "potential_energy_eV": potential,
            "kinetic_energy_eV": kinetic,
            "total_energy_eV": total,
            "conserved_energy_eV": total + self.integrator.bath_energy(),
            "temperature_K": kinetic_temperature(kinetic, self.degrees_of_freedom),
            "target_K": self.target_K(),
        }
        if "volume_A3" in self.log.columns:
            stress = self.atoms.get_stress(include_ideal_gas=True)
            values |= {
                "volume_A3": self.atoms.get_volume(),
                "pressure_GPa": -stress[:3].mean() / units.GPa,
            }
        self.log.append(values | further_columns(self.atoms))

    def frame(self) -> None:
        """Hand a frame to the trajectory."""
        self.trajectory.append(self.step, self.time_fs, self.atoms)

    def velocities(self) -> None:
        """Hand velocities alone to the trajectory."""
        self.trajectory.append_velocities(self.step, self.time_fs, self.atoms)

    def snapshot(self) -> Atoms:
        """Copy the structure as it is, with what is needed to go on from it."""
        atoms: Atoms = self.atoms.copy()
        set_state(atoms, self.trajectory.charge, self.trajectory.multiplicity)
        atoms.info |= {"step": self.step, "time_fs": self.time_fs}
        set_further(atoms, further_quantities(self.atoms))
        return atoms

    def sync(self) -> dict[str, int]:
        """Wait until the disk has everything; return how far the files go."""
        return {"log_bytes": self.log.sync(), **self.trajectory.sync()}

    def close(self) -> None:
        """Write what is still in memory."""
        try:
            self.trajectory.flush()
        finally:
            self.log.file.close()
