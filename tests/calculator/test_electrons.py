"""Charge and multiplicity: precedence, aliases, whole numbers, and what electrons allow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from polcalc.calculator.electrons import ElectronicState, fits, resolve, whole


def state(atoms: Atoms, **arguments: Any) -> tuple[int, int]:
    """Charge and multiplicity alone."""
    found = resolve(atoms, **arguments)
    return found.charge, found.multiplicity


def with_info(name: str, **info: Any) -> Atoms:
    """Return a bare molecule of the G2 set, without magnetic moments."""
    plain = molecule(name)
    atoms = Atoms(plain.numbers, plain.positions)
    atoms.info.update(info)
    return atoms


def test_default_is_neutral_and_the_lowest_multiplicity() -> None:
    assert resolve(with_info("CH4")) == ElectronicState(0, 1, "default", "lowest that fits")
    assert state(with_info("CH3")) == (0, 2)
    assert state(with_info("CH4", charge=1)) == (1, 2)


def test_precedence() -> None:
    atoms = molecule("CH3")  # magnetic moments add up to one
    assert resolve(atoms).multiplicity_source == "sum of initial_magmoms"
    atoms.set_initial_charges([1, 0, 0, 0])
    atoms.set_initial_magnetic_moments([2, 0, 0, 0])
    assert state(atoms) == (1, 3)
    atoms.info["charge"] = -1
    assert state(atoms) == (-1, 3)
    atoms.info["multiplicity"] = 1
    assert state(atoms) == (-1, 1)
    found = resolve(atoms, charge=0, multiplicity=4)
    assert (found.charge, found.multiplicity) == (0, 4)
    assert (found.charge_source, found.multiplicity_source) == ("calculator", "calculator")


@pytest.mark.parametrize(
    ("key", "value", "multiplicity"),
    [
        ("multiplicity", 3, 3),
        ("spin_multiplicity", 3, 3),
        ("mult", 3, 3),
        ("total_spin", 3.0, 3),
        ("unpaired_electrons", 2, 3),
        ("num_unpaired_electrons", 2, 3),
        ("uhf", 2, 3),
        ("spin", 3, 3),
        ("spin", 1, 1),
        ("spin", 0, 1),
    ],
)
def test_aliases_keep_their_meaning(key: str, value: Any, multiplicity: int) -> None:
    assert state(with_info("CH4", **{key: value})) == (0, multiplicity)


def test_charge_aliases() -> None:
    assert state(with_info("CH4", total_charge=-1)) == (-1, 2)
    assert state(with_info("CH4", total_charge=-1, charge=-1)) == (-1, 2)


def test_aliases_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must say one thing; got charge=1, total_charge=0"):
        resolve(with_info("CH4", charge=1, total_charge=0))
    with pytest.raises(ValueError, match="must say one thing"):
        resolve(with_info("CH4", multiplicity=3, unpaired_electrons=3))


@pytest.mark.parametrize("spin", [2, 5000, -1])
def test_ambiguous_spin_is_refused(spin: int) -> None:
    with pytest.raises(
        ValueError, match=r"means 2S \+ 1 to some programs and 2S to others.*10 electrons"
    ):
        resolve(with_info("CH4", spin=spin))


@pytest.mark.parametrize("value", [1, np.int64(1), 1.0, np.float32(1), np.array([1]), np.array(1)])
def test_whole_numbers_of_any_type(value: Any) -> None:
    assert state(with_info("CH3", charge=value)) == (1, 1)


@pytest.mark.parametrize(
    "value", [0.5, "one", True, float("nan"), [1, 2], np.bool_(True), float("inf")]
)
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        whole("charge", value)


def test_none_in_info_counts_as_absent() -> None:
    assert resolve(with_info("CH4", charge=None, multiplicity=None)).charge_source == "default"


def test_impossible_multiplicity_names_what_fits() -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"9 electrons \(odd\): 2, 4, …; got 1 \(calculator\) for CH3, charge \+0"
            r" .*multiplicity=2, or"
        ),
    ):
        resolve(with_info("CH3"), multiplicity=1)
    with pytest.raises(ValueError, match=r"Pass multiplicity=1 or multiplicity=3"):
        resolve(with_info("CH4"), multiplicity=2)
    with pytest.raises(ValueError, match=r"1 electrons \(odd\): 2; got 4"):
        resolve(Atoms("H"), multiplicity=4)


def test_impossible_charge() -> None:
    assert state(Atoms("H"), charge=1) == (1, 1)
    with pytest.raises(
        ValueError, match=r"`charge` must be at most \+1, the protons of H; got \+2"
    ):
        resolve(Atoms("H"), charge=2)


def test_sums_must_be_whole() -> None:
    atoms = with_info("H2O")
    atoms.set_initial_charges([-0.667, 0.334, 0.333])
    assert resolve(atoms).charge_source == "sum of initial_charges"
    assert state(atoms) == (0, 1)
    atoms.set_initial_charges([-0.5, 0, 0])
    with pytest.raises(
        ValueError, match=r"`initial_charges` must add up to a whole number; got -0.500"
    ):
        resolve(atoms)


def test_zero_magnetic_moments_say_nothing() -> None:
    atoms = with_info("CH3")
    atoms.set_initial_magnetic_moments([0.0] * 4)
    assert resolve(atoms).multiplicity_source == "lowest that fits"
    atoms = with_info("CH3")
    atoms.set_initial_magnetic_moments(np.ones((4, 3)))
    with pytest.raises(ValueError, match="one number per atom"):
        resolve(atoms)


def test_opposite_moments_are_a_singlet() -> None:
    atoms = with_info("H2")
    atoms.set_initial_magnetic_moments([1, -1])
    assert resolve(atoms) == ElectronicState(0, 1, "default", "sum of initial_magmoms")


def test_info_is_not_written() -> None:
    atoms = with_info("CH3", charge=np.int64(1))
    before = dict(atoms.info)
    resolve(atoms)
    assert atoms.info == before


def test_fits_agrees_with_spin_addition() -> None:
    """All multiplicities of n electrons are reached by flipping spins of n parallel ones."""
    for n in range(8):
        reachable = {abs(n - 2 * flipped) + 1 for flipped in range(n + 1)}
        assert {m for m in range(-2, 12) if fits(m, n)} == reachable
