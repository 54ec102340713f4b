"""What a batch does with molecules is what the commands of one molecule do."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from polcalc import PolarizedCalculator
from potentials.datasets.formats.hdf5 import read_hdf5
from tests.small import write_small_model


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    frames = [molecule("H2O"), molecule("HCl"), molecule("CH3OH")]
    for atoms in frames:
        atoms.info["name"] = atoms.get_chemical_formula()
    write("in.extxyz", frames)
    return tmp_path


def run(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


def rows_of(folder: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(folder, "results.csv").read_text().splitlines()))


def check_bad_one(rows: list[dict[str, str]]) -> None:
    assert [row["name"] for row in rows] == ["H2O", "HCl", "CH4O"]
    assert [bool(row["problem"]) for row in rows] == [False, True, False]
    assert "Cl" in rows[1]["problem"]


def test_states(folder):
    """Energies of the states are those of structures in these states."""
    result = run("batch states in.extxyz --model m.pt --charges 0,-1 --output out")
    assert result.exit_code == 1, result.output
    rows = rows_of("out")
    check_bad_one(rows)
    calculator = PolarizedCalculator("m.pt", dtype="float64")
    water = molecule("H2O")
    for charge, multiplicity in ((0, 1), (0, 3)):
        water.info = {"charge": charge, "multiplicity": multiplicity}
        (expected,) = calculator.calculate_many([water])
        energy = float(rows[0][f"energy_charge{charge:+d}_multiplicity{multiplicity}_eV"])
        assert energy == pytest.approx(expected["energy"], abs=1e-6)
    singlet, triplet = (float(rows[0][f"energy_charge+0_multiplicity{m}_eV"]) for m in (1, 3))
    gap = float(rows[0]["vertical_gap_charge+0_multiplicity1_to_3_eV"])
    assert gap == pytest.approx(triplet - singlet, abs=1e-8)
    frames = read("out/geometries.extxyz", ":")
    assert [f.info["multiplicity"] for f in frames if f.info["name"] == "H2O"] == [1, 3]


@pytest.mark.filterwarnings("ignore:logm result")
def test_vibrations(folder):
    options = "--fmax-eV-per-A 50 --allow-saddle"
    assert run(f"batch vib in.extxyz --model m.pt {options} --output out").exit_code == 1
    rows = rows_of("out")
    check_bad_one(rows)
    write("H2O.xyz", molecule("H2O"))
    assert run("vib H2O.xyz --model m.pt --output one").exit_code == 0
    modes = list(csv.DictReader(Path("one/modes.csv").read_text().splitlines()))
    frequencies = [float(word) for word in rows[0]["frequencies_per_cm"].split()]
    column = next(name for name in modes[0] if "per_cm" in name)
    assert frequencies == pytest.approx([float(mode[column]) for mode in modes], abs=0.01)
    assert rows[0]["point_group"] == "C2v" and rows[0]["symmetry_number"] == "2"
    assert "not at a minimum" in rows[0]["warnings"]


def test_conformers(folder):
    pytest.importorskip("rdkit")
    Path("in.csv").write_text("smiles,name\nCO,methanol\nCl,acid\nC[O-],methanolate\n")
    loose = "--fmax-eV-per-A 50 --embed 3 --window-eV 50"
    result = run(f"batch conformers in.csv --model m.pt {loose} --output out")
    assert result.exit_code == 1
    rows = rows_of("out")
    assert [bool(row["problem"]) for row in rows] == [False, True, False]
    frames = read("out/geometries.extxyz", ":")
    for row in (rows[0], rows[2]):
        own = [frame for frame in frames if frame.info["name"] == row["name"]]
        assert len(own) == int(row["conformers"]) >= 1
        assert {str(frame.info["charge"]) for frame in own} == {row["charge"]}
        assert float(row["energy_eV"]) == pytest.approx(own[0].get_potential_energy(), abs=1e-6)


def test_dynamics(folder):
    options = "--steps 8 --trajectory-every 4 --temperature-K 50"
    assert run(f"batch md in.extxyz --model m.pt {options} --output out").exit_code == 1
    rows = rows_of("out")
    check_bad_one(rows)
    frames = [f for f in read("out/geometries.extxyz", ":") if f.info["name"] == "H2O"]
    assert len(frames) == 3 and float(rows[0]["time_ps"]) == pytest.approx(0.004)
    assert not np.allclose(frames[0].positions, frames[-1].positions)


def test_geometries_in_hdf5_are_those_in_text(folder):
    for kind in ("extxyz", "hdf5"):
        line = f"batch energy in.extxyz --model m.pt --geometries {kind} --output {kind}"
        assert run(line).exit_code == 1
    texts = read("extxyz/geometries.extxyz", ":")
    frames = read_hdf5(Path("hdf5/geometries.h5"))
    assert not Path("hdf5/geometries.extxyz").exists() and len(frames.n_atoms) == len(texts)
    for atoms, other in zip(texts, frames, strict=True):
        np.testing.assert_allclose(atoms.positions, other.positions, atol=1e-8)
        assert atoms.numbers.tolist() == other.numbers.tolist()
    np.testing.assert_allclose(frames.energy, [a.get_potential_energy() for a in texts], atol=1e-6)
    forces = np.concatenate([a.get_forces() for a in texts])
    np.testing.assert_allclose(frames.forces, forces, atol=1e-6)
    assert frames.multiplicity.tolist() == [1, 1]
