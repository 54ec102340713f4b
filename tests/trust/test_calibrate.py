"""Uncertainties: their factors, their scales, and what engines and the calculator say of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule

from md_runs.dynamics.guards import Alarmed, Guards
from md_runs.models.doctor import examine
from md_runs.session import ModelOptions
from md_runs.surfaces.levels import Levels, evaluate
from polcalc import PolarizedCalculator
from polcalc.calculator.domain import ExtrapolationWarning
from polcalc.engines.native.supported import _native
from potentials.build import build
from potentials.card import Card
from potentials.checkpoint import load, save
from potentials.datasets import Frames, make_frames
from potentials.experts import Experts
from potentials.potential import Potential
from potentials.training.initial_weights import inherited
from potentials.trust.calibrate import bare, calibrated, new_molecules
from potentials.trust.posterior import fitted, posterior
from potentials.trust.scales import coverage, quantiles, ranking
from tests.small import SPEC

ENGINES = [
    "eager",
    "tabulated",
    pytest.param("native", marks=pytest.mark.skipif(_native is None, reason="not compiled")),
]


def labelled(n: int, seed: int, charge: int = 0) -> Frames:
    """Ethanol and water, shaken, with labels that nothing predicts: noise, larger on carbon."""
    rng = np.random.default_rng(seed)
    chosen = [molecule(("CH3CH2OH", "H2O")[k % 2]) for k in range(n)]
    numbers = np.concatenate([atoms.numbers for atoms in chosen])
    positions = np.concatenate(
        [atoms.positions + 0.05 * rng.normal(size=(len(atoms), 3)) for atoms in chosen]
    )
    width = np.where(numbers == 6, 1.0, 0.1)
    return make_frames(
        np.array([len(atoms) for atoms in chosen]),
        numbers,
        positions,
        rng.normal(size=n),
        forces=width[:, None] * rng.normal(size=(len(numbers), 3)),
        total_charge=charge,
        group=np.arange(n),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with its uncertainty."""
    torch.manual_seed(3)
    potential, found = calibrated(build(SPEC), labelled(60, 1), labelled(300, 2))
    path = tmp_path_factory.mktemp("trust") / "model.pt"
    card = Card(name="sure", elements=[1, 6, 8], states=[[0, 1, 60]], uncertainty=found)
    save(path, potential, card)
    return path


def test_a_posterior_is_the_inverse_of_the_mean_square() -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 3)) * [1.0, 10.0, 0.01]
    factor = posterior(rows)
    mean = (rows.T @ rows) / len(rows)
    assert np.allclose(factor @ factor.T @ mean, np.eye(3), atol=5e-3)


def test_a_fit_finds_where_errors_are_larger() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20_000, 4))
    errors = np.abs(rng.normal(size=len(rows))) * (0.1 + 2.0 * np.abs(rows[:, 2]))
    lengths = np.linalg.norm(rows @ fitted(posterior(rows), rows, errors), axis=1)
    before = np.linalg.norm(rows @ posterior(rows), axis=1)
    large = errors > 3 * errors.mean()
    assert ranking(lengths, large) > 0.85 > 0.8 > ranking(before, large)


def test_quantiles_cover_what_they_say() -> None:
    drawn = np.abs(np.random.default_rng(2).standard_t(3, size=40_000))
    assert coverage(drawn[:20_000], quantiles(drawn[20_000:])) == pytest.approx(
        [50.0, 68.3, 95.0], abs=1.0
    )


def test_the_doctor_tells_how_sure_a_model_is(model: Path) -> None:
    atoms, calculator = molecule("H2O"), PolarizedCalculator(model)
    chosen = ModelOptions(str(model))
    found = next(f for f in examine(atoms, chosen) if f.check == "certainty")
    calculator.get_potential_energy(atoms)
    numbers = found.numbers
    assert numbers["energy_uncertainty_eV"] == pytest.approx(
        calculator.uncertainty.energy_eV, rel=1e-3
    )
    assert (found.verdict == "warning") == (
        numbers["forces_uncertainty_max_eV_per_A"] > numbers["warn_above_eV_per_A"]
    )
    assert f"{numbers['energy_uncertainty_eV']:.2g} eV" in found.text


def test_a_calibration_covers_new_molecules_and_ranks_errors(model: Path) -> None:
    found = load(model).card.uncertainty
    inside = found["states"]["+0/1"]["forces_coverage_percent"]
    assert inside == pytest.approx([50.0, 68.3, 95.0], abs=5.0)
    assert found["ranking_of_forces"] > 0.7


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_say_the_same(model: Path, engine: str) -> None:
    right = PolarizedCalculator(model, device="cpu", dtype="float64", engine="eager")
    fast = PolarizedCalculator(model, device="cpu", engine=engine)
    ethanol, water = molecule("CH3CH2OH"), molecule("H2O")
    for atoms in (ethanol, water):
        right.get_potential_energy(atoms), fast.get_potential_energy(atoms)
        assert fast.uncertainty.energy_eV == pytest.approx(right.uncertainty.energy_eV, rel=1e-4)
        assert fast.uncertainty.forces_eV_per_A == pytest.approx(
            right.uncertainty.forces_eV_per_A, rel=1e-4
        )
    many = fast.evaluate_many([ethanol, water])
    assert many[1].energy_uncertainty == pytest.approx(fast.uncertainty.energy_eV, rel=1e-4)


def test_energies_and_forces_are_untouched(model: Path) -> None:
    torch.manual_seed(3)
    potential = load(model, torch.float64).potential
    calculator = PolarizedCalculator(model, dtype="float64", engine="eager")
    atoms = molecule("CH3CH2OH")
    plain = bare(potential)
    assert "energy_uncertainty" not in plain.predicts
    calculator.get_potential_energy(atoms)
    assert calculator.uncertainty.energy_eV > 0
    assert calculator.uncertainty_of_share(atoms, 95).energy_eV > calculator.uncertainty.energy_eV
    with pytest.raises(ValueError, match="`percent` must be one of 50"):
        calculator.uncertainty_of_share(atoms, 80)


def test_an_unknown_state_is_no_more_certain_than_a_known_one(model: Path) -> None:
    calculator = PolarizedCalculator(model, dtype="float64", engine="eager")
    atoms = molecule("H2O")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        potential = load(model).potential
        term = next(t for t in potential.terms if t.name == "uncertainty")
        assert (term.energy_scales[-1] >= term.energy_scales[0]).all()
        calculator.set(charge=2)
        calculator.get_potential_energy(atoms)
    assert calculator.uncertainty.energy_eV > 0


def test_a_difference_of_one_geometry_with_itself_is_certain(model: Path) -> None:
    calculator = PolarizedCalculator(model, dtype="float64", engine="eager")
    ethanol, water = molecule("CH3CH2OH"), molecule("H2O")
    turned = ethanol.copy()
    turned.rotate(40, "x")
    assert calculator.uncertainty_of_difference(ethanol, turned) == pytest.approx(0, abs=1e-9)
    apart = calculator.uncertainty_of_difference(ethanol, water)
    bars = [calculator.evaluate_many([x])[0].energy_uncertainty for x in (ethanol, water)]
    assert apart == pytest.approx(np.hypot(*bars))


def test_a_calculator_warns_once_past_the_threshold(model: Path) -> None:
    crushed = molecule("H2O")
    crushed.positions *= 0.5
    potential = load(model).potential
    term = next(t for t in potential.terms if t.name == "uncertainty")
    calculator = PolarizedCalculator(model, engine="eager")
    calculator._domain._warn_above = float(term.warn_above) / 100
    with pytest.warns(ExtrapolationWarning, match="unsure of this structure: the force on atom"):
        calculator.get_potential_energy(crushed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calculator.get_potential_energy(molecule("H2O"))


def test_each_expert_has_its_own(tmp_path: Path) -> None:
    torch.manual_seed(3)
    shared = build(SPEC)
    experts = Experts(shared, [(-1, 1)])
    with torch.no_grad():
        for parameter in experts.experts.parameters():
            parameter.mul_(1.5)
    new = new_molecules([labelled(120, 2), labelled(120, 3, charge=-1)])
    assert len(np.unique(new.group)) == 240
    made, found = calibrated(experts, labelled(60, 1), new)
    assert list(found["experts"]) == ["-1/1"]
    save(tmp_path / "model.pt", made, Card(name="two", elements=[1, 6, 8], uncertainty=found))
    again = load(tmp_path / "model.pt").potential
    assert isinstance(again, Experts)

    def factor(potential: Potential) -> torch.Tensor:
        return next(t for t in potential.terms if t.name == "uncertainty").energy_factor

    assert torch.equal(factor(made.of(-1, 1)), factor(again.of(-1, 1)))
    assert not torch.equal(factor(again.of(-1, 1)), factor(again.shared))
    assert again.of(0, 1).predicts == again.shared.predicts


def test_a_training_starts_without_the_uncertainty_of_its_start(model: Path) -> None:
    spec = load(model).potential.spec
    assert any(term["name"] == "uncertainty" for term in spec["terms"])
    assert not any(term["name"] == "uncertainty" for term in inherited({}, spec)["terms"])


def test_too_few_new_structures_are_refused() -> None:
    with pytest.raises(ValueError, match="`new` must hold at least 30 structures"):
        calibrated(build(SPEC), labelled(60, 1), labelled(10, 2))


def test_gaps_have_error_bars(model: Path) -> None:
    calculator = PolarizedCalculator(model, dtype="float64", engine="eager")
    levels = Levels(molecule("H2O"), [(0, 1), (0, 3)], [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluate(calculator, [levels])
    (gap,) = levels.gaps()
    assert gap["vertical_uncertainty_eV"] > 0


def test_dynamics_stop_where_a_force_is_too_uncertain(model: Path) -> None:
    atoms = molecule("H2O")
    atoms.calc = PolarizedCalculator(model)
    atoms.get_forces()
    largest = float(atoms.calc.uncertainty.forces_eV_per_A.max())
    for limit, stops in ((0.5 * largest, True), (2.0 * largest, False)):
        guards = Guards(atoms, 3, 300.0, None, 1, False, limit)
        if stops:
            with pytest.raises(Alarmed, match="is uncertain by"):
                guards.inspect(0, 0.0)
        else:
            guards.inspect(0, 0.0)
