"""``polcalc md``: molecular dynamics of a structure, or the continuation of a run from its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console

from md_runs import options as opt
from md_runs import report, session
from md_runs.checkpoint import Checkpoint, read_checkpoint
from md_runs.dynamics import Dynamics, DynamicsOptions
from md_runs.errors import InputError, errors
from md_runs.manifest import make_manifest, now
from md_runs.output import MANIFEST, check_free, claim
from md_runs.progress import watch_dynamics
from md_runs.session import ModelOptions
from polcalc import PolarizedCalculator

WITH_RESTART = {"restart", "allow_changes", "steps", "model", "device", "dtype", "engine"}  # options that a restart takes
screen = Console(highlight=False, soft_wrap=True)


def command(
    context: typer.Context,
    structure: opt.MaybeStructure = None,
    model: opt.Model = None,
    ensemble: opt.Ensemble = "nvt",
    steps: opt.Steps = 10_000,
    timestep_fs: opt.TimestepFs = 0.5,
    seed: opt.Seed = 0,
    relax_first: opt.RelaxFirst = False,
    velocities: opt.Velocities = "thermal",
    temperature_k: opt.TemperatureK = 300.0,
    thermostat: opt.Thermostat = None,
    thermostat_time_fs: opt.ThermostatTimeFs = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    partial_charges: opt.PartialCharges = None,
    fragments: opt.Fragments = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float32",
    engine: opt.Engine = "auto",
    output: opt.Output = Path("polcalc-md"),
    trajectory_every: opt.TrajectoryEvery = 20,
    log_every: opt.LogEvery = 10,
    extxyz: opt.Extxyz = False,
    checkpoint_every: opt.CheckpointEvery = 10_000,
    on_alarm: opt.OnAlarm = "stop",
    alarm_frames: opt.AlarmFrames = 50,
    bonds: opt.Bonds = None,
    restart: opt.Restart = None,
    allow_changes: opt.AllowChanges = False,
) -> None:
    """Run molecular dynamics of a structure, or go on with a run that has stopped.

    Writes trajectory.h5md, log.csv, checkpoint.npz, dynamics.png, final.extxyz and manifest.json into the output directory.
    Killed at any time, the run goes on with --restart DIR and ends with the same bits as if nothing had happened.
    """
    given = {name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}
    if restart is not None:
        chosen = {name: context.params[name] for name in given & WITH_RESTART}
        _check_with_restart(given)
        return _restart(restart, allow_changes, chosen)
    if structure is None or allow_changes:
        raise InputError(
            "`STRUCTURE` must be given, or `--restart` with the directory of a run that has stopped"
            + ("; `--allow-changes` goes with `--restart` only." if allow_changes else ".")
        )
    plan = DynamicsOptions(
        ensemble=ensemble,
        thermostat=thermostat,
        temperature_K=temperature_k,
        timestep_fs=timestep_fs,
        thermostat_time_fs=thermostat_time_fs,
        steps=steps,
        seed=seed,
        velocities=velocities,
        relax_first=relax_first,
        trajectory_every=trajectory_every,
        log_every=log_every,
        extxyz=extxyz,
        checkpoint_every=checkpoint_every,
        on_alarm=on_alarm,
        alarm_frames=alarm_frames,
        bonds=bonds,
    )
    charges, groups = session.read_partial_charges(partial_charges), session.read_fragments(fragments)
    _begin(structure, plan, ModelOptions(model, device, dtype, engine, charge, multiplicity, charges, groups), output)


def _begin(structure: Path, plan: DynamicsOptions, chosen: ModelOptions, output: Path) -> None:
    """Start a run in a new directory."""
    check_free(output)
    atoms = session.read_structure(structure)
    atoms.calc = session.make_calculator(chosen)
    session.evaluate_first(atoms)
    state = atoms.calc.state
    dynamics = Dynamics(atoms, plan, charge=state.charge, multiplicity=state.multiplicity)
    manifest = make_manifest(
        "md",
        asdict(plan),
        structure=session.fingerprint(structure),
        seed=plan.seed,
        formula=atoms.get_chemical_formula(),
        **session.describe(atoms.calc),
        calculator=asdict(chosen) | {"model": session.absolute(chosen.model)},
        identity=session.identity(atoms.calc),
    )
    claim(output, manifest)
    _run(dynamics, output, manifest)


def _restart(directory: Path, allow_changes: bool, chosen: Mapping[str, Any]) -> None:
    """Go on in the directory of a run."""
    checkpoint = read_checkpoint(directory)
    plan, manifest = DynamicsOptions(**checkpoint.facts["options"]), checkpoint.facts["manifest"]
    plan = replace(plan, steps=chosen.get("steps", plan.steps))
    if plan.steps < checkpoint.facts["step"] or (plan.steps == checkpoint.facts["step"] and _is_finished(directory)):
        raise InputError(
            f"`--steps` must be more than the {checkpoint.facts['step']} that are done; got {plan.steps}. Ask for more in all."
        )
    replaced = {name: chosen[name] for name in ("model", "device", "dtype", "engine") if name in chosen}
    model = replace(ModelOptions(**manifest["calculator"]), **replaced)
    atoms = checkpoint.atoms
    atoms.calc = session.make_calculator(model)
    changes = _changes(checkpoint, atoms.calc)
    if changes and not allow_changes:
        listed = "; ".join(f"{name}: {change}" for name, change in changes.items())
        raise InputError(f"`--restart` must find everything as it was, to end with the same bits; {listed}. Or pass --allow-changes.")
    manifest |= session.describe(atoms.calc) | {"calculator": asdict(model), "identity": session.identity(atoms.calc)}
    manifest |= {"options": asdict(plan), "status": "running"}
    manifest["restarts"] = [*manifest.get("restarts", []), {"step": checkpoint.facts["step"], "started": now(), "changes": changes}]
    state = atoms.calc.state
    dynamics = Dynamics(atoms, plan, charge=state.charge, multiplicity=state.multiplicity, checkpoint=checkpoint)
    _run(dynamics, directory, manifest)


def _run(dynamics: Dynamics, output: Path, manifest: dict[str, Any]) -> None:
    at = f" from step {dynamics.checkpoint.facts['step']}" if dynamics.checkpoint else ""
    screen.print(f"{manifest['formula']}, {dynamics.atoms.calc.state}; {manifest['calculator']['model']}, {manifest['engine']}{at}")
    result = dynamics.run(output, manifest, partial(watch_dynamics, console=errors))
    screen.print(report.dynamics_table(result.summary))
    screen.print(f"Results in {output}")


def _changes(checkpoint: Checkpoint, calculator: PolarizedCalculator) -> dict[str, str]:
    """Evaluate the structure of the checkpoint as the run did, and name what is no longer the same.

    The pairs are searched where the run searched them, so that they come in the same order; the forces are then those of the
    checkpoint to the bit, or something else changed: a library, the processor. A GPU does not promise the same bits.
    """
    atoms = checkpoint.atoms
    if checkpoint.pairs:
        there = atoms.copy()
        there.positions, there.cell = checkpoint.pairs["positions"], checkpoint.pairs["cell"]
        there.calc = calculator
        session.evaluate_first(there)
    session.evaluate_first(atoms)
    before, after = checkpoint.facts["manifest"]["identity"], session.identity(calculator)
    changes = {name: f"{before.get(name)} before, {after[name]} now" for name in after if before.get(name) != after[name]}
    forces = atoms.get_forces(apply_constraint=False)
    if not changes and after["device"] == "cpu" and not np.array_equal(forces, checkpoint.forces):
        changes["forces"] = f"other by up to {np.abs(forces - checkpoint.forces).max():.1e} eV/Å: another processor or compiled code"
    return changes


def _check_with_restart(given: set[str]) -> None:
    """Refuse what a run has settled already."""
    if left := sorted(given - WITH_RESTART):
        named = ", ".join("STRUCTURE" if name == "structure" else "--" + name.replace("_", "-").replace("-k", "-K") for name in left)
        raise InputError(f"`--restart` must come without what the run has settled already; got {named}. Leave it out.")


def _is_finished(directory: Path) -> bool:
    try:
        return bool(json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["status"] == "finished")
    except (OSError, ValueError, KeyError):
        return False
