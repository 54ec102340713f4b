"""Heating, and equilibration before production."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from md_runs.dynamics.driver import Dynamics, DynamicsOptions, Result
from md_runs.dynamics.guards import Alarmed
from md_runs.dynamics.recorder import Clock
from md_runs.errors import InputError, RunAlarmed
from md_runs.records.output import claim
from md_runs.records.trajectory import read_trajectory
from tests.small import Springs, sprung


def run(atoms: Atoms, output: Path, **options: Any) -> tuple[Result, dict[str, Any]]:
    dynamics, manifest = (
        Dynamics(atoms, DynamicsOptions(**options), charge=0, multiplicity=1),
        {"command": "md"},
    )
    claim(output, manifest)
    try:
        result = dynamics.run(output, manifest)
    finally:
        manifest |= json.loads((output / "manifest.json").read_text())
    return result, manifest


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr("md_runs.dynamics.phase.write_figure", lambda *_: None)


# ---- heating


def test_the_target_is_a_straight_line_over_time():
    (phase,) = DynamicsOptions(temperature_K=100.0, temperature_end_K=400.0, steps=60).phases()
    clock = Clock(0.5)
    assert [phase.target_K(step, clock) for step in (0, 20, 60)] == [100, 200, 400]
    (rewound,) = DynamicsOptions(temperature_K=100.0, temperature_end_K=400.0, steps=100).phases()
    # 20 steps of 0.5 fs, then 40 of 80 of 0.25 fs
    assert rewound.target_K(60, Clock(0.25, 20, 10.0)) == 300.0


@pytest.mark.parametrize("thermostat", ["langevin", "bussi", "nose-hoover"])
def test_the_thermostat_follows_and_energy_is_conserved(thermostat, tmp_path):
    """The last fifth of a run from 100 K to 500 K lies between 420 K and 500 K."""
    options = {
        "temperature_K": 100.0,
        "temperature_end_K": 500.0,
        "thermostat_time_fs": 20,
        "timestep_fs": 1.0,
        "seed": 1,
    }
    result, _ = run(
        sprung(strength=2.0),
        tmp_path / "run",
        thermostat=thermostat,
        steps=3000,
        log_every=2,
        **options,
    )
    target, conserved, total = (
        result.log.column(name) for name in ("target_K", "conserved_energy_eV", "total_energy_eV")
    )
    assert np.allclose(target, np.linspace(100, 500, 1501), atol=1e-3)
    assert abs(result.summary.temperature_K - 460) < 4 * result.summary.temperature_error_K + 10
    assert result.summary.temperature_error_K < 60
    assert result.log.column("temperature_K")[:300].mean() < 250
    assert np.std(conserved) < 0.05 * np.std(total)


# ---- equilibration


def test_production_starts_clean(tmp_path):
    output = tmp_path / "run"
    atoms = sprung()
    common = {"timestep_fs": 0.5, "trajectory_every": 10, "log_every": 10, "extxyz": True}
    result, manifest = run(
        atoms,
        output,
        ensemble="nve",
        equilibrate_ps=0.05,
        equilibrate_from_K=50.0,
        steps=40,
        **common,
    )
    assert {
        "equilibration.csv",
        "equilibration.h5md",
        "equilibration.extxyz",
        "log.csv",
        "trajectory.h5md",
        "trajectory.extxyz",
    } <= {path.name for path in output.iterdir()}
    before, after = (
        list(read_trajectory(output / name)) for name in ("equilibration.h5md", "trajectory.h5md")
    )
    assert [frame.info["step"] for frame in before] == list(range(0, 101, 10))
    assert [frame.info["step"] for frame in after] == list(range(0, 41, 10))
    assert after[0].info["time_fs"] == 0
    assert np.array_equal(before[-1].positions, after[0].positions)
    assert (
        manifest["equilibration"]["time_ps"],
        manifest["equilibration"]["degrees_of_freedom"],
    ) == (0.05, 27)
    assert (manifest["summary"]["time_ps"], manifest["summary"]["degrees_of_freedom"]) == (0.02, 21)
    assert manifest["summary"]["temperature_from_ps"] == 0  # all of it counts
    assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-10  # what Langevin set going was stopped
    conserved = result.log.column("conserved_energy_eV")
    assert np.ptp(conserved) < 1e-3


def test_the_thermostats_of_both_phases_are_independent():
    equilibration, production = DynamicsOptions(
        thermostat="nose-hoover", equilibrate_ps=1.0, equilibrate_thermostat="bussi"
    ).phases()
    assert (equilibration.thermostat, production.thermostat) == ("bussi", "nose-hoover")
    equilibration, production = DynamicsOptions(
        ensemble="npt", thermostat="nose-hoover", equilibrate_ps=1.0
    ).phases()
    assert (equilibration.title, production.title) == (
        "NPT, langevin, isotropic",
        "NPT, nose-hoover, isotropic",
    )


class Exploding(Springs):
    """Push once, at a certain call."""

    left = 0

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        type(self).left -= 1
        if type(self).left == 0:
            self.results["forces"] *= 1e6


def exploding(call: int) -> Atoms:
    Exploding.left = call
    atoms = molecule("CH3CH2OH")
    atoms.calc = Exploding(atoms)
    return atoms


@pytest.mark.parametrize(("call", "phase"), [(30, "equilibration"), (75, "production")])
def test_each_phase_rewinds_and_covers_its_time(call, phase, tmp_path):
    options = {
        "equilibrate_ps": 0.02,
        "steps": 60,
        "checkpoint_every": 10,
        "trajectory_every": 1,
        "log_every": 1,
    }
    _, manifest = run(
        exploding(call), tmp_path / "run", thermostat="bussi", on_alarm="rewind", **options
    )
    assert manifest["rewound"]["phase"] == phase
    assert manifest["alarms"][0]["phase"] == phase
    assert (manifest["equilibration"]["time_ps"], manifest["summary"]["time_ps"]) == (
        pytest.approx(0.02),
        pytest.approx(0.03),
    )
    times = [
        frame.info["time_fs"] for frame in read_trajectory(tmp_path / "run" / "trajectory.h5md")
    ]
    steps = np.round(np.diff(times), 12)
    assert set(steps) == ({0.25} if phase == "equilibration" else {0.5, 0.25})


def test_an_alarm_says_in_which_phase(tmp_path):
    with pytest.raises(RunAlarmed, match="of the equilibration"):
        run(exploding(30), tmp_path / "run", thermostat="bussi", equilibrate_ps=0.02, steps=60)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert "summary" not in manifest
    assert 0 < manifest["equilibration"]["steps"] < 40


def test_bonds_are_compared_with_the_start_of_the_run(tmp_path):
    """A bond that grows by a third in each phase is broken in the second."""
    atoms = sprung()
    atoms.set_momenta(np.zeros((9, 3)))
    dynamics = Dynamics(
        atoms, DynamicsOptions(equilibrate_ps=0.01, steps=10), charge=0, multiplicity=1
    )
    first = dynamics._begin(0, np.random.default_rng(0), tmp_path, {}, {})
    atoms.positions[3] += 0.2 * (atoms.positions[3] - atoms.positions[2])
    second = dynamics._begin_next(first)
    assert np.array_equal(first.guards.state()["bonds"], second.guards.state()["bonds"])
    atoms.positions[3] += 0.5 * (atoms.positions[3] - atoms.positions[2])
    with pytest.raises(Alarmed, match="broke"):
        second.guards._check_distances(1)
    for run_of in (first, second):
        run_of.drop()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble": "nve", "temperature_end_K": 400.0}, "temperature-end-K` must be left out"),
        ({"temperature_end_K": -5.0}, "temperature-end-K` must be positive"),
        ({"equilibrate_ps": -1.0}, "must not be negative"),
        ({"equilibrate_ps": 1e-9}, "at least one time step"),
        ({"equilibrate_thermostat": "bussi"}, "equilibrate-ps` must be given"),
        ({"equilibrate_from_K": 10.0}, "equilibrate-ps` must be given"),
        (
            {"equilibrate_ps": 1.0, "equilibrate_from_K": 0.0},
            "equilibrate-from-K` must be positive",
        ),
        ({"ensemble": "nve", "thermostat_time_fs": 10.0}, "thermostat-time-fs` must be left out"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(InputError, match=message):
        DynamicsOptions(**options)
