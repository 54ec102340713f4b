"""The state factor: what it is for a neutral singlet, and that no two states share one."""

from __future__ import annotations

import itertools

import pytest
import torch
from ase.build import molecule

from potentials.conditioning import StateFactor
from potentials.graph import from_ase

BOTH = ["total_charge", "unpaired_electrons"]


def factor_of(charge: int, multiplicity: int, **options: object) -> torch.Tensor:
    graph = from_ase(molecule("H2O"), 4.0, charge=charge, multiplicity=multiplicity)
    return StateFactor(n_layers=2, channels=4, **{"attributes": BOTH} | options)(graph)  # type: ignore[arg-type]


@pytest.mark.parametrize("strength", ["fixed", "per_layer", "per_channel"])
def test_neutral_singlet_is_exactly_one(strength: str) -> None:
    assert (factor_of(0, 1, strength=strength) == 1).all()


def test_no_two_states_share_a_factor() -> None:
    """With equal strengths an anion doublet would be a neutral singlet."""
    states = list(itertools.product(range(-3, 4), range(1, 6)))
    factors = torch.stack([factor_of(q, m)[0, 0, 0] for q, m in states])
    differences = (factors[:, None] - factors[None]).abs() + torch.eye(len(states))
    assert differences.min() > 1e-3


def test_factor_is_linear_in_charge_and_unpaired_electrons() -> None:
    assert factor_of(2, 1)[0, 0, 0].item() == pytest.approx(1.2)
    assert factor_of(0, 3, attributes=["unpaired_electrons"], initial=0.1)[1, 2, 0].item() == pytest.approx(1.2)
    assert factor_of(-1, 2, initial=0.1)[0, 0, 0].item() == pytest.approx(1.0)


def test_unknown_attribute_is_named() -> None:
    with pytest.raises(ValueError, match=r"got spin"):
        factor_of(0, 1, attributes=["spin"])
