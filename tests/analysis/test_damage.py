"""Damaged runs: analysed as they are, or refused in one line with exit code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from typer.testing import CliRunner

from md_runs.analysis.runs import read_runs
from md_runs.cli.app import app
from md_runs.errors import InputError
from tests.analysis.test_analyse import make_run
from tests.damage import damage
from tests.small import write_small_model

FILES = ("manifest.json", "log.csv", "trajectory.h5md")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", molecule("H2O"), n_frames=40)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_run_is_read_or_refused(run: Path, name: str) -> None:
    whole = (run / name).read_bytes()
    refused = 0
    try:
        for seed in range(40):
            (run / name).write_bytes(damage(whole, np.random.default_rng(seed)))
            try:
                read_runs([run], 0.0, 1)
            except InputError:
                refused += 1
    finally:
        (run / name).write_bytes(whole)
    assert refused > 3


@pytest.mark.parametrize(
    "manifest", [[], {}, {"options": []}, {"options": {"thermostat": "bussi"}}, "words"]
)
def test_a_manifest_of_another_kind_is_refused(run: Path, manifest: Any) -> None:
    whole = (run / "manifest.json").read_bytes()
    try:
        (run / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(InputError, match=r"manifest\.json, which is damaged"):
            read_runs([run], 0.0, 1)
    finally:
        (run / "manifest.json").write_bytes(whole)


def one_line(result: Any) -> None:
    assert result.exit_code in (0, 2), result.output
    if result.exit_code == 2:
        assert len(result.stderr.splitlines()) == 1, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_damaged_runs_are_analysed_or_refused(run: Path, name: str, tmp_path: Path) -> None:
    whole = (run / name).read_bytes()
    try:
        for seed in range(100):
            (run / name).write_bytes(damage(whole, np.random.default_rng(seed)))
            words = ["analyse", str(run), "--output", str(tmp_path / str(seed))]
            one_line(CliRunner().invoke(app, words))
    finally:
        (run / name).write_bytes(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FILES, "checkpoint.npz"])
def test_many_damaged_runs_go_on_or_are_refused(name: str, tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "m.pt")
    molecule("H2O").write(tmp_path / "w.xyz")
    words = f"{tmp_path}/w.xyz --model {model} --steps 20 --timestep-fs 0.1 --output {tmp_path}/run"
    one_line(CliRunner().invoke(app, ["md", *words.split()]))
    files = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for seed in range(100):
        for path, content in files.items():
            path.write_bytes(content)
        damaged = damage(files[tmp_path / "run" / name], np.random.default_rng(seed))
        (tmp_path / "run" / name).write_bytes(damaged)
        words = f"md --restart {tmp_path}/run --steps 22"
        one_line(CliRunner().invoke(app, words.split()))
