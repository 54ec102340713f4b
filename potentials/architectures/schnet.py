"""SchNet: continuous-filter convolutions on scalars (arXiv 1706.08566).

    symbol of the paper          here
    x_i                          hidden.scalars
    W(r_i - r_j)                 RadialFilter, a function of the distance
    ssp                          shifted_softplus

Differs: the filter is multiplied by the cutoff envelope, and its last activation is left out, both
as in the public code; the hand-made Gaussians may be any encoding.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

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


class SchNet(nn.Module):
    """Interaction blocks on the embedded elements.

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
        self.layers = nn.ModuleList(Interaction(channels, n_radial) for _ in range(n_layers))

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
        """Mix the messages of the last layer by weights (C,) along their directions: (M, 3)."""
        return neighbor_vectors(hidden.messages, weights, edges)

    def tensors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Mix the messages by weights (C,) with the shapes of their directions: (M, 3, 3)."""
        return neighbor_tensors(hidden.messages, weights, edges)


class Interaction(nn.Module):
    """x_i ← x_i + MLP(Σ_j W(d_ij) ⊙ (A x_j)) (equation 2 and figure 2)."""

    def __init__(self, channels: int, n_radial: int) -> None:
        super().__init__()
        network = nn.Sequential(
            nn.Linear(n_radial, channels), ShiftedSoftplus(), nn.Linear(channels, channels)
        )
        self.filter = RadialFilter(network, n_parts=1)
        self.mix = nn.Linear(channels, channels, bias=False)
        self.update = nn.Sequential(
            nn.Linear(channels, channels), ShiftedSoftplus(), nn.Linear(channels, channels)
        )

    def forward(self, hidden: Hidden, edges: Edges, factor: Tensor) -> Hidden:
        """Update the scalars."""
        filters = both_ways(self.filter(edges)[0][:, 0])  # (2P, C)
        messages = filters * at(self.mix(hidden.scalars), edges.senders)
        return Hidden(hidden.scalars + self.update(neighbor_sum(messages, edges)), messages)


class ShiftedSoftplus(nn.Module):
    """ssp(x) = ln(½eˣ + ½), zero at zero."""

    def forward(self, x: Tensor) -> Tensor:
        """Act on each element."""
        return nn.functional.softplus(x) - math.log(2.0)
