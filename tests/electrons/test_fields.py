"""Energy, dipole and polarizability against a field: parts of the energy, files, refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.electrons.fields import Scan, scan_fields, table
from polcalc import PolarizedCalculator
from potentials.quantities import DEBYE, VOLUME_A3
from tests.polar import polar_model, write_polar_model
from tests.small import write_small_model


def polcalc(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_polar_model(tmp_path / "m.pt")
    atoms = molecule("CH3OH")
    atoms.translate((5, 6, 7))
    write("methanol.xyz", atoms)
    return tmp_path


def test_parts_are_dipole_and_polarizability_of_the_model() -> None:
    """Energies alone give what the model says of itself, with no field at all."""
    atoms = molecule("CH3OH")
    atoms.calc = PolarizedCalculator(polar_model(), dtype="float64", engine="eager", device="cpu")
    direction = np.array([1.0, -2.0, 2.0]) / 3
    dipole = atoms.get_dipole_moment() @ direction
    alpha = direction @ atoms.calc.polarizability @ direction
    scan = scan_fields(atoms, direction, np.linspace(-0.3, 0.3, 7))
    assert scan.parts == pytest.approx((dipole, alpha), rel=1e-6)
    assert scan.along["dipole_along_D"] * DEBYE == pytest.approx(dipole + alpha * scan.strengths)
    assert np.abs(scan.along["rest_eV"]).max() < 1e-9


def test_what_is_neither_linear_nor_quadratic_is_the_rest() -> None:
    s = np.linspace(-0.2, 0.2, 11)
    energies = 3 - 0.5 * s - 0.5 * 0.8 * s**2 + 0.3 * s**3 - 0.1 * s**4
    scan = Scan(np.array([0, 0, 1.0]), s, energies, np.zeros((11, 3)), None)
    assert scan.parts == pytest.approx((0.5, 0.8))
    assert scan.along["rest_eV"] == pytest.approx(0.3 * s**3 - 0.1 * s**4, abs=1e-12)
    assert "polarizability_along_A3" not in scan.along


def test_a_dipole_that_does_not_answer_is_told() -> None:
    """No polarizability of 0 where there is none."""
    atoms = molecule("CH3OH")
    for without, words in (("polarizability", "has no polarizability"), ("", "from the energies")):
        potential = polar_model(*[without] * bool(without))
        atoms.calc = PolarizedCalculator(potential, dtype="float64", engine="eager", device="cpu")
        atoms.get_potential_energy()
        scan = scan_fields(atoms, np.array([-0.0, 0, 1]), np.linspace(-0.3, 0.3, 5))
        assert words in str(table(scan).caption) and "-0.000" not in str(table(scan).caption)
        atoms.calc = None


def test_files_of_an_ion_do_not_depend_on_where_it_lies(folder: Path) -> None:
    done = polcalc("fields methanol.xyz --model m.pt --charge 1 --points 5 --output out")
    assert done.exit_code == 0, done.output
    facts = json.loads((folder / "out/fields.json").read_text())
    rows = list(csv.DictReader((folder / "out/fields.csv").read_text().splitlines()))
    assert len(rows) == 5 and float(rows[2]["field_V_per_A"]) == 0
    atoms = molecule("CH3OH")
    atoms.calc = PolarizedCalculator("m.pt", dtype="float64", charge=1)
    about = atoms.get_dipole_moment() - atoms.get_center_of_mass()
    size = float(np.linalg.norm(about)) / DEBYE  # along the dipole, where none is asked for
    assert facts["linear"]["dipole_D"] == pytest.approx(size, rel=1e-6)
    assert float(rows[2]["dipole_D"]) == pytest.approx(size, rel=1e-6)
    mean = float(rows[2]["polarizability_along_A3"])
    assert facts["quadratic"]["polarizability_A3"] == pytest.approx(mean, rel=1e-6)
    assert 0 < mean < 3 * VOLUME_A3 * np.trace(atoms.calc.polarizability)
    assert imread(folder / "out/fields.png").shape[2] == 4
    assert "from the energies" in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--points 4", "`--points` must be odd and at least 5"),
        ("--strongest-V-per-A 0", "must be positive"),
        ("--direction 0 0 0", "not all zero"),
        ("--model small.pt", "must predict a dipole"),
    ],
)
def test_what_is_refused(folder: Path, words: str, message: str) -> None:
    write_small_model(folder / "small.pt")
    model = "" if "--model" in words else "--model m.pt"
    done = polcalc(f"fields methanol.xyz {model} {words} --output out")
    assert done.exit_code == 2 and message in done.stderr, done.output
    assert not (folder / "out").exists()
