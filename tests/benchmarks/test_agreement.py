"""The parts of benchmarks/physics/agreement.py that need no peer.

Lists of triplets, padding, and the table.
"""

from __future__ import annotations

import torch
from ase.build import molecule
from torch import nn

from benchmarks.physics import agreement
from potentials.parts.angular import find_triplets
from potentials.structure.graph import from_ase


def test_triplets_are_those_of_ours() -> None:
    graph = from_ase(molecule("CH3CH2OH"), 3.0)
    edges = agreement.directed(graph)
    within = torch.ones(len(graph.idx_i), dtype=torch.bool)
    expected = find_triplets(graph.idx_i, graph.idx_j, within, 9)
    receivers, senders, i, j, k, into, out = agreement.triplets(edges, 9)
    assert (
        torch.equal(receivers[out], i)
        and torch.equal(senders[out], j)
        and torch.equal(receivers[into], j)
    )
    assert not bool((i == k).any())
    own = {(int(a), int(b)) for a, b in zip(expected.incoming, expected.outgoing, strict=True)}
    assert (
        len(into) == len(own) and {(int(a), int(b)) for a, b in zip(into, out, strict=True)} == own
    )


def test_a_wider_layer_with_zeros_says_the_same() -> None:
    torch.manual_seed(0)
    small, large = nn.Linear(3, 2), nn.Linear(5, 7)
    agreement.padded(large, small.weight.detach(), small.bias.detach())
    x = torch.randn(4, 5)
    assert torch.allclose(large(x)[:, :2], small(x[:, :3])) and not bool(large(x)[:, 2:].any())


def test_the_table_names_differences_and_what_is_missing() -> None:
    row = {
        "architecture": "schnet",
        "package": "p 1",
        "replaced": "nothing",
        "molecule": "water",
        "n_atoms": 3,
        "energy": 1.0,
    }
    row |= {"energy_difference": 2e-15, "largest_force": 0.5, "force_difference": 3e-16}
    told = agreement.text({"rows": [row], "missing": {"equiformer": "no package"}})
    assert "| schnet | p 1 | water | 1.000000 | 2.0e-15 | 0.5000 | 3.0e-16 |" in told
    assert "**schnet**: nothing" in told and "**equiformer**: not compared: no package" in told


def test_weights_are_nowhere_special() -> None:
    potential = agreement.ours("schnet", {"name": "gaussian", "n_radial": 4})
    biases = [p for name, p in potential.named_parameters() if name.endswith("bias")]
    assert biases and all(bool((b != 0).all()) for b in biases)
    assert potential.dtype == torch.float64
