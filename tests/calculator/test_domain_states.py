"""A calculator says what its model cannot see, and where the training data end."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from ase.build import molecule

from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, load, save
from tests.small import SPEC


def told(tmp_path, card: Card, attributes: list[str], **state: Any) -> list[str]:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    spec = {**SPEC, "state_factor": {"attributes": attributes}}
    save(tmp_path / "m.pt", build(spec), card)
    water = molecule("H2O")
    water.calc = PolarizedCalculator(load(tmp_path / "m.pt"), dtype="float64", **state)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        water.get_potential_energy()
        water.rattle(0.001)
        water.get_potential_energy()
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(
    ("attributes", "charge", "alike"),
    [
        ([], 0, "+0/1, +0/3, +1/2"),
        ([], 1, "+0/1, +0/3, +1/2"),
        (["total_charge"], 0, "+0/1, +0/3"),
        (["total_charge"], 1, None),
        (["total_charge", "unpaired_electrons"], 0, None),
    ],
)
def test_states_that_the_model_takes_for_one(tmp_path, attributes, charge, alike) -> None:  # type: ignore[no-untyped-def]
    card = Card(elements=[1, 8], states=[[0, 1, 9], [1, 2, 9], [0, 3, 9]])
    messages = told(tmp_path, card, attributes, charge=charge)
    found = [message for message in messages if "gives the same energy" in message]
    assert len(found) == (alike is not None)
    assert alike is None or alike in found[0]
