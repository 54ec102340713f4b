"""``polcalc md``: run molecular dynamics of a structure, or continue a run from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

ElectricFieldTHz = Annotated[
    float | None,
    typer.Option(
        "--electric-field-THz",
        help="Let the field oscillate, as a cosine of the time; the other option is its amplitude.",
        show_default=False,
        rich_help_panel=opt.FIELD,
    ),
]


@does("dynamics.md", "md")
def command(
    structure: opt.MaybeStructure = None,
    model: opt.Model = None,
    frame: opt.Frame = None,
    ensemble: opt.Ensemble = "nvt",
    steps: opt.Steps = 10_000,
    timestep_fs: opt.TimestepFs = 0.5,
    seed: opt.Seed = 0,
    relax_first: opt.RelaxFirst = False,
    velocities: opt.Velocities = "thermal",
    temperature_K: opt.TemperatureK = 300.0,
    temperature_end_K: opt.TemperatureEndK = None,
    thermostat: opt.Thermostat = None,
    thermostat_time_fs: opt.ThermostatTimeFs = None,
    pressure_GPa: opt.PressureGPa = None,
    barostat: opt.Barostat = None,
    barostat_time_fs: opt.BarostatTimeFs = None,
    equilibrate_ps: opt.EquilibratePs = 0.0,
    equilibrate_thermostat: opt.EquilibrateThermostat = None,
    equilibrate_from_K: opt.EquilibrateFromK = None,
    fix_atoms: opt.FixAtoms = None,
    fix_bonds: opt.FixBonds = None,
    rigid_motion: opt.RigidMotion = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    partial_charges: opt.PartialCharges = None,
    fragments: opt.Fragments = None,
    electric_field_V_per_A: opt.ElectricField = None,
    electric_field_THz: ElectricFieldTHz = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float32",
    engine: opt.Engine = "auto",
    output: opt.Output = Path("polcalc-md"),
    trajectory_every: opt.TrajectoryEvery = 20,
    velocities_every: opt.VelocitiesEvery = None,
    log_every: opt.LogEvery = 10,
    extxyz: opt.Extxyz = False,
    checkpoint_every: opt.CheckpointEvery = 10_000,
    on_alarm: opt.OnAlarm = "stop",
    alarm_frames: opt.AlarmFrames = 50,
    bonds: opt.Bonds = None,
    max_uncertainty_eV_per_A: opt.MaxUncertainty = None,
    restart: opt.Restart = None,
    allow_changes: opt.AllowChanges = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Run molecular dynamics of a structure, or go on with a run that has stopped.

    Writes trajectory.h5md, log.csv, checkpoint.npz, dynamics.png, final.extxyz and manifest.json
    into the output directory. Killed at any time, the run goes on with --restart DIR and ends with
    the same bits as if nothing had happened.
    """
