"""Errors of reactions by hand, what is skipped and why, and the command."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from ase.build import molecule
from typer.testing import CliRunner

from md_runs.cli.app import app
from md_runs.models.reactions import (
    KCAL_PER_MOL,
    Result,
    entries_table,
    errors_by_set,
    judge,
    with_model,
)
from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, save
from potentials.datasets.formats.units import HARTREE
from potentials.datasets.sets.gscdb import read_reactions
from tests.datasets.test_gscdb import write_reactions
from tests.small import SPEC


def table_of(energies):
    """A method that knows species by their number of atoms and charge."""
    return lambda structures: [energies[len(atoms), atoms.info["charge"]] for atoms in structures]


def test_errors_of_reactions_by_hand(tmp_path):
    write_reactions(tmp_path)
    method = table_of({(3, 0): -2.0, (4, -1): -2.5 * HARTREE, (1, 0): -1.5 * HARTREE})
    results = {r.name: r for r in judge(read_reactions("gscdb:all", tmp_path), method)}
    assert pytest.approx(1 / 23.060548, rel=1e-6) == KCAL_PER_MOL
    assert results["A2_2"].reference_kcal_per_mol == pytest.approx(-0.5 * 627.509474, rel=1e-6)
    # 2 × -1.5 + 2.5 hartree
    assert results["A2_2"].error_kcal_per_mol == pytest.approx(0, abs=1e-4)
    assert results["A2_1"].predicted_kcal_per_mol == pytest.approx(
        2.0 * 23.060548 - 627.509474, rel=1e-6
    )
    # a proton has the energy 0
    assert results["P1_1"].predicted_kcal_per_mol == pytest.approx(-2.5 * 627.509474, rel=1e-6)
    assert (
        results["E1_1"].predicted_kcal_per_mol is None
        and "electric field" in results["E1_1"].skipped
    )


def test_sums_of_a_set():
    results = [
        Result("a", "A", 1.0, 1.5),
        Result("b", "A", 1.0, -1.0),
        Result("c", "A", 1.0, None, "why"),
    ]
    results += [Result("d", "B", 1.0, None, "it")]
    sets = errors_by_set(results)
    assert sets["A"] == {
        "n": 2,
        "mae_kcal_per_mol": pytest.approx(1.25),
        "mse_kcal_per_mol": pytest.approx(-0.75),
        "max_kcal_per_mol": pytest.approx(2.0),
        "n_skipped": 1,
        "skipped": {"why": 1},
    }
    assert (
        sets["B"]["n"] == 0
        and sets["B"]["mae_kcal_per_mol"] is None
        and sets["B"]["skipped"] == {"it": 1}
    )
    assert entries_table(results).row_count == 4


def test_a_model_is_asked_for_what_its_card_knows(tmp_path):
    save(tmp_path / "m.pt", build(SPEC), Card(elements=[1, 6, 8], states=[[0, 1, 5], [0, 2, 5]]))
    calculator = PolarizedCalculator(tmp_path / "m.pt", dtype="float64")
    structures = [molecule(name) for name in ("H2O", "NH3", "H2O", "CH3")]
    for atoms, state in zip(structures, ((0, 1), (0, 1), (1, 2), (0, 2)), strict=True):
        atoms.set_initial_magnetic_moments(None)
        atoms.info = {"charge": state[0], "multiplicity": state[1]}
    water, ammonia, cation, methyl = with_model(calculator)(structures)
    assert water == pytest.approx(calculator.get_potential_energy(structures[0]), abs=1e-9)
    assert methyl == pytest.approx(calculator.get_potential_energy(structures[3]), abs=1e-9)
    assert ammonia == "the model does not know N"
    assert cation == "the model does not know charge +1 with multiplicity 2"


def test_the_command(tmp_path, monkeypatch):
    write_reactions(tmp_path)
    save(tmp_path / "m.pt", build(SPEC), Card(elements=[1, 8], states=[[0, 1, 5], [0, 2, 5]]))
    monkeypatch.setenv("POLCALC_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    command = ["validate", "--model", "m.pt", "--data"]
    result = CliRunner().invoke(
        app, [*command, "gscdb:all", "--entries", "--json", "found.json", "--output", "out"]
    )
    assert result.exit_code == 0, result.output
    assert "A2_1" in result.stdout and "does not know" in result.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["sets"]["A2"]["skipped"] == {
        "the model does not know charge -1 with multiplicity 2": 2
    }
    assert [entry["name"] for entry in found["entries"]] == ["A2_1", "A2_2", "P1_1", "E1_1"]
    with (tmp_path / "out" / "entries.csv").open() as file:
        assert [row["set"] for row in csv.DictReader(file)] == ["A2", "A2", "P1", "E1"]
    with (tmp_path / "out" / "sets.csv").open() as file:
        assert [row["n_skipped"] for row in csv.DictReader(file)] == ["2", "1", "1"]
    unknown = CliRunner().invoke(app, [*command, "gscdb:B"])
    assert unknown.exit_code == 2 and "one of all, A2, P1, E1" in unknown.stderr


def test_the_real_file_with_numbers_that_are_their_own_reference(reference_data):
    """A method whose energies reproduce the reference of every complex has no error."""
    reactions = read_reactions("gscdb:S22", reference_data("gscdb"))
    energies = dict.fromkeys(reactions.species, 0.0)
    for entry in reactions.entries:
        coefficient, species = max(
            entry.stoichiometry, key=lambda part: len(reactions.species[part[1]])
        )
        energies[species] = entry.reference_eV / coefficient
    names = {id(atoms): name for name, atoms in reactions.species.items()}
    results = judge(
        reactions, lambda structures: [energies[names[id(atoms)]] for atoms in structures]
    )
    assert np.allclose([result.error_kcal_per_mol for result in results], 0) and len(results) == 22
