"""A great many molecules: each once in the result, whatever is wrong with it or was killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.build import molecule
from ase.db import connect
from ase.io import read, write
from typer.testing import CliRunner, Result

from md_runs.batch.inputs import molecules
from md_runs.batch.run import JOURNAL
from md_runs.cli.app import app
from md_runs.errors import InputError
from polcalc import PolarizedCalculator
from tests.polar import write_polar_model
from tests.small import write_small_model

ENDS = ("csv", "parquet")
LOOSE = "--model m.pt --fmax-eV-per-A 50 --allow-saddle"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    return tmp_path


def run(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


def rattled(number: int) -> list:
    frames = [molecule(("CH3CH2OH", "H2O", "CH3OH")[n % 3]) for n in range(number)]
    for n, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=n)
        atoms.info["name"] = f"molecule {n}"
    return frames


@pytest.mark.filterwarnings("ignore:The model never saw")
def test_every_format_gives_rows_and_a_bad_molecule_is_one_of_them(folder):
    pytest.importorskip("rdkit")
    Path("set.csv").write_text(
        "Name,SMILES,charge,multiplicity,more\n"
        "ethanol,CCO,,,1\nethanolate,CC[O-],-1,1,2\ntriplet,C=C,0,3,3\nhalf,CO,1/2,,4\n"
        "odd,C1CC,,,5\nanion,O,-1,,6\n,CO,,,7\n"
    )
    Path("list.smi").write_text("CO wood spirit\n\nO\n")
    many = Path("many")
    many.mkdir()
    write("many/good.xyz", molecule("H2O"))
    write("many/two.extxyz", [molecule("CH3Cl"), molecule("CH3OH")])
    (many / "torn.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\nno number\n")
    (many / "notes.txt").write_text("nothing of the kind\n")
    (many / "sd.sdf").write_text(
        "named\n\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n"
        "    0.0000    0.0000    0.0000 O   0  5  0  0  0  0  0  0  0  0  0  0\nM  END\n$$$$\n"
        "\n\n\n  broken\n$$$$\n"
    )
    with connect("base.db") as database:
        database.write(molecule("CO2"), name="carbon dioxide")
        database.write(molecule("CO"))
    result = run("batch energy set.csv list.smi many base.db --model m.pt --output out")
    assert result.exit_code == 1, result.output
    rows = rows_of(folder / "out")
    problems = {row["name"]: row["problem"] for row in rows if row["problem"]}
    assert [row["name"] for row in rows] == [
        *("ethanol", "ethanolate", "triplet", "half", "odd", "anion", "set.csv:6"),
        *("wood spirit", "list.smi:1"),
        *("good.xyz", "notes.txt", "named", "sd.sdf:1", "torn.xyz:0", "torn.xyz:1"),
        *("two.extxyz:0", "two.extxyz:1", "carbon dioxide", "base.db:1"),
    ]
    assert {"half", "odd", "notes.txt", "sd.sdf:1", "torn.xyz:1", "two.extxyz:0"} <= set(problems)
    assert "whole number" in problems["half"] and "Cl" in problems["two.extxyz:0"]
    states = {row["name"]: (row["charge"], row["multiplicity"]) for row in rows}
    assert states["ethanolate"] == ("-1", "1") and states["triplet"] == ("0", "3")
    assert "its SMILES has +0" in rows[5]["warnings"]
    assert "never saw charge -1 with multiplicity 2" in rows[5]["warnings"]
    good = [row for row in rows if not row["problem"]]
    geometries = read("out/geometries.extxyz", ":")
    assert [atoms.info["name"] for atoms in geometries] == [row["name"] for row in good]
    calculator = PolarizedCalculator(model="m.pt", dtype="float64")
    for row, atoms in zip(good, geometries, strict=True):
        assert float(row["energy_eV"]) == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        (again,) = calculator.calculate_many([atoms])
        assert float(row["energy_eV"]) == pytest.approx(again["energy"], abs=1e-6)
        assert calculator.model.sha256.startswith(row["model_sha256"])
        assert (row["charge"], row["multiplicity"]) == (
            str(atoms.info["charge"]),
            str(atoms.info["multiplicity"]),
        )
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["status"] == "finished" and manifest["problems"] == len(problems)
    assert not (folder / "out" / JOURNAL).exists()


def test_relaxations_are_those_of_polcalc_relax(folder):
    write("many.extxyz", rattled(3))
    options = "many.extxyz --model m.pt --steps 3 --fmax-eV-per-A 1e-9 --output"
    assert run(f"relax {options} one").exit_code == 1
    result = run(f"batch relax {options} two --jobs 2")
    assert result.exit_code == 1 and "3 did not converge" in result.stderr
    alone, batch = read("one/relaxed.extxyz", ":"), read("two/geometries.extxyz", ":")
    assert [a.positions.tolist() for a in alone] == [a.positions.tolist() for a in batch]
    rows = rows_of(folder / "two")
    assert [row["steps"] for row in rows] == ["3"] * 3
    assert {row["converged"] for row in rows} == {"False"}


def test_parquet_holds_the_same_table_with_types(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    write("H2O.xyz", molecule("H2O"))
    write("HCl.xyz", molecule("HCl"))
    assert run("batch energy HCl.xyz H2O.xyz --model m.pt --output out --parquet").exit_code == 1
    rows, typed = rows_of(folder / "out"), parquet.read_table("out/results.parquet").to_pylist()
    assert list(typed[0]) == list(rows[0])
    assert typed[1]["energy_eV"] == pytest.approx(float(rows[1]["energy_eV"]), abs=1e-8)
    assert typed[0]["energy_eV"] is None and typed[0]["problem"] == rows[0]["problem"]
    assert (typed[1]["charge"], typed[1]["name"]) == (0, "H2O.xyz")


def test_polarizabilities_are_those_of_polcalc_energy(folder):
    """And all else that a model says: the two tables have the same numbers."""
    write_polar_model(folder / "polar.pt")
    write("many.extxyz", [molecule("H2O"), molecule("CO2")])
    for command, name in (("energy", "one"), ("batch energy", "two")):
        assert run(f"{command} many.extxyz --model polar.pt --output {name}").exit_code == 0
    alone = list(csv.DictReader(Path("one/energy.csv").read_text().splitlines()))
    for row, batch in zip(alone, rows_of(folder / "two"), strict=True):
        numbers = {name: float(x) for name, x in row.items() if "_" in name and "." in x}
        assert "polarizability_A3" in numbers
        assert {name: float(batch[name]) for name in numbers} == pytest.approx(numbers, abs=1e-6)


@pytest.mark.parametrize(("sort", "jobs"), [("energy", 2), ("relax --steps 4", 1)])
def test_kills_lose_nothing(folder, sort, jobs):
    """Every molecule is once in the result, which is as if nothing had happened."""
    number = 400 if sort == "energy" else 40
    write("many.extxyz", rattled(number))
    words = f"batch {sort} many.extxyz --model m.pt --output"
    whole = run(f"{words} whole").exit_code
    parts = [*words.split(), "killed", "--jobs", str(jobs)]
    command = [sys.executable, "-m", "md_runs.cli.app", *parts]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    journal = folder / "killed" / JOURNAL
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (
            journal.is_file() and len(journal.read_text().splitlines()) > 2
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (folder / "killed" / "results.csv").exists()
    with journal.open("a") as file:
        file.write('{"number": 1, "rows": [{"name": "half a li')
    kept = journal.read_text().splitlines()[:-1]
    assert len(kept) > 2
    assert run(f"{words} killed --resume").exit_code == whole
    rows = rows_of(folder / "killed")
    assert [row["name"] for row in rows] == [f"molecule {n}" for n in range(number)]
    assert rows == rows_of(folder / "whole")
    assert (folder / "killed" / "geometries.extxyz").read_bytes() == (
        folder / "whole" / "geometries.extxyz"
    ).read_bytes()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are told by /proc")
def test_a_killed_worker_costs_nothing(folder):
    write("many.extxyz", rattled(400))
    words = ["batch", "energy", "many.extxyz", "--model", "m.pt", "--jobs", "2", "--output", "out"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "md_runs.cli.app", *words]
    with subprocess.Popen(command, env=environment) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        journal = Path("out", JOURNAL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (journal.is_file() and journal.read_text()):
            time.sleep(0.001)
        workers = [
            int(pid)
            for pid in children.read_text().split()
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(workers[0], signal.SIGKILL)
        assert process.wait(240) == 0
    rows = rows_of(folder / "out")
    assert [row["name"] for row in rows] == [f"molecule {n}" for n in range(400)]
    assert not any(row["problem"] for row in rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("relax H2O.xyz --output new --resume", "without one"),
        ("relax H2O.xyz --output done --resume", "finished run"),
        ("relax H2O.xyz --output stopped --resume --steps 7", "other options"),
        ("relax CO.xyz --output stopped --resume", "other structures"),
        ("relax missing.xyz --output new", "existing file or folder"),
        ("relax none.csv --output new", "column smiles"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder, change, message):
    write("H2O.xyz", molecule("H2O"))
    write("CO.xyz", molecule("CO"))
    Path("none.csv").write_text("name,formula\nwater,H2O\n")
    assert run(f"batch relax H2O.xyz {LOOSE} --output done").exit_code == 0
    assert run(f"batch relax H2O.xyz {LOOSE} --output stopped").exit_code == 0
    manifest = folder / "stopped" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"running"'))
    result = run(f"batch {change} {LOOSE}")
    assert result.exit_code == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (folder / "new").exists()


def test_a_table_in_parquet_is_one_in_csv(tmp_path):
    """Whole numbers with a gap are floating point there; columns may be in any case."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"SMILES": ["CCO", "CC[O-]"], "Charge": [None, -1.0], "id": [1, 2], "name": ["a", None]}
    parquet.write_table(pyarrow.table(table), tmp_path / "set.parquet")
    (tmp_path / "set.csv").write_text("smiles,charge,name\nCCO,,a\nCC[O-],-1,\n")
    first, second = ([m[:1] + m[3:] for m in molecules([tmp_path / f"set.{end}"])] for end in ENDS)
    assert first == second and len(first) == 2
    (tmp_path / "set.parquet").write_bytes((tmp_path / "set.parquet").read_bytes()[:-9])
    with pytest.raises(InputError, match="whole Parquet file"):
        list(molecules([tmp_path / "set.parquet"]))
    parquet.write_table(pyarrow.table({"formula": ["H2O"]}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="column smiles"):
        list(molecules([tmp_path / "none.parquet"]))


def test_input_is_a_stream(tmp_path):
    """The first molecules are there before the rest of the file is."""
    pipe = tmp_path / "endless.smi"
    with pipe.open("w") as file:
        file.writelines("CCO name\n" for _ in range(200_000))
    found = molecules([pipe])
    assert next(found).place == "endless.smi:0"
    assert sum(1 for _ in found) == 199_999
