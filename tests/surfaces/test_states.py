"""States of molecules: which are covered, whose numbers these are, what the shell writes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read
from matplotlib.image import imread
from typer.testing import CliRunner

from md_runs.cli import app as cli
from md_runs.surfaces.levels import choose, evaluate, in_state, relax
from md_runs.surfaces.relax import relax as relax_one
from md_runs.surfaces.states_report import plot_levels, states_lines
from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, save
from tests.small import SPEC

CARD = Card(
    name="many",
    elements=[1, 6, 8],
    states=[[0, 1, 9], [0, 3, 9], [-1, 2, 9], [1, 2, 9]],
    limits="Its forces are good. Its ionisation energies are 4 eV too high. Gaps err by 9 kcal/mol."
    " Its electron affinities are wrong, e.g. of water. Barriers are low.",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """An untrained model that knows four states, far enough apart."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("states") / "m.pt"
    potential = build(
        SPEC
        | {"embeddings": [{"name": "species"}, {"name": "total_charge"}, {"name": "multiplicity"}]}
    )
    save(path, potential, CARD)
    return path


def plain(name: str):
    atoms = molecule(name)
    atoms.set_initial_magnetic_moments(None)
    return atoms


# ---- which states


def test_auto_takes_what_the_card_covers_and_the_electrons_allow():
    even, odd = plain("CH2_s1A1d"), plain("CH3")
    assert choose(even, CARD, None, None).states == [(-1, 2), (0, 1), (0, 3), (1, 2)]
    assert choose(odd, CARD, None, None).states == []
    levels = choose(even, CARD, [0, 2], None)
    assert levels.states == [(0, 1), (0, 3)]
    [refused] = levels.refused
    assert (
        (refused.charge, refused.multiplicity) == (2, None)
        and "never saw this charge" in refused.why
        and "+0/3" in refused.why
    )
    [refused] = choose(odd, CARD, [-1], None).refused
    assert "fits 10 electrons" in refused.why


def test_states_outside_the_card_and_impossible_ones_are_refused_by_name():
    levels = choose(plain("CH2_s1A1d"), CARD, [-1, 0], [1, 2, 5])
    assert levels.states == [(-1, 2), (0, 1)]
    why = {(r.charge, r.multiplicity): r.why for r in levels.refused}
    assert set(why) == {(-1, 1), (-1, 5), (0, 2), (0, 5)}
    assert "9 electrons (odd)" in why[-1, 1] and "8 electrons (even)" in why[0, 2]
    assert "never saw it" in why[0, 5]


def test_a_card_without_states_leaves_the_choice_to_the_user():
    silent = Card(elements=[1, 6])
    assert choose(plain("CH2_s1A1d"), silent, [0], [1, 3]).states == [(0, 1), (0, 3)]
    [refused] = choose(plain("CH2_s1A1d"), silent, [0], None).refused
    assert "--multiplicities" in refused.why


# ---- numbers


def test_energies_gaps_and_ionisations_are_differences_of_the_calculator(model):
    """Many structures at once give what each state gives alone.

    What a file says of the state does not leak in.
    """
    calculator = PolarizedCalculator(model, dtype="float64")
    single = PolarizedCalculator(model, dtype="float64", engine="eager")
    frames = [plain("CH2_s1A1d"), plain("CH3CH2OH")]
    frames[0].info |= {"spin": 3, "charge": -1}
    found = [choose(atoms, CARD, None, None) for atoms in frames]
    evaluate(calculator, found)
    for atoms, levels in zip(frames, found, strict=True):
        alone = {}
        for charge, multiplicity in levels.states:
            single.set(charge=charge, multiplicity=multiplicity)
            alone[charge, multiplicity] = single.get_potential_energy(
                Atoms(atoms.numbers, atoms.positions)
            )
        assert levels.energies_eV == pytest.approx(alone, abs=1e-9)
        [gap] = levels.gaps()
        assert gap["multiplicities"] == [1, 3] and gap["adiabatic_eV"] is None
        assert gap["vertical_eV"] == pytest.approx(alone[0, 3] - alone[0, 1], abs=1e-9)
        affinity, ionisation = levels.ionisations()
        neutral = min(alone[0, 1], alone[0, 3])
        assert affinity["vertical_eV"] == pytest.approx(neutral - alone[-1, 2], abs=1e-9)
        assert ionisation["vertical_eV"] == pytest.approx(alone[1, 2] - neutral, abs=1e-9)
        # the states differ, else this test says nothing
        assert len({round(e, 6) for e in alone.values()}) == 4


def test_minima_are_those_of_a_relaxation_alone(model):
    calculator = PolarizedCalculator(model, dtype="float64")
    levels = choose(plain("H2O"), CARD, [0], [1, 3])
    evaluate(calculator, [levels])
    relax(calculator, [levels], fmax_eV_per_A=1e-3, steps=300)
    assert all(levels.converged.values())
    for state in levels.states:
        atoms = in_state(plain("H2O"), *state)
        atoms.calc = calculator
        assert levels.relaxed_eV(state) == pytest.approx(
            relax_one(atoms, fmax_eV_per_A=1e-3).energy_eV, abs=1e-7
        )
        assert np.linalg.norm(levels.minima[state].get_forces(), axis=1).max() < 1e-3
    [gap] = levels.gaps()
    assert gap["adiabatic_eV"] == pytest.approx(
        levels.relaxed_eV((0, 3)) - levels.relaxed_eV((0, 1)), abs=1e-12
    )
    triplet_at_singlet = in_state(levels.minima[0, 1], 0, 3)
    triplet_at_singlet.calc = calculator
    assert gap["at_minimum_of_first_eV"] == pytest.approx(
        triplet_at_singlet.get_potential_energy() - levels.relaxed_eV((0, 1)), abs=1e-9
    )


# ---- the shell


@pytest.fixture
def polcalc(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain("CH2_s1A1d").write("ch2.extxyz")
    plain("H2O").write("water.extxyz")
    return lambda words: CliRunner().invoke(
        cli.app, ["states", *words.split(), "--model", str(model)]
    )


def test_states_of_two_structures(polcalc, tmp_path):
    result = polcalc("ch2.extxyz water.extxyz --relax --crossing 1,3 --steps 6")
    assert result.exit_code == 1 and "not converged" in result.stderr, result.output
    assert "…" not in result.stdout  # no number is cut, however narrow the terminal
    folder = tmp_path / "polcalc-states"
    content = json.loads((folder / "states.json").read_text())
    assert [entry["formula"] for entry in content["structures"]] == ["CH2", "H2O"]
    rows = list(csv.DictReader((folder / "states.csv").read_text().splitlines()))
    assert len(rows) == 8 and {row["charge"] for row in rows} == {"-1", "0", "1"}
    assert float(rows[0]["energy_eV"]) == content["structures"][0]["states"][0]["energy_eV"]
    relaxed = read(folder / "relaxed.extxyz", ":")
    assert [(a.info["frame"], a.info["charge"], a.info["multiplicity"]) for a in relaxed[:4]] == [
        (0, -1, 2),
        (0, 0, 1),
        (0, 0, 3),
        (0, 1, 2),
    ]
    assert relaxed[1].get_potential_energy() == pytest.approx(
        content["structures"][0]["states"][1]["relaxed_energy_eV"], abs=1e-6
    )
    crossings = read(folder / "crossing.extxyz", ":")
    assert len(crossings) == 2 and "energy_multiplicity3_eV" in crossings[0].info
    [crossing] = content["structures"][0]["crossings"]
    minimum = content["structures"][0]["states"][1]["relaxed_energy_eV"]
    assert crossing["heights_eV"][0] == pytest.approx(crossing["energy_eV"] - minimum, abs=1e-9)
    assert imread(folder / "levels.png").std() > 0.01
    said = CARD.limits.split(". ", 1)[1].removesuffix(" Barriers are low.")
    assert " ".join(content["caveats"]) == said and said in result.stdout
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"
    assert (
        "E(3) - E(1)" in result.stdout
        and "IP: E(+1/2)" in result.stdout
        and "EA: E(+0/" in result.stdout
    )


def test_whose_energies_they_are_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain("CH2_s1A1d").write("ch2.extxyz")
    result = CliRunner().invoke(cli.app, ["states", "ch2.extxyz", "--model", "carbenes-st"])
    assert (
        result.exit_code == 0
        and "learnt from B3LYP" in result.stdout
        and "polcalc info carbenes-st" in result.stdout
    )


def test_refusals_are_named_and_end_with_one(polcalc, tmp_path):
    result = polcalc("ch2.extxyz --charges 0,2 --output out")
    assert result.exit_code == 1
    assert "refused charge +2" in result.stdout and "1 states refused" in result.stderr
    assert (
        json.loads((tmp_path / "out" / "states.json").read_text())["structures"][0]["refused"][0][
            "charge"
        ]
        == 2
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--charges 2", "charge +2"),
        ("--multiplicities 5", "never saw it"),
        ("--multiplicities two", "whole numbers"),
        ("--multiplicities 0,1", "at least 1"),
        ("--crossing 1", "two different multiplicities"),
        ("--crossing 1,5", "--crossing"),
        ("--fmax-eV-per-A 0", "--fmax-eV-per-A"),
    ],
)
def test_bad_input_writes_nothing(words, message, polcalc, tmp_path):
    before = sorted(tmp_path.iterdir())
    result = polcalc(f"ch2.extxyz {words}")
    assert result.exit_code == 2, result.output
    assert message in result.stderr and len(result.stderr.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_the_gap_of_methylene_does_not_depend_on_where_the_search_begins():
    """Also straight, where no force bends it. A scan of both lengths and the angle finds the same.

    The lowest of 11,319 geometries, 0.02 Å and 2.5° apart: 0.600 eV.
    """
    calculator = PolarizedCalculator("carbenes-st", dtype="float64")
    straight = Atoms("CHH", [[0, 0, 0], [0, 0, 1.08], [0, 0, -1.08]])
    found = [
        choose(atoms, calculator.model.card, None, None) for atoms in (straight, plain("CH2_s1A1d"))
    ]
    evaluate(calculator, found)
    relax(calculator, found, fmax_eV_per_A=0.01, steps=300)
    gaps = [levels.gaps()[0]["adiabatic_eV"] for levels in found]
    assert gaps == pytest.approx([-0.600, -0.600], abs=0.005)


def test_a_gap_is_drawn_on_a_scale_of_its_own():
    """An ionisation energy of 12 eV would squeeze a gap of 0.5 eV into a line."""
    levels = choose(plain("CH2_s1A1d"), CARD, None, None)
    levels.energies_eV = {(-1, 2): -1.0, (0, 1): 0.5, (0, 3): 0.0, (1, 2): 12.0}
    figure = plot_levels([levels], None, CARD.caveats(["ionisation"]))
    anion, neutral, cation = figure.axes
    assert neutral.get_ylim()[1] - neutral.get_ylim()[0] < 1.0
    assert {"0.000", "0.500"} == {text.get_text() for text in neutral.texts}
    assert "+12.00 eV above charge +0 (vertical IP)" in cation.get_title()
    assert "+1.00 eV above charge -1 (vertical EA)" in neutral.get_title()
    assert (
        figure.get_supxlabel()
        == "The card of the model: Its ionisation energies are 4 eV too high."
    )
    assert [len(axes.get_xticks()) for axes in (anion, neutral, cation)] == [1, 2, 1]


@pytest.mark.parametrize(
    ("charges", "multiplicities", "shown"),
    [([0], None, ["gap"]), ([0, 1], [1, 2], ["ionisation"]), ([-1, 0], [1, 2], ["affinity"])],
)
def test_caveats_are_those_of_what_is_shown(charges, multiplicities, shown):
    assert choose(plain("CH2_s1A1d"), CARD, charges, multiplicities).shown() == shown


def test_a_molecule_that_fell_apart_on_the_way_is_named():
    atoms = plain("H2O")
    levels = choose(atoms, CARD, [0], [1, 3])
    levels.energies_eV = dict.fromkeys(levels.states, 0.0)
    for state in levels.states:
        levels.minima[state] = in_state(atoms, *state)
        levels.at_minima_eV[state] = dict.fromkeys(levels.states, 0.0)
    levels.minima[0, 3].positions[1] += [0, 0, 3.0]
    assert [str(levels.bond_changes(state)) for state in levels.states] == ["", "broken O0–H1"]
    assert [
        line for line in states_lines([levels], None) if "bonds changed" in line and "+0/3" in line
    ]
