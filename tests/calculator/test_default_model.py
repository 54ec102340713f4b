"""Who names no model gets organic and is told so; where it is not shipped, that is said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from typer.testing import CliRunner

import polcalc.calculator.calculator
import potentials.shipped
from md_runs.cli.app import app
from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, save
from potentials.shipped import DEFAULT

SPEC = {
    "cutoff": 4.0,
    "architecture": {"name": "tensornet", "channels": 4, "n_layers": 1},
    "radial": {"name": "exp_normal", "n_radial": 4},
}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of shipped models, empty."""
    polcalc.calculator.calculator._announce.cache_clear()
    monkeypatch.setattr(potentials.shipped, "TRAINED", tmp_path / "trained")
    yield tmp_path / "trained"
    polcalc.calculator.calculator._announce.cache_clear()


def ship(folder: Path) -> None:
    (folder / DEFAULT).mkdir(parents=True)
    save(
        folder / DEFAULT / "model.pt",
        build(SPEC),
        Card(name=DEFAULT, description="for this test", elements=[1, 6, 8], states=[[0, 1, 1]]),
    )


def test_it_is_taken_and_announced_once(shipped: Path, caplog: pytest.LogCaptureFixture) -> None:
    ship(shipped)
    with caplog.at_level(logging.WARNING, logger="polcalc"):
        calculator, named = PolarizedCalculator(), PolarizedCalculator(DEFAULT)
        PolarizedCalculator()
    [message] = [record.getMessage() for record in caplog.records]
    assert message == f"no model was named; {DEFAULT} answers (polcalc info {DEFAULT})"
    assert len(message) < 80  # one line of a terminal
    assert calculator.parameters["model"] == DEFAULT and calculator.todict() == named.todict()
    assert np.isfinite(calculator.get_potential_energy(molecule("H2O")))


def test_a_named_model_is_not_announced(shipped: Path, caplog: pytest.LogCaptureFixture) -> None:
    ship(shipped)
    PolarizedCalculator(DEFAULT)
    assert not caplog.records


def test_where_it_is_not_shipped(shipped: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"`model` must be given: organic, the default, is not shipped in this version",
    ):
        PolarizedCalculator()


def test_commands_take_it(shipped: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "water.xyz"
    molecule("H2O").write(path)
    arguments = ["relax", str(path), "--steps", "1", "--fmax-eV-per-A", "1e3", "--output"]
    missing = CliRunner().invoke(app, [*arguments, str(tmp_path / "a")])
    assert (
        missing.exit_code == 2 and "not shipped" in missing.output and not (tmp_path / "a").exists()
    )
    ship(shipped)
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "b")])
    assert done.exit_code == 0, done.output
    assert "organic" in caplog.text and '"name": "organic"' in (
        tmp_path / "b" / "manifest.json"
    ).read_text(encoding="utf-8")
