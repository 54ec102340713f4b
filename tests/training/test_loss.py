"""The loss against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from potentials.build import build
from potentials.potential import at_pairs
from potentials.quantities import Prediction, Targets
from potentials.training.config import LossConfig
from potentials.training.data import StructureSet
from potentials.training.loss import Loss, huber, objective
from tests.training import toy

SCALE = 0.7


def loss_of(config: LossConfig, energy_error: float, force_error: float) -> float:
    """Loss of one water whose energy is wrong by so much, and one force component of nine."""
    graph, labels = StructureSet(toy.waters(2), 4.0).batch(torch.tensor([0]))
    forces = labels.forces.clone()
    forces[1, 2] += force_error
    return float(
        Loss(config, SCALE)(
            graph, labels, Prediction(energy=labels.energy + energy_error, forces=forces)
        )
    )


@pytest.mark.parametrize(("name", "power"), [("mse", 2), ("mae", 1)])
def test_weights_scale_and_means(name, power):
    config = LossConfig(name, weights={"energy": 2.0, "forces": 3.0})
    assert loss_of(config, 0.5, 0.0) == pytest.approx(
        2 * (0.5 / (SCALE * math.sqrt(3))) ** power, rel=1e-9
    )
    assert loss_of(config, 0.0, 0.5) == pytest.approx(3 * (0.5 / SCALE) ** power / 9, rel=1e-9)


def test_huber_is_round_within_delta_and_straight_beyond():
    assert_close(huber(torch.tensor([0.01]), 0.1), torch.tensor(0.01**2 / 0.2))
    assert_close(huber(torch.tensor([5.0]), 0.1), torch.tensor(5.0 - 0.05))


def test_small_errors_of_large_energies_are_seen():
    """Differences in float64: an error of 1e-8 eV at -4e5 eV counts."""
    graph, labels = StructureSet(toy.waters(2), 4.0).batch(torch.tensor([0]))
    large = Targets(energy=labels.energy - 4e5, forces=labels.forces)
    loss = Loss(LossConfig(), 1.0)
    said = Prediction(energy=large.energy + 1e-8, forces=labels.forces)
    assert float(loss(graph, large, said)) == pytest.approx(1e-16 / 3, rel=1e-2)


def test_energies_alone():
    graph, labels = StructureSet(toy.without_forces(toy.waters(2)), 4.0).batch(torch.tensor([0]))
    assert float(
        Loss(LossConfig(), 1.0)(graph, labels, Prediction(energy=labels.energy + 3.0))
    ) == pytest.approx(3.0)


@pytest.mark.parametrize(("name", "power"), [("mse", 2), ("mae", 1), ("huber", 1)])
def test_unknown_labels_do_not_count(name, power):
    """The mean is over the known ones, and no gradient leads to the others."""
    graph, labels = StructureSet(toy.waters(2), 4.0).batch(torch.tensor([0]))
    charges = torch.tensor([0.5, math.nan, 0.0], dtype=torch.float64)
    said = torch.tensor([2.5, 7.0, 0.0], dtype=torch.float64, requires_grad=True)
    targets = Targets(energy=labels.energy, charges=charges)
    loss = Loss(LossConfig(name, delta=1e-9), 1.0, {"charges": 2.0})
    value = loss(graph, targets, Prediction(energy=labels.energy, charges=said))
    assert value.item() == pytest.approx((2.0 / 2.0) ** power / 2)
    value.backward()
    assert bool(said.grad.isfinite().all()) and said.grad[1] == 0 and said.grad[0] != 0
    nothing = targets._replace(charges=torch.full_like(charges, math.nan))
    value = loss(graph, nothing, Prediction(energy=labels.energy, charges=said))
    assert value.item() == 0.0


def test_formal_charges_are_compared_by_squares_before_they_are_rounded():
    """Of many atoms few have one: with |u - f| the median of all, 0, would be best."""
    graph, labels = StructureSet(toy.waters(2), 4.0).batch(torch.tensor([0]))
    formal = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    targets = Targets(energy=labels.energy, unrounded_formal_charges=formal)
    said = Prediction(energy=labels.energy, unrounded_formal_charges=0.4 * formal)
    assert float(Loss(LossConfig("mae"), 1.0)(graph, targets, said)) == pytest.approx(0.36 / 3)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match=r"mse, mae, huber.*'cubic'"):
        Loss(LossConfig("cubic"), 1.0)


@pytest.mark.parametrize(
    ("radial", "n_nodes", "expected"),
    [("exp_normal", 2, True), ("exp_normal", 500, False), ("learned", 2, True)],
)
def test_filters_are_on_nodes_where_these_are_fewer(monkeypatch, radial, n_nodes, expected):
    potential = build(toy.SPEC | {"radial": {"name": radial}})
    potential.trunk.nodes.count = n_nodes
    used = []
    monkeypatch.setattr(
        "potentials.training.loss.at_nodes", lambda *given: used.append(True) or at_pairs(*given)
    )
    graph, labels = StructureSet(toy.waters(2), 4.0).batch(torch.tensor([0, 1]))
    graph.positions.requires_grad_()
    assert math.isfinite(
        float(objective(potential, Loss(LossConfig(), 1.0), graph, labels).detach())
    )
    assert bool(used) == expected
