"""A small untrained model of charges, dipole and polarizability, and a stand-in for its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potentials.build import build
from potentials.card import Card
from potentials.checkpoint import Model, save
from potentials.quantities import QUANTITIES
from potentials.structure.geometry import structure_sum
from potentials.structure.graph import AtomicGraph
from potentials.terms import TERMS
from potentials.terms.base import Features, Term, scalar_network


class StandIn(Term):
    """Unpaired electrons by a softmax, and a positive polarizability of scalars and vectors."""

    predicts = ("unpaired_electrons", "polarizability")
    reads_vectors = True

    def __init__(self, channels: int, n_vectors: int) -> None:
        super().__init__()
        self.network = scalar_network(channels)
        self.weights = nn.Parameter(torch.randn(n_vectors))

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        raw = self.network(features.scalars).squeeze(-1).double()  # (N,)
        own = features.vectors(self.weights).double()  # (N, 3)
        round_part = torch.eye(3, dtype=torch.float64) * (0.05 + raw**2)[:, None, None]
        shape = own[:, :, None] * own[:, None, :]
        share = torch.exp(raw)
        n_unpaired = (graph.multiplicity - 1)[graph.batch]
        return {
            "unpaired_electrons": n_unpaired * share / structure_sum(share, graph)[graph.batch],
            "polarizability": structure_sum(round_part + shape, graph),
        }


TERMS["stand_in"] = StandIn
assert set(StandIn.predicts) <= set(QUANTITIES)

SPEC: dict[str, Any] = {
    "cutoff": 4.5,
    "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1},
    "radial": {"name": "exp_normal", "n_radial": 8},
    "state_factor": {"attributes": ["total_charge", "unpaired_electrons"]},
    "terms": [{"name": n} for n in ("readout", "zbl", "charges", "dipole", "stand_in")],
}
CARD = Card(
    name="polar",
    description="untrained",
    elements=[1, 6, 8],
    states=[[0, 1, 9], [-1, 2, 5], [0, 3, 5], [1, 2, 5], [1, 1, 1]],
)


def polar_model(*without: str, points: str = "fixed") -> Model:
    """Make the model, without some of its terms."""
    torch.manual_seed(3)
    terms = [term for term in SPEC["terms"] if term["name"] not in without]
    potential = build(SPEC | {"terms": terms, "points": {"name": points}})
    for weight in potential.parameters():  # the dipole would be all but zero
        weight.data += 0.1 * torch.randn_like(weight)
    return Model(potential.double(), CARD, "0" * 64, Path("polar.pt"))


def write_polar_model(path: Path, *without: str, points: str = "fixed") -> Path:
    """Write the model to a file."""
    save(path, polar_model(*without, points=points).potential.float(), CARD)
    return path
