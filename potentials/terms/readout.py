"""Energy of each atom from its scalars."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term, scalar_network


class Readout(Term):
    """Energy of each atom: scale · W SiLU(W x + b) + b.

    Parameters
    ----------
    channels : int      C
    scale : float       eV, multiplies the network's number
    """

    name = "readout"
    compiled = True
    scale: Tensor

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        super().__init__()
        self.network = scalar_network(channels)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the energies (N,) eV."""
        energies: Tensor = self.network(features.scalars).squeeze(-1)
        return {"energies": energies.double() * self.scale}
