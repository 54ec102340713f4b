"""The calculator's contract, line by line; each test fails without its line."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.md.verlet import VelocityVerlet

from polcalc import PolarizedCalculator
from polcalc.calculator.domain import Domain, ExtrapolationWarning
from polcalc.calculator.electrons import ElectronicState
from polcalc.engines.base import Structure
from potentials.build import build
from potentials.checkpoint import Card, Model, save
from potentials.quantities import Evaluation

STATE_FACTOR = {"attributes": ["total_charge", "unpaired_electrons"], "initial": 0.5}
SPEC = {
    "cutoff": 4.0,
    "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1},
    "state_factor": STATE_FACTOR,
}
CARD = Card(
    elements=[1, 6, 8],
    states=[[q, m, 10] for q in (-1, 0, 1) for m in (1, 2, 3)],
    closest_distances_A={"C-H": 0.9, "H-H": 0.6, "C-C": 1.2, "C-O": 1.1, "H-O": 0.8},
)


def model(card: Card = CARD, spec: dict[str, Any] | None = None) -> Model:
    torch.manual_seed(0)
    return Model(build(spec or SPEC).double(), card, "0" * 64, Path("tiny.pt"))


def calculator(
    card: Card = CARD, spec: dict[str, Any] | None = None, engine: str = "eager", **arguments: Any
) -> PolarizedCalculator:
    """The eager engine is ready at once; what an engine can break is tested with "auto" too."""
    return PolarizedCalculator(model(card, spec), device="cpu", engine=engine, **arguments)


def ethanol(**info: Any) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.info.update(info)
    return atoms


def radical() -> Atoms:
    plain = molecule("CH3")
    return Atoms(plain.numbers, plain.positions, info={"charge": 0})


def crystal() -> Atoms:
    atoms = bulk("C", "diamond", a=3.6, cubic=True)
    atoms.set_cell(
        atoms.cell.array @ np.array([[1.02, 0.05, 0], [0, 0.97, 0], [0.04, 0, 1.01]]),
        scale_atoms=True,
    )
    atoms.rattle(0.1, seed=1)
    return atoms


# one pass, ASE's units and signs


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_one_pass_fills_everything(engine: str) -> None:
    atoms = crystal()
    atoms.calc = calculator(engine=engine)
    atoms.get_potential_energy()
    results = atoms.calc.results
    assert set(results) == {"energy", "free_energy", "energies", "forces", "stress"}
    assert results["energies"].sum() == pytest.approx(results["energy"])
    assert atoms.get_potential_energy(force_consistent=True) == results["energy"]
    assert {name: np.shape(value) for name, value in results.items()} == {
        "energy": (), "free_energy": (), "energies": (8,), "forces": (8, 3), "stress": (6,),
    }  # fmt: skip
    assert type(results["energy"]) is float


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_forces_and_stress_are_those_of_finite_differences(engine: str) -> None:
    """ASE's own route from the energy: sign, units and Voigt order."""
    atoms = crystal()
    calc = atoms.calc = calculator(engine=engine, dtype="float64")
    forces, stress = atoms.get_forces(), atoms.get_stress()
    atoms.calc = FiniteDifferenceCalculator(calc, eps_disp=1e-4, eps_strain=1e-4)
    assert np.allclose(forces, atoms.get_forces(), atol=1e-6)
    assert np.allclose(stress, atoms.get_stress(), atol=1e-7)
    # all components differ, or the order would not be tested
    assert len({round(abs(x), 6) for x in stress}) == 6


def test_a_molecule_has_no_stress() -> None:
    atoms = ethanol()
    atoms.calc = calculator()
    with pytest.raises(PropertyNotImplementedError, match="it is not periodic"):
        atoms.get_stress()
    with pytest.raises(PropertyNotImplementedError, match="dipole is not calculated"):
        atoms.get_dipole_moment()
    with pytest.raises(PropertyNotImplementedError, match="this one predicts energy"):
        _ = atoms.calc.virtual_points


def test_moving_points_are_shown() -> None:
    atoms, calc = ethanol(), calculator()
    right = calc._engines.evaluate

    def polarized(structure: Structure) -> Evaluation:
        return right(structure)._replace(polarization=np.full((9, 3), 0.25))

    calc._engines.evaluate = polarized  # type: ignore[method-assign]
    calc.get_potential_energy(atoms)
    assert np.allclose(calc.polarization_vectors, 0.25)
    assert np.allclose(calc.virtual_points, atoms.positions + 0.25)
    # ASE refuses names it does not know
    assert set(calc.results) == {"energy", "free_energy", "energies", "forces"}


# charge and multiplicity


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_changing_info_changes_the_energy(engine: str) -> None:
    atoms = ethanol(charge=0)
    atoms.calc = calculator(engine=engine)
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    assert abs(atoms.get_potential_energy() - neutral) > 1e-5
    assert (atoms.calc.state.charge, atoms.calc.state.multiplicity) == (1, 2)
    assert atoms.calc.state.charge_source == 'info["charge"]'
    atoms.info["charge"] = 0
    atoms.info["multiplicity"] = 3
    assert abs(atoms.get_potential_energy() - neutral) > 1e-5
    del atoms.info["multiplicity"]
    assert atoms.get_potential_energy() == neutral


@pytest.mark.parametrize("ask", ["get_forces", "get_potential_energy", "get_potential_energies"])
@pytest.mark.parametrize(
    "change", ["info", "charges", "magmoms", "positions", "cell", "pbc", "numbers"]
)
def test_every_change_is_noticed_by_every_question(ask: str, change: str) -> None:
    atoms = ethanol()
    atoms.set_cell([5.0, 5.5, 6.0])
    atoms.calc = calculator(Card(states=CARD.states))
    before = getattr(atoms, ask)()
    kept = atoms.get_positions()
    if change == "info":
        atoms.info["charge"] = 1
    elif change == "charges":
        atoms.set_initial_charges([1] + [0] * 8)
    elif change == "magmoms":
        atoms.set_initial_magnetic_moments([2] + [0] * 8)
    elif change == "positions":
        atoms.positions[0, 0] += 0.01
    elif change == "cell":
        atoms.pbc = True
        before = getattr(atoms, ask)()
        atoms.set_cell([5.1, 5.5, 6.0])
    elif change == "pbc":
        atoms.pbc = [True, False, False]
    else:
        atoms.numbers[0] = 8
    assert change == "positions" or np.array_equal(kept, atoms.positions)
    assert not np.allclose(before, getattr(atoms, ask)(), rtol=0, atol=1e-7)


def test_check_state_names_what_changed() -> None:
    atoms = ethanol(charge=0)
    calc = calculator()
    assert calc.check_state(atoms) == [*all_changes, "info"]
    calc.get_potential_energy(atoms)
    assert calc.check_state(atoms) == []
    atoms.info["note"] = "irrelevant"
    assert calc.check_state(atoms) == []
    atoms.info["charge"] = 1
    atoms.positions += 1.0
    assert calc.check_state(atoms) == ["positions", "info"]
    assert calc.calculation_required(atoms, ["energy"])


def test_numpy_charge_from_extxyz(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", ethanol(charge=1, multiplicity=2), format="extxyz")
    atoms = read(tmp_path / "a.xyz")
    assert isinstance(atoms.info["charge"], np.integer)
    atoms.calc = calculator()
    atoms.get_forces()
    assert atoms.calc.state[:2] == (1, 2)


def test_arguments_win_and_can_be_set() -> None:
    atoms = ethanol(charge=1)
    calc = calculator(charge=-1, multiplicity=2)
    anion = calc.get_potential_energy(atoms)
    assert calc.state[:2] == (-1, 2)
    assert calc.set(charge=1) == {"charge": 1}
    assert calc.get_potential_energy(atoms) != anion
    assert calc.set(charge=None, multiplicity=None) == {"charge": None, "multiplicity": None}
    calc.get_potential_energy(atoms)
    assert calc.state.charge_source == 'info["charge"]'
    assert calc.set(charge=None) == {}
    with pytest.raises(ValueError, match="`dtype` must stay as it was given"):
        calc.set(dtype="float64")


def test_impossible_state_is_refused_with_what_fits() -> None:
    atoms = radical()
    atoms.calc = calculator(multiplicity=1)
    with pytest.raises(
        ValueError, match=r"must fit 9 electrons \(odd\): 2, 4.*Pass multiplicity=2"
    ):
        atoms.get_potential_energy()


# outside the training data


def test_unknown_element_is_refused_with_the_known_ones() -> None:
    atoms = molecule("CH3Cl")
    atoms.calc = calculator()
    with pytest.raises(ValueError, match=r"trained on: H, C, O; got Cl"):
        atoms.get_potential_energy()


def test_unseen_state_warns_once() -> None:
    atoms = ethanol(charge=2)
    atoms.calc = calculator()
    with pytest.warns(
        ExtrapolationWarning,
        match=r"never saw charge \+2 with multiplicity 1 \(seen, charge/multiplicity: -1/1",
    ):
        atoms.get_potential_energy()
    atoms.positions += 0.01
    atoms.get_potential_energy()


def test_what_is_known_to_be_wrong_is_told_once_and_for_that_state_alone() -> None:
    card = replace(CARD, known_errors=[["C2H6O", 1, 2, -4.23]])
    atoms = ethanol(charge=1)
    atoms.calc = calculator(card)
    with pytest.warns(
        ExtrapolationWarning,
        match=r"known to be wrong for C2H6O of charge \+1 and multiplicity 2: .* by -4\.2 eV",
    ):
        atoms.get_potential_energy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.positions += 0.01
        atoms.get_potential_energy()
        for other in (ethanol(), ethanol(charge=-1)):
            other.calc = calculator(card)
            other.get_potential_energy()


def test_a_model_that_ignores_the_state_refuses_another() -> None:
    plain = {**SPEC, "state_factor": {"attributes": []}}
    neutral = Card(elements=[1, 6, 8], states=[[0, 1, 10]])
    calc = calculator(neutral, plain)
    calc.get_potential_energy(ethanol())
    with pytest.raises(
        ValueError,
        match=(
            r"`charge` must be one that the model was trained on, for it ignores the"
            r" charge.*\+0/1\); got 1"
        ),
    ):
        calc.get_potential_energy(ethanol(charge=1))
    with pytest.raises(
        ValueError, match="`multiplicity` must be one that the model was trained on"
    ):
        calc.get_potential_energy(ethanol(multiplicity=3))
    cations = Card(elements=[1, 6, 8], states=[[1, 2, 10]])
    calculator(cations, plain).get_potential_energy(ethanol(charge=1))
    with pytest.raises(ValueError, match="none known"):
        calculator(Card(), plain).get_potential_energy(ethanol(charge=1))
    calculator(Card(), plain).get_potential_energy(radical())


def test_close_contact_warns_once_and_names_the_pair() -> None:
    atoms = Atoms("OH", [[0, 0, 0], [0.7, 0, 0]], info={"charge": 0})
    atoms.calc = calculator()
    with pytest.warns(
        ExtrapolationWarning,
        match=(
            r"Atoms 0 and 1 \(H-O\) are 0.70 Å apart; the closest in the training data are 0.80 Å"
        ),
    ):
        atoms.get_potential_energy()
    atoms.positions[1, 0] = 0.65
    atoms.get_potential_energy()


@pytest.mark.filterwarnings("ignore:.*side by side")
def test_close_contact_across_the_boundary_and_after_many_steps() -> None:
    """The list of contacts is kept between steps, and must still see a pair that comes near."""
    atoms = Atoms("H2", [[0, 0, 0], [3.0, 0, 0]], cell=[6, 6, 6], pbc=True)
    atoms.calc = calculator()
    for x in np.arange(3.0, 5.4, 0.05):
        atoms.positions[1, 0] = x
        atoms.get_potential_energy()
    atoms.positions[1, 0] = 5.45
    with pytest.warns(ExtrapolationWarning, match="H-H"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("periodic", [False, True])
def test_coincident_atoms_are_refused(periodic: bool) -> None:
    atoms = ethanol()
    atoms.positions[8] = atoms.positions[2] + [0.01, 0, 0]
    if periodic:
        atoms.set_cell([9, 9, 9])
        atoms.pbc = True
        atoms.positions[8] += [9, 0, -9]
    atoms.calc = calculator(Card())
    with pytest.raises(
        ValueError, match=r"on top of each other; got 0.010 Å between atoms 2 and 8 \(H-O\)"
    ):
        atoms.get_forces()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_and_cell_must_be_finite(bad: float) -> None:
    atoms = ethanol()
    atoms.calc = calculator()
    atoms.positions[4, 2] = bad
    with pytest.raises(ValueError, match=r"`positions` must be finite; got .* Å for atom 4"):
        atoms.get_forces()
    solid = crystal()
    solid.calc = calculator()
    solid.cell[1, 1] = bad
    with pytest.raises(ValueError, match="`cell` must be finite"):
        solid.get_forces()


def test_no_atoms_are_refused() -> None:
    with pytest.raises(ValueError, match="`atoms` must hold at least one atom"):
        calculator().get_potential_energy(Atoms())


def test_charged_cell_warns() -> None:
    atoms = crystal()
    atoms.info["charge"] = 1
    atoms.calc = calculator()
    with pytest.warns(ExtrapolationWarning, match=r"periodic cell of charge \+1 has no well"):
        atoms.get_potential_energy()
    charges = [{"name": "readout"}, {"name": "charges"}, {"name": "coulomb"}]
    atoms.calc = calculator(spec=SPEC | {"terms": charges})
    with pytest.warns(ExtrapolationWarning, match=r"charge \+1 has a uniform background"):
        atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("edit", "formulas"),
    [
        (lambda atoms: atoms.repeat((2, 1, 1)), "C2H6O became C4H12O2"),
        (lambda atoms: atoms[2:4], "C2H6O became HO"),
        (lambda atoms: atoms + Atoms("He", [[9, 9, 9]]), "C2H6O became C2H6HeO"),
    ],
)
@pytest.mark.parametrize(
    ("said", "stayed"),
    [({"charge": 1}, r"\+1"), ({"charge": 0, "multiplicity": 5}, "multiplicity 5")],
)
def test_edits_that_keep_the_state_name_the_fix(edit, formulas, said, stayed) -> None:
    """ASE's repeat, slices and sums keep atoms.info.

    A state set anew, or the same structure again, is no reason to warn.
    """
    domain = Domain(Card(), calculator().model.potential)
    before = ethanol()
    before.set_cell([8, 8, 8])
    before.info = said
    after = edit(before)
    sources = 'info["charge"]', 'info["multiplicity"]'
    kept = [
        ElectronicState(a.info["charge"], a.info.get("multiplicity", 1), *sources)
        for a in (before, after)
    ]
    domain.check_kept_charge(before.numbers, kept[0])
    domain.check_kept_charge(before.numbers, kept[0])
    with pytest.warns(
        ExtrapolationWarning, match=rf"stayed {stayed}: {formulas}\. Set atoms\.info\[.*fragments="
    ):
        domain.check_kept_charge(after.numbers, kept[1])
    domain.check_kept_charge(before.numbers, kept[0]._replace(charge=2, multiplicity=1))


def test_charge_kept_by_repeat_warns() -> None:
    """ASE's repeat, slices and sums keep info["charge"]."""
    calc, small = calculator(), ethanol(charge=1)
    calc.get_potential_energy(small)
    small.set_cell([8, 8, 8])
    twice = small.repeat((2, 1, 1))
    with pytest.warns(
        ExtrapolationWarning, match=r'Atoms came or went while info\["charge"\] stayed \+1'
    ):
        calc.get_potential_energy(twice)
    other = calculator()
    other.get_potential_energy(ethanol(charge=1))
    water = molecule("CO2")
    water.info["charge"] = 1
    other.get_potential_energy(water)  # another molecule, not a part of the first


# stale results, copies, what must not change


@pytest.mark.parametrize("ask", ["get_forces", "get_potential_energy"])
def test_an_exception_leaves_no_results(ask: str) -> None:
    atoms = ethanol()
    calc = atoms.calc = calculator()
    getattr(atoms, ask)()
    good = atoms.get_positions()
    atoms.positions[0, 0] = np.nan
    for _ in range(2):
        with pytest.raises(ValueError, match="finite"):
            getattr(atoms, ask)()
    assert calc.results == {}
    assert calc.atoms is None
    with pytest.raises(ValueError, match="must be given before the first calculation"):
        calc.get_property("energy")
    atoms.positions = good
    assert np.isfinite(getattr(atoms, ask)()).all()


def test_a_failing_engine_leaves_no_results() -> None:
    atoms = ethanol()
    calc = atoms.calc = calculator()
    atoms.get_forces()
    atoms.positions[0, 0] += 0.1

    def fails(structure: Structure) -> Evaluation:
        raise RuntimeError("out of memory")

    calc._engines.evaluate = fails  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        atoms.get_forces()
    assert calc.get_property("forces", atoms, allow_calculation=False) is None


def test_results_are_copies_and_survive_the_callers_changes() -> None:
    atoms = ethanol()
    atoms.calc = calculator()
    forces = atoms.get_forces()
    forces[:] = 0
    assert np.abs(atoms.get_forces()).max() > 0
    atoms.calc.get_property("energies", atoms)[:] = 0
    assert np.abs(atoms.get_potential_energies()).max() > 0


def test_unchanged_structures_are_not_calculated_again() -> None:
    atoms, calc = ethanol(), calculator()
    calls: list[Structure] = []
    evaluate = calc._engines.evaluate
    calc._engines.evaluate = lambda s: calls.append(s) or evaluate(s)  # type: ignore[method-assign,func-returns-value]
    atoms.calc = calc
    atoms.get_forces()
    atoms.get_potential_energy()
    atoms.copy()
    calc.get_property("energy")
    calc.get_potential_energy(atoms.copy())
    assert len(calls) == 1
    assert calc.get_property("forces", crystal(), allow_calculation=False) is None


def test_the_structure_is_left_alone() -> None:
    atoms = ethanol(charge=np.int64(0), note="mine")
    atoms.set_initial_charges([0.1, -0.1] + [0.0] * 7)
    arrays, info = {k: v.copy() for k, v in atoms.arrays.items()}, dict(atoms.info)
    atoms.calc = calculator()
    atoms.get_forces()
    assert atoms.info == info
    assert set(atoms.arrays) == set(arrays)
    assert all(np.array_equal(atoms.arrays[k], v) for k, v in arrays.items())


def test_the_structure_of_the_last_calculation_is_kept() -> None:
    atoms = crystal()
    atoms.info.update(charge=0, note="mine")
    atoms.set_initial_charges([0.5, -0.5] + [0.0] * 6)
    calc = calculator()
    calc.get_potential_energy(atoms)
    kept = calc.atoms
    atoms.positions += 1.0
    assert np.allclose(kept.positions + 1.0, atoms.positions)
    assert kept.info == {"charge": 0}
    assert calc.check_state(kept) == []
    assert calc.get_potential_energy(kept) == calc.get_potential_energy()
    calc.get_atoms().positions[:] = 0  # a copy
    assert calc.check_state(kept) == []


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_deepcopy_pickle_and_many_calculators(engine: str) -> None:
    atoms = ethanol(charge=1)
    calc = calculator(engine=engine)
    energy = calc.get_potential_energy(atoms)
    for twin in (copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        assert twin.results["energy"] == energy
        twin.set(charge=0)
        assert twin.get_potential_energy(atoms) != energy
        assert twin.state.charge == 0
    assert calc.get_potential_energy(atoms) == energy
    assert calc.state.charge == 1


def test_todict_is_plain_and_makes_the_calculator_again(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save(path, model().potential, CARD)
    calc = PolarizedCalculator(path, device="cpu", charge=1, multiplicity=2)
    plain = json.loads(json.dumps(calc.todict()))
    assert plain.pop("sha256") == calc.model.sha256
    assert PolarizedCalculator(**plain).get_potential_energy(
        ethanol()
    ) == calc.get_potential_energy(ethanol())
    assert (plain["charge"], plain["multiplicity"], plain["dtype"]) == (1, 2, "float32")


def test_precision(tmp_path: Path) -> None:
    """The network in the dtype asked for, energies in float64, the global dtype untouched."""
    path = tmp_path / "model.pt"
    save(path, model().potential, CARD)
    single, double = (
        PolarizedCalculator(path, device="cpu", dtype=dtype) for dtype in ("float32", "float64")
    )
    assert (single.model.potential.dtype, double.model.potential.dtype) == (
        torch.float32,
        torch.float64,
    )
    difference = abs(
        single.get_potential_energy(ethanol()) - double.get_potential_energy(ethanol())
    )
    assert 0 < difference < 1e-5
    assert single.results["forces"].dtype == np.float64
    assert torch.get_default_dtype() == torch.float32


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="`dtype` must be one of float32, float64; got 'half'"):
        PolarizedCalculator(model(), dtype="half")
    with pytest.raises(ValueError, match="`device` must be auto, cpu or cuda; got 'gpu'"):
        PolarizedCalculator(model(), device="gpu")
    with pytest.raises(ValueError, match="`engine` must be one of auto"):
        PolarizedCalculator(model(), engine="warp")
    with pytest.raises(FileNotFoundError, match="`model` must be a file or one of"):
        PolarizedCalculator("no such model")
    with pytest.raises(ValueError, match=r"`charge` must be a whole number; got 0\.5"):
        PolarizedCalculator(model(), charge=0.5)  # type: ignore[arg-type]


# with the rest of ASE


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_calculate_many_is_one_by_one(engine: str) -> None:
    structures = [ethanol(), ethanol(charge=1), crystal(), radical()]
    calc = calculator(engine=engine)
    calc.get_potential_energy(structures[1])
    before = dict(calc.results)
    many = calc.calculate_many(structures)
    assert calc.results is not before
    assert calc.results["energy"] == before["energy"]
    for atoms, results in zip(structures, many, strict=True):
        single = calculator()
        assert results["energy"] == pytest.approx(single.get_potential_energy(atoms), abs=1e-5)
        assert np.allclose(results["forces"], single.results["forces"], atol=1e-5)
        assert set(results) == set(single.results)
    with pytest.raises(ValueError, match="`atoms` must hold at least one atom"):
        calc.calculate_many([ethanol(), Atoms()])


def test_dynamics_with_constraints_and_a_trajectory(tmp_path: Path) -> None:
    """Constraints change the forces they are given; a trajectory asks without calculating."""
    atoms = ethanol(charge=1)
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = calculator()
    with VelocityVerlet(atoms, 0.2 * units.fs, trajectory=tmp_path / "md.traj") as dynamics:
        dynamics.run(5)
    frames = read(tmp_path / "md.traj", ":")
    assert len(frames) == 6
    fresh = calculator(charge=1)
    assert frames[-1].get_potential_energy() == pytest.approx(
        fresh.get_potential_energy(frames[-1])
    )
    assert np.allclose(frames[-1].get_forces(apply_constraint=False), fresh.results["forces"])
    assert np.array_equal(frames[0].positions[0], atoms.positions[0])


def test_results_fit_the_containers_of_ase(tmp_path: Path) -> None:
    atoms = crystal()
    atoms.calc = calculator()
    atoms.get_forces()
    assert SinglePointCalculator(atoms, **atoms.calc.results).get_stress(atoms) is not None
    assert atoms.calc.export_properties()["natoms"] == 8
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    assert np.allclose(read(tmp_path / "a.xyz").get_forces(), atoms.get_forces(), atol=1e-7)


def test_nothing_is_said_inside_the_domain() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms = ethanol()
        atoms.calc = calculator(engine="auto")
        atoms.get_forces()
    assert str(atoms.calc.state) == "charge +0 (default), multiplicity 1 (lowest that fits)"
    assert str(atoms.calc.engine).startswith(("eager on cpu", "native on cpu", "tabulated on cpu"))


def test_what_people_see_is_a_line_or_a_table() -> None:
    calculator = PolarizedCalculator(model(replace(CARD, name="m", limits="never <boil> it")))
    assert "no structure yet" in repr(calculator)
    atoms = molecule("CH3CH2OH")
    atoms.calc = calculator
    atoms.get_potential_energy()
    assert "charge +0 (default), multiplicity 1 (lowest that fits)" in repr(calculator)
    for thing in (calculator, calculator.model, calculator.model.card):
        assert len(repr(thing)) < 200 and len(repr(thing).splitlines()) == 1
        assert "never &lt;boil&gt; it" in thing._repr_html_()
    assert f"<td>{atoms.get_potential_energy():.6f} eV</td>" in calculator._repr_html_()
    assert "largest force" not in PolarizedCalculator(calculator.model)._repr_html_()
    assert "<td>+0 (default)</td>" in atoms.calc.state._repr_html_()
    assert "<th>engine</th>" in atoms.calc.engine._repr_html_()
