"""One phase of a run under way.

Integrator, guards and records, and what of them goes into a checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms, units
from ase.calculators.calculator import CalculatorError

from md_runs.analysis.statistics import Mean, average, fit_line
from md_runs.dynamics.barostats import INTEGRATORS
from md_runs.dynamics.checkpoint import CHECKPOINT, Checkpoint, write_checkpoint
from md_runs.dynamics.field import Oscillation
from md_runs.dynamics.guards import EVERY, RELAXED, USUAL, Alarm, Alarmed, Guards
from md_runs.dynamics.integrators import Bath
from md_runs.dynamics.momenta import kinetic_temperature
from md_runs.dynamics.protocol import DynamicsOptions, Phase
from md_runs.dynamics.recorder import Clock, Log, Recorder
from md_runs.errors import RunAlarmed
from md_runs.records.figures import plot_dynamics
from md_runs.records.output import write_figure
from md_runs.records.structures import set_state, write_structures
from md_runs.records.trajectory import TrajectoryWriter, read_trajectory
from polcalc import PolarizedCalculator
from potentials.quantities import DEBYE

LOG, TRAJECTORY, ALARM = "log.csv", "trajectory.h5md", "alarm.extxyz"
ROOM_TEMPERATURE_K = 300.0
SETTLE_EVERY = (
    100  # steps between stops of drift and tumbling; rounding in float32 takes thousands to be seen
)
EQUILIBRATION = (
    0.2  # this part of a run that was not equilibrated, at its start, is left out of the means
)
LAST = 0.8  # of a run that is heated, the rest counts

Watch = Callable[["Run"], AbstractContextManager[object]]


@dataclass(frozen=True)
class Files:
    """Names of what a phase writes."""

    log: str
    trajectory: str
    extxyz: str
    figure: str


FILES = {
    "equilibration": Files(
        "equilibration.csv", "equilibration.h5md", "equilibration.extxyz", "equilibration.png"
    ),
    "production": Files(LOG, TRAJECTORY, "trajectory.extxyz", "dynamics.png"),
}


@dataclass(frozen=True)
class Summary:
    """What came out of a phase; volume and pressure are None where the cell is fixed."""

    steps: int
    time_ps: float
    wall_s: float
    ms_per_step: float
    ns_per_day: float
    degrees_of_freedom: int
    temperature_K: float
    temperature_error_K: float
    temperature_from_ps: float  # the means start here
    drift_meV_per_atom_per_ps: float  # of potential + kinetic + bath energy
    fluctuation_meV_per_atom: float  # of the same around its drift, root mean square
    volume_A3: float | None = None
    volume_error_A3: float | None = None
    pressure_GPa: float | None = None
    pressure_error_GPa: float | None = None
    dipole_D: float | None = None  # mean size of that of a neutral molecule, where it is logged
    dipole_error_D: float | None = None


class Records(NamedTuple):
    """What a phase writes to."""

    log: Log
    trajectory: TrajectoryWriter
    clock: Clock


class Run:
    """A phase under way.

    Parameters
    ----------
    atoms : Atoms            with a calculator
    options : DynamicsOptions
    phase : int              which one of the options
    rng                      of the whole run
    degrees_of_freedom       that hold the temperature
    output, manifest         of the whole run
    records : Records
    bonds : arrays           of the guards of an earlier phase: bonds are compared with the start of
                             the run
    """

    def __init__(
        self,
        atoms: Atoms,
        options: DynamicsOptions,
        phase: int,
        rng: np.random.Generator,
        degrees_of_freedom: int,
        output: Path,
        manifest: dict[str, Any],
        records: Records,
        bonds: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        self.atoms, self.options, self.number, self.rng, self.output, self.manifest = (
            atoms,
            options,
            phase,
            rng,
            output,
            manifest,
        )
        self.phase: Phase = options.phases()[phase]
        self.degrees_of_freedom = degrees_of_freedom
        self.integrator = INTEGRATORS[self.phase.thermostat, self.phase.barostat](
            atoms, options.timestep_fs * units.fs, self._bath()
        )
        if self.phase.heats:
            self.integrator.aim(self.phase.start_K)
        log, trajectory, clock = records
        self.recorder = Recorder(
            atoms,
            self.integrator,
            clock,
            degrees_of_freedom,
            log,
            trajectory,
            lambda: self.target_K,
        )
        self.oscillation = None
        if options.electric_field_THz is not None and options.electric_field_V_per_A is not None:
            self.oscillation = Oscillation(
                atoms, options.electric_field_V_per_A, options.electric_field_THz, clock
            )
        self.guards = self._guards()
        self.guards.restore_bonds(bonds)
        self.checkpointed: int | None = None  # step of the last checkpoint
        self.resumed: int | None = None  # step of the one that was gone on from
        self.started = time.perf_counter()

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.integrator.dynamics.nsteps)

    @property
    def n_steps(self) -> int:
        """Steps in all."""
        return self.phase.n_steps(self.recorder.clock)

    @property
    def target_K(self) -> float:
        """Temperature that the thermostat aims at now."""
        return self.phase.target_K(self.step, self.recorder.clock)

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
        self._attach()
        if self.oscillation is not None:
            self.oscillation.start(self.step)
        if self.checkpointed is None:
            self.started = time.perf_counter()
        try:
            with np.errstate(over="raise"):
                self.integrator.dynamics.run(self.n_steps - self.step)
        except Alarmed as error:
            raise self._alarm(error.alarm) from error
        except (ValueError, ArithmeticError, CalculatorError) as error:
            raise self._alarm(Alarm(self.step, " ".join(str(error).split()), ())) from error
        if self.checkpointed != self.step:
            self.save()

    def _attach(self) -> None:
        """Say what happens after which steps, in this order."""
        integrator = self.integrator

        def attach(work: Callable[[], None], every: int = 1) -> None:
            # ASE calls at step 0 also when that is where a checkpoint was: it has been done there
            # already
            integrator.dynamics.attach(lambda: None if self.step == self.resumed else work(), every)

        attach(lambda: self.guards.look(self.step))  # the first: nothing wrong is recorded
        if self.oscillation is not None:
            oscillation = self.oscillation
            attach(lambda: oscillation.advance(self.step, integrator))
        attach(lambda: self.guards.inspect(self.step, self._conserved_energy()), every=EVERY)
        if self.phase.heats:
            attach(lambda: integrator.heat(self.target_K))
        if (
            self.options.rigid_motion == "always" and self.phase.thermostat != "langevin"
        ):  # which settles its own noise
            attach(integrator.settle, SETTLE_EVERY)
        attach(self.recorder.sample, self.options.log_every)
        attach(self.recorder.frame, self.options.trajectory_every)
        if self.options.velocities_every:
            attach(self.recorder.velocities, self.options.velocities_every)
        # the last: it tells how far the records go
        attach(self.save, self.options.checkpoint_every)

    def save(self) -> None:
        """Write everything that the next step depends on."""
        facts = {
            "phase": self.number,
            "step": self.step,
            "clock": self.recorder.clock._asdict(),
            "options": asdict(self.options),
            "generator": self.rng.bit_generator.state,
            "degrees_of_freedom": self.degrees_of_freedom,
            "wall_s": self.wall_s,
            "manifest": self.manifest,
            **self.recorder.sync(),
        }
        searched = (
            self.atoms.calc.searched_at
            if isinstance(self.atoms.calc, PolarizedCalculator)
            else None
        )
        pairs = {} if searched is None else searched._asdict()
        forces = self.atoms.get_forces(apply_constraint=False)
        write_checkpoint(
            self.output / CHECKPOINT,
            Checkpoint(
                facts, self.atoms, forces, self.integrator.state(), pairs, self.guards.state()
            ),
        )
        self.checkpointed = self.step

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go to the step of a checkpoint."""
        self.integrator.dynamics.nsteps = self.checkpointed = self.resumed = checkpoint.facts[
            "step"
        ]
        if self.phase.heats:
            self.integrator.aim(self.target_K)
        self.integrator.restore(checkpoint.integrator)
        self.guards.restore(checkpoint.guards)
        self.started = time.perf_counter() - checkpoint.facts["wall_s"]

    def drop(self) -> None:
        """Leave the records as they are: the disk does not take more."""
        self.recorder.trajectory.drop()
        with suppress(OSError):
            self.log.file.close()

    def finish(self) -> Summary:
        """Close the records, write the figure and the last structure, sum up."""
        wall, files = self.wall_s, FILES[self.phase.name]
        self.recorder.close()
        summary = self._summary(wall)
        write_figure(
            self.output / files.figure,
            plot_dynamics([self.log], [summary], [self.phase], self.atoms),
        )
        if self.phase.name == "production":
            write_structures(self.output / "final.extxyz", [self.recorder.snapshot()])
        if self.options.extxyz:
            write_structures(
                self.output / files.extxyz, read_trajectory(self.output / files.trajectory)
            )
        return summary

    def _bath(self) -> Bath:
        options = self.options
        return Bath(
            temperature_K=max(
                self.phase.start_K, self.phase.end_K
            ),  # gives the masses of chains and cell, which must not be light
            time=(options.thermostat_time_fs or 0.0) * units.fs,
            degrees_of_freedom=self.degrees_of_freedom,
            rng=self.rng,
            settled=options.rigid_motion == "always",
            pressure=(options.pressure_GPa or 0.0) * units.GPa,
            pressure_time=(options.barostat_time_fs or 0.0) * units.fs,
        )

    def _guards(self) -> Guards:
        atoms, calculator, bonds = (
            self.atoms,
            self.atoms.calc,
            self.options.bonds or ("free" if self.atoms.pbc.any() else "keep"),
        )
        card = calculator.model.card if isinstance(calculator, PolarizedCalculator) else None
        now_K = kinetic_temperature(atoms.get_kinetic_energy(), self.degrees_of_freedom)
        hottest_K = max(self.phase.start_K, self.phase.end_K, now_K, ROOM_TEMPERATURE_K)
        return Guards(
            atoms,
            self.degrees_of_freedom,
            hottest_K,
            card,
            self.options.alarm_frames,
            bonds == "keep",
            self.options.max_uncertainty_eV_per_A,
        )

    def _conserved_energy(self) -> float:
        atoms = self.atoms
        return float(
            atoms.get_potential_energy()
            + atoms.get_kinetic_energy()
            + self.integrator.bath_energy()
        )

    def _alarm(self, alarm: Alarm) -> RunAlarmed:
        """Write the frames that led to an alarm."""
        path = self.output / ALARM
        usual = RELAXED if self.options.relax_first else USUAL
        alarm = replace(alarm, advice=alarm.advice or usual)
        trajectory = self.recorder.trajectory
        if frames := self.guards.last_frames(alarm):
            for frame in frames:
                set_state(frame, trajectory.charge, trajectory.multiplicity)
            write_structures(path, frames)
        self.manifest["alarms"] = [
            *self.manifest.get("alarms", []),
            {"phase": self.phase.name} | asdict(alarm),
        ]
        where = f"step {alarm.step}" + (
            " of the equilibration" if self.phase.name == "equilibration" else ""
        )
        return RunAlarmed(
            f"Dynamics broke down at {where}: {alarm.what} The last {len(frames)} frames are in"
            f" {path}. {alarm.advice}"
        )

    def _summary(self, wall_s: float) -> Summary:
        """Sum up the log: means with errors, drift of the conserved quantity, speed."""
        log, steps, time_fs, n_atoms = self.log, self.step, self.recorder.time_fs, len(self.atoms)
        moment, conserved = log.column("time_ps"), log.column("conserved_energy_eV")
        start = int(
            len(moment) * (LAST if self.phase.heats else 0.0 if self.number else EQUILIBRATION)
        )
        means = {name: average(log.column(name)[start:]).mean for name in log.columns}
        line, missing = fit_line(moment, conserved * 1000 / n_atoms), (None, None)
        return Summary(
            steps,
            time_fs / 1000,
            wall_s,
            1000 * wall_s / max(steps, 1),
            time_fs * 1e-6 / wall_s * 86400,
            self.degrees_of_freedom,
            *means["temperature_K"],
            float(moment[start]) if len(moment) else 0.0,
            line.slope,
            line.residual,
            *means.get("volume_A3", missing),
            *means.get("pressure_GPa", missing),
            *(self._dipole(start) or missing),
        )

    def _dipole(self, start: int) -> Mean | None:
        """Average the size of the dipole in D; that of ions and of cells depends on the origin."""
        names = [f"dipole_{axis}_e_A" for axis in "xyz"]
        neutral_molecule = not self.recorder.trajectory.charge and not self.atoms.pbc.any()
        if not neutral_molecule or not set(names) <= set(self.log.columns):
            return None
        sizes = np.linalg.norm([self.log.column(name)[start:] for name in names], axis=0)
        return average(sizes / DEBYE).mean
