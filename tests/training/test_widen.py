"""A wider TensorNet predicts what the narrow one did, and its copies of a channel part."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from potentials.build import build
from potentials.potential import Potential, predict
from potentials.training.data import StructureSet
from potentials.training.initial_weights import take_over
from potentials.training.loss import Loss, LossConfig, autograd
from tests.training import toy

STATES = [
    {"name": "species"},
    {"name": "total_charge"},
    {"name": "multiplicity"},
    {"name": "partial_charges"},
]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "blind": {"state_factor": {"attributes": []}},
    "attention": {
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2},
        "attention": {"name": "charged"},
    },
    "SO(3), two layers": {
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2, "group": "SO(3)"}
    },
    "states": {
        "embeddings": STATES,
        "state_factor": {
            "attributes": ["total_charge", "unpaired_electrons"],
            "strength": "per_channel",
        },
    },
    "learned encoding, moving points": {
        "radial": {"name": "learned", "base": "exp_normal", "n_radial": 8},
        "points": {"name": "moving", "links": "full"},
    },
}


def of_width(changes: dict[str, Any], channels: int, seed: int = 0) -> Potential:
    torch.manual_seed(seed)
    spec = toy.SPEC | {"terms": [{"name": "readout", "scale": 2.0}]} | changes
    return build(spec | {"architecture": {**spec["architecture"], "channels": channels}}).double()


def structures(potential: Potential) -> Any:
    graph, targets = StructureSet(toy.mixture(), potential.cutoff).batch(
        torch.tensor([0, 4, 5, 10, 11])
    )
    charges = torch.linspace(-1, 1, len(graph.batch), dtype=torch.float64)
    return graph._replace(
        multiplicity=torch.tensor([1, 3, 1, 2, 1]), partial_charges=charges
    ), targets


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_wider_network_predicts_the_same(name: str, times: int) -> None:
    narrow, wide = of_width(VARIANTS[name], 8), of_width(VARIANTS[name], 8 * times, seed=1)
    graph, _ = structures(narrow)
    before = predict(wide, graph)
    assert take_over(wide, narrow) == []
    found, expected = predict(wide, graph), predict(narrow, graph)
    assert (before.energy - expected.energy).abs().min() > 1e-3
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-9, atol=1e-9)


def test_copies_of_a_channel_learn_differently() -> None:
    narrow, wide = of_width({}, 8), of_width({}, 16, seed=1)
    take_over(wide, narrow)
    autograd(wide, Loss(LossConfig(), 1.0))(*structures(wide))
    gradient = wide.trunk.embeddings[0].table.weight.grad[[1, 8]]  # (2, 16) of hydrogen and oxygen
    first, second = gradient.split(8, dim=1)
    assert (first - second).abs().max() > 0.05 * gradient.abs().max()


def test_what_cannot_be_widened_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"`channels` must be a multiple of those of `start`, 8; got 12. Take 16."
    ):
        take_over(of_width({}, 12), of_width({}, 8))
    electronic = {
        "embeddings": [{"name": "species"}, {"name": "electronic", "attribute": "total_charge"}]
    }
    with pytest.raises(ValueError, match="but for a TensorNet without electronic embedding; got 8"):
        take_over(of_width(electronic, 16), of_width(electronic, 8))
    schnet = {
        "architecture": {"name": "schnet", "channels": 8, "n_layers": 1},
        "state_factor": {"attributes": []},
    }
    with pytest.raises(ValueError, match="Make them equal"):
        take_over(of_width(schnet, 16), of_width(schnet, 8))


def test_a_network_may_have_more_layers_than_its_start() -> None:
    states = VARIANTS["states"]

    def of_depth(n_layers: int, seed: int) -> Potential:
        torch.manual_seed(seed)
        shape = {"name": "tensornet", "channels": 8, "n_layers": n_layers}
        return build(toy.SPEC | states | {"architecture": shape}).double()

    shallow, deep = of_depth(1, 0), of_depth(2, 1)
    fresh = take_over(deep, shallow)
    assert fresh and all(name.startswith("trunk.architecture.layers.1.") for name in fresh)
    strengths = deep.trunk.factor.strengths
    torch.testing.assert_close(strengths[:1], shallow.trunk.factor.strengths, rtol=0, atol=0)
    graph, _ = structures(deep)
    before = predict(deep, graph).energy
    layer = deep.trunk.architecture.layers[1]
    with torch.no_grad():
        layer.mix_in.weight.normal_()  # what the layer makes of its neighbours adds nothing yet
    torch.testing.assert_close(predict(deep, graph).energy, before, rtol=0, atol=0)
    autograd(deep, Loss(LossConfig(), 1.0))(*structures(deep))
    assert layer.mix_out.weight.grad.abs().max() > 1e-6  # and can learn to
