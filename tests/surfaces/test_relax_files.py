"""Many structures: a bad one costs its row, and no kill costs what is done."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.errors import InputError
from md_runs.records.journal import Journal
from md_runs.screen import screen, show
from md_runs.surfaces.relax_files import JOURNAL, Row, _rows_of, table_of
from tests.damage import damage
from tests.small import write_small_model

LOOSE = "--model m.pt --fmax-eV-per-A 50 --allow-saddle"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A model, three molecules that it knows and one that it does not."""
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    named = molecule("CH3OH")
    named.info["name"] = "wood spirit"
    write("good.extxyz", [molecule("CH3CH2OH"), named])
    write("bad.xyz", molecule("CH3Cl"))
    write("water.xyz", molecule("H2O"))
    return tmp_path


def run(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "relax.csv").read_text().splitlines()))


def test_a_structure_that_cannot_be_relaxed_costs_its_row(folder):
    result = run(f"relax good.extxyz bad.xyz water.xyz {LOOSE} --output out")
    assert result.exit_code == 1 and "1 of 4 structures could not be relaxed" in result.stderr
    assert "bad.xyz" in result.stdout and "Cl" in result.stdout
    relaxed = read("out/relaxed.extxyz", ":")
    assert [atoms.info["name"] for atoms in relaxed] == [
        "good.extxyz:0",
        "wood spirit",
        "water.xyz",
    ]
    assert [row["name"] for row in rows_of(folder / "out")] == [a.info["name"] for a in relaxed]
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["status"] == "finished" and list(manifest["problems"]) == ["bad.xyz"]
    assert not (folder / "out" / JOURNAL).exists()


def test_nothing_is_written_where_no_structure_can_be_relaxed(folder):
    result = run(f"relax bad.xyz {LOOSE} --output out")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert not (folder / "out").exists()


def test_processes_find_the_same_minima(folder):
    options = "--model m.pt --steps 3 --fmax-eV-per-A 1e-9"
    assert run(f"relax good.extxyz water.xyz {options} --output one").exit_code == 1
    assert run(f"relax good.extxyz water.xyz {options} --output two --jobs 2").exit_code == 1
    assert rows_of(folder / "one") == rows_of(folder / "two")
    one, two = (read(f"{name}/relaxed.extxyz", ":") for name in ("one", "two"))
    assert [a.positions.tolist() for a in one] == [a.positions.tolist() for a in two]


def test_kills_lose_nothing(folder):
    """Every structure that was done stays done; the end is as if nothing had happened."""
    frames = [molecule("CH3CH2OH") for _ in range(12)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
    write("many.extxyz", frames)
    words = "relax many.extxyz --model m.pt --steps 15 --fmax-eV-per-A 1e-9 --output"
    assert run(f"{words} whole").exit_code == 1
    command = [sys.executable, "-m", "md_runs.cli.app", *words.split(), "killed"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    journal = folder / "killed" / JOURNAL
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (
            journal.is_file() and len(journal.read_text().splitlines()) > 2
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    with journal.open("a") as file:
        file.write('{"number": 11, "name": "half a li')
    kept = journal.read_text().splitlines()[:-1]
    assert len(kept) > 2
    again = run(f"{words} killed --resume")
    assert again.exit_code == 1, again.output
    assert rows_of(folder / "killed") == rows_of(folder / "whole")
    assert (folder / "killed" / "relaxed.extxyz").read_bytes() == (
        folder / "whole" / "relaxed.extxyz"
    ).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--output new --resume", "without one"),
        ("--output done --resume", "finished run"),
        ("--output stopped --resume --steps 7", "other options"),
        ("--output stopped --resume --multiplicity 3", "other options"),
    ],
)
def test_what_cannot_be_resumed(folder, change, message):
    assert run(f"relax water.xyz {LOOSE} --output done").exit_code == 0
    assert run(f"relax water.xyz {LOOSE} --output stopped").exit_code == 0
    manifest = folder / "stopped" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"running"'))
    result = run(f"relax water.xyz {LOOSE} {change}")
    assert result.exit_code == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_damaged_journal_is_read_or_refused(tmp_path):
    steps = [[0, -1.0, 1.0], [1, -2.0, 0.001]]
    rows = [Row(n, "water", "H2O", [0, 1, "", ""], steps, True, structure="1\n") for n in range(3)]
    written = Journal(tmp_path / "whole")
    for row in rows:
        written.add(row.number, [asdict(row)])
    whole = written.path.read_bytes()
    refused = 0
    for seed in range(60):
        (tmp_path / JOURNAL).write_bytes(damage(whole, np.random.default_rng(seed)))
        try:
            _rows_of(Journal(tmp_path / JOURNAL))
        except InputError:
            refused += 1
    assert refused > 10


def test_numbers_keep_four_decimals_whatever_their_length(capsys):
    steps = [[0, -123456.78911, 1.0], [1, -123456.91234, 0.001]]
    row = Row(0, "x" * 70, "C60H60", [0, 1, "a", "b"], steps, converged=True)
    show(table_of([row]))
    assert screen.width < 100
    assert "-123456.9123  -0.1232  0.0010  yes" in capsys.readouterr().out


def test_the_table_fits_a_terminal(capsys):
    """Of a drug with its name, and of a protein's energy."""
    steps = [[0, -10815.78911, 1.0], [437, -10817.91234, 0.0099]]
    row = Row(0, "paracetamol.xyz:1", "C8H9NO2", [0, 1, "a", "b"], steps, converged=True)
    show(table_of([row, Row(1, "bad.xyz", "CH3Cl", problem="Cl is not known")]))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == [
        "paracetamol.xyz:1", "+0", "1", "437", "-10817.9123", "-2.1232", "0.0099", "yes"
    ]  # fmt: skip


def test_atoms_on_top_of_each_other_cost_their_row(folder):
    write("touching.xyz", Atoms("H2O", [[0, 0, 0], [0, 0, 0], [0, 0, 1]]))
    result = run(f"relax touching.xyz water.xyz {LOOSE} --output out")
    assert result.exit_code == 1 and "touching.xyz" in result.stdout
