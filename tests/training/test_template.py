"""``polcalc train --template`` documents every entry, and chooses from what the data hold."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from ase.io import write
from typer.testing import CliRunner

from md_runs.cli import app as cli
from potentials.datasets import make_frames
from potentials.training import prepare, read_config
from potentials.training.config import Config
from tests.training import toy


def printed(*words: str) -> str:
    result = CliRunner().invoke(cli.app, ["train", "--template", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_every_entry_is_documented() -> None:
    text = printed()
    for name, kind in get_type_hints(Config).items():
        assert f"[{name}]" in text or f"{name} = " in text
        if is_dataclass(kind):
            missing = [f.name for f in fields(kind) if f"{f.name} = " not in text]
            assert not missing, name


@pytest.mark.parametrize("charged", [False, True])
def test_it_fits_the_data_as_it_is(tmp_path: Path, charged: bool) -> None:
    frames = toy.waters(20)
    half = (np.arange(20) % 2) * charged
    frames = make_frames(
        frames.n_atoms, frames.atomic_numbers, frames.positions, frames.energy,
        forces=frames.forces, total_charge=half, multiplicity=1 + half,
    )  # fmt: skip
    write(tmp_path / "a.extxyz", list(frames))
    (tmp_path / "a.toml").write_text(printed(str(tmp_path / "a.extxyz")))
    task = prepare(read_config(tmp_path / "a.toml"))
    assert (len(task.train), len(task.validation), len(task.test)) == (16, 2, 2)
    assert ("state_factor" in task.spec) == charged
    assert not task.remarks


def test_a_configuration_must_be_named() -> None:
    result = CliRunner().invoke(cli.app, ["train"])
    assert result.exit_code == 2 and "--template" in result.output
