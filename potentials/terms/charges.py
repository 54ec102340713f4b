"""A charge for each atom; those of a molecule add up to its total charge."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term, conserved, scalar_network


class Charges(Term):
    """q_i = w_i + (Q - Σ_j w_j) / n, with w the network's numbers and the sum over the molecule.

    Of fragments, each keeps its own charge.

    Parameters
    ----------
    channels : int   C
    """

    name = "charges"
    predicts = ("charges",)
    state_inputs = ("total_charge",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = scalar_network(channels)

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the charges (N,) e."""
        raw: Tensor = self.network(features.scalars).squeeze(-1).double()
        return {"charges": conserved(raw, graph.states)}
