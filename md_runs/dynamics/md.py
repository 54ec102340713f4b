"""``polcalc md``: run molecular dynamics of a structure, or continue a run from its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from ase import Atoms
from rich.table import Table

from md_runs import session
from md_runs.analysis.statistics import Mean, mean_of
from md_runs.dynamics.checkpoint import CHECKPOINT, Checkpoint, read_checkpoint
from md_runs.dynamics.driver import Dynamics, DynamicsOptions
from md_runs.dynamics.field import field_at
from md_runs.dynamics.phase import Summary
from md_runs.dynamics.progress import watch_dynamics
from md_runs.dynamics.recorder import Clock
from md_runs.errors import InputError, whole
from md_runs.records.manifest import make_manifest, now
from md_runs.records.output import MANIFEST, check_free, claim
from md_runs.screen import errors, screen
from md_runs.session import ModelOptions
from polcalc import PolarizedCalculator

# options that a restart takes
FRAME_BYTES_PER_ATOM = 72  # positions, velocities and forces in double precision
VELOCITY_BYTES_PER_ATOM = 12  # in single precision
N_TIMED = 5  # evaluations of a dry run
WITH_RESTART = {"restart", "allow_changes", "steps", "model", "device", "dtype", "engine"}


def md(
    structure: Path | None = None,
    model: str | None = None,
    frame: int | None = None,
    ensemble: str = "nvt",
    steps: int = 10000,
    timestep_fs: float = 0.5,
    seed: int = 0,
    relax_first: bool = False,
    velocities: str = "thermal",
    temperature_K: float = 300.0,
    temperature_end_K: float | None = None,
    thermostat: str | None = None,
    thermostat_time_fs: float | None = None,
    pressure_GPa: float | None = None,
    barostat: str | None = None,
    barostat_time_fs: float | None = None,
    equilibrate_ps: float = 0.0,
    equilibrate_thermostat: str | None = None,
    equilibrate_from_K: float | None = None,
    fix_atoms: str | None = None,
    fix_bonds: str | None = None,
    rigid_motion: str | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    partial_charges: str | None = None,
    fragments: Path | None = None,
    electric_field_V_per_A: tuple[float, float, float] | None = None,
    electric_field_THz: float | None = None,
    device: str = "auto",
    dtype: str = "float32",
    engine: str = "auto",
    output: Path = Path("polcalc-md"),
    trajectory_every: int = 20,
    velocities_every: int | None = None,
    log_every: int = 10,
    extxyz: bool = False,
    checkpoint_every: int = 10000,
    on_alarm: str = "stop",
    alarm_frames: int = 50,
    bonds: str | None = None,
    max_uncertainty_eV_per_A: float | None = None,
    restart: Path | None = None,
    allow_changes: bool = False,
    dry_run: bool = False,
    given: Collection[str] = (),
) -> None:
    """Run molecular dynamics of a structure, or go on with a run that has stopped.

    Writes trajectory.h5md, log.csv, checkpoint.npz, dynamics.png, final.extxyz and manifest.json
    into the output directory. Killed at any time, the run goes on with ``restart`` and ends with
    the same bits as if nothing had happened; ``given`` names what replaces its settings then.

    Raises
    ------
    InputError   bad input, or with ``restart`` an argument that the run has settled already
    RunFailed    the run stopped on the way
    """
    asked = locals()
    if restart is not None:
        _check_with_restart(given)
        replaced = {name: asked[name] for name in given if name in WITH_RESTART}
        return _restart(restart, allow_changes, replaced)
    if structure is None or allow_changes:
        raise InputError(
            "`STRUCTURE` must be given, or `--restart` with the directory of a run that has stopped"
            + ("; `--allow-changes` goes with `--restart` only." if allow_changes else ".")
        )
    plan = DynamicsOptions(**{field.name: asked[field.name] for field in fields(DynamicsOptions)})
    charges, groups = (
        session.read_partial_charges(partial_charges),
        session.read_fragments(fragments),
    )
    chosen = ModelOptions(
        model,
        device,
        dtype,
        engine,
        charge,
        multiplicity,
        charges,
        groups,
        electric_field_V_per_A,
    )
    dynamics = _prepare(structure, frame, plan, chosen, output)
    if dry_run:
        return screen.print(_plan_table(dynamics, plan, output))
    _begin(structure, frame, dynamics, plan, chosen, output)


def _prepare(
    structure: Path, frame: int | None, plan: DynamicsOptions, chosen: ModelOptions, output: Path
) -> Dynamics:
    """Check everything that can be checked before anything is written."""
    check_free(output)
    atoms = session.read_structure(structure, frame)
    atoms.calc = session.make_calculator(chosen)
    session.evaluate_first(atoms)
    state = atoms.calc.state
    return Dynamics(atoms, plan, charge=state.charge, multiplicity=state.multiplicity)


def _begin(
    structure: Path,
    frame: int | None,
    dynamics: Dynamics,
    plan: DynamicsOptions,
    chosen: ModelOptions,
    output: Path,
) -> None:
    """Start a run in a new directory."""
    atoms = dynamics.atoms
    manifest = make_manifest(
        "md",
        asdict(plan),
        structure=session.fingerprint(structure) | {"frame": frame},
        seed=plan.seed,
        formula=atoms.get_chemical_formula(),
        **session.provenance(atoms.calc, chosen),
    )
    claim(output, manifest)
    if plan.velocities == "thermal" and atoms.has("momenta"):
        errors.print(
            f"{structure.name} has velocities; new ones are drawn at"
            f" {plan.phases()[0].start_K:g} K. --velocities structure keeps them"
        )
    _run(dynamics, output, manifest)


def _plan_table(dynamics: Dynamics, plan: DynamicsOptions, output: Path) -> Table:
    """Say what a run would do, how large its trajectory gets and how long it takes."""
    atoms, phases = dynamics.atoms, plan.phases()
    steps = [
        phase.steps if phase.duration_fs is None else round(phase.duration_fs / plan.timestep_fs)
        for phase in phases
    ]
    frames = steps[-1] // plan.trajectory_every + 1
    alone = steps[-1] // plan.velocities_every + 1 if plan.velocities_every else 0
    per_atom = frames * FRAME_BYTES_PER_ATOM + alone * VELOCITY_BYTES_PER_ATOM
    megabytes = len(atoms) * per_atom / 1e6
    seconds = _seconds_per_step(atoms)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("structure", f"{atoms.get_chemical_formula()}, {atoms.calc.state}")
    table.add_row("model", f"{atoms.calc.parameters['model']}, {atoms.calc.engine}")
    for phase, number in zip(phases, steps, strict=True):
        kelvin = f"{phase.start_K:g} K" + (f" to {phase.end_K:g} K" if phase.heats else "")
        length = number * plan.timestep_fs / 1000
        table.add_row(
            phase.name,
            f"{phase.ensemble}, {kelvin}, {number:,} steps of {plan.timestep_fs:g} fs:"
            f" {length:g} ps",
        )
    table.add_row("trajectory", f"{frames:,} frames, about {megabytes:,.1f} MB, in {output}")
    table.add_row(
        "time",
        f"about {timedelta(seconds=round(seconds * sum(steps)))}, at {1000 * seconds:.3g} ms for"
        " energy and forces",
    )
    table.add_row("written", "nothing: a dry run")
    return table


def _seconds_per_step(atoms: Atoms) -> float:
    """Time energy and forces, where the atoms have moved as in a step."""
    moved = atoms.copy()
    moved.calc = atoms.calc
    times = []
    for number in range(N_TIMED):
        moved.positions += 1e-4 * (-1) ** number
        start = perf_counter()
        moved.get_forces()
        times.append(perf_counter() - start)
    return float(np.median(times))


def _restart(directory: Path, allow_changes: bool, chosen: Mapping[str, Any]) -> None:
    """Go on in the directory of a run."""
    checkpoint = read_checkpoint(directory)
    with whole("--restart", directory / CHECKPOINT):
        asked, manifest = (
            DynamicsOptions(**checkpoint.facts["options"]),
            checkpoint.facts["manifest"],
        )
        if not {"calculator", "identity"} <= manifest.keys():
            raise InputError(
                f"`--restart` must be a run that names its model; got {directory}, which does not."
                " Start the run anew."
            )
        plan = replace(asked, steps=chosen.get("steps", asked.steps))
        _check_steps(plan, asked, checkpoint, directory)
        replaced = {
            name: chosen[name] for name in ("model", "device", "dtype", "engine") if name in chosen
        }
        model = replace(ModelOptions(**manifest["calculator"]), **replaced)
    atoms = checkpoint.atoms
    atoms.calc = session.make_calculator(model)
    if asked.electric_field_THz is not None and asked.electric_field_V_per_A is not None:
        moment = Clock(**checkpoint.facts["clock"]).time_fs_at(checkpoint.facts["step"])
        field = field_at(asked.electric_field_V_per_A, asked.electric_field_THz, moment)
        atoms.calc.set(electric_field_V_per_A=field)
    changes = _changes(checkpoint, atoms.calc)
    if changes and not allow_changes:
        listed = "; ".join(f"{name}: {change}" for name, change in changes.items())
        raise InputError(
            f"`--restart` must find everything as it was, to end with the same bits; {listed}. Or"
            " pass --allow-changes."
        )
    manifest |= session.provenance(atoms.calc, model) | {
        "options": asdict(plan),
        "status": "running",
    }
    at = {"phase": plan.phases()[checkpoint.facts["phase"]].name, "step": checkpoint.facts["step"]}
    manifest["restarts"] = [
        *manifest.get("restarts", []),
        at | {"started": now(), "changes": changes},
    ]
    state = atoms.calc.state
    dynamics = Dynamics(
        atoms, plan, charge=state.charge, multiplicity=state.multiplicity, checkpoint=checkpoint
    )
    _run(dynamics, directory, manifest)


def _check_steps(
    plan: DynamicsOptions, asked: DynamicsOptions, checkpoint: Checkpoint, directory: Path
) -> None:
    """Refuse a number of steps that is done already, or that a run cannot be prolonged to."""
    in_production = checkpoint.facts["phase"] == len(plan.phases()) - 1
    done = checkpoint.facts["step"] if in_production else 0
    if plan.steps < done or (plan.steps == done and _is_finished(directory)):
        raise InputError(
            f"`--steps` must be more than the {done} that are done; got {plan.steps}. Ask for more"
            " in all."
        )
    if plan.steps != asked.steps and plan.phases()[-1].heats:
        raise InputError(
            f"`--steps` must stay {asked.steps} in a run that reaches --temperature-end-K at its"
            f" last step; got {plan.steps}. Start another run from final.extxyz."
        )


def _run(dynamics: Dynamics, output: Path, manifest: dict[str, Any]) -> None:
    facts = dynamics.checkpoint.facts if dynamics.checkpoint else {}
    at = f" from step {facts['step']}" if facts else ""
    screen.print(
        f"{manifest['formula']}, {dynamics.atoms.calc.state}; {manifest['calculator']['model']},"
        f" {manifest['engine']}{at}"
    )
    result = dynamics.run(output, manifest, partial(watch_dynamics, console=errors))
    screen.print(dynamics_table(result.summary))
    screen.print(f"Results in {output}")


def _changes(checkpoint: Checkpoint, calculator: PolarizedCalculator) -> dict[str, str]:
    """Evaluate the structure of the checkpoint as the run did, and name what is no longer the same.

    The pairs are searched where the run searched them, so that they come in the same order; the
    forces are then those of the checkpoint to the bit, or something else changed: a library, the
    processor. A GPU does not promise the same bits.
    """
    atoms = checkpoint.atoms
    if checkpoint.pairs:
        there = atoms.copy()
        there.positions, there.cell = checkpoint.pairs["positions"], checkpoint.pairs["cell"]
        there.calc = calculator
        session.evaluate_first(there)
    session.evaluate_first(atoms)
    before, after = checkpoint.facts["manifest"]["identity"], session.identity(calculator)
    changes = {
        name: f"{before.get(name)} before, {after[name]} now"
        for name in after
        if before.get(name) != after[name]
    }
    forces = atoms.get_forces(apply_constraint=False)
    if not changes and after["device"] == "cpu" and not np.array_equal(forces, checkpoint.forces):
        changes["forces"] = (
            f"other by up to {np.abs(forces - checkpoint.forces).max():.1e} eV/Å: another processor"
            " or compiled code"
        )
    return changes


def _check_with_restart(given: Collection[str]) -> None:
    """Refuse what a run has settled already."""
    if left := sorted(set(given) - WITH_RESTART):
        named = ", ".join(
            "STRUCTURE" if name == "structure" else f"--{name.replace('_', '-')}" for name in left
        )
        raise InputError(
            f"`--restart` must come without what the run has settled already; got {named}. Leave it"
            " out."
        )


def _is_finished(directory: Path) -> bool:
    try:
        return bool(
            json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["status"] == "finished"
        )
    except (OSError, ValueError, KeyError):
        return False


def dynamics_table(summary: Summary) -> Table:
    """Lay out the summary of a run."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("simulated", f"{summary.time_ps:g} ps in {summary.steps} steps")
    table.add_row(
        "temperature",
        f"{Mean(summary.temperature_K, summary.temperature_error_K)} K (from"
        f" {summary.temperature_from_ps:g} ps, {summary.degrees_of_freedom} degrees of freedom)",
    )
    if summary.volume_A3 is not None:
        table.add_row("volume", f"{mean_of(summary.volume_A3, summary.volume_error_A3)} Å³")
        table.add_row(
            "pressure", f"{mean_of(summary.pressure_GPa, summary.pressure_error_GPa):.3f} GPa"
        )
    if summary.dipole_D is not None:
        table.add_row("dipole", f"{mean_of(summary.dipole_D, summary.dipole_error_D):.2f} D")
    drift = summary.drift_meV_per_atom_per_ps
    table.add_row(
        "energy drift",
        f"{drift:+.3g} meV/atom/ps (fluctuation {summary.fluctuation_meV_per_atom:.3g} meV/atom)"
        if drift == drift
        else "too short to tell: fewer than three rows in the log",
    )
    table.add_row(
        "wall time",
        f"{summary.wall_s:.1f} s, {summary.ms_per_step:.3g} ms/step, {summary.ns_per_day:.3g}"
        " ns/day",
    )
    return table
