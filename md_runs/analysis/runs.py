"""Runs as the analysis sees them.

Log, trajectory and manifest of one directory, without its equilibration.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from ase import Atoms, units

from md_runs.analysis.series import Floats
from md_runs.dynamics.driver import EQUILIBRATION, LOG, TRAJECTORY
from md_runs.errors import InputError, whole
from md_runs.readable import readable
from md_runs.records.output import MANIFEST
from md_runs.records.trajectory import (
    A_PER_FS,
    OBSERVABLES,
    PARTICLES,
    STEP,
    TIME,
    VELOCITIES,
    group_of,
    open_trajectory,
)

MIN_FRAMES = 2
NEEDED = (
    "time_ps",
    "potential_energy_eV",
    "kinetic_energy_eV",
    "total_energy_eV",
    "conserved_energy_eV",
    "temperature_K",
)


@readable
class Trajectory(NamedTuple):
    """Frames after the equilibration; positions are not wrapped."""

    time_fs: Floats  # (F,)
    positions: Floats  # (F, N, 3) Å
    velocity_time_fs: Floats  # (V,) of velocities alone, more often than frames
    velocities: Floats  # (V, N, 3) Å/fs
    cells: Floats | None  # (F, 3, 3) Å
    polarization: Floats | None  # (F, N, 3) Å
    dipoles: Floats | None = None  # (V, 3) e Å, about the centre of mass
    polarizabilities: Floats | None = None  # (V, 3, 3) e Å^2/V

    def summary(self) -> dict[str, str]:
        """Say how much there is."""
        return {
            "frames": f"{len(self.time_fs)} frames of {self.positions.shape[1]} atoms",
            "every": f"{self.interval_fs:g} fs",
            "velocities every": f"{self.velocity_interval_fs:g} fs",
        }

    def check(self, n_atoms: int) -> None:
        """See that there is a finite number wherever there must be one.

        Raises
        ------
        ValueError
        """
        for name, moments, values in (
            ("positions", self.time_fs, self.positions),
            ("velocities", self.velocity_time_fs, self.velocities),
        ):
            if values.shape != (len(moments), n_atoms, 3) or not np.isfinite(values).all():
                raise ValueError(f"{name} are not finite numbers of every atom in every frame")
            if not np.isfinite(moments).all() or (np.diff(moments) <= 0).any():
                raise ValueError("time does not go on")

    @property
    def interval_fs(self) -> float:
        """Time between frames."""
        return _interval(self.time_fs)

    @property
    def velocity_interval_fs(self) -> float:
        """Time between velocities."""
        return _interval(self.velocity_time_fs)


def _interval(moments: Floats) -> float:
    return float((moments[-1] - moments[0]) / (len(moments) - 1))


@readable
class Run(NamedTuple):
    """One directory of ``polcalc md``."""

    name: str
    manifest: dict[str, Any]
    log: dict[str, Floats]  # column by name, the whole run
    first_row: int  # of the log, after the equilibration
    atoms: Atoms  # the first frame after it
    trajectory: Trajectory

    def summary(self) -> dict[str, str]:
        """Say what ran, and for how long."""
        bath_K = self.bath_K
        return {
            "name": self.name,
            "formula": self.atoms.get_chemical_formula(),
            "ensemble": str(self.options.get("ensemble", "")),
            "thermostat at": "" if bath_K is None else f"{bath_K:g} K",
            "ends at": f"{self.log['time_ps'][-1]:g} ps",
            "frames": str(len(self.trajectory.time_fs)),
        }

    @property
    def options(self) -> dict[str, Any]:
        """What the run was asked for."""
        return dict(self.manifest["options"])

    @property
    def bath_K(self) -> float | None:
        """Temperature of the thermostat; None without one, and where it was not constant."""
        options = self.options
        constant = options.get("thermostat") and options.get("temperature_end_K") is None
        return float(options["temperature_K"]) if constant else None

    @property
    def degrees_of_freedom(self) -> int:
        """What holds kinetic energy, as the run counted it."""
        kinetic, temperature = self.log["kinetic_energy_eV"], self.log["temperature_K"]
        row = int(kinetic.argmax())
        return round(2 * float(kinetic[row]) / (units.kB * float(temperature[row])))

    def sampled(self, column: str) -> Floats:
        """A column of the log after the equilibration."""
        return self.log[column][self.first_row :]

    @property
    def sampled_ps(self) -> float:
        """Time after the equilibration."""
        moments = self.sampled("time_ps")
        return float(moments[-1] - moments[0])


def read_runs(directories: Sequence[Path], skip_ps: float | None, every: int) -> list[Run]:
    """Read directories of ``polcalc md``, also of runs that still go on or were killed.

    Parameters
    ----------
    skip_ps : float or None   left out at the start; None leaves out a fifth of a run that was not
                              equilibrated, as its summary does
    every : int               take each so many frames

    Raises
    ------
    InputError                a directory is no run, or too short
    """
    names = _names(directories)
    return [
        _read_run(directory, name, skip_ps, every)
        for directory, name in zip(directories, names, strict=True)
    ]


def _read_run(directory: Path, name: str, skip_ps: float | None, every: int) -> Run:
    for file in (MANIFEST, LOG, TRAJECTORY):
        if not (directory / file).is_file():
            raise InputError(
                f"`RUN` must be a directory of polcalc md; got {directory} without {file}. Check"
                " the name."
            )
    with whole("RUN", directory / MANIFEST):
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        manifest["options"].items()
    with whole("RUN", directory / LOG):
        log = _read_log(directory / LOG)
    moments = log["time_ps"]
    if len(moments) < MIN_FRAMES:
        raise InputError(
            f"`RUN` must hold some rows in its log; got {directory} with {len(moments)}. Let it"
            " run on."
        )
    start = 0.0 if manifest["options"].get("equilibrate_ps") else EQUILIBRATION
    start_ps = moments[int(len(moments) * start)] if skip_ps is None else skip_ps
    if start_ps >= moments[-1]:
        raise InputError(
            f"`--skip-ps` must be shorter than the run; got {start_ps:g} ps of {moments[-1]:g} ps"
            f" in {directory}. Take less."
        )
    with whole("RUN", directory / TRAJECTORY):
        atoms, trajectory = _read_trajectory(directory / TRAJECTORY, 1000 * float(start_ps), every)
        trajectory.check(len(atoms))
    run = Run(name, manifest, log, int(np.searchsorted(moments, start_ps)), atoms, trajectory)
    with whole("RUN", directory / MANIFEST):
        _ = run.bath_K, float(run.options.get("timestep_fs", 1.0))
    with whole("RUN", directory / LOG):
        _ = run.degrees_of_freedom
    return run


def _read_log(path: Path) -> dict[str, Floats]:
    """Read every whole line; the last of a run that goes on may be half written."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file))
    rows = []
    for line in lines:
        if len(line) == len(header):
            rows.append([float(word) if word else float("nan") for word in line])
    table = np.array(rows, dtype=np.float64).reshape(-1, len(header))
    log = dict(zip(header, table.T, strict=True))
    for name in NEEDED:
        if not np.isfinite(log[name]).all():
            raise ValueError(f"{name} is not finite")
    if (np.diff(log["time_ps"]) <= 0).any():
        raise ValueError("time does not go on")
    return log


def _read_trajectory(path: Path, start_fs: float, every: int) -> tuple[Atoms, Trajectory]:
    with open_trajectory(path) as file:
        particles = file[PARTICLES]
        n_frames = min(
            len(file[STEP]),
            *(len(particles[name]["value"]) for name in ("position", "velocity", "force")),
        )
        moments = file[TIME][:n_frames]
        first = int(np.searchsorted(moments, start_fs))
        wanted = slice(first, n_frames, every)
        if len(range(n_frames)[wanted]) < MIN_FRAMES:
            raise InputError(
                f"`RUN` must hold at least {MIN_FRAMES} frames to analyse; got {path.parent}. Let"
                " it run on, or skip less."
            )
        has_cell, box = "edges" in particles["box"], particles["box"]
        alone = _read_velocities(file, start_fs)
        if len(alone["time"]) < MIN_FRAMES:  # there are only those of frames
            alone = {"time": moments[wanted], "value": particles["velocity/value"][wanted]}
            alone |= _about_centre(file, wanted)
        moved = next((x for x in map(group_of, ("shells", "polarization")) if x in file), "nowhere")
        trajectory = Trajectory(
            time_fs=moments[wanted],
            positions=particles["position/value"][wanted],
            velocity_time_fs=alone["time"],
            velocities=alone["value"],
            cells=box["edges/value"][wanted] if has_cell else None,
            polarization=file[moved]["value"][wanted] if moved in file else None,
            dipoles=alone.get("dipole"),
            polarizabilities=alone.get("polarizability"),
        )
        atoms = Atoms(
            numbers=particles["species"][()],
            positions=trajectory.positions[0],
            masses=particles["mass"][()],
            velocities=particles["velocity/value"][first] * A_PER_FS,
            cell=trajectory.cells[0] if trajectory.cells is not None else None,
            pbc=[flag == b"periodic" for flag in box.attrs["boundary"]],
        )
    return atoms, trajectory


def _read_velocities(file: h5py.File, start_fs: float) -> dict[str, Floats]:
    """Read what is kept more often than frames: "time" (V,) fs, "value" (V, N, 3) Å/fs, and more.

    Dipoles are about the centre of mass. No times in older files.
    """
    if VELOCITIES not in file:
        return {"time": np.zeros(0)}
    series = {name: values for name, values in file[VELOCITIES].items() if name != "step"}
    count = min(len(values) for values in series.values())  # killed between two of them
    first = int(np.searchsorted(series["time"][:count], start_fs))
    return {name: values[first:count] for name, values in series.items()}


def _about_centre(file: h5py.File, wanted: slice) -> dict[str, Floats]:
    """Read dipoles about the centre of mass, and polarizabilities, of frames that have them."""
    observables, particles = file[OBSERVABLES], file[PARTICLES]
    names = [name for name in ("dipole", "polarizability") if name in observables]
    said = {name: observables[name]["value"][wanted] for name in names}
    if "dipole" in said:
        masses = particles["mass"][()]
        centre = masses @ particles["position/value"][wanted] / masses.sum()  # (F, 3)
        said["dipole"] = said["dipole"] - observables["charge/value"][wanted][:, None] * centre
    return said


def _names(directories: Sequence[Path]) -> list[str]:
    """Name runs by their directories, with as many parents as it takes to tell them apart.

    Raises
    ------
    InputError   a directory was given twice
    """
    paths = [directory.resolve() for directory in directories]
    if len(set(paths)) < len(paths):
        raise InputError(
            "`RUN` must name different directories; got one of them twice. Name each once."
        )
    for depth in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
