"""Cells that move: energy account, response to pressure, shape, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms

from md_runs.dynamics.driver import Dynamics, DynamicsOptions, Result
from md_runs.dynamics.guards import Alarmed, Guards
from md_runs.dynamics.recorder import CELL_COLUMNS, COLUMNS
from md_runs.errors import InputError, RunAlarmed
from md_runs.records.output import claim
from md_runs.records.trajectory import read_trajectory
from tests.small import crystal, sprung

KINDS = [
    (thermostat, barostat)
    for thermostat in ("nose-hoover", "langevin")
    for barostat in ("isotropic", "full")
]


def run(atoms: Atoms, output: Path, **options: Any) -> Result:
    common = {
        "ensemble": "npt",
        "temperature_K": 60.0,
        "timestep_fs": 2.0,
        "thermostat_time_fs": 50,
        "barostat_time_fs": 200,
    }
    dynamics = Dynamics(atoms, DynamicsOptions(**(common | options)), charge=0, multiplicity=1)
    claim(output, {"command": "md"})
    return dynamics.run(output, {"command": "md"})


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr("md_runs.dynamics.phase.write_figure", lambda *_: None)


@pytest.mark.parametrize(("thermostat", "barostat"), KINDS)
def test_energy_with_bath_and_cell_is_conserved(thermostat, barostat, tmp_path):
    result = run(
        crystal(),
        tmp_path / "run",
        thermostat=thermostat,
        barostat=barostat,
        pressure_GPa=0.3,
        steps=300,
        log_every=2,
    )
    enthalpy, conserved, volume = (
        result.log.column(name) for name in ("total_energy_eV", "conserved_energy_eV", "volume_A3")
    )
    enthalpy = enthalpy + 0.3 * units.GPa * volume
    assert np.std(volume) > 0.01
    assert np.std(conserved) < 0.08 * np.std(enthalpy)
    assert result.summary.degrees_of_freedom == (48 if thermostat == "langevin" else 45)


@pytest.mark.parametrize("barostat", ["isotropic", "full"])
def test_what_is_not_conserved_shrinks_with_the_square_of_the_time_step(barostat, tmp_path):
    options = {
        "thermostat": "nose-hoover",
        "barostat": barostat,
        "log_every": 1,
        "pressure_GPa": 0.3,
    }
    spread = [
        np.std(
            run(
                crystal(), tmp_path / str(dt), timestep_fs=dt, steps=int(300 / dt), **options
            ).log.column("conserved_energy_eV")
        )
        for dt in (1.0, 2.0)
    ]
    assert spread[1] / spread[0] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(("thermostat", "barostat"), KINDS)
def test_a_crystal_shrinks_as_its_bulk_modulus_says(thermostat, barostat, tmp_path):
    cold = crystal()
    pressures = []
    for scale in (0.99, 1.01):
        strained = cold.copy()
        strained.calc = cold.calc
        strained.set_cell(cold.cell * scale, scale_atoms=True)
        pressures.append(-strained.get_stress()[:3].mean())
    modulus = (pressures[0] - pressures[1]) / np.log(1.01**3 / 0.99**3)
    pressure_GPa = 0.02 * modulus / units.GPa
    options = {
        "thermostat": thermostat,
        "barostat": barostat,
        "temperature_K": 20.0,
        "steps": 500,
        "log_every": 4,
        "seed": 2,
    }
    options |= {"barostat_time_fs": 500}
    low = run(crystal(), tmp_path / "low", pressure_GPa=0.0, **options).summary
    high = run(crystal(), tmp_path / "high", pressure_GPa=pressure_GPa, **options).summary
    assert (
        low.volume_A3 is not None and high.volume_A3 is not None and high.pressure_GPa is not None
    )
    assert np.log(low.volume_A3 / high.volume_A3) == pytest.approx(0.02, rel=0.2)
    assert high.pressure_GPa == pytest.approx(pressure_GPa, rel=0.2)


@pytest.mark.parametrize("thermostat", ["nose-hoover", "langevin"])
def test_only_a_full_barostat_changes_the_shape(thermostat, tmp_path):
    shapes = {}
    for barostat in ("isotropic", "full"):
        atoms = crystal()
        atoms.set_cell(atoms.cell.array @ np.diag([1.03, 0.97, 1.0]), scale_atoms=True)
        before = atoms.cell.lengths() / atoms.cell.lengths()[0]
        run(
            atoms,
            tmp_path / barostat,
            thermostat=thermostat,
            barostat=barostat,
            temperature_K=20.0,
            barostat_time_fs=1000,
            steps=80,
        )
        shapes[barostat] = np.abs(atoms.cell.lengths() / atoms.cell.lengths()[0] - before).max()
    assert shapes["isotropic"] < 1e-12
    assert shapes["full"] > 1e-3


def test_the_records_show_the_cell(tmp_path):
    atoms = crystal()
    result = run(
        atoms, tmp_path / "run", steps=20, log_every=10, trajectory_every=10, pressure_GPa=1.0
    )
    assert result.log.columns == COLUMNS + CELL_COLUMNS
    frames = list(read_trajectory(tmp_path / "run" / "trajectory.h5md"))
    assert np.allclose(
        [frame.get_volume() for frame in frames], result.log.column("volume_A3"), atol=1e-6
    )
    assert len({frame.get_volume() for frame in frames}) == 3
    stress = (
        atoms.get_stress()
        - 2 * atoms.get_kinetic_energy() / 3 / atoms.get_volume() * np.array([1, 1, 1, 0, 0, 0])
    )
    assert result.log.column("pressure_GPa")[-1] == pytest.approx(
        -stress[:3].mean() / units.GPa, abs=1e-8
    )


def test_the_centre_of_mass_rests(tmp_path):
    for thermostat in ("nose-hoover", "langevin"):
        atoms = crystal()
        result = run(
            atoms, tmp_path / thermostat, thermostat=thermostat, rigid_motion="always", steps=100
        )
        assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-10
        assert result.summary.degrees_of_freedom == 45


@pytest.mark.parametrize("scale", [0.7, 1.3])
def test_a_cell_that_flies_apart_or_collapses_is_an_alarm(scale):
    atoms = crystal()
    atoms.set_momenta(np.zeros((16, 3)))
    guards = Guards(atoms, 45, 300.0, None, 5, bonds=False)
    guards.inspect(0, 0.0)
    atoms.set_cell(scale * atoms.cell, scale_atoms=True)
    with pytest.raises(Alarmed, match=f"the volume is {scale**3:.2f} times that of the start"):
        guards.inspect(25, 0.0)


def test_a_cell_too_light_for_the_time_step_ends_in_one_line(tmp_path):
    with pytest.raises(RunAlarmed, match="broke down"):
        run(
            crystal(strength=30.0),
            tmp_path / "run",
            thermostat="nose-hoover",
            timestep_fs=10.0,
            barostat_time_fs=20,
            steps=2000,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thermostat": "bussi"}, "langevin or nose-hoover"),
        ({"ensemble": "nvt", "pressure_GPa": 1.0}, "pressure-GPa` must be left out"),
        ({"ensemble": "nve", "barostat": "full"}, "barostat` must be left out"),
        ({"barostat_time_fs": 0.1}, "barostat-time-fs` must be longer"),
        ({"fix_atoms": "0"}, "fix-atoms` must be left out"),
        ({"fix_bonds": "0-1"}, "fix-bonds` must be left out"),
        ({"equilibrate_ps": 1.0, "equilibrate_thermostat": "bussi"}, "langevin or nose-hoover"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(InputError, match=message):
        DynamicsOptions(**({"ensemble": "npt"} | options))


def test_structures_without_a_cell_to_move():
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    held = crystal()
    held.set_constraint(FixAtoms([0]))
    for atoms, message in ((sprung(), "periodic"), (slab, "periodic"), (held, "no fixed atoms")):
        with pytest.raises(InputError, match=message):
            Dynamics(atoms, DynamicsOptions(ensemble="npt"), charge=0, multiplicity=1)
