from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ase.io import write
from typer.testing import CliRunner, Result

from md_runs.cli.reference.data import app
from potentials.datasets.formats.hdf5 import write_hdf5
from potentials.datasets.formats.units import KCAL_PER_MOL
from tests.datasets.structures import waters


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


@pytest.fixture
def water_file(tmp_path: Path) -> str:
    write_hdf5(tmp_path / "water.h5", waters(30))
    return str(tmp_path / "water.h5")


def test_list(tmp_path: Path) -> None:
    result = run("list", "--data", str(tmp_path))
    assert result.exit_code == 0
    assert ":MOLECULE[:SPLIT[:PART]]" in result.output and "0 of 110" in result.output
    sets = json.loads(run("list", "--data", str(tmp_path), "--json").output)
    assert sets["rmd17"]["licence"] == "CC0-1.0" and sets["rmd17"]["here"] == []


def test_list_knows_what_is_here(reference_data: Callable[[str], Path]) -> None:
    sets = json.loads(run("list", "--data", str(reference_data("rmd17")), "--json").output)
    assert (
        "rmd17:ethanol:01:train" in sets["rmd17"]["here"]
        and "md17:ethanol:01:test" in sets["md17"]["here"]
    )


def test_check_of_a_good_file(water_file: str) -> None:
    result = run("check", water_file)
    assert result.exit_code == 0
    assert (
        "nothing wrong found" in result.output and "charge +0, multiplicity 1: 30" in result.output
    )
    report = json.loads(run("check", water_file, "--json").output)
    assert (
        report["findings"] == []
        and report["states"] == [[0, 1, 30]]
        and report["n_overlap"] is None
    )


def test_check_of_a_file_in_kcal(tmp_path: Path) -> None:
    images = list(waters(20))
    for atoms in images:
        atoms.calc.results["energy"] /= KCAL_PER_MOL
        atoms.calc.results["free_energy"] /= KCAL_PER_MOL
        atoms.calc.results["forces"] /= KCAL_PER_MOL
    write(tmp_path / "a.extxyz", images)
    result = run("check", str(tmp_path / "a.extxyz"))
    assert result.exit_code == 1
    assert "error (units)" in result.output and "looks like kcal/mol" in result.output
    assert (
        run(
            "check",
            str(tmp_path / "a.extxyz"),
            "--energy-unit",
            "kcal/mol",
            "--length-unit",
            "angstrom",
        ).exit_code
        == 0
    )


def test_check_against_another_set(water_file: str) -> None:
    result = run("check", water_file, "--against", water_file, "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["n_overlap"] == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nowhere.xyz"], "must be a file or a known set"),
        (["check", "rmd17:water"], "`molecule` must be one of"),
        (
            ["check", "{file}", "--energy-unit", "cal", "--length-unit", "nm"],
            "`energy` unit must be one of",
        ),
        (["check", "{file}", "--against", "nowhere"], "must be a file or a known set"),
        (["fetch", "nowhere"], "must be a file or a known set"),
        (["fetch", "rmd17"], "`molecule` must be one of"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    water_file: str, arguments: list[str], message: str
) -> None:
    result = run(*(a.format(file=water_file) for a in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.output


def test_fetch_of_what_is_there(reference_data: Callable[[str], Path]) -> None:
    result = run("fetch", "rmd17:ethanol:01:train", "--output", str(reference_data("rmd17")))
    assert result.exit_code == 0
    assert "checksum right" in result.output and "CC0-1.0" in result.output
