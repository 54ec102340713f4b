"""Saddle points: found, checked, and the ways down from them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.reactions.descent import along_the_curve
from tests.small import write_small_model

NO_RIGID = np.zeros((0, 2))


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["ts", *words])


def test_the_curve_is_that_of_many_small_steps():
    """On a quadratic surface steepest descent has a closed form; a thousand steps come near it."""
    hessian = np.array([[2.0, 0.3], [0.3, -0.5]])
    gradient = np.array([0.4, -0.7])
    x, way = np.zeros(2), 0.0
    while way < 0.3:
        slope = gradient + hessian @ x
        x -= 1e-5 * slope / np.linalg.norm(slope)
        way += 1e-5
    np.testing.assert_allclose(along_the_curve(gradient, hessian, NO_RIGID, 0.3), x, atol=1e-3)


def test_the_curve_ends_in_a_minimum():
    hessian = np.diag([2.0, 1.0])
    gradient = np.array([0.02, 0.01])
    expected = -np.linalg.solve(hessian, gradient)
    np.testing.assert_allclose(
        along_the_curve(gradient, hessian, NO_RIGID, 5.0), expected, atol=1e-4
    )


def test_rigid_motions_are_left_out():
    found = along_the_curve(np.array([1.0, 1.0]), np.eye(2), np.array([[1.0, 0.0]]), 0.1)
    np.testing.assert_allclose(found, [0.0, -0.1], atol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_hydrogen_moves_from_nitrogen_to_carbon(tmp_path, monkeypatch):
    """HNC to HCN: one imaginary mode, and the two molecules at the ends of the ways down."""
    pytest.importorskip("sella")
    monkeypatch.chdir(tmp_path)
    write("guess.xyz", Atoms("CNH", [[0, 0, 0], [1.18, 0, 0], [0.35, 1.12, 0]]))
    result = run("guess.xyz", "--model", "organic", "--output", "out")
    assert result.exit_code == 0, result.output
    facts = json.loads(Path("out/ts.json").read_text())
    assert facts["is_saddle_point"] and len(facts["imaginary_per_cm"]) == 1
    ends = read("out/ends.extxyz", ":")
    assert min(atoms.get_distance(0, 2) for atoms in ends) < 1.15  # one has it on carbon
    on_nitrogen = sorted(float(atoms.get_distance(1, 2)) for atoms in ends)
    assert on_nitrogen[0] < 1.1 < 1.9 < on_nitrogen[1]
    assert all(end["barrier_eV"] > 0.5 for end in facts["ends"])
    rows = csv.DictReader(Path("out/irc.csv").read_text().splitlines())
    energies = [float(row["energy_eV"]) for row in rows]
    written = [atoms.get_potential_energy() for atoms in read("out/irc.extxyz", ":")]
    assert written == pytest.approx(energies, abs=1e-6)
    top = int(np.argmax(energies))
    assert energies[top] == pytest.approx(facts["energy_eV"], abs=1e-6)
    assert np.all(np.diff(energies[: top + 1]) > 0) and np.all(np.diff(energies[top:]) < 0)
    assert len(read("out/mode.extxyz", ":")) > 8
    assert Path("out/irc.png").stat().st_size > 10_000


def test_what_cannot_be_done_is_said_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("sella")
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    write("salt.xyz", bulk("NaCl", "rocksalt", a=5.6))
    write("CO.xyz", molecule("CO"))
    Path("empty").mkdir()
    for guess, message in (("salt.xyz", "open space"), ("CO.xyz", "three"), ("empty", "neb")):
        result = run(guess, "--model", "m.pt", "--output", "new")
        assert result.exit_code == 2 and message in result.stderr
        assert len(result.stderr.splitlines()) == 1 and not Path("new").exists()
