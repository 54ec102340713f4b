"""Errors against closed forms, by electronic state, and through the model."""

from __future__ import annotations

import io

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from matplotlib.image import imread
from rich.console import Console

from md_runs.errors import InputError
from md_runs.models.errors_table import errors_table, offsets_line
from md_runs.models.validation import (
    Comparison,
    compare,
    known_elements,
    metrics,
    plot_states,
    read_labelled,
)
from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, save
from tests.small import SPEC, write_small_model


def comparison(
    charge: int, multiplicity: int, n_atoms: int, energy_error: float, force_error: float | None
) -> Comparison:
    forces = np.random.default_rng(n_atoms).normal(size=(n_atoms, 3))
    pair = (
        None
        if force_error is None
        else (forces, forces + force_error * (-1.0) ** np.arange(n_atoms)[:, None])
    )
    return Comparison(charge, multiplicity, (-100.0, -100.0 + energy_error), pair, n_atoms)


def test_errors_overall_and_by_state():
    found = metrics(
        [
            comparison(0, 1, 2, 0.003, 0.01),
            comparison(0, 1, 4, -0.001, 0.01),
            comparison(-1, 2, 5, 0.010, 0.04),
        ]
    )
    assert (found["n_frames"], found["n_atoms"]) == (3, 11)
    assert found["energy_mae_meV"] == pytest.approx(14 / 3)
    assert found["energy_rmse_meV"] == pytest.approx(np.sqrt(110 / 3))
    assert found["energy_max_meV"] == pytest.approx(10)
    assert found["energy_mae_meV_per_atom"] == pytest.approx((1.5 + 0.25 + 2) / 3)
    # components count, not frames
    assert found["forces_mae_meV_per_A"] == pytest.approx((6 * 10 + 5 * 40) / 11)
    assert found["forces_rmse_meV_per_A"] == pytest.approx(np.sqrt((6 * 100 + 5 * 1600) / 11))
    assert found["forces_max_meV_per_A"] == pytest.approx(40)
    anion, neutral = found["by_state"]
    assert (anion["charge"], anion["multiplicity"], anion["n_frames"], anion["energy_mae_meV"]) == (
        -1,
        2,
        1,
        pytest.approx(10),
    )
    assert (
        neutral["charge"],
        neutral["multiplicity"],
        neutral["n_frames"],
        neutral["energy_mae_meV"],
    ) == (0, 1, 2, pytest.approx(2))


def test_another_zero_of_energies_is_removed_element_by_element():
    """Water, methane and hydrogen of a method with other atoms, and 3, -3, 3, … meV beside."""
    compositions = [(8, 1, 1), (6, 1, 1, 1, 1), (1, 1), (6, 8), (8, 8), (6, 1, 1, 8)] * 4
    shifts = {1: -0.5, 6: 45.0, 8: 10.0}
    comparisons = [
        Comparison(
            0, 1, (0.0, sum(shifts[z] for z in numbers) + error), None, len(numbers)
        )._replace(atomic_numbers=numbers)
        for numbers, error in zip(compositions, [0.003] * 6 + [-0.003] * 6 + [0] * 12, strict=True)
    ]
    found = metrics(comparisons)
    left = found["without_offsets"]
    assert found["energy_mae_meV"] > 10_000
    assert left["energy_mae_meV"] == pytest.approx(1.5, abs=1e-6)
    assert left["energy_max_meV"] == pytest.approx(3, abs=1e-6)
    assert left["offsets_eV"] == pytest.approx({"H": -0.5, "C": 45.0, "O": 10.0}, abs=1e-9)
    assert "C +45.0000" in offsets_line(found) and "fitted by least squares" in offsets_line(found)
    assert metrics(comparisons[:3])["without_offsets"] is None  # they would fit anything
    alike = metrics([comparisons[0], comparisons[6], comparisons[12]])  # water alone
    assert alike["without_offsets"]["energy_mae_meV"] == pytest.approx(2, abs=1e-6)
    assert "do not tell apart" in offsets_line(alike)
    console = Console(file=io.StringIO(), width=100)
    console.print(errors_table(found))
    assert "  without offsets" in console.file.getvalue()


def test_without_reference_forces_there_are_no_force_errors(tmp_path):
    comparisons = [comparison(0, 1, 2, 0.001, None)]
    found = metrics(comparisons)
    assert found["forces_mae_meV_per_A"] is None
    assert found["energy_mae_meV"] == pytest.approx(1)
    assert len(plot_states(comparisons, tmp_path, "title")) == 1


def test_a_figure_for_each_state(tmp_path):
    comparisons = [comparison(0, 1, n, 0.001 * n, 0.01) for n in range(2, 6)] + [
        comparison(-1, 2, 5, 0.01, 0.04)
    ]
    paths = plot_states(comparisons, tmp_path, "title")
    assert [p.name for p in paths] == [
        "parity.png",
        "parity_charge-1_multiplicity2.png",
        "parity_charge+0_multiplicity1.png",
    ]
    assert all(imread(path).std() > 0.01 for path in paths)


def test_the_model_is_compared_with_the_labels_in_their_own_states(tmp_path):
    """Labels are the model's own answers, shifted by a known error.

    Each frame in its own charge and multiplicity.
    """
    calculator = PolarizedCalculator(write_small_model(tmp_path / "m.pt"), dtype="float64")
    frames = []
    for name, charge, multiplicity in (
        ("CH3CH2OH", 0, 1),
        ("H2O", 0, 3),
        ("OH", -1, 1),
        ("CH4", 0, 1),
    ):
        atoms = molecule(name)
        atoms.set_initial_magnetic_moments(None)
        atoms.info = {"charge": charge, "multiplicity": multiplicity}
        truth = PolarizedCalculator(
            tmp_path / "m.pt", dtype="float64", charge=charge, multiplicity=multiplicity
        )
        atoms.calc = truth
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy - 0.002, forces=forces - 0.005)
        frames.append(atoms)
    found = metrics(list(compare(calculator, frames)))
    assert found["energy_mae_meV"] == pytest.approx(2, abs=1e-6)
    assert found["forces_mae_meV_per_A"] == pytest.approx(5, abs=1e-6)
    assert found["forces_max_meV_per_A"] == pytest.approx(5, abs=1e-6)
    assert {(s["charge"], s["multiplicity"], s["n_frames"]) for s in found["by_state"]} == {
        (0, 1, 2),
        (0, 3, 1),
        (-1, 1, 1),
    }


def test_data_that_are_not_there():
    with pytest.raises(InputError, match="known set"):
        read_labelled("nothing.npz")
    with pytest.raises(InputError):
        read_labelled("rmd17:water:01:test")


def test_real_frames(reference_data, tmp_path, monkeypatch):
    monkeypatch.setenv("POLCALC_DATA", str(reference_data("rmd17")))
    frames = read_labelled("rmd17:ethanol:01:test")
    assert len(frames) == 1000
    calculator = PolarizedCalculator(write_small_model(tmp_path / "m.pt"))
    found = metrics(list(compare(calculator, frames[:20])))
    assert found["n_frames"] == 20
    assert found["energy_mae_meV"] > 1e6  # untrained: all of the total energy


def test_gaps_of_frames_that_share_a_geometry(tmp_path):
    """Singlet and triplet of one molecule, labels off by a known amount each.

    The gap is off by the difference.
    """
    calculator = PolarizedCalculator(write_small_model(tmp_path / "m.pt"), dtype="float64")
    frames = []
    for name, errors in (("CH3CH2OH", (0.002, 0.007)), ("H2O", (0.001, -0.002))):
        for multiplicity, error in zip((1, 3), errors, strict=True):
            atoms = molecule(name)
            atoms.info = {"charge": 0, "multiplicity": multiplicity}
            [answer] = calculator.calculate_many([atoms])
            atoms.calc = SinglePointCalculator(atoms, energy=answer["energy"] - error)
            frames.append(atoms)
    found = metrics(list(compare(calculator, frames)))
    [gap] = found["gaps"]
    assert (gap["multiplicities"], gap["n_geometries"]) == ([1, 3], 2)
    assert gap["gap_mae_meV"] == pytest.approx(4, abs=1e-6) and gap["gap_max_meV"] == pytest.approx(
        5, abs=1e-6
    )
    assert [s["energy_mae_meV"] for s in found["by_state"]] == pytest.approx([1.5, 4.5], abs=1e-6)
    text = io.StringIO()
    Console(file=text, width=120).print(errors_table(found))
    for words in (
        "charge +0, 2S+1 = 3 (2)",
        "charge +0, E(3) - E(1) (2)",
        "gap (meV)",
        "half the mean gap (meV)",
        "4.000",
    ):
        assert words in text.getvalue()


def test_partial_charges_of_the_data_reach_a_model_that_sees_them(tmp_path):
    potential = build(SPEC | {"state_factor": {"attributes": ["partial_charges"]}})
    save(tmp_path / "m.pt", potential, Card(elements=[1, 8], states=[[0, 1, 5]]))
    calculator = PolarizedCalculator(tmp_path / "m.pt", dtype="float64")
    charges = np.array([-0.8, 0.4, 0.4])
    expected = PolarizedCalculator(
        tmp_path / "m.pt", dtype="float64", partial_charges=charges
    ).get_potential_energy(molecule("H2O"))
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, charges=charges)
    [found] = compare(calculator, [atoms])
    assert found.energies[1] == pytest.approx(expected, abs=1e-9)
    assert "initial_charges" not in atoms.arrays


def test_structures_of_unknown_elements_are_left_out_and_counted(tmp_path):
    calculator = PolarizedCalculator(write_small_model(tmp_path / "m.pt"))
    known, foreign = molecule("H2O"), Atoms("AuH", [(0, 0, 0), (0, 0, 1.5)])
    left, remark = known_elements([known, foreign, known], calculator)
    assert left == [known, known]
    assert "1 of 3" in remark and "(Au)" in remark
    assert known_elements([known], calculator) == ([known], "")
    with pytest.raises(InputError, match="Au in each of 1"):
        known_elements([foreign], calculator)
