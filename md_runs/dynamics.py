"""Molecular dynamics: set up, run, record, sum up. Used by ``polcalc md`` and by the demo.

A run owns its directory: ``manifest.json`` (from the first moment), ``log.csv`` and ``trajectory.h5md`` (readable at any time),
``checkpoint.npz``, and at the end ``final.extxyz``, ``dynamics.png`` and the summary in the manifest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculatorError

from md_runs.checkpoint import CHECKPOINT, Checkpoint, read_checkpoint, write_checkpoint
from md_runs.errors import InputError, NotConverged, RunAlarmed, RunFailed
from md_runs.figures import plot_dynamics
from md_runs.guards import EVERY, Alarm, Alarmed, Guards
from md_runs.integrators import INTEGRATORS, Bath, Integrator
from md_runs.manifest import now
from md_runs.motion import check_fixed_atoms_only, count_degrees_of_freedom, kinetic_temperature, start_thermal
from md_runs.output import MANIFEST, hold, to_json, write_figure, write_text
from md_runs.recorder import Clock, Log, Recorder
from md_runs.relax import relax
from md_runs.statistics import block_average, fit_line
from md_runs.structures import write_structures
from md_runs.trajectory import TrajectoryWriter, read_trajectory
from polcalc import PolarizedCalculator

LOG, TRAJECTORY, ALARM = "log.csv", "trajectory.h5md", "alarm.extxyz"
ROOM_TEMPERATURE_K = 300.0
THERMOSTAT_TIME_FS = 100.0
RELAX_FMAX_EV_PER_A, RELAX_STEPS = 0.01, 1000
EQUILIBRATION = 0.2  # this part of a run, at its start, is left out of the mean temperature


@dataclass(frozen=True)
class DynamicsOptions:
    """What to run; checked when it is made."""

    ensemble: Literal["nve", "nvt"] = "nvt"
    thermostat: Literal["langevin", "bussi", "nose-hoover"] | None = None
    temperature_K: float = 300.0
    timestep_fs: float = 0.5
    thermostat_time_fs: float | None = None
    steps: int = 1000
    seed: int = 0
    velocities: Literal["thermal", "structure"] = "thermal"
    relax_first: bool = False
    trajectory_every: int = 20
    log_every: int = 10
    extxyz: bool = False
    checkpoint_every: int = 10_000
    on_alarm: Literal["stop", "rewind"] = "stop"
    alarm_frames: int = 50
    bonds: Literal["keep", "free"] | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself; fill in the thermostat of an nvt run."""
        nvt = self.ensemble == "nvt"
        if not nvt and (self.thermostat is not None or self.thermostat_time_fs is not None):
            raise InputError("`--thermostat` must be left out with --ensemble nve, which has none. Take --ensemble nvt, or drop it.")
        if not self.timestep_fs > 0:
            raise InputError(f"`--timestep-fs` must be positive; got {self.timestep_fs} fs. Take 0.5 with hydrogen.")
        if self.temperature_K < 0 or (nvt and self.temperature_K == 0):
            raise InputError(f"`--temperature-K` must be positive; got {self.temperature_K} K. Use kelvin.")
        if nvt:
            object.__setattr__(self, "thermostat", self.thermostat or "langevin")
            relaxation = THERMOSTAT_TIME_FS if self.thermostat_time_fs is None else self.thermostat_time_fs
            object.__setattr__(self, "thermostat_time_fs", relaxation)
            if not relaxation > self.timestep_fs:
                raise InputError(
                    f"`--thermostat-time-fs` must be longer than the time step; got {relaxation} fs. Take {THERMOSTAT_TIME_FS:g}."
                )


Watch = Callable[["Run"], AbstractContextManager[object]]


@dataclass(frozen=True)
class Summary:
    """What came out of a run."""

    steps: int
    time_ps: float
    wall_s: float
    ms_per_step: float
    ns_per_day: float
    degrees_of_freedom: int
    temperature_K: float
    temperature_error_K: float
    temperature_from_ps: float  # the mean starts here
    drift_meV_per_atom_per_ps: float  # of potential + kinetic + bath energy
    fluctuation_meV_per_atom: float  # of the same around its drift, root mean square


class Result(NamedTuple):
    """A finished run."""

    log: Log
    summary: Summary


class Dynamics:
    """A run that is set up and not yet started; nothing is written until `run`.

    Parameters
    ----------
    atoms : Atoms               with a calculator; moved by the run
    options : DynamicsOptions
    charge, multiplicity        e and 2S + 1, for the files
    checkpoint                  where to go on; None starts anew

    Raises
    ------
    InputError                  the structure cannot be run this way
    """

    def __init__(
        self, atoms: Atoms, options: DynamicsOptions, *, charge: float, multiplicity: int, checkpoint: Checkpoint | None = None
    ) -> None:
        check_fixed_atoms_only(atoms)
        if options.velocities == "structure" and not atoms.has("momenta"):
            raise InputError("`--velocities structure` must find velocities in the structure file; it has none. Use --velocities thermal.")
        if len(atoms) == 1 and options.thermostat != "langevin":
            raise InputError("`--thermostat` must be langevin for a single atom: without drift nothing is left to move.")
        self.atoms, self.options, self.charge, self.multiplicity = atoms, options, charge, multiplicity
        self.checkpoint = checkpoint

    def run(self, output: Path, manifest: dict[str, Any], watch: Watch | None = None) -> Result:
        """Run all steps in a directory that is already claimed with this manifest; ``watch`` shows progress meanwhile.

        Raises
        ------
        NotConverged   the relaxation before the run did not converge
        RunFailed      the dynamics broke down, or the disk did; files are complete up to there
        """
        with hold(output):
            resumed = None if self.checkpoint is None else self._continue(output, manifest, self.checkpoint)
            ending: dict[str, Any] = {"status": "failed"}
            try:
                with disk_trouble(output):
                    run = resumed or self._start(output, manifest)
                    try:
                        try:
                            run.go(watch)
                        except RunAlarmed:
                            if not self._may_rewind(output, manifest):
                                raise
                            run = self._rewind(output, manifest, run)
                            run.go(watch)
                        ending["status"] = "finished"
                    except OSError:
                        run.drop()
                        raise
                    except BaseException:
                        ending["summary"] = asdict(run.finish())
                        raise
                    summary = run.finish()
                    ending["summary"] = asdict(summary)
            except KeyboardInterrupt:
                ending["status"] = "interrupted"
                raise
            finally:
                with disk_trouble(output):
                    write_text(output / MANIFEST, to_json(manifest | ending | {"ended": now()}))
        return Result(run.log, summary)

    def _start(self, output: Path, manifest: dict[str, Any]) -> Run:
        """Relax and draw velocities where asked to, and open the records."""
        rng = np.random.default_rng(self.options.seed)
        if self.options.relax_first:
            self._relax()
        if self.options.velocities == "thermal":
            start_thermal(self.atoms, self.options.temperature_K, rng)
        drifting = self.options.thermostat == "langevin" and not self.atoms.constraints  # its noise sets drift and tumbling going
        degrees_of_freedom = 3 * len(self.atoms) if drifting else count_degrees_of_freedom(self.atoms)
        trajectory = TrajectoryWriter(output / TRAJECTORY, self.atoms, charge=self.charge, multiplicity=self.multiplicity)
        records = Records(Log(output / LOG), trajectory, Clock(self.options.timestep_fs))
        return Run(self.atoms, self.options, rng, degrees_of_freedom, output, manifest, records)

    def _continue(self, output: Path, manifest: dict[str, Any], checkpoint: Checkpoint) -> Run:
        """Cut the records back to the checkpoint, and set everything that the next step depends on."""
        facts = checkpoint.facts
        rng = np.random.default_rng()
        rng.bit_generator.state = facts["generator"]
        with disk_trouble(output), found_records():
            trajectory = TrajectoryWriter.cut_back(
                output / TRAJECTORY, self.atoms, facts["n_frames"], charge=self.charge, multiplicity=self.multiplicity
            )
            log = Log.cut_back(output / LOG, facts["log_bytes"])
            write_text(output / MANIFEST, to_json(manifest))
        records = Records(log, trajectory, Clock(**facts["clock"]))
        run = Run(self.atoms, self.options, rng, facts["degrees_of_freedom"], output, manifest, records)
        run.restore(checkpoint)
        return run

    def _may_rewind(self, output: Path, manifest: Mapping[str, Any]) -> bool:
        return self.options.on_alarm == "rewind" and "rewound" not in manifest and (output / CHECKPOINT).is_file()

    def _rewind(self, output: Path, manifest: dict[str, Any], failed: Run) -> Run:
        """Go back to the checkpoint with half the time step; the run still covers the time it was asked for."""
        failed.drop()
        checkpoint = read_checkpoint(output)
        step, timestep_fs = checkpoint.facts["step"], self.options.timestep_fs / 2
        self.options = replace(self.options, timestep_fs=timestep_fs, steps=step + 2 * (self.options.steps - step))
        manifest |= {"options": asdict(self.options), "rewound": {"step": step, "timestep_fs": timestep_fs}}
        clock = Clock(timestep_fs, step, Clock(**checkpoint.facts["clock"]).time_fs_at(step))
        for name in ("positions", "momenta"):
            self.atoms.arrays[name][:] = checkpoint.atoms.arrays[name]
        run = self._continue(output, manifest, checkpoint._replace(facts=checkpoint.facts | {"clock": clock._asdict()}))
        run.save()  # killed from now on, it goes on with the shorter step
        return run

    def _relax(self) -> None:
        result = relax(self.atoms, optimizer="bfgs", fmax_eV_per_A=RELAX_FMAX_EV_PER_A, steps=RELAX_STEPS)
        if not result.converged:
            raise NotConverged(
                f"`--relax-first` must reach {RELAX_FMAX_EV_PER_A} eV/Å; got {result.fmax_eV_per_A:.3g} eV/Å in {RELAX_STEPS} steps. "
                "Relax by hand."
            )


class Records(NamedTuple):
    """What a run writes to."""

    log: Log
    trajectory: TrajectoryWriter
    clock: Clock


class Run:
    """A run under way: the integrator and its records."""

    def __init__(
        self,
        atoms: Atoms,
        options: DynamicsOptions,
        rng: np.random.Generator,
        degrees_of_freedom: int,
        output: Path,
        manifest: dict[str, Any],
        records: Records,
    ) -> None:
        self.atoms, self.options, self.rng, self.output, self.manifest = atoms, options, rng, output, manifest
        self.degrees_of_freedom = degrees_of_freedom
        bath = Bath(options.temperature_K, (options.thermostat_time_fs or 0) * units.fs, degrees_of_freedom, rng)
        self.integrator: Integrator = INTEGRATORS[options.thermostat or "nve"](atoms, options.timestep_fs * units.fs, bath)
        self.recorder = Recorder(atoms, self.integrator, records.clock, degrees_of_freedom, records.log, records.trajectory)
        calculator, bonds = atoms.calc, options.bonds or ("free" if atoms.pbc.any() else "keep")
        card = calculator.model.card if isinstance(calculator, PolarizedCalculator) else None
        hottest = max(options.temperature_K, kinetic_temperature(atoms.get_kinetic_energy(), degrees_of_freedom), ROOM_TEMPERATURE_K)
        self.guards = Guards(atoms, degrees_of_freedom, hottest, card, options.alarm_frames, bonds == "keep")
        self.checkpointed: int | None = None  # step of the last checkpoint
        self.started = time.perf_counter()

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.integrator.dynamics.nsteps)

    @property
    def log(self) -> Log:
        """What was recorded so far."""
        return self.recorder.log

    @property
    def wall_s(self) -> float:
        """Time spent so far, before a restart included."""
        return time.perf_counter() - self.started

    def go(self, watch: Watch | None = None) -> None:
        """Run to the end, or until something breaks."""
        with watch(self) if watch else nullcontext():
            self._go()

    def _go(self) -> None:
        dynamics = self.integrator.dynamics
        dynamics.attach(lambda: self.guards.look(self.step))  # the first: nothing wrong is recorded
        dynamics.attach(lambda: self.guards.inspect(self.step, self._conserved_energy()), EVERY)
        dynamics.attach(self.recorder.sample, self.options.log_every)
        dynamics.attach(self.recorder.frame, self.options.trajectory_every)
        dynamics.attach(self.save, self.options.checkpoint_every)  # the last: it tells how far the records go
        if self.checkpointed is None:
            self.started = time.perf_counter()
        try:
            dynamics.run(self.options.steps - self.step)
        except Alarmed as error:
            raise self._alarm(error.alarm) from error
        except (ValueError, ArithmeticError, CalculatorError) as error:
            raise self._alarm(Alarm(self.step, " ".join(str(error).split()), ())) from error
        if self.checkpointed != self.step:
            self.save()

    def _conserved_energy(self) -> float:
        atoms = self.atoms
        return float(atoms.get_potential_energy() + atoms.get_kinetic_energy() + self.integrator.bath_energy())

    def _alarm(self, alarm: Alarm) -> RunAlarmed:
        """Write the frames that led to an alarm."""
        path = self.output / ALARM
        if frames := self.guards.last_frames(alarm):
            write_structures(path, frames)
        self.manifest["alarms"] = [*self.manifest.get("alarms", []), asdict(alarm)]
        return RunAlarmed(
            f"Dynamics broke down at step {alarm.step}: {alarm.what} The last {len(frames)} frames are in {path}. "
            "A shorter time step or a relaxed start may help."
        )

    def save(self) -> None:
        """Write everything that the next step depends on."""
        facts = {
            "step": self.step,
            "clock": self.recorder.clock._asdict(),
            "options": asdict(self.options),
            "generator": self.rng.bit_generator.state,
            "degrees_of_freedom": self.degrees_of_freedom,
            "wall_s": self.wall_s,
            "manifest": self.manifest,
            **self.recorder.sync(),
        }
        searched = self.atoms.calc.searched_at if isinstance(self.atoms.calc, PolarizedCalculator) else None
        pairs = {} if searched is None else searched._asdict()
        forces = self.atoms.get_forces(apply_constraint=False)
        write_checkpoint(
            self.output / CHECKPOINT, Checkpoint(facts, self.atoms, forces, self.integrator.state(), pairs, self.guards.state())
        )
        self.checkpointed = self.step

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go to the step of a checkpoint."""
        self.integrator.restore(checkpoint.integrator)
        self.guards.restore(checkpoint.guards)
        self.integrator.dynamics.nsteps = self.checkpointed = checkpoint.facts["step"]
        self.started = time.perf_counter() - checkpoint.facts["wall_s"]

    def drop(self) -> None:
        """Leave the records as they are: the disk does not take more."""
        self.recorder.trajectory.frames.clear()
        with suppress(OSError):
            self.log.file.close()

    def finish(self) -> Summary:
        """Close the records, write the figure and the last structure, sum up."""
        wall = self.wall_s
        self.recorder.close()
        summary = summarise(self.log, wall, self.step, self.recorder.time_fs, len(self.atoms), self.degrees_of_freedom)
        write_figure(self.output / "dynamics.png", plot_dynamics([self.log], [summary], [self.options], self.atoms))
        write_structures(self.output / "final.extxyz", [self.recorder.snapshot()])
        if self.options.extxyz:
            write_structures(self.output / "trajectory.extxyz", read_trajectory(self.output / TRAJECTORY))
        return summary


@contextmanager
def found_records() -> Iterator[None]:
    """Say in one line that the files of a run are not those of its checkpoint.

    Raises
    ------
    InputError   a file is missing, or shorter than it was
    """
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise InputError(f"`--restart` must find the records that the checkpoint was made with: {error} Start the run anew.") from error


@contextmanager
def disk_trouble(output: Path) -> Iterator[None]:
    """Say in one line that the disk failed, and how to go on.

    Raises
    ------
    RunFailed   anything could not be written
    """
    try:
        yield
    except OSError as error:
        saved = f"The checkpoint is whole: see to the disk, then polcalc md --restart {output}" if (output / CHECKPOINT).is_file() else ""
        raise RunFailed(
            f"`--output` must stay writable; writing to {output} failed ({error.strerror or error}). {saved}".strip()
        ) from error


def summarise(log: Log, wall_s: float, steps: int, time_fs: float, n_atoms: int, degrees_of_freedom: int) -> Summary:
    """Sum up a log: mean temperature with its error, drift of the conserved quantity, speed."""
    moment, temperature, conserved = log.column("time_ps"), log.column("temperature_K"), log.column("conserved_energy_eV")
    start = int(len(moment) * EQUILIBRATION)
    mean, line = block_average(temperature[start:]), fit_line(moment, conserved * 1000 / n_atoms)
    return Summary(
        steps=steps,
        time_ps=time_fs / 1000,
        wall_s=wall_s,
        ms_per_step=1000 * wall_s / max(steps, 1),
        ns_per_day=time_fs * 1e-6 / wall_s * 86400,
        degrees_of_freedom=degrees_of_freedom,
        temperature_K=mean.value,
        temperature_error_K=mean.error,
        temperature_from_ps=float(moment[start]) if len(moment) else 0.0,
        drift_meV_per_atom_per_ps=line.slope,
        fluctuation_meV_per_atom=line.residual,
    )
