"""Rehearsal: structures that a model knows, and how many are trained on."""

from __future__ import annotations

import numpy as np
import pytest

from potentials.card import Card
from potentials.datasets.statistics import states
from potentials.finetuning.recipe import EPOCH, sizes
from potentials.finetuning.rehearsal import old_domain, repeated
from tests.training import toy


def test_what_a_model_knows_is_taken_from_the_samples_of_its_set():
    card = Card(
        elements=[1, 6, 8],
        states=[[0, 1, 1], [1, 2, 1]],
        dataset={"name": "organic:train"},
    )
    old = old_domain(card)
    assert old is not None
    for part in old:
        assert set(part.atomic_numbers.tolist()) == {1, 6, 8}
        assert {(q, m) for q, m, _ in states(part)} == {(0, 1), (1, 2)}  # of both samples
        assert part.forces is not None and part.group is None
    lines = [np.round(part.positions, 6).tobytes() for part in old]
    assert len(old.held_out) >= 20 and lines[0] != lines[1]
    energies = [set(part.energy.tolist()) for part in old]
    assert not energies[0] & energies[1]


def test_a_model_of_unknown_structures_rehearses_nothing():
    known = {"elements": [1, 8], "states": [[0, 1, 1]]}
    assert old_domain(Card(**known, dataset={"name": "waters.extxyz"})) is None
    assert old_domain(Card(**known)) is None
    foreign = {"elements": [2], "states": [[0, 1, 1]]}
    assert old_domain(Card(**foreign, dataset={"name": "organic:train"})) is None


@pytest.mark.parametrize("n", [4, 10, 33, 100, 950, 20_000])
def test_an_epoch_has_the_share_that_is_asked_for(n):
    size = sizes(n, 1000, 0.25)
    assert size.n_train + size.n_validation == n and size.n_validation >= 1
    trained = size.n_train * size.repeats
    assert size.n_rehearsed / (size.n_rehearsed + trained) == pytest.approx(0.25, abs=0.01)
    assert trained + size.n_rehearsed >= 0.6 * EPOCH
    assert sizes(n, 0, 0.25).n_rehearsed == 0


def test_too_few_structures_are_refused():
    with pytest.raises(ValueError, match="at least 4 structures to fine-tune on; got 3"):
        sizes(3, 0, 0.0)
    with pytest.raises(ValueError, match=r"between 0 and 0\.9; got 1"):
        sizes(10, 10, 1.0)


def test_structures_are_taken_in_turns():
    water = toy.waters(3)
    assert repeated(water, 7).energy.tolist() == water.energy[[0, 1, 2, 0, 1, 2, 0]].tolist()
    assert repeated(water, 2).energy.tolist() == water.energy[:2].tolist()
