"""Molecular dynamics: set up, run phase after phase, go back or go on.

Used by ``polcalc md`` and by the demo.

A run owns its directory: ``manifest.json`` (from the first moment), ``log.csv`` and
``trajectory.h5md`` (readable at any time), ``checkpoint.npz``, and at the end ``final.extxyz``,
``dynamics.png`` and the summary in the manifest. An equilibration has ``equilibration.csv``,
``.h5md`` and ``.png`` beside them, so that the records of production start clean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from md_runs.dynamics.checkpoint import CHECKPOINT, Checkpoint, read_checkpoint
from md_runs.dynamics.constraints import (
    constrain,
    describe_constraints,
    fixed_atoms,
    set_constraints,
)
from md_runs.dynamics.momenta import count_degrees_of_freedom, settled_momenta, start_thermal
from md_runs.dynamics.phase import (
    EQUILIBRATION,
    FILES,
    LOG,
    TRAJECTORY,
    Records,
    Run,
    Summary,
    Watch,
)
from md_runs.dynamics.protocol import DynamicsOptions, Phase
from md_runs.dynamics.recorder import Clock, Log, further_columns
from md_runs.errors import InputError, NotConverged, RunAlarmed, RunFailed, whole
from md_runs.records.manifest import now
from md_runs.records.output import MANIFEST, hold, say_interrupted, to_json
from md_runs.records.trajectory import TrajectoryWriter
from md_runs.screen import errors
from md_runs.signals import last_words
from md_runs.surfaces.relax import relax, remarks
from potentials.files import write_text

__all__ = [
    "EQUILIBRATION",
    "LOG",
    "TRAJECTORY",
    "Dynamics",
    "DynamicsOptions",
    "Result",
    "Run",
    "Summary",
]

RELAX_FMAX_EV_PER_A, RELAX_STEPS = 0.01, 1000
# where the manifest keeps what came out of a phase
SUMMARY = {"equilibration": "equilibration", "production": "summary"}


class Result(NamedTuple):
    """A finished run: log and summary of its production."""

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
        self,
        atoms: Atoms,
        options: DynamicsOptions,
        *,
        charge: int,
        multiplicity: int,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        if checkpoint is None:
            constrain(atoms, options.fix_atoms, options.fix_bonds)
            _check_structure(atoms, options)
        self.atoms, self.options, self.charge, self.multiplicity = (
            atoms,
            options,
            charge,
            multiplicity,
        )
        self.checkpoint = checkpoint

    def run(self, output: Path, manifest: dict[str, Any], watch: Watch | None = None) -> Result:
        """Run all phases in a directory that is already claimed with this manifest.

        ``watch`` shows progress meanwhile.

        Raises
        ------
        NotConverged   the relaxation before the run did not converge
        RunFailed      the dynamics broke down, or the disk did; files are complete up to there
        """
        with hold(output):
            resumed = (
                None
                if self.checkpoint is None
                else self._continue(output, manifest, self.checkpoint)
            )
            status = "failed"
            try:
                with disk_trouble(output), last_words(partial(say_interrupted, output, manifest)):
                    result = self._run_phases(resumed or self._start(output, manifest), watch)
                status = "finished"
            except KeyboardInterrupt:
                status = "interrupted"
                raise
            finally:
                with disk_trouble(output):
                    write_text(
                        output / MANIFEST, to_json(manifest | {"status": status, "ended": now()})
                    )
        return result

    def _run_phases(self, run: Run, watch: Watch | None) -> Result:
        while True:
            run = self._run_phase(run, watch)
            summary = run.finish()
            run.manifest[SUMMARY[run.phase.name]] = asdict(summary)
            if run.number == len(self.options.phases()) - 1:
                return Result(run.log, summary)
            write_text(run.output / MANIFEST, to_json(run.manifest))
            run = self._begin_next(run)

    def _run_phase(self, run: Run, watch: Watch | None) -> Run:
        """Run a phase to its end, again from its checkpoint where a guard objects and it may."""
        try:
            try:
                run.go(watch)
            except RunAlarmed:
                if not self._may_rewind(run):
                    raise
                run = self._rewind(run)
                run.go(watch)
        except OSError:
            run.drop()
            raise
        except BaseException:
            run.manifest[SUMMARY[run.phase.name]] = asdict(run.finish())
            raise
        return run

    def _start(self, output: Path, manifest: dict[str, Any]) -> Run:
        """Relax and draw velocities where asked to, and begin the first phase."""
        rng = np.random.default_rng(self.options.seed)
        if self.options.relax_first:
            self._relax()
        if self.options.velocities == "thermal":
            start_thermal(
                self.atoms,
                self.options.phases()[0].start_K,
                rng,
                self.options.rigid_motion != "never",
            )
        else:
            self.atoms.set_momenta(self.atoms.get_momenta())  # without those of the constraints
            self._settle()
        return self._begin(0, rng, output, manifest, {})

    def _begin_next(self, run: Run) -> Run:
        """Begin the next phase where this one ended."""
        self._settle()
        return self._begin(run.number + 1, run.rng, run.output, run.manifest, run.guards.state())

    def _begin(
        self,
        number: int,
        rng: np.random.Generator,
        output: Path,
        manifest: dict[str, Any],
        bonds: Mapping[str, Any],
    ) -> Run:
        """Open records in place of those that a killed run left after its last checkpoint."""
        phase = self.options.phases()[number]
        files = FILES[phase.name]
        for name in (files.log, files.trajectory):
            (output / name).unlink(missing_ok=True)
        self.atoms.get_potential_energy()  # records keep what the model says of the first frame
        trajectory = TrajectoryWriter(
            output / files.trajectory,
            self.atoms,
            charge=self.charge,
            multiplicity=self.multiplicity,
            interval_fs=self.options.trajectory_every * self.options.timestep_fs,
        )
        columns = (*phase.columns, *further_columns(self.atoms))
        records = Records(
            Log(output / files.log, columns), trajectory, Clock(self.options.timestep_fs)
        )
        degrees_of_freedom = count_degrees_of_freedom(self.atoms, _rigid_moves(phase, self.options))
        return Run(
            self.atoms,
            self.options,
            number,
            rng,
            degrees_of_freedom,
            output,
            manifest,
            records,
            bonds,
        )

    def _continue(self, output: Path, manifest: dict[str, Any], checkpoint: Checkpoint) -> Run:
        """Cut the records back to the checkpoint, and restore all that the next step depends on."""
        facts = checkpoint.facts
        phase = self.options.phases()[facts["phase"]]
        files = FILES[phase.name]
        rng = np.random.default_rng()
        rng.bit_generator.state = facts["generator"]
        with disk_trouble(output), found_records():
            trajectory = TrajectoryWriter.cut_back(
                output / files.trajectory,
                self.atoms,
                facts["n_frames"],
                facts["n_velocities"],
                charge=self.charge,
                multiplicity=self.multiplicity,
                interval_fs=self.options.trajectory_every * self.options.timestep_fs,
            )
            log = Log.cut_back(
                output / files.log, facts["log_bytes"], phase.columns, further_columns(self.atoms)
            )
            write_text(output / MANIFEST, to_json(manifest))
        records = Records(log, trajectory, Clock(**facts["clock"]))
        run = Run(
            self.atoms,
            self.options,
            facts["phase"],
            rng,
            facts["degrees_of_freedom"],
            output,
            manifest,
            records,
            {},
        )
        with whole("--restart", output / CHECKPOINT):
            run.restore(checkpoint)
        return run

    def _may_rewind(self, run: Run) -> bool:
        return (
            self.options.on_alarm == "rewind"
            and "rewound" not in run.manifest
            and (run.output / CHECKPOINT).is_file()
        )

    def _rewind(self, failed: Run) -> Run:
        """Go back to the checkpoint with half the time step.

        The run still covers the time it was asked for.
        """
        failed.drop()
        checkpoint = read_checkpoint(failed.output)
        step, timestep_fs = checkpoint.facts["step"], self.options.timestep_fs / 2
        done = step if failed.phase.name == "production" else 0
        self.options = replace(
            self.options, timestep_fs=timestep_fs, steps=done + 2 * (self.options.steps - done)
        )
        rewound = {"phase": failed.phase.name, "step": step, "timestep_fs": timestep_fs}
        failed.manifest |= {"options": asdict(self.options), "rewound": rewound}
        clock = Clock(timestep_fs, step, Clock(**checkpoint.facts["clock"]).time_fs_at(step))
        for name in ("positions", "momenta"):
            self.atoms.arrays[name][:] = checkpoint.atoms.arrays[name]
        self.atoms.cell[:] = checkpoint.atoms.cell
        run = self._continue(
            failed.output,
            failed.manifest,
            checkpoint._replace(facts=checkpoint.facts | {"clock": clock._asdict()}),
        )
        run.save()  # killed from now on, it goes on with the shorter step
        return run

    def _settle(self) -> None:
        if self.options.rigid_motion != "never":
            self.atoms.set_momenta(settled_momenta(self.atoms))

    def _relax(self) -> None:
        """Relax, with bonds free; those to be fixed are fixed at the lengths they have then."""
        kept = describe_constraints(self.atoms)
        set_constraints(self.atoms, kept["fixed"], [])
        result = relax(self.atoms, fmax_eV_per_A=RELAX_FMAX_EV_PER_A, steps=RELAX_STEPS)
        for text in remarks(result):
            errors.print(f"warning: --relax-first: {text}", markup=False)
        if not result.converged:
            if result.hopeless:
                raise NotConverged(f"`--relax-first` was given up: {result.hopeless}.")
            raise NotConverged(
                f"`--relax-first` must reach {RELAX_FMAX_EV_PER_A} eV/Å; got"
                f" {result.fmax_eV_per_A:.3g} eV/Å in {result.steps[-1].step} steps. Relax by hand."
            )
        set_constraints(self.atoms, kept["fixed"], kept["bonds"])


def _check_structure(atoms: Atoms, options: DynamicsOptions) -> None:
    """Refuse a structure that cannot be run this way.

    Raises
    ------
    InputError   no velocities, no cell, or nothing that moves
    """
    if options.velocities == "structure" and not atoms.has("momenta"):
        raise InputError(
            "`--velocities structure` must find velocities in the structure file; it has none. Use"
            " --velocities thermal."
        )
    if options.ensemble == "npt" and not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise InputError(
            "`--ensemble npt` must find a cell that is periodic in three directions; the structure"
            " has none. Take nvt."
        )
    if options.ensemble == "npt" and atoms.constraints:
        raise InputError(
            "`--ensemble npt` must find no fixed atoms or bonds in the structure, which no barostat"
            " here keeps. Take nvt."
        )
    if options.rigid_motion == "always" and fixed_atoms(atoms).any():
        raise InputError(
            "`--rigid-motion` must not be always with fixed atoms, which hold the structure"
            " already. Leave it out."
        )
    at_rest = atoms.copy()
    at_rest.set_momenta(np.zeros_like(atoms.positions))
    for phase in options.phases():
        moves = _rigid_moves(phase, options) or options.rigid_motion == "never"
        if count_degrees_of_freedom(at_rest, moves) < 1:
            raise InputError(
                "`STRUCTURE` must leave something to move; nothing is left of it without drift,"
                " tumbling, fixed atoms and fixed bonds. Fix less, or take --thermostat langevin,"
                " which moves the whole."
            )


def _rigid_moves(phase: Phase, options: DynamicsOptions) -> bool:
    """Say whether noise sets drift and tumbling going."""
    return phase.thermostat == "langevin" and options.rigid_motion != "always"


@contextmanager
def found_records() -> Iterator[None]:
    """Say in one line that the files of a run are not those of its checkpoint.

    Raises
    ------
    InputError   a file is missing, or shorter than it was
    """
    try:
        yield
    except (ValueError, FileNotFoundError, LookupError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"`--restart` must find the records that the checkpoint was made with: {reason:.200}"
            " Start the run anew."
        ) from error


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
        saved = (
            f"The checkpoint is whole: see to the disk, then polcalc md --restart {output}"
            if (output / CHECKPOINT).is_file()
            else ""
        )
        raise RunFailed(
            f"`--output` must stay writable; writing to {output} failed"
            f" ({error.strerror or error}). {saved}".strip()
        ) from error
