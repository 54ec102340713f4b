"""EGNN: messages from scalars and distances (arXiv 2102.09844); coordinates are not updated.

    symbol of the paper          here
    h_i                          hidden.scalars
    m_ij                         hidden.messages
    φ_e, φ_h, φ_inf              Layer.message, Layer.update, Layer.gate

Differs: the squared distance may be any encoding; the sum over neighbours carries the cutoff
envelope.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from potentials.parts.radial import RadialFilter, both_ways
from potentials.structure.geometry import (
    Edges,
    at,
    neighbor_sum,
    neighbor_tensors,
    neighbor_vectors,
)


class Hidden(NamedTuple):
    """Scalars of all points, and the messages that made them."""

    scalars: Tensor  # (M, C)
    messages: Tensor  # (2P, C)


class EGNN(nn.Module):
    """Message-passing layers on the embedded elements.

    Parameters
    ----------
    channels : int    C
    n_layers : int
    n_radial : int    R, length of the radial encoding
    """

    uses_state_factor = False
    angular = ""
    for_vectors: ClassVar[dict[str, int]] = {}
    n_silent = 1  # layers before which there is no vector: nothing has looked at the neighbours

    def __init__(self, channels: int, n_layers: int, n_radial: int) -> None:
        super().__init__()
        self.channels = self.n_vectors = self.n_invariants = channels
        self.n_layers = n_layers
        self.layers = nn.ModuleList(Layer(channels, n_radial) for _ in range(n_layers))

    def start(self, scalars: Tensor, edges: Edges) -> Hidden:
        """Begin with the embedded elements (M, C)."""
        return Hidden(scalars, scalars.new_zeros(0, self.channels))

    def scalars(self, hidden: Hidden) -> Tensor:
        """Return (M, C)."""
        return hidden.scalars

    def invariants(self, hidden: Hidden) -> Tensor:
        """Return the scalars (M, C)."""
        return hidden.scalars

    def add(self, hidden: Hidden, scalars: Tensor) -> Hidden:
        """Add to the scalars."""
        return hidden._replace(scalars=hidden.scalars + scalars)

    def vectors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Sum the messages of the last layer along their directions, mixed by weights (C,): (M, 3).

        Equation 4 moves coordinates so.
        """
        return neighbor_vectors(hidden.messages, weights, edges)

    def tensors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Mix the messages by weights (C,) with the shapes of their directions: (M, 3, 3)."""
        return neighbor_tensors(hidden.messages, weights, edges)


class Layer(nn.Module):
    """m_ij = φ_e(h_i, h_j, e(d)), gated (equations 3 and 8).

    H_i ← h_i + φ_h(h_i, Σ_j m_ij) (equations 5 and 6).

    The first linear map of φ_e acts on three things side by side, so it is three maps: of the
    receiver, of the sender, and of the distance, which is a radial filter.
    """

    def __init__(self, channels: int, n_radial: int) -> None:
        super().__init__()
        self.filter = RadialFilter(nn.Linear(n_radial, channels), n_parts=1)
        self.receiver = nn.Linear(channels, channels, bias=False)
        self.sender = nn.Linear(channels, channels, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(channels, channels), nn.SiLU())
        self.gate = nn.Sequential(nn.Linear(channels, 1), nn.Sigmoid())
        self.update = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.SiLU(), nn.Linear(channels, channels)
        )

    def forward(self, hidden: Hidden, edges: Edges, factor: Tensor) -> Hidden:
        """Update the scalars."""
        h = hidden.scalars
        distance = both_ways(self.filter(edges)[0][:, 0])  # (2P, C)
        messages = self.message(
            at(self.receiver(h), edges.receivers) + at(self.sender(h), edges.senders) + distance
        )
        messages = self.gate(messages) * messages
        return Hidden(
            h + self.update(torch.cat([h, neighbor_sum(messages, edges)], dim=1)), messages
        )
