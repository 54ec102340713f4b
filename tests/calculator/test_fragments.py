"""Partial charges and fragments in the calculator."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from polcalc import PolarizedCalculator
from polcalc.calculator.domain import ExtrapolationWarning
from potentials.build import build
from potentials.checkpoint import Card, Model
from potentials.shipped import DEFAULT

BOTH = ["total_charge", "unpaired_electrons"]
CARD = Card(elements=[1, 6, 7, 8], states=[[q, m, 10] for q in (-1, 0, 1) for m in (1, 2, 3)])
FACTOR = {"state_factor": {"attributes": BOTH, "strength": "per_channel", "initial": 0.5}}
ELECTRONIC = {
    "embeddings": [{"name": "species"}, *({"name": "electronic", "attribute": a} for a in BOTH)]
}
PARTIAL = {"state_factor": {"attributes": ["partial_charges"], "initial": 0.5}}


def calculator(
    change: dict[str, Any], engine: str = "eager", card: Card = CARD, **arguments: Any
) -> PolarizedCalculator:
    torch.manual_seed(0)
    if change == PARTIAL:  # it cannot tell multiplicities apart, and would say so
        card = Card(elements=card.elements, states=[s for s in card.states if s[1] < 3])
    spec = {
        "cutoff": 4.0,
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2},
    } | change
    potential = build(spec).double()
    with torch.no_grad():
        for parameter in potential.parameters():
            # an untrained factor does next to nothing
            parameter.add_(0.3 * torch.randn_like(parameter))
    return PolarizedCalculator(
        Model(potential, card, "0" * 64, Path("tiny.pt")),
        device="cpu",
        dtype="float64",
        engine=engine,
        **arguments,
    )


def ammonium_and_water(distance: float = 30.0) -> Atoms:
    """NH4+ … H2O; the distance in Å."""
    ammonium = Atoms(
        "NH4", 0.6 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
    )
    water = molecule("H2O")
    water.positions[:, 0] += distance
    return ammonium + Atoms(water.numbers, water.positions)


ION = [{"atoms": range(5), "charge": 1}]  # the water is the neutral rest


@pytest.mark.filterwarnings("ignore:.*are further than")
@pytest.mark.parametrize("engine", ["eager", "auto"])
@pytest.mark.parametrize("spec", [FACTOR, ELECTRONIC], ids=["factor", "electronic"])
def test_fragments_make_far_energies_add(spec: dict[str, Any], engine: str) -> None:
    """Below 1 meV with fragments, and with a total charge not.

    The error is what the message prints.
    """
    both = ammonium_and_water()
    apart = calculator(spec, charge=1).get_potential_energy(both[:5]) + calculator(
        spec, charge=0
    ).get_potential_energy(both[5:])
    whole = 1e3 * (calculator(spec, engine, charge=1).get_potential_energy(both) - apart)
    parts = 1e3 * (calculator(spec, engine, fragments=ION).get_potential_energy(both) - apart)
    print(
        f"size inconsistency: {whole:+.3f} meV with a total charge, {parts:+.1e} meV with fragments"
    )
    assert abs(whole) > 1.0
    assert abs(parts) < 1e-3


@pytest.mark.filterwarnings("ignore:.*are further than")
def test_fragments_make_far_energies_add_of_the_default_model() -> None:
    """Its atoms attend to each other, and have weights of their own for each state."""
    both = ammonium_and_water()
    calculator = PolarizedCalculator(DEFAULT, dtype="float64", fragments=ION)
    ion, water = PolarizedCalculator(DEFAULT, dtype="float64", charge=1), both[5:]
    apart = ion.get_potential_energy(both[:5])
    ion.set(charge=0)
    apart += ion.get_potential_energy(water)
    assert calculator.get_potential_energy(both) == pytest.approx(apart, abs=1e-6)


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_copies_add_with_fragments(engine: str) -> None:
    """N ions far apart."""
    one, n_copies = ammonium_and_water()[:5], 3
    many = Atoms()
    for n in range(n_copies):
        many += Atoms(one.numbers, one.positions + np.array([40.0 * n, 0, 0]))
    fragments = [{"atoms": range(5 * n, 5 * n + 5), "charge": 1} for n in range(n_copies)]
    single = calculator(FACTOR, charge=1).get_potential_energy(one)
    calc = calculator(FACTOR, engine, fragments=fragments)
    assert calc.get_potential_energy(many) == pytest.approx(n_copies * single, abs=1e-6)
    # a total never seen, of parts that were
    assert calc.state is not None and calc.state[:2] == (3, 1)


def test_forces_with_fragments_are_the_gradient() -> None:
    atoms = ammonium_and_water(3.0)
    calc = atoms.calc = calculator(ELECTRONIC, fragments=ION)
    forces, step = atoms.get_forces(), 1e-5
    for atom, axis in ((0, 0), (5, 0), (6, 2)):
        energies = []
        for sign in (1, -2):
            atoms.positions[atom, axis] += sign * step
            energies.append(calc.get_potential_energy(atoms))
        atoms.positions[atom, axis] += step
        assert forces[atom, axis] == pytest.approx(
            (energies[1] - energies[0]) / (2 * step), abs=1e-6
        )


def test_one_fragment_is_the_whole() -> None:
    atoms = ammonium_and_water(3.0)
    whole = calculator(FACTOR, charge=1).get_potential_energy(atoms)
    assert (
        calculator(FACTOR, fragments=[{"atoms": range(8), "charge": 1}]).get_potential_energy(atoms)
        == whole
    )


def test_fragments_say_the_state() -> None:
    atoms = ammonium_and_water()
    atoms.info["charge"] = 0  # fragments win, as arguments do
    calc = calculator(
        FACTOR,
        fragments=[
            {"atoms": [0, 1, 2, 3, 4], "charge": 0},
            {"atoms": [5, 6, 7], "multiplicity": 3},
        ],
    )
    calc.get_potential_energy(atoms)
    assert (
        calc.state is not None
        and calc.state[:2] == (0, 4)
        and calc.state.charge_source == "fragments"
    )
    for twin in (copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        assert twin.get_potential_energy(atoms) == calc.get_potential_energy(atoms)
    assert calc.todict()["fragments"][1] == {"atoms": [5, 6, 7], "multiplicity": 3}
    assert calc.calculate_many([atoms])[0]["energy"] == pytest.approx(
        calc.get_potential_energy(atoms), abs=1e-9
    )
    with pytest.raises(ValueError, match="must be left to the fragments"):
        calc.set(charge=1)


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        ([{"atoms": [0, 1], "spin": 1}], r"must hold only atoms, charge, multiplicity; got spin"),
        ([{"charge": 1}], r"must name the atoms"),
        ([{"atoms": [0, 1]}, {"atoms": [1, 2]}], r"must not share atoms; got \[1\]"),
        ([{"atoms": [8]}], r"must name atoms from 0 to 7; got \[8\]"),
        ([{"atoms": [-1]}], r"must name atoms from 0 to 7; got \[-1\]"),
        (
            [{"atoms": range(5), "charge": 1, "multiplicity": 2}],
            r"`multiplicity` must fit 10 electrons \(even\)",
        ),
        ([{"atoms": range(4), "charge": 0.5}], r"`charge` must be a whole number"),
        ([{"atoms": range(5), "charge": 12}], r"`charge` must be at most \+11"),
    ],
)
def test_wrong_fragments_are_refused(fragments: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calculator(FACTOR, fragments=fragments).get_potential_energy(ammonium_and_water())


def test_a_fragment_outside_the_card_is_told() -> None:
    with pytest.warns(ExtrapolationWarning, match=r"never saw charge -3"):
        calculator(FACTOR, fragments=[{"atoms": range(5), "charge": -3}]).get_potential_energy(
            ammonium_and_water()
        )
    tables = {"embeddings": [{"name": "species"}, {"name": "total_charge"}]}
    with pytest.raises(ValueError, match=r"for it has a table of the charge"):
        calculator(tables, charge=-2, multiplicity=1).get_potential_energy(molecule("CH4"))


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        (PARTIAL, {"fragments": ION}, r"must be for a model that sees total charge"),
        (FACTOR, {"fragments": ION, "charge": 1}, r"must be given without charge"),
        (
            FACTOR,
            {"partial_charges": "gasteiger"},
            r"must be left out: the model does not see them",
        ),
        (PARTIAL, {"partial_charges": "mulliken"}, r"got 'mulliken'"),
    ],
)
def test_what_the_model_does_not_see_is_refused(
    spec: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        calculator(spec, **arguments)


# partial charges


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_partial_charges_are_seen(engine: str) -> None:
    water = Atoms(molecule("H2O").numbers, molecule("H2O").positions)
    given = np.array([-0.8, 0.4, 0.4])
    calc = calculator(PARTIAL, engine, partial_charges=given)
    energy = calc.get_potential_energy(water)
    assert energy != calculator(PARTIAL, engine, partial_charges=np.zeros(3)).get_potential_energy(
        water
    )
    assert np.array_equal(calc.partial_charges, given)
    assert calc.todict()["partial_charges"] == [-0.8, 0.4, 0.4]
    initial = water.copy()
    initial.set_initial_charges(given)
    assert calculator(PARTIAL, engine).get_potential_energy(initial) == energy


def test_partial_charges_that_cannot_be_are_refused() -> None:
    water = Atoms(molecule("H2O").numbers, molecule("H2O").positions)
    with pytest.raises(ValueError, match=r"must be given: the model sees them"):
        calculator(PARTIAL).get_potential_energy(water)
    with pytest.raises(ValueError, match=r"one number for each of 3 atoms; got \(2,\)"):
        calculator(PARTIAL, partial_charges=[0.1, -0.1]).get_potential_energy(water)
    with pytest.raises(ValueError, match=r"must add up to the charge \+0; got \+1.000"):
        calculator(PARTIAL, partial_charges=[1.0, 0.0, 0.0]).get_potential_energy(water)


@pytest.mark.filterwarnings("ignore:2 parts, one of them H2O")
def test_far_ions_add_with_partial_charges() -> None:
    both = ammonium_and_water()
    charges = np.array([-0.2, 0.3, 0.3, 0.3, 0.3, -0.8, 0.4, 0.4])
    energies = [
        calculator(PARTIAL, charge=q, partial_charges=charges[rows]).get_potential_energy(
            both[rows]
        )
        for q, rows in ((1, slice(0, 8)), (1, slice(0, 5)), (0, slice(5, 8)))
    ]
    assert energies[0] == pytest.approx(energies[1] + energies[2], abs=1e-9)


def test_gasteiger_charges_come_from_the_bonds_and_stay() -> None:
    pytest.importorskip("rdkit", reason="needs RDKit")
    atoms = molecule("CH3CH2OH")
    calc = calculator(PARTIAL, partial_charges="gasteiger")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        first = calc.get_potential_energy(atoms)
        charges = calc.partial_charges
        assert charges is not None and abs(charges.sum()) < 1e-6
        assert charges[2] < -0.3 and charges[3] > 0.2  # O, and the H on it
        stretched = atoms.copy()
        stretched.positions[3] += [0.0, 0.0, 2.5]  # no bond would be found there
        assert calc.get_potential_energy(stretched) != first
    assert np.array_equal(calc.partial_charges, charges)
    assert pickle.loads(pickle.dumps(calc)).get_potential_energy(
        stretched
    ) == calc.get_potential_energy(stretched)
    ion = calculator(PARTIAL, partial_charges="gasteiger", charge=1)
    ion.get_potential_energy(ammonium_and_water()[:5])
    assert ion.partial_charges is not None and ion.partial_charges.sum() == pytest.approx(
        1, abs=1e-6
    )


def test_isomers_with_the_same_atoms_in_the_same_order_have_charges_of_their_own() -> None:
    pytest.importorskip("rdkit")
    ethanol, ether = molecule("CH3CH2OH"), molecule("CH3OCH3")
    ether = ether[np.concatenate([np.nonzero(ether.numbers == z)[0] for z in (6, 8, 1)])]
    assert ethanol.numbers.tolist() == ether.numbers.tolist()
    alone = [
        calculator(PARTIAL, partial_charges="gasteiger").get_potential_energy(atoms)
        for atoms in (ethanol, ether)
    ]
    calc = calculator(PARTIAL, partial_charges="gasteiger")
    assert [found["energy"] for found in calc.calculate_many([ethanol, ether])] == pytest.approx(
        alone, abs=1e-9
    )
    energies = []
    for atoms in (ethanol, ether):
        calc.reset()
        energies.append(calc.get_potential_energy(atoms))
    assert energies == pytest.approx(alone, abs=1e-9)


def test_gasteiger_charges_of_what_has_no_bonds_are_refused() -> None:
    pytest.importorskip("rdkit", reason="needs RDKit")
    with pytest.raises(ValueError, match=r"Pass one number per atom"):
        calculator(PARTIAL, partial_charges="gasteiger", charge=1).get_potential_energy(
            molecule("CH3CH2OH")
        )
