"""What is said of structures unlike those of the training, and that the rest is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from polcalc.calculator.reach import remarks
from polcalc.engines.base import Structure
from potentials.card import Card

CARD = Card(
    states=[[0, 1, 100]],
    n_atoms_max=30,
    periodic=False,
    limits="It is small. Do not use it for bonds that break, for liquids and crystals. Or ask.",
)


def kinds(atoms: Atoms, card: Card = CARD, terms: tuple[str, ...] = ("readout",)) -> dict[str, str]:
    structure = Structure(
        atoms.numbers.astype(np.int64),
        atoms.positions,
        atoms.cell.array,
        np.asarray(atoms.pbc),
        0,
        1,
    )
    return dict(remarks(card, 4.5, set(terms), structure))


def beside(first: Atoms, second: Atoms, nearest_A: float) -> Atoms:
    """Two molecules with this gap along x."""
    other = second.copy()
    other.positions[:, 0] += first.positions[:, 0].max() + nearest_A - other.positions[:, 0].min()
    both: Atoms = first + other
    return both


@pytest.mark.parametrize(
    ("atoms", "said"),
    [
        (molecule("CH3CH2OH"), set()),
        (beside(molecule("H2O"), molecule("CH3OH"), 2.5), set()),
        (molecule("C60"), {"size"}),
        (bulk("Si", cubic=True), {"periodic", "forbidden"}),
        (beside(molecule("H2O"), molecule("H2O"), 6.0), {"apart"}),
        (Atoms("NaCl", [[0, 0, 0], [0, 0, 6.0]]), {"apart", "ions"}),
        (Atoms("NaCl", [[0, 0, 0], [0, 0, 4.2]]), {"ions"}),
    ],
    ids=["ethanol", "complex", "large", "crystal", "apart", "ions apart", "ion pair"],
)
def test_what_is_said(atoms: Atoms, said: set[str]) -> None:
    assert set(kinds(atoms)) == said


def test_a_state_is_known_up_to_its_own_largest_structure() -> None:
    card = replace(CARD, largest_of_states={"+0/1": 30, "+0/3": 6})
    ethanol = molecule("CH3CH2OH")
    structure = Structure(
        ethanol.numbers.astype(np.int64),
        ethanol.positions,
        np.zeros((3, 3)),
        np.zeros(3, bool),
        0,
        3,
    )
    said = dict(remarks(card, 4.5, {"readout"}, structure))
    assert "the largest of that state in the training data has 6" in said["state +0/3"]
    assert not kinds(ethanol, card)  # the singlet
    small = dict(remarks(replace(card, largest_of_states={"+0/3": 9}), 4.5, set(), structure))
    assert "state +0/3" not in small


def test_a_card_that_forbids_liquids_is_quoted() -> None:
    drop = Atoms()
    for n in range(9):
        water = molecule("H2O")
        water.translate([3.0 * n, 0, 0])
        drop += water
    assert kinds(drop)["forbidden"] == (
        "The card of the model says: Do not use it for bonds that break, for liquids and crystals."
    )
    assert "forbidden" not in kinds(drop, Card(n_atoms_max=30, limits="Good for liquids."))


def test_forces_beyond_the_cutoff_are_not_missed_where_a_term_has_them() -> None:
    far = beside(molecule("H2O"), molecule("H2O"), 6.0)
    assert "apart" not in kinds(far, terms=("readout", "coulomb"))


def test_old_cards_are_read_by_what_they_hold() -> None:
    old = Card(states=[[0, 1, 9]], test_errors={"n_frames": 100, "n_atoms": 1000})
    assert "10 on average" in kinds(molecule("C60"), old)["size"]
    assert not kinds(molecule("C6H6"), old)
    assert not kinds(molecule("C60"), Card())
