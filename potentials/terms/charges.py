"""A charge for each atom; those of a molecule add up to its total charge."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from potentials.structure.geometry import at
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term, conserved, scalar_network

INITIAL_SCALE = 0.1  # of the weights of split charges: a training starts near formal charges


class Charges(Term):
    """q_i = w_i + (Q - Σ_j w_j) / n, with w the network's numbers and the sum over the molecule.

    Of fragments, each keeps its own charge.

    Parameters
    ----------
    channels : int   C
    """

    name = "charges"
    compiled = True
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


class SplitCharges(Term):
    """q_i = x_i + Σ_j t_ij, what neighbours hand to each other on top of the charge x_i of an atom.

    t_ij = φ(d_ij) Σ_k (a_ik b_jk - b_ik a_jk) = -t_ji, with a and b linear in the scalars of an
    atom: charge is conserved to rounding and never reaches beyond the cutoff. Fragments keep their
    own: between them nothing is handed over.

    Parameters
    ----------
    channels : int    C
    n_products : int  K
    """

    name = "split_charges"
    compiled = True
    predicts = ("charges",)
    reads = ("excess_charges",)

    def __init__(self, channels: int, n_products: int = 16) -> None:
        super().__init__()
        self.ends = nn.Linear(channels, 2 * n_products)
        with torch.no_grad():
            self.ends.weight.mul_(INITIAL_SCALE)

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the charges (N,) e."""
        a, b = self.ends(features.scalars).double().chunk(2, dim=1)  # (N, K) each
        i, j, parts = graph.idx_i, graph.idx_j, graph.states.batch
        within = features.envelope * (parts[i] == parts[j])  # (P,)
        handed = within * (at(a, i) * at(b, j) - at(b, i) * at(a, j)).sum(1)
        charges = predicted["excess_charges"]
        return {"charges": charges.index_add(0, i, handed).index_add(0, j, -handed)}
