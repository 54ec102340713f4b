"""``polcalc train``: processes that are killed, resumed, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ase.io import read
from typer.testing import CliRunner

from md_runs.cli import app as cli
from potentials.checkpoint import load
from potentials.training.progress import CHECKPOINT
from tests.training import toy

REPOSITORY = Path(__file__).resolve().parents[2]


def start(*words: object) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "md_runs.cli.app", "train", *map(str, words)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def complete(*words: object) -> str:
    process = start(*words)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load(folder / "model.pt").potential.state_dict()


def test_a_killed_training_resumes_to_the_same_weights_bit_for_bit(tmp_path):
    """Killed without warning a moment after a checkpoint, while every step writes one."""
    config = toy.write_config(tmp_path, epochs=15)
    process = start(config, "--output", tmp_path / "killed", "--device", "cpu")
    checkpoint, deadline = tmp_path / "killed" / CHECKPOINT, time.monotonic() + 300
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert checkpoint.exists() and not (tmp_path / "killed" / "model.pt").exists()
    complete(config, "--output", tmp_path / "killed", "--device", "cpu", "--resume")
    complete(config, "--output", tmp_path / "whole", "--device", "cpu")
    killed, whole = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_an_interrupted_training_says_so_and_goes_on(tmp_path):
    config = toy.write_config(tmp_path, epochs=100_000)
    process = start(config, "--output", tmp_path / "run", "--device", "cpu")
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said
    manifest = tmp_path / "run" / "manifest.json"
    assert json.loads(manifest.read_text())["status"] == "interrupted"
    words = ["--output", tmp_path / "run", "--device", "cpu", "--max-epochs", 1, "--resume"]
    complete(config, *words)
    assert json.loads(manifest.read_text())["status"] == "finished"


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    """Each takes half of every batch; only rounding differs."""
    config = toy.write_config(tmp_path, text='dtype = "float64"\n', epochs=3, optimizer="adamw")
    complete(config, "--output", tmp_path / "one", "--device", "cpu")
    complete(config, "--output", tmp_path / "two", "--device", "cpu", "--devices", 2)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with toy.extxyz, train.toml and a finished training in ``run``."""
    folder = tmp_path_factory.mktemp("trained")
    config = toy.write_config(folder, epochs=2)
    result = CliRunner().invoke(
        cli.app, ["train", str(config), "--output", str(folder / "run"), "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    assert "epoch 2" in result.output and "meV/Å" in result.output
    return folder


def test_what_a_training_leaves(trained):
    names = {path.name for path in (trained / "run").iterdir()}
    assert names == {
        "model.pt",
        "report.json",
        "log.csv",
        "learning_curve.png",
        "tensorboard",
        "checkpoint.pt",
        "manifest.json",
    }
    report = json.loads((trained / "run/report.json").read_text())
    manifest = json.loads((trained / "run/manifest.json").read_text())
    assert (
        manifest["status"] == "finished"
        and manifest["sha256"] == report["sha256"] == load(trained / "run/model.pt").sha256
    )
    assert report["errors"]["test"]["n_frames"] == 24 == len(read(trained / "toy.extxyz", ":"))
    assert (
        load(trained / "run/model.pt").card.training["configuration_text"]
        == (trained / "train.toml").read_text()
    )
    shown = CliRunner().invoke(cli.app, ["info", str(trained / "run/model.pt")]).output
    assert "where it fails" in shown and "take a better model for ice" in shown


def test_a_dry_run_trains_nothing(trained: Path, tmp_path: Path) -> None:
    words = [str(trained / "train.toml"), "--output", str(tmp_path / "new"), "--dry-run"]
    result = CliRunner().invoke(cli.app, ["train", *words])
    assert result.exit_code == 0, result.output
    assert "parameters" in result.stdout and "structures" in result.stdout
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("missing.toml", "does not exist"),
        ("{0}/train.toml --output {0}/run", "in use"),
        ("{0}/train.toml --output {0}/nowhere --resume", "Start without --resume"),
        ("{0}/train.toml --output {0}/run --resume --seed 5", "seed differ"),
        ("{0}/train.toml --output {0}/fresh --devices 3", "`devices` must divide"),
        ("{0}/toy.extxyz --output {0}/fresh", "TOML"),
    ],
)
def test_bad_input_gets_one_line_and_code_2(trained, words, message):
    before = (trained / "run/model.pt").read_bytes()
    result = CliRunner().invoke(cli.app, ["train", *words.format(trained).split()])
    assert result.exit_code == 2, result.output
    assert message in result.output and result.output.count("\n") == 1
    assert (trained / "run/model.pt").read_bytes() == before


def test_a_finished_training_resumes_to_itself(trained):
    before = weights(trained / "run")
    words = [
        "train",
        str(trained / "train.toml"),
        "--output",
        str(trained / "run"),
        "--device",
        "cpu",
        "--resume",
    ]
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    after = weights(trained / "run")
    assert all(torch.equal(after[name], before[name]) for name in before)
