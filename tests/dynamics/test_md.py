"""Dynamics against theory, on molecules of springs.

And what a run leaves behind, whatever happens to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io import read
from matplotlib.image import imread

from md_runs.analysis.runs import _about_centre
from md_runs.dynamics.driver import Dynamics, DynamicsOptions, Result
from md_runs.dynamics.momenta import count_degrees_of_freedom, start_thermal
from md_runs.dynamics.recorder import COLUMNS
from md_runs.errors import InputError, NotConverged, RunFailed
from md_runs.records.output import claim
from md_runs.records.trajectory import read_trajectory
from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, save
from tests.polar import polar_model
from tests.small import SPEC, Springs, sprung

THERMOSTATS = ["langevin", "bussi", "nose-hoover"]


def run(
    atoms: Atoms, output: Path, charge: int = 0, multiplicity: int = 1, **options: Any
) -> Result:
    dynamics = Dynamics(atoms, DynamicsOptions(**options), charge=charge, multiplicity=multiplicity)
    claim(output, {"command": "md"})
    return dynamics.run(output, {"command": "md"})


def read_log(output: Path) -> np.ndarray:
    return np.genfromtxt(output / "log.csv", delimiter=",", names=True)


# ---- momenta at the start


@pytest.mark.parametrize(("name", "free"), [("CH3CH2OH", 21), ("H2O", 3), ("CO2", 4), ("OH", 1)])
def test_a_molecule_starts_without_drift_and_tumbling(name, free):
    atoms = molecule(name)
    atoms.rotate(33, (1, 2, 3))
    start_thermal(atoms, 300, np.random.default_rng(1))
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12
    assert np.abs(atoms.get_angular_momentum()).max() < 1e-12
    assert atoms.get_kinetic_energy() > 0
    assert count_degrees_of_freedom(atoms) == free


def test_a_crystal_keeps_its_rotations():
    atoms = bulk("Cu", cubic=True)
    start_thermal(atoms, 300, np.random.default_rng(1))
    assert count_degrees_of_freedom(atoms) == 3 * len(atoms) - 3


def test_fixed_atoms_stay_and_take_no_energy():
    atoms = molecule("CH3CH2OH")
    atoms.set_constraint(FixAtoms([0, 1]))
    start_thermal(atoms, 300, np.random.default_rng(1))
    assert np.abs(atoms.get_momenta()[:2]).max() == 0
    assert count_degrees_of_freedom(atoms) == 21


def test_thermal_starts_have_the_temperature_of_the_motions_left():
    """3N - 6 motions share the energy; rescaling to 3N would give 386 K."""
    atoms, rng = molecule("CH3CH2OH"), np.random.default_rng(0)
    energies = []
    for _ in range(2000):
        start_thermal(atoms, 300, rng)
        energies.append(atoms.get_kinetic_energy())
    mean, error = (
        2 * np.array([np.mean(energies), np.std(energies) / np.sqrt(2000)]) / (21 * units.kB)
    )
    assert abs(mean - 300) < 4 * error
    assert error < 3


# ---- integrators


def test_energy_fluctuation_scales_with_the_square_of_the_time_step(tmp_path):
    spread = [
        run(
            sprung(),
            tmp_path / str(dt),
            ensemble="nve",
            timestep_fs=dt,
            steps=int(400 / dt),
            log_every=1,
        ).summary.fluctuation_meV_per_atom
        for dt in (0.25, 0.5)
    ]
    assert spread[1] / spread[0] == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_thermostats_give_their_temperature_to_every_free_motion(thermostat, tmp_path):
    """A thermostat that counted 3N motions where 3N - 6 move would end at 386 K."""
    result = run(
        sprung(strength=2.0),
        tmp_path / "run",
        thermostat=thermostat,
        thermostat_time_fs=20,
        timestep_fs=1.0,
        steps=9000,
        seed=2,
    )
    summary = result.summary
    assert summary.degrees_of_freedom == (27 if thermostat == "langevin" else 21)
    assert abs(summary.temperature_K - 300) < 4 * summary.temperature_error_K + 2
    assert summary.temperature_error_K < 18


@pytest.mark.slow
@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_kinetic_energy_is_canonical(thermostat, tmp_path):
    """Mean and variance of a gamma distribution with half as many shapes as motions."""
    result = run(
        sprung(strength=2.0),
        tmp_path / "run",
        thermostat=thermostat,
        thermostat_time_fs=20,
        timestep_fs=1.0,
        steps=150_000,
        log_every=20,
    )
    temperature, free = result.log.column("temperature_K")[200:], result.summary.degrees_of_freedom
    assert temperature.mean() == pytest.approx(300, rel=0.02)
    assert temperature.var() == pytest.approx(300**2 * 2 / free, rel=0.08)


@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_energy_with_its_bath_is_conserved(thermostat, tmp_path):
    log = run(
        sprung(),
        tmp_path / "run",
        thermostat=thermostat,
        thermostat_time_fs=30,
        timestep_fs=0.25,
        steps=2000,
    ).log
    total, conserved = log.column("total_energy_eV"), log.column("conserved_energy_eV")
    assert np.std(total) > 0.02
    assert np.std(conserved) < 0.02 * np.std(total)


def test_fixed_atoms_do_not_move(tmp_path):
    for thermostat in THERMOSTATS:
        atoms = sprung()
        atoms.set_constraint(FixAtoms([0, 1]))
        before = atoms.get_positions()
        run(atoms, tmp_path / thermostat, thermostat=thermostat, steps=50)
        assert np.array_equal(atoms.positions[:2], before[:2])
        assert np.abs(atoms.positions[2:] - before[2:]).max() > 1e-3


def test_same_seed_same_run(tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run(sprung(), tmp_path / name, steps=50, seed=seed)
    logs = [(tmp_path / name / "log.csv").read_bytes() for name in "abc"]
    assert logs[0] == logs[1] != logs[2]


def test_velocities_of_the_structure_go_on(tmp_path):
    """Two halves at constant energy are one run."""
    whole, halves = sprung(), sprung()
    run(whole, tmp_path / "whole", ensemble="nve", steps=100, seed=5)
    run(halves, tmp_path / "first", ensemble="nve", steps=50, seed=5)
    run(halves, tmp_path / "second", ensemble="nve", steps=50, velocities="structure")
    assert np.abs(whole.positions - halves.positions).max() < 1e-12


@pytest.mark.parametrize(
    ("timestep_fs", "steps"), [(0.5, 4), (0.25, 8), (1.0, 2), (2.0, 1), (3.0, 1)]
)
def test_velocities_are_kept_every_2_fs(timestep_fs, steps):
    assert DynamicsOptions(timestep_fs=timestep_fs).velocities_every == steps
    assert DynamicsOptions(timestep_fs=timestep_fs, velocities_every=0).velocities_every == 0


def test_a_run_keeps_velocities_between_frames(tmp_path):
    run(sprung(), tmp_path / "run", steps=40)
    with h5py.File(tmp_path / "run" / "trajectory.h5md") as file:
        assert file["parameters/velocities/time"][()].tolist() == [2.0 * n for n in range(11)]
        frames = file["particles/trajectory/velocity"]
        assert frames["time"][()].tolist() == [0.0, 10.0, 20.0]
        alone = file["parameters/velocities/value"][::5]
        np.testing.assert_allclose(alone, frames["value"][()], rtol=1e-6)


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble": "nve", "thermostat": "bussi"}, "left out with --ensemble nve"),
        ({"timestep_fs": 0.0}, "timestep-fs` must be positive"),
        ({"temperature_K": -1.0}, "temperature-K` must be positive"),
        ({"temperature_K": 0.0}, "temperature-K` must be positive"),
        ({"thermostat_time_fs": 0.1}, "longer than the time step"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(InputError, match=message):
        DynamicsOptions(**options)


def test_structures_that_cannot_run():
    atoms = sprung()
    with pytest.raises(InputError, match="must find velocities"):
        Dynamics(atoms, DynamicsOptions(velocities="structure"), charge=0, multiplicity=1)
    with pytest.raises(InputError, match="something to move"):
        Dynamics(Atoms("He"), DynamicsOptions(ensemble="nve"), charge=0, multiplicity=1)


def test_a_used_directory_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="in use"):
        claim(tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


# ---- what is left behind


def test_a_run_writes_its_records(tmp_path):
    output = tmp_path / "run"
    atoms = sprung()
    summary = run(
        atoms,
        output,
        charge=-1,
        multiplicity=3,
        steps=100,
        trajectory_every=25,
        log_every=10,
        extxyz=True,
    ).summary
    assert {p.name for p in output.iterdir()} == {
        "manifest.json", "log.csv", "trajectory.h5md", "trajectory.extxyz", "checkpoint.npz",
        "final.extxyz", "dynamics.png",
    }  # fmt: skip
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["status"], manifest["command"]) == ("finished", "md")
    assert manifest["summary"]["drift_meV_per_atom_per_ps"] == pytest.approx(
        summary.drift_meV_per_atom_per_ps
    )
    log = read_log(output)
    assert log.dtype.names == COLUMNS
    assert np.array_equal(log["step"], np.arange(0, 101, 10))
    assert np.allclose(
        log["total_energy_eV"], log["potential_energy_eV"] + log["kinetic_energy_eV"], atol=2e-9
    )
    assert [frame.info["step"] for frame in read_trajectory(output / "trajectory.h5md")] == [
        0,
        25,
        50,
        75,
        100,
    ]
    assert imread(output / "dynamics.png").std() > 0.01  # something was drawn


def test_the_log_shows_a_drift_of_a_microelectronvolt(tmp_path):
    run(sprung(), tmp_path / "run", ensemble="nve", steps=20)
    row = (tmp_path / "run" / "log.csv").read_text().splitlines()[2].split(",")
    assert len(row[COLUMNS.index("conserved_energy_eV")].split(".")[1]) >= 9


def test_relaxing_first_starts_from_the_minimum(tmp_path):
    atoms = sprung()
    atoms.rattle(0.1, seed=1)
    result = run(atoms, tmp_path / "run", relax_first=True, ensemble="nve", steps=10)
    assert result.log.column("potential_energy_eV")[0] < 1e-4
    # at rest in the relaxed structure, not in the one before
    assert result.summary.degrees_of_freedom == 21


class Breaking(Springs):
    """Raise at one evaluation."""

    def __init__(self, atoms: Atoms, at: int, error: BaseException) -> None:
        super().__init__(atoms)
        self.left, self.error = at, error

    def calculate(self, *arguments: Any, **options: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error
        super().calculate(*arguments, **options)


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (ValueError("atoms collided."), RunFailed, "failed"),
        (KeyboardInterrupt(), KeyboardInterrupt, "interrupted"),
    ],
)
def test_a_run_that_ends_early_keeps_what_it_has(error, raised, status, tmp_path):
    atoms, output = molecule("CH3CH2OH"), tmp_path / "run"
    atoms.calc = Breaking(atoms, 60, error)
    with pytest.raises(raised):
        run(atoms, output, steps=1000, trajectory_every=5)
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["status"] == status
    assert 50 < manifest["summary"]["steps"] < 60
    assert len(read_log(output)) == 6
    assert len(list(read_trajectory(output / "trajectory.h5md"))) == 12


def test_energies_that_are_not_finite_end_the_run(tmp_path):
    atoms = sprung()
    atoms.calc.strength = np.nan
    with pytest.raises(RunFailed, match="not finite"):
        run(atoms, tmp_path / "run", steps=100)


def test_a_start_that_does_not_relax_is_told(tmp_path):
    atoms = sprung()
    atoms.calc.strength = np.nan
    with pytest.raises(NotConverged, match="relax-first"):
        run(atoms, tmp_path / "run", steps=100, relax_first=True)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "failed"


# ---- what a model says beyond energy and forces


def test_charges_and_dipole_are_kept(tmp_path):
    """In columns of the log, datasets of the trajectory and frames read from it."""
    spec = SPEC | {"terms": [*SPEC["terms"], {"name": "charges"}, {"name": "dipole"}]}
    save(tmp_path / "model.pt", build(spec), Card(name="tiny", elements=[1, 8]))
    atoms = molecule("H2O")
    calculator = PolarizedCalculator(tmp_path / "model.pt", dtype="float64", engine="eager")
    atoms.calc = calculator
    assert {"charges", "dipole"} <= set(calculator.implemented_properties)
    run(atoms, tmp_path / "run", ensemble="nve", steps=4, log_every=2, trajectory_every=2)
    log, frames = (
        read_log(tmp_path / "run"),
        list(read_trajectory(tmp_path / "run/trajectory.h5md")),
    )
    assert len(frames) == len(log) == 3
    for row, frame in zip(log, frames, strict=True):
        dipole = frame.get_dipole_moment()
        kept = [row[f"dipole_{axis}_e_A"] for axis in "xyz"]
        assert np.allclose(kept, dipole, rtol=0, atol=1e-8)
        again = frame.copy()
        again.calc = calculator
        assert np.allclose(again.get_dipole_moment(), dipole, rtol=0, atol=1e-10)
        assert np.allclose(again.get_charges(), frame.get_charges(), rtol=0, atol=1e-10)
        assert frame.get_charges().sum() == pytest.approx(0, abs=1e-12)


def test_polarizability_and_unpaired_electrons_are_kept(tmp_path):
    """In the log, the trajectory, and as extxyz."""
    calculator = PolarizedCalculator(polar_model(), dtype="float64", engine="eager", device="cpu")
    atoms = molecule("H2O")
    atoms.translate((5, 6, 7))
    atoms.rotate(33, (1, 2, 3))
    atoms.info["multiplicity"] = 3
    atoms.calc = calculator
    options = DynamicsOptions(ensemble="nve", steps=2, log_every=2, trajectory_every=2, extxyz=True)
    dynamics = Dynamics(atoms, options, charge=0, multiplicity=3)
    claim(tmp_path / "run", {})
    dynamics.run(tmp_path / "run", {})
    row, frame = (
        read_log(tmp_path / "run")[-1],
        list(read_trajectory(tmp_path / "run/trajectory.h5md"))[-1],
    )
    again = frame.copy()
    again.calc = calculator
    assert np.allclose(frame.get_magnetic_moments(), again.get_magnetic_moments())
    assert frame.get_magnetic_moments().sum() == pytest.approx(2)
    alpha = calculator.polarizability
    kept = [[row[f"polarizability_{a}{b}_e_A2_per_V"] for b in "xyz"] for a in "xyz"]
    assert np.allclose(kept, alpha, atol=1e-8) and abs(alpha).min() > 1e-6
    assert np.allclose(frame.info["polarizability"], alpha)
    written = read(tmp_path / "run/trajectory.extxyz", -1)
    assert np.allclose(written.info["polarizability"], alpha)
    assert np.allclose(written.get_magnetic_moments(), again.get_magnetic_moments())
    assert np.allclose(read(tmp_path / "run/final.extxyz").info["polarizability"], alpha)


def test_dipoles_of_an_ion_are_kept_about_its_centre_of_mass(tmp_path):
    """More often than frames, and as analyse reads them from either."""
    atoms = molecule("H2O")
    atoms.translate((5, 6, 7))
    calculator = PolarizedCalculator(
        polar_model(), dtype="float64", engine="eager", device="cpu", charge=1
    )
    atoms.calc = calculator
    options = DynamicsOptions(
        ensemble="nve", steps=8, log_every=8, trajectory_every=4, velocities_every=2
    )
    claim(tmp_path / "run", {"options": {}})
    Dynamics(atoms, options, charge=1, multiplicity=2).run(tmp_path / "run", {"options": {}})
    with h5py.File(tmp_path / "run/trajectory.h5md") as file:
        kept = file["parameters/velocities/dipole"][()]
        frames = read_trajectory(tmp_path / "run/trajectory.h5md")
        about = [frame.get_dipole_moment() - frame.get_center_of_mass() for frame in frames]
        assert kept.shape == (5, 3) and np.allclose(kept[::2], about, atol=1e-9)
        assert np.allclose(_about_centre(file, slice(None))["dipole"], about, atol=1e-9)
        assert file["parameters/velocities/polarizability"].attrs["unit"] == "e Angstrom^2/V"
