"""How the electrons of a structure follow an electric field."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from potentials.structure.geometry import structure_sum
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term, scalar_network

SMALLEST = 1e-3  # e Å²/V, of an atom in any direction: 0.014 Å³, a thirtieth of hydrogen's
INITIAL_ROOT = 0.25  # √(e Å²/V): 0.9 Å³ an atom, about carbon's
INITIAL_WEIGHT = 1e-2


class Polarizability(Term):
    """α = Σ_i α_i with α_i = (m_i + S_i)² + α_min, positive whatever the network says.

    m_i is a number of the scalars of an atom, S_i a mixture of its symmetric traceless tensors.

    Parameters
    ----------
    channels : int    C
    n_vectors : int   V, tensors that the architecture knows of each atom
    """

    name = "polarizability"
    compiled = True
    predicts = ("atomic_polarizabilities", "polarizability")
    reads_vectors = True

    def __init__(self, channels: int, n_vectors: int) -> None:
        super().__init__()
        self.network = scalar_network(channels)
        self.mixture = nn.Linear(n_vectors, 1, bias=False)
        nn.init.normal_(self.mixture.weight, std=INITIAL_WEIGHT)

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return α_i (N, 3, 3) and α (S, 3, 3), e Å²/V."""
        mean = INITIAL_ROOT + self.network(features.scalars).double()  # (N, 1)
        atomic = of_roots(mean, features.tensors(self.mixture.weight[0]).double())
        return {
            "atomic_polarizabilities": atomic,
            "polarizability": structure_sum(atomic, graph),
        }


def of_roots(mean: Tensor, tensors: Tensor) -> Tensor:
    """Return α_i (N, 3, 3) of m_i (N, 1) and S_i (N, 3, 3)."""
    identity = torch.eye(3, dtype=torch.float64, device=mean.device)
    root = mean[:, :, None] * identity + tensors
    return root @ root + SMALLEST * identity
