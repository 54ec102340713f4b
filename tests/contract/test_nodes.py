"""Every variant with its filters on nodes, as in training: same energy, forces, gradients."""

from __future__ import annotations

import pytest
import torch

from potentials.potential import Potential, at_nodes, at_pairs
from potentials.structure.geometry import structure_sum
from tests.contract.structures import ALL, graph_of
from tests.contract.variants import Variant


@pytest.mark.parametrize("structure", ALL)
def test_the_same_on_nodes(variant: Variant, potential: Potential, structure: str) -> None:
    graph = graph_of(ALL[structure](), potential.cutoff)
    graph.positions.requires_grad_()
    weights = [p for p in potential.parameters() if p.requires_grad]
    found = []
    for encode in (at_pairs, at_nodes):
        energy = structure_sum(potential(graph, encode).energies, graph).sum()
        (gradient,) = torch.autograd.grad(energy, graph.positions, create_graph=True)
        loss = energy + gradient.square().sum()
        by_weights = torch.autograd.grad(loss, weights, allow_unused=True)
        found.append(
            [
                energy.detach(),
                gradient.detach(),
                torch.cat([g.flatten() for g in by_weights if g is not None]),
            ]
        )
    for exact, near, tolerance in zip(
        *found, (1e-4, 1e-4, 2e-3), strict=True
    ):  # one weight in millions needs more than 1e-4
        assert (near - exact).abs().max() < tolerance * exact.abs().max()
