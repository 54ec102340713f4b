"""``polcalc md``: run molecular dynamics of a structure, or continue a run from its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console

from md_runs.cli import options as opt
from md_runs.cli import report, session
from md_runs.cli.session import ModelOptions
from md_runs.dynamics.checkpoint import Checkpoint, read_checkpoint
from md_runs.dynamics.driver import Dynamics, DynamicsOptions
from md_runs.dynamics.progress import watch_dynamics
from md_runs.errors import InputError, errors
from md_runs.records.manifest import make_manifest, now
from md_runs.records.output import MANIFEST, check_free, claim
from polcalc import PolarizedCalculator

WITH_RESTART = {
    "restart",
    "allow_changes",
    "steps",
    "model",
    "device",
    "dtype",
    "engine",
}  # options that a restart takes
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
    temperature_end_k: opt.TemperatureEndK = None,
    thermostat: opt.Thermostat = None,
    thermostat_time_fs: opt.ThermostatTimeFs = None,
    pressure_gpa: opt.PressureGPa = None,
    barostat: opt.Barostat = None,
    barostat_time_fs: opt.BarostatTimeFs = None,
    equilibrate_ps: opt.EquilibratePs = 0.0,
    equilibrate_thermostat: opt.EquilibrateThermostat = None,
    equilibrate_from_k: opt.EquilibrateFromK = None,
    fix_atoms: opt.FixAtoms = None,
    fix_bonds: opt.FixBonds = None,
    rigid_motion: opt.RigidMotion = None,
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

    Writes trajectory.h5md, log.csv, checkpoint.npz, dynamics.png, final.extxyz and manifest.json
    into the output directory. Killed at any time, the run goes on with --restart DIR and ends with
    the same bits as if nothing had happened.
    """
    given = {
        name
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if restart is not None:
        chosen = {name: context.params[name] for name in given & WITH_RESTART}
        _check_with_restart(context, given)
        return _restart(restart, allow_changes, chosen)
    if structure is None or allow_changes:
        raise InputError(
            "`STRUCTURE` must be given, or `--restart` with the directory of a run that has stopped"
            + ("; `--allow-changes` goes with `--restart` only." if allow_changes else ".")
        )
    plan = DynamicsOptions(
        **{field.name: context.params[field.name.lower()] for field in fields(DynamicsOptions)}
    )
    charges, groups = (
        session.read_partial_charges(partial_charges),
        session.read_fragments(fragments),
    )
    _begin(
        structure,
        plan,
        ModelOptions(model, device, dtype, engine, charge, multiplicity, charges, groups),
        output,
    )


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
        **session.provenance(atoms.calc, chosen),
    )
    claim(output, manifest)
    _run(dynamics, output, manifest)


def _restart(directory: Path, allow_changes: bool, chosen: Mapping[str, Any]) -> None:
    """Go on in the directory of a run."""
    checkpoint = read_checkpoint(directory)
    asked, manifest = DynamicsOptions(**checkpoint.facts["options"]), checkpoint.facts["manifest"]
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
    screen.print(report.dynamics_table(result.summary))
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


def _check_with_restart(context: typer.Context, given: set[str]) -> None:
    """Refuse what a run has settled already."""
    flags = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    if left := sorted(given - WITH_RESTART):
        named = ", ".join("STRUCTURE" if name == "structure" else flags[name] for name in left)
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
