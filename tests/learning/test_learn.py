"""``polcalc learn``: from a model that knows nothing to one that holds, through any kill."""

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
from ase.build import molecule
from ase.io import read, write

from md_runs.errors import InputError, NotConverged
from md_runs.learning.learn import learn
from potentials.build import build
from potentials.card import Card
from potentials.checkpoint import load, save
from potentials.finetuning import recipe
from tests.learning.fakes import COUNTED
from tests.training import toy

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = "python:tests.learning.fakes:springs"

# models that learnt for seconds are wrong of what they learnt
pytestmark = pytest.mark.filterwarnings("ignore::polcalc.calculator.domain.ExtrapolationWarning")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A model that was never trained and does not know oxygen, and a water."""
    torch.manual_seed(0)
    spec = {**toy.SPEC, "terms": [{"name": "readout"}, {"name": "zbl"}]}
    card = Card(name="base", elements=[1], states=[[0, 1, 9]])
    save(tmp_path / "base.pt", build(spec), card)
    write(tmp_path / "water.xyz", molecule("H2O"))
    monkeypatch.setattr(recipe, "RATE", 3e-3)
    monkeypatch.setattr(recipe, "HIGHEST_RATE", 1e-2)
    monkeypatch.setattr(recipe, "EPOCH", 100)
    return tmp_path


def test_it_learns_until_an_exploration_passes(folder):
    report = learn(
        [folder / "water.xyz"],
        reference=REFERENCE,
        explore="md 200 K, 0.01 ps",
        model=str(folder / "base.pt"),
        output=folder / "out",
        labels=60,
        per_round=12,
        minutes=0.03,
        target_meV_per_A=5000.0,
    )
    first, last = report["rounds"][0], report["rounds"][-1]
    assert report["passed"] and first["forces_mae_meV_per_A"] is None  # oxygen is not known
    assert "elements" in first["explored"][0]["why"] and not last["explored"][0]["why"]
    assert last["forces_mae_meV_per_A"] < 5000
    labels = read(folder / "out" / "labels.extxyz", ":")
    assert len(labels) == report["labels_spent"] == sum(r["labels"] for r in report["rounds"])
    card = load(folder / "out" / "model.pt").card
    assert card.elements == [1, 8]
    page = (folder / "out" / "report.txt").read_text()
    assert "passed" in page and "round 0: 0 ps, 12 labels" in page
    assert (folder / "out" / "learning.png").is_file()


def test_spent_labels_end_it_with_what_was_learnt(folder):
    with pytest.raises(NotConverged, match="labels are spent"):
        learn(
            [folder / "water.xyz"],
            reference=REFERENCE,
            explore="md 200 K, 0.01 ps",
            model=str(folder / "base.pt"),
            output=folder / "out",
            labels=10,
            per_round=10,
            minutes=0.02,
            target_meV_per_A=0.0,
        )
    report = json.loads((folder / "out" / "report.json").read_text())
    assert not report["passed"] and report["labels_spent"] == 10
    assert [found["labels"] for found in report["rounds"]] == [10, 0]
    assert (folder / "out" / "model.pt").is_file()


def test_a_wrong_reference_is_refused_before_anything_is_written(folder):
    with pytest.raises(InputError, match="`reference` must"):
        learn([folder / "water.xyz"], reference="magic", output=folder / "out")
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_and_labels_nothing_twice(folder):
    """Killed while it labels, while it trains, while it explores, and in between."""
    arguments = [sys.executable, "-m", "md_runs.cli.app", "learn", str(folder / "water.xyz")]
    arguments += ["--reference", "python:tests.learning.fakes:counted"]
    arguments += ["--explore", "md 200 K, 0.2 ps", "--model", str(folder / "base.pt")]
    arguments += ["--output", str(folder / "out"), "--labels", "24", "--per-round", "12"]
    arguments += ["--minutes", "0.05", "--target-meV-per-A", "0"]
    counted = folder / "counted.txt"
    environment = os.environ | {COUNTED: str(counted)}
    journal = folder / "out" / "labels.jsonl"
    out = folder / "out"
    stages = [  # what is seen before the next kill
        lambda: (out / "manifest.json").is_file(),
        lambda: journal.is_file() and len(journal.read_text().splitlines()) >= 3,
        lambda: (out / "round-0" / "round.json").is_file(),
        lambda: (out / "round-0" / "tuning" / "checkpoint.pt").is_file(),
        lambda: (out / "round-0" / "model.pt").is_file(),
        lambda: (out / "round-1" / "explore-0" / "manifest.json").is_file(),
        lambda: journal.is_file() and len(journal.read_text().splitlines()) >= 15,
    ]
    killed = 0
    for seen in stages:
        more = ["--resume"] if (out / "manifest.json").is_file() else []
        process = subprocess.Popen([*arguments, *more], cwd=ROOT, env=environment)
        while process.poll() is None and not seen():
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    done = subprocess.run([*arguments, "--resume"], cwd=ROOT, env=environment, check=False)
    assert done.returncode == 1  # the target cannot be reached
    assert killed == len(stages)
    report = json.loads((out / "report.json").read_text())
    assert [found["labels"] for found in report["rounds"]] == [12, 12, 0]
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len({row["number"] for row in rows}) == len(rows) == 24
    asked = counted.read_text().splitlines()
    # what was under way when a kill came was not yet there: at most one a kill, one process labels
    assert len(set(asked)) == 24 and len(asked) <= 24 + 2
