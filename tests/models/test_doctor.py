"""The doctor finds nothing wrong with a sound model, and finds what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.models import doctor
from md_runs.models.doctor import Finding, examine
from md_runs.session import ModelOptions
from tests.small import write_small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model") / "m.pt")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(doctor, "DRIFT_STEPS", 40)


def find(atoms: Atoms, model: Path, **options) -> dict[str, Finding]:
    return {
        finding.check: finding for finding in examine(atoms, ModelOptions(str(model), **options))
    }


def polcalc(command: str) -> Result:
    return CliRunner().invoke(app, command.split())


def test_a_sound_model(model):
    atoms = molecule("CH3CH2OH")
    found = find(atoms, model)
    assert list(found) == [
        "training data",
        "certainty",
        "forces",
        "symmetry",
        "precision",
        "time step",
        "dynamics",
    ]
    assert found["certainty"].verdict == "skipped"  # it was not calibrated
    assert "failure" not in {finding.verdict for finding in found.values()}, found
    assert found["forces"].numbers["error"] < 1e-5
    assert found["dynamics"].numbers["ms_per_step"] > 0


def test_a_crystal_has_a_stress(model):
    crystal = bulk("C", "diamond", a=3.6, cubic=True)
    crystal.rattle(0.05, seed=1)
    found = find(crystal, model)
    assert found["stress"].verdict == "ok"
    assert 0 < found["stress"].numbers["error"] < 1e-5


def test_a_state_never_seen_is_a_warning(model):
    found = find(molecule("CH3CH2OH"), model, charge=1, multiplicity=2)
    assert found["training data"].verdict == "warning"
    assert "never saw charge +1" in found["training data"].text


def test_wrong_forces_are_found(model, monkeypatch, tmp_path):
    """An engine whose forces are not those of its energy."""
    evaluate = doctor.PolarizedCalculator.calculate_many

    def wrong(self, frames):
        return [result | {"forces": result["forces"] + 0.01} for result in evaluate(self, frames)]

    monkeypatch.setattr(doctor.PolarizedCalculator, "calculate_many", wrong)
    found = find(molecule("CH3CH2OH"), model)
    assert {name for name, finding in found.items() if finding.verdict == "failure"} == {
        "forces",
        "symmetry",
        "precision",
    }
    molecule("CH3CH2OH").write(tmp_path / "e.xyz")
    result = polcalc(f"doctor {tmp_path}/e.xyz --model {model}")
    assert result.exit_code == 1
    assert "forces, symmetry, precision" in result.stderr


def test_the_time_step_follows_the_fastest_vibration(monkeypatch):
    """A diatomic on a spring: 2π sqrt(μ / k) is known."""

    class Spring:
        def calculate_many(self, frames):
            return [{"forces": _pull(frame.positions)} for frame in frames]

    def _pull(positions):
        vector = positions[1] - positions[0]
        stretch = 36.0 * (np.linalg.norm(vector) - 0.74) * vector / np.linalg.norm(vector)
        return np.array([stretch, -stretch])

    patient = doctor.Patient(Atoms("H2", positions=[[0, 0, 0], [0.74, 0, 0]]), None, Spring())
    found = doctor._time_step(patient).numbers
    period = 2 * np.pi * np.sqrt(1.008 / 2 / 36.0) / doctor.units.fs
    assert found["highest_mode_per_cm"] == pytest.approx(1e15 / period / 29979245800, rel=1e-4)
    assert found["advised_fs"] == pytest.approx(period / 17, abs=0.05)


def test_energy_that_goes_away_is_found(model):
    """Forces pull harder than the energy falls: it rises along a straight line."""

    class Leaking(Calculator):
        implemented_properties = ("energy", "forces")
        engine = doctor.PolarizedCalculator(str(model)).engine

        def calculate(self, atoms=None, properties=(), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results = {"energy": 0.0, "forces": np.full((len(atoms), 3), self.pull)}

    verdicts = []
    for pull in (0.0, 0.5):
        leaking = Leaking()
        leaking.pull = pull
        patient = doctor.Patient(Atoms("H2", [[0, 0, 0], [0.74, 0, 0]]), leaking, None)
        verdicts.append(doctor._drift(patient).verdict)
    assert verdicts == ["ok", "failure"]


def test_the_shell(model, tmp_path):
    molecule("CH3CH2OH").write(tmp_path / "e.xyz")
    result = polcalc(f"doctor {tmp_path}/e.xyz --model {model} --json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["passed"]
    assert facts["findings"][-1]["numbers"]["engine"]
    assert facts["versions"]["torch"] and len(facts["model"]["sha256"]) == 64
    assert "ns/day" in polcalc(f"doctor {tmp_path}/e.xyz --model {model}").stdout
    refused = polcalc(f"doctor {tmp_path}/e.xyz --model {model} --multiplicity 2")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
