"""Single points, conversions of trajectories, and which structure of a file is meant."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.records.convert import convert
from md_runs.records.trajectory import read_trajectory
from md_runs.session import Frame
from md_runs.surfaces.energy import Point, energy, to_csv, with_results
from polcalc import PolarizedCalculator
from polcalc.calculator.electrons import ElectronicState
from potentials.quantities import DEBYE, VOLUME_A3
from tests.small import write_small_model


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A model, two molecules of their own states in one file, and one that no model knows."""
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    hydroxide = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"charge": -1, "name": "hydroxide"})
    write("two.extxyz", [molecule("CH3CH2OH"), hydroxide])
    write("chloromethane.xyz", molecule("CH3Cl"))
    return tmp_path


def run(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


def test_single_points_have_the_energies_of_the_calculator_and_their_states(folder):
    result = run("energy two.extxyz --model m.pt --output out")
    assert result.exit_code == 0, result.output
    assert "hydroxide" in result.stdout and "two.extxyz:0" in result.stdout
    assert "charge -1 (info[" in result.stdout and "charge +0 (default)" in result.stdout
    rows = list(csv.DictReader((folder / "out" / "energy.csv").read_text().splitlines()))
    frames = read(folder / "out" / "energy.extxyz", ":")
    assert [(frame.info["charge"], frame.info["multiplicity"]) for frame in frames] == [
        (0, 1),
        (-1, 1),
    ]
    for row, frame, atoms in zip(rows, frames, read("two.extxyz", ":"), strict=True):
        atoms.calc = PolarizedCalculator("m.pt", dtype="float64")
        forces = atoms.get_forces()
        assert float(row["energy_eV"]) == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        assert float(row["largest_forces_eV_per_A"]) == pytest.approx(
            np.linalg.norm(forces, axis=1).max(), abs=1e-8
        )
        assert np.allclose(frame.get_forces(), forces, atol=1e-7)


def test_a_structure_that_cannot_be_evaluated_costs_its_row(folder):
    result = run("energy two.extxyz chloromethane.xyz --model m.pt --output out")
    assert result.exit_code == 1
    assert "1 of 3 structures have no energy" in result.stderr
    rows = list(csv.DictReader((folder / "out" / "energy.csv").read_text().splitlines()))
    assert [bool(row["problem"]) for row in rows] == [False, False, True]
    assert "Cl" in rows[2]["problem"] and not rows[2]["energy_eV"]
    alone = run("energy chloromethane.xyz --model m.pt --output other")
    assert alone.exit_code == 2 and not (folder / "other").exists()


def test_every_result_of_a_model_is_written(tmp_path):
    """Whatever quantities a model learns to predict: nothing of them is spelled out."""
    results = {
        "energy": -1.0,
        "forces": np.zeros((2, 3)),
        "charges": np.array([0.25, -1.25]),
        "dipole": np.array([0.0, 3.0, -4.0]),
        "polarizability": np.diag([0.1, 0.2, 0.3]),
        "hardness": np.array([7.0, 8.0]),
    }
    frame = Frame("a", Atoms("OH", [[0, 0, 0], [0, 0, 1]]))
    point = Point(frame, ElectronicState(-1, 1, "x", "y"), results)
    header, row = csv.reader(to_csv([point]).splitlines())
    found = dict(zip(header, row, strict=True))
    assert float(found["largest_charges_e"]) == 1.25
    assert float(found["dipole_D"]) == pytest.approx(5 / DEBYE)
    assert float(found["polarizability_A3"]) == pytest.approx(0.2 * VOLUME_A3)
    write(tmp_path / "a.extxyz", with_results(point))
    back = read(tmp_path / "a.extxyz")
    assert back.arrays["hardness"].tolist() == [7, 8]
    assert back.get_charges().tolist() == [0.25, -1.25]
    assert back.get_dipole_moment().tolist() == [0, 3, -4]
    assert back.info["polarizability"].tolist() == np.diag([0.1, 0.2, 0.3]).tolist()


def test_energy_is_a_function_too(folder, capsys):
    [ethanol, hydroxide] = energy([folder / "two.extxyz"], "m.pt")
    assert hydroxide.state.charge == -1 and ethanol.results["energy"] < 0


@pytest.mark.parametrize("command", ["md", "vib", "doctor", "polarization"])
def test_of_several_structures_one_must_be_chosen(folder, command):
    result = run(f"{command} two.extxyz --model m.pt")
    assert result.exit_code == 2
    assert "which of the 2 structures in two.extxyz: 0 to 1" in result.stderr
    assert run(f"{command} two.extxyz --model m.pt --frame 2").exit_code == 2


def test_the_chosen_structure_runs(folder):
    result = run("md two.extxyz --frame -1 --model m.pt --steps 2 --bonds free --output run")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("HO, charge -1")


def test_the_ends_of_a_path_are_chosen_by_themselves(folder):
    result = run("neb two.extxyz two.extxyz --start-frame 0 --model m.pt")
    assert result.exit_code == 2 and "`--end-frame` must say which" in result.stderr


@pytest.mark.parametrize("ending", ["extxyz", "xyz", "traj"])
def test_a_trajectory_is_converted(folder, ending):
    assert (
        run("md two.extxyz --frame 1 --model m.pt --steps 40 --bonds free --output run").exit_code
        == 0
    )
    result = run(f"convert run out.{ending}")
    assert result.exit_code == 0 and "3 frames" in result.stdout
    expected = list(read_trajectory(folder / "run" / "trajectory.h5md"))
    for found, frame in zip(read(f"out.{ending}", ":"), expected, strict=True):
        assert np.allclose(found.positions, frame.positions, atol=1e-7)
        assert np.allclose(found.get_momenta(), frame.get_momenta(), atol=1e-7)
        assert np.allclose(found.get_forces(), frame.get_forces(), atol=1e-6)
        assert found.get_potential_energy() == pytest.approx(frame.get_potential_energy(), abs=1e-6)
        assert (found.info["charge"], found.info["time_fs"]) == (-1, frame.info["time_fs"])
    convert(folder / "run" / "trajectory.h5md", folder / "few.extxyz", every=2)
    assert len(read("few.extxyz", ":")) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("convert nothing out.xyz", "existing file"),
        ("convert two.extxyz out.xyz", "two.extxyz"),
        ("convert two.extxyz out.pdb", "must end in"),
        ("convert two.extxyz two.extxyz", "exists"),
    ],
)
def test_what_cannot_be_converted(folder, line, message):
    before = sorted(folder.iterdir())
    result = run(line)
    assert result.exit_code == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert sorted(folder.iterdir()) == before
