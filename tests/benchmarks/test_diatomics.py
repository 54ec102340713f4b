"""The benchmark of two atoms: what counts as off, and that a warning makes it told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.science import diatomics
from benchmarks.science.diatomics import Curve, curves, measure, summary, text
from potentials.build import build
from potentials.checkpoint import Card, load, save
from potentials.datasets import Frames, load_frames
from tests.small import SPEC


@pytest.fixture
def silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diatomics, "_gfn2_errors", lambda curve: [None] * len(curve.distance))


def test_a_warning_makes_an_error_told(tmp_path: Path, silenced: None) -> None:
    torch.manual_seed(0)
    told = {"+0/1 of two": {"H-H": 1.5}}
    card = Card(elements=[1], states=[[0, 1, 9]], longest_bonds_of_states_A=told)
    save(tmp_path / "m.pt", build(SPEC), card)
    far_off = Curve(("H", "H"), (0, 1), [0.7, 0.75, 2.0], [-1000.0] * 3)
    row = measure(load(tmp_path / "m.pt"), far_off)
    assert row["silent_A"] == [0.7, 0.75] and row["warned"] == [False, False, True]
    found = summary([row])
    assert found["points off by more than 0.5 eV"] == 3 and found["of these without a warning"] == 2
    report = {"model": "m", "summary": found, "rows": [row]}
    assert "| H-H | +0, 1 | 3 |" in text(report) and "| 0.70, 0.75 | – |" in text(report)


def test_curves_are_those_of_the_labels() -> None:
    frames = load_frames("organic-open-shells")
    assert isinstance(frames, Frames)
    (oxygen,) = (c for c in curves(frames) if c.symbols == ("O", "O") and c.state == (0, 3))
    assert oxygen.distance == sorted(oxygen.distance) and len(oxygen.distance) > 8
    assert min(oxygen.energy) == pytest.approx(oxygen.energy[-1] - 5.2, abs=0.1)
