"""The demonstration, shortened."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from md_runs.cli.app import app
from md_runs.demo import run_demo
from md_runs.errors import InputError


def test_the_demo_leaves_a_figure_and_numbers_and_overwrites_no_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POLCALC_DATA", str(tmp_path / "nothing"))
    first = run_demo(tmp_path / "demo", nvt_ps=0.02, nve_ps=0.02)
    assert "Not validated" in capsys.readouterr().out
    log = (tmp_path / "demo" / "run-001" / "nvt" / "log.csv").read_bytes()
    run_demo(tmp_path / "demo", nvt_ps=0.02, nve_ps=0.02)
    assert {p.name for p in (tmp_path / "demo").iterdir()} == {
        "run-001",
        "run-002",
        "ethanol.png",
        "summary.json",
    }
    assert (tmp_path / "demo" / "run-001" / "nvt" / "log.csv").read_bytes() == log
    assert imread(tmp_path / "demo" / "ethanol.png").std() > 0.01
    found = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert found["nve"]["steps"] == 40
    assert found["validation"] is None
    assert first["relax"]["fmax_eV_per_A"] < 0.01


def test_constant_energy_goes_on_from_constant_temperature(tmp_path, monkeypatch):
    monkeypatch.setenv("POLCALC_DATA", str(tmp_path / "nothing"))
    # a trained model: ethanol falls apart on random weights
    run_demo(tmp_path / "demo", nvt_ps=0.02, nve_ps=0.02)
    nvt, nve = (
        (tmp_path / "demo" / "run-001" / e / "log.csv").read_text().splitlines()
        for e in ("nvt", "nve")
    )
    assert nvt[-1].split(",")[2:4] == nve[1].split(",")[2:4]  # potential and kinetic energy
    result = CliRunner().invoke(
        app, ["md", "--restart", str(tmp_path / "demo" / "run-001" / "nvt"), "--steps", "50"]
    )
    assert result.exit_code == 0, result.output
    assert (
        (tmp_path / "demo" / "run-001" / "nvt" / "log.csv")
        .read_text()
        .splitlines()[-1]
        .startswith("50,")
    )


def test_a_missing_model_is_told(tmp_path):
    with pytest.raises(InputError, match="nosuchmodel"):
        run_demo(tmp_path / "demo", model="nosuchmodel")
    assert not (tmp_path / "demo").exists()


def test_endings_are_exit_codes_outside_the_shell_too():
    script = (
        "from md_runs.errors import InputError, clear_endings\nwith clear_endings():\n    raise"
        " InputError('no such thing')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "error: no such thing\n")
