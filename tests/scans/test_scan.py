"""Scans: closed forms, coordinates that hold, valleys forth and back, maps, files, refusals."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.errors import InputError
from md_runs.scans.coordinates import Coordinate, group_of, read_coordinate, set_to
from md_runs.scans.report import facts, minima, plot_scan, scan_csv
from md_runs.scans.sweep import Point, Scan, Settings, relaxed, rigid
from md_runs.surfaces.flight import Answer, Flight, one_by_one
from polcalc import PolarizedCalculator
from tests.small import Springs, write_small_model

TIGHT = Settings(fmax_eV_per_A=1e-4)


def plain(items, total):
    return items


def sprung(atoms: Atoms, width: int = 1) -> Flight:
    return Flight(width, partial(one_by_one, Springs(atoms, strength=5.0)))


def test_springs_follow_their_closed_form_in_one_dimension():
    water = molecule("H2O")
    bond = read_coordinate("bond:0-1:0.8:1.3:6")
    scan = relaxed(water, [bond], sprung(water), TIGHT, "both", plain)
    stretch = bond.values - water.get_distance(0, 1)
    for way in scan.sweeps:
        np.testing.assert_allclose(scan.energies(way), 2.5 * stretch**2, atol=1e-6)
    for n, value in enumerate(bond.values):
        assert bond.of(scan.best((n,)).atoms) == pytest.approx(value, abs=1e-5)
    assert facts(scan)["not_converged"] == 0 and scan.hysteresis_eV() < 1e-6


def test_springs_follow_their_closed_form_in_two_dimensions():
    water = molecule("H2O")
    bonds = [read_coordinate("bond:0-1:0.8:1.2:3"), read_coordinate("bond:0-2:0.9:1.1:4")]
    scan = relaxed(water, bonds, sprung(water, width=2), TIGHT, "both", plain)
    one, other = (b.values - water.get_distance(0, 1) for b in bonds)
    expected = 2.5 * (one[:, None] ** 2 + other**2)
    np.testing.assert_allclose(scan.energies("forward"), expected, atol=1e-6)
    np.testing.assert_allclose(scan.energies("backward"), expected, atol=1e-6)
    rows = list(csv.DictReader(scan_csv(scan).splitlines()))
    assert [float(row["bond_0-2_A"]) for row in rows[:4]] == pytest.approx(bonds[1].values)
    assert float(rows[4]["bond_0-1_A"]) == pytest.approx(1.0)
    assert float(rows[5]["energy_eV"]) == pytest.approx(expected[1, 1], abs=1e-6)
    assert len(plot_scan(scan, "water").axes) >= 2


def cusp(frames):
    """Two valleys of the bond 1-2, of which the bond 0-1 makes one the lower."""
    answers = []
    for atoms in frames:
        y, x = atoms.get_distance(1, 2) - 1.5, atoms.get_distance(0, 1) - 1.5
        forces = np.zeros((3, 3))
        along = atoms.get_distance(1, 2, vector=True) / (y + 1.5)
        slope = 40 * y * (y**2 - 0.04) + 3 * x
        forces[1], forces[2] = slope * along, -slope * along
        answers.append(Answer(10 * (y**2 - 0.04) ** 2 + 3 * x * y, forces, None))
    return answers


def test_two_valleys_are_found_by_going_both_ways():
    start = Atoms("C3", [[0, 0, 0], [1.4, 0, 0], [1.4, 1.7, 0]])
    bond = Coordinate("bond", (0, 1), np.linspace(1.44, 1.56, 9))
    scan = relaxed(start, [bond], Flight(1, cusp), TIGHT, "both", plain)
    forward, backward = scan.energies("forward"), scan.energies("backward")
    assert scan.hysteresis_eV() > 0.005
    np.testing.assert_allclose(scan.energies(), np.minimum(forward, backward))
    np.testing.assert_allclose(scan.energies(), scan.energies()[::-1], atol=1e-5)
    alone = relaxed(start, [bond], Flight(1, cusp), TIGHT, "forward", plain)
    np.testing.assert_allclose(alone.energies(), forward, atol=1e-9)


def test_a_point_that_fails_costs_itself_alone():
    water = molecule("H2O")
    springs = Springs(water)

    def evaluate(frames):
        if any(atoms.get_distance(0, 1) > 1.25 for atoms in frames):
            raise ValueError("too far")
        return one_by_one(springs, frames)

    scan = relaxed(
        water, [read_coordinate("bond:0-1:0.9:1.3:5")], Flight(1, evaluate), TIGHT, "both", plain
    )
    energies = scan.energies()
    assert np.isnan(energies[-1]) and np.isfinite(energies[:-1]).all()
    assert "too far" in scan_csv(scan).splitlines()[-1]
    assert facts(scan)["problems"] == 2


def test_groups_hang_behind_the_last_atom():
    ethanol = molecule("CH3CH2OH")  # C0 C1 O2 H3
    before = ethanol.get_all_distances()
    turn = Coordinate("dihedral", (0, 1, 2, 3), np.zeros(2))
    assert group_of(ethanol, turn) == [2, 3]
    moved = set_to(ethanol, [turn], [40.0])
    assert turn.of(moved) == pytest.approx(40.0)
    bonded = (before > 0) & (before < 1.2)
    np.testing.assert_allclose(moved.get_all_distances()[bonded], before[bonded], atol=1e-9)
    angle = Coordinate("angle", (0, 1, 2), np.zeros(2))
    assert angle.of(set_to(ethanol, [angle], [100.0])) == pytest.approx(100.0)
    bond = Coordinate("bond", (1, 2), np.zeros(2))
    stretched = set_to(ethanol, [bond], [2.0])
    assert bond.of(stretched) == pytest.approx(2.0)
    assert stretched.get_distance(2, 3) == pytest.approx(ethanol.get_distance(2, 3))


def test_rings_are_not_scanned_rigidly():
    benzene = molecule("C6H6")
    assert group_of(benzene, Coordinate("bond", (0, 1), np.zeros(2))) == []
    with pytest.raises(InputError, match="ring"):
        rigid(benzene, [read_coordinate("bond:0-1:1.3:1.5:3")], sprung(benzene), plain)


def test_the_ends_of_a_turn_are_neighbours():
    values = np.linspace(-180, 180, 13)
    energies = np.cos(3 * np.deg2rad(values)) + 0.1 * np.cos(np.deg2rad(values))
    water = molecule("H2O")
    points = {(n,): Point(water, e, True, "") for n, e in enumerate(energies)}
    found = minima(Scan((Coordinate("dihedral", (0, 1, 2, 3), values),), {"forward": points}))
    assert sorted(values[found].tolist()) == [-180.0, -60.0, 60.0]
    assert values[found[0]] == -180.0


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    write("ethanol.xyz", molecule("CH3CH2OH"))
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["scan", "ethanol.xyz", "--model", "m.pt", *words])


def test_rigid_energies_are_those_of_the_geometries(folder):
    result = run("--coordinate", "dihedral:0-1-2-3:-180:120:6", "--mode", "rigid", "--output", "s")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(Path("s/scan.csv").read_text().splitlines()))
    calculator = PolarizedCalculator("m.pt", dtype="float64")
    frames = read("s/scan.extxyz", ":")
    for row, frame, value in zip(rows, frames, np.linspace(-180, 120, 6), strict=True):
        atoms = molecule("CH3CH2OH")
        atoms.set_dihedral(0, 1, 2, 3, value, indices=[3])
        (expected,) = calculator.calculate_many([atoms])
        assert float(row["energy_eV"]) == pytest.approx(expected["energy"], abs=1e-6)
        assert frame.info["charge"] == 0 and frame.info["multiplicity"] == 1
        assert frame.get_potential_energy() == pytest.approx(expected["energy"], abs=1e-6)
    assert Path("s/scan.png").stat().st_size > 10_000
    assert json.loads(Path("s/scan.json").read_text())["range_eV"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--coordinate", "bond:0-1:0.9:2"], "kind:atoms:from:to:points"),
        (["--coordinate", "bond:0-1:x:2:3"], "kind:atoms:from:to:points"),
        (["--coordinate", "bond:0-1-2:1:2:3"], "2 different atoms"),
        (["--coordinate", "bond:0-40:1:2:3"], "atoms from 0 to 8"),
        (["--coordinate", "bond:0-1:-1:2:3"], "above 0"),
        (["--coordinate", "angle:1-0-2:90:180:3"], "from 1 to 179"),
        (["--coordinate", "bond:0-1:1:2:1"], "points"),
        (["--coordinate", "bond:0-1:1:2:3"] * 3, "once or twice"),
        (["--coordinate", "bond:0-1:1:2:3", "--coordinate", "bond:1-0:1:2:3"], "same twice"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder, words, message):
    result = run(*words, "--output", "new")
    assert result.exit_code == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not Path("new").exists()
