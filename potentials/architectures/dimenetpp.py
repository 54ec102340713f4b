"""DimeNet++: messages that act on each other at angles (arXiv 2011.14115, 2003.03123).

    symbol of the paper          here
    m_ji                         a row of hidden.messages, receiver i, sender j
    e_RBF(d)                     edges.radial
    a_SBF(d_kj, α)               edges.angles: functions of the distance times functions of the
                                 angle
    ⊙ W e_RBF                    RadialFilter
    m_kj with angle, summed      angle_sum

Differs: the envelope acts in the sums, not in the encodings, which may be any; the output blocks
give scalars, added to the embedded elements, and the energy is read out from those, so that an atom
alone knows what it is.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from potentials.parts.radial import RadialFilter, both_ways
from potentials.structure.geometry import (
    Edges,
    angle_sum,
    at,
    neighbor_sum,
    neighbor_tensors,
    neighbor_vectors,
)


class Hidden(NamedTuple):
    """Scalars of all points, and the messages that go on."""

    scalars: Tensor  # (M, C)
    messages: Tensor  # (2P, C)


class DimeNetPP(nn.Module):
    """Embedding of messages, interactions between them, and an output block after each.

    Parameters
    ----------
    channels : int          C
    n_layers : int          interaction blocks
    n_radial : int          R, length of the radial encoding
    n_angular : int         A, functions of the angle
    n_spherical : int       N, functions of the distance for each
    n_basis : int           B, what an encoding is compressed to
    n_interaction : int     I, channels while messages meet; None is C / 2
    n_output : int          O, channels inside an output block; None is 2 C
    n_before, n_after : int residual blocks before and after the skip connection
    n_dense : int           dense layers of an output block
    """

    uses_state_factor = False
    angular = "spherical_bessel"
    for_vectors: ClassVar[dict[str, int]] = {}
    n_silent = 0  # layers before which there is no vector: the embedded messages have directions

    def __init__(
        self,
        channels: int,
        n_layers: int,
        n_radial: int,
        n_angular: int,
        n_spherical: int,
        *,
        n_basis: int = 8,
        n_interaction: int | None = None,
        n_output: int | None = None,
        n_before: int = 1,
        n_after: int = 2,
        n_dense: int = 3,
    ) -> None:
        super().__init__()
        self.channels = self.n_vectors = self.n_invariants = channels
        self.n_layers = n_layers
        n_interaction, n_output = n_interaction or channels // 2, n_output or 2 * channels
        self.embedding = Embedding(channels, n_radial)
        self.output = Output(channels, n_radial, n_output, n_dense)
        self.layers = nn.ModuleList(
            Layer(
                Interaction(
                    channels,
                    n_radial,
                    n_angular * n_spherical,
                    n_basis,
                    n_interaction,
                    n_before,
                    n_after,
                ),
                Output(channels, n_radial, n_output, n_dense),
            )
            for _ in range(n_layers)
        )

    def start(self, scalars: Tensor, edges: Edges) -> Hidden:
        """Embed the messages from the embedded elements (M, C) of both ends."""
        messages = self.embedding(scalars, edges)
        return Hidden(scalars + self.output(messages, edges), messages)

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
        """Mix the messages by weights (C,) along their directions: (M, 3)."""
        return neighbor_vectors(hidden.messages, weights, edges)

    def tensors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Mix the messages by weights (C,) with the shapes of their directions: (M, 3, 3)."""
        return neighbor_tensors(hidden.messages, weights, edges)


class Embedding(nn.Module):
    """m_ji = σ(W [h_j ⊕ h_i ⊕ σ(W_e e_RBF + b_e)] + b).

    The linear map is split into those of receiver, sender and distance.
    """

    def __init__(self, channels: int, n_radial: int) -> None:
        super().__init__()
        self.filter = RadialFilter(
            nn.Sequential(nn.Linear(n_radial, channels), nn.SiLU(), nn.Linear(channels, channels)),
            n_parts=1,
        )
        self.receiver = nn.Linear(channels, channels, bias=False)
        self.sender = nn.Linear(channels, channels, bias=False)

    def forward(self, scalars: Tensor, edges: Edges) -> Tensor:
        """Return (2P, C)."""
        distance = both_ways(self.filter(edges)[0][:, 0])
        return nn.functional.silu(
            at(self.receiver(scalars), edges.receivers)
            + at(self.sender(scalars), edges.senders)
            + distance
        )


class Output(nn.Module):
    """t_i = MLP(W Σ_j m_ji ⊙ W_e e_RBF)."""

    def __init__(self, channels: int, n_radial: int, n_output: int, n_dense: int) -> None:
        super().__init__()
        self.filter = RadialFilter(nn.Linear(n_radial, channels, bias=False), n_parts=1)
        self.up = nn.Linear(channels, n_output, bias=False)
        self.dense = nn.Sequential(
            *(layer for _ in range(n_dense) for layer in (nn.Linear(n_output, n_output), nn.SiLU()))
        )
        self.last = nn.Linear(n_output, channels, bias=False)

    def forward(self, messages: Tensor, edges: Edges) -> Tensor:
        """Return (M, C)."""
        around = neighbor_sum(messages * both_ways(self.filter(edges)[0][:, 0]), edges)
        return self.last(self.dense(self.up(around)))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """An interaction block and the output block behind it."""

    def __init__(self, interaction: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.interaction, self.output = interaction, output

    def forward(self, hidden: Hidden, edges: Edges, factor: Tensor) -> Hidden:
        """Update the messages, and add what they say to the scalars."""
        messages = self.interaction(hidden.messages, edges)
        return Hidden(hidden.scalars + self.output(messages, edges), messages)


class Interaction(nn.Module):
    """m_ji ← f(m_ji, Σ_k m_kj ⊙ W e_RBF(d_kj) ⊙ W a_SBF(d_kj, α)).

    The sum is taken in fewer channels (figure 2 of arXiv 2011.14115).
    """

    def __init__(
        self,
        channels: int,
        n_radial: int,
        n_angles: int,
        n_basis: int,
        n_interaction: int,
        n_before: int,
        n_after: int,
    ) -> None:
        super().__init__()
        compressed = nn.Sequential(
            nn.Linear(n_radial, n_basis, bias=False), nn.Linear(n_basis, channels, bias=False)
        )
        self.filter = RadialFilter(compressed, n_parts=1)
        self.compress = nn.Linear(n_angles, n_basis, bias=False)
        self.expand = nn.Linear(n_basis, n_interaction, bias=False)
        self.own, self.other = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.down = nn.Linear(channels, n_interaction, bias=False)
        self.up = nn.Linear(n_interaction, channels, bias=False)
        self.before = nn.Sequential(*(Residual(channels) for _ in range(n_before)))
        self.skip = nn.Linear(channels, channels)
        self.after = nn.Sequential(*(Residual(channels) for _ in range(n_after)))

    def forward(self, messages: Tensor, edges: Edges) -> Tensor:
        """Return (2P, C)."""
        assert edges.angles is not None
        silu = nn.functional.silu
        others = silu(self.other(messages)) * both_ways(self.filter(edges)[0][:, 0])
        others = silu(self.down(others))  # (2P, I)
        met = at(others, edges.angles.incoming) * self.expand(self.angles(edges))  # (T, I)
        h = silu(self.own(messages)) + silu(self.up(angle_sum(met, edges)))
        return self.after(silu(self.skip(self.before(h))) + messages)  # type: ignore[no-any-return]

    def angles(self, edges: Edges) -> Tensor:
        """Compress the encoding of distance and angle to (T, B), without multiplying it out."""
        assert edges.angles is not None
        incoming, _, distance, angle = edges.angles
        n_pairs, *sizes = distance.shape  # P, (A, N)
        weights = self.compress.weight.unflatten(1, sizes)  # (B, A, N)
        of_pairs = torch.einsum("pan,ban->pab", distance, weights)
        return torch.einsum("ta,tab->tb", angle, of_pairs[incoming % max(n_pairs, 1)])


class Residual(nn.Module):
    """x + σ(W σ(W x + b) + b)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Act on each row."""
        return x + self.network(x)  # type: ignore[no-any-return]
