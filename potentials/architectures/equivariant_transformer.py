"""The Equivariant Transformer.

Attention to neighbours by distance, on scalars and vectors (arXiv 2202.02541).

    symbol of the paper          here
    x_i, v_i                     hidden.scalars, hidden.vectors
    D^K, D^V                     the first and the other three parts of a RadialFilter
    φ(d)                         edges.envelope, applied by the neighbour sums
    U_1, U_2, U_3                Mixing

Differs: the envelope acts on the values, not only on the attention, else the vectors jump at the
cutoff; the embedding of neighbours (equation 4) is a linear map of that of the atoms instead of a
second table; the first layer, where all vectors are 0, has no U.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from potentials.parts.radial import RadialFilter, both_ways
from potentials.structure.geometry import Edges, at, neighbor_sum, traceless


class Hidden(NamedTuple):
    """Features of all points."""

    scalars: Tensor  # (M, C)
    vectors: Tensor  # (M, 3, C)


class EquivariantTransformer(nn.Module):
    """Neighbour embedding, attention layers, and a last norm.

    Parameters
    ----------
    channels : int    C
    n_layers : int
    n_radial : int    R, length of the radial encoding
    n_heads : int     H, a divisor of C
    """

    uses_state_factor = False
    angular = ""
    for_vectors: ClassVar[dict[str, int]] = {}
    n_silent = 1  # layers before which there is no vector

    def __init__(self, channels: int, n_layers: int, n_radial: int, n_heads: int = 8) -> None:
        super().__init__()
        if channels % n_heads:
            raise ValueError(
                f"`n_heads` must divide {channels} channels; got {n_heads}. Correct the spec."
            )
        self.channels = self.n_vectors = self.n_invariants = channels
        self.n_layers = n_layers
        self.embedding = NeighborEmbedding(channels, n_radial)
        mixing = [NoVectors(), *(Mixing(channels) for _ in range(n_layers - 1))]
        self.layers = nn.ModuleList(Layer(channels, n_radial, n_heads, mix) for mix in mixing)
        self.norm = nn.LayerNorm(channels)

    def start(self, scalars: Tensor, edges: Edges) -> Hidden:
        """Embed points by their own scalars (M, C) and their neighbours'; vectors are 0."""
        return Hidden(
            self.embedding(scalars, edges), scalars.new_zeros(len(scalars), 3, self.channels)
        )

    def scalars(self, hidden: Hidden) -> Tensor:
        """Return (M, C)."""
        return self.norm(hidden.scalars)  # type: ignore[no-any-return]

    def invariants(self, hidden: Hidden) -> Tensor:
        """Return the scalars (M, C)."""
        return hidden.scalars

    def add(self, hidden: Hidden, scalars: Tensor) -> Hidden:
        """Add to the scalars."""
        return hidden._replace(scalars=hidden.scalars + scalars)

    def vectors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Mix the vectors by weights (C,): (M, 3)."""
        return hidden.vectors @ weights

    def tensors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Mix the shapes v vᵀ of the vectors by weights (C,): (M, 3, 3)."""
        return traceless((hidden.vectors * weights) @ hidden.vectors.mT)


class NeighborEmbedding(nn.Module):
    """x_i = W [z_i ⊕ Σ_j (B z_j) ⊙ (W_d e(d) + b) φ(d)] (equations 4 and 5)."""

    def __init__(self, channels: int, n_radial: int) -> None:
        super().__init__()
        self.filter = RadialFilter(nn.Linear(n_radial, channels), n_parts=1)
        self.neighbor = nn.Linear(channels, channels, bias=False)
        self.combine = nn.Linear(2 * channels, channels)

    def forward(self, scalars: Tensor, edges: Edges) -> Tensor:
        """Return (M, C)."""
        filters = both_ways(self.filter(edges)[0][:, 0])  # (2P, C)
        around = neighbor_sum(filters * at(self.neighbor(scalars), edges.senders), edges)
        return self.combine(torch.cat([scalars, around], dim=1))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One update of scalars and vectors (equations 6 to 11).

    A point attends to itself too, at distance 0.
    """

    def __init__(self, channels: int, n_radial: int, n_heads: int, mix: nn.Module) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(channels)
        self.filter = RadialFilter(
            nn.Sequential(nn.Linear(n_radial, 4 * channels), nn.SiLU()), n_parts=4
        )
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.value = nn.Linear(channels, 3 * channels)
        self.mix = mix
        self.output = nn.Linear(channels, 3 * channels)

    def forward(self, hidden: Hidden, edges: Edges, factor: Tensor) -> Hidden:
        """Update scalars and vectors."""
        x = self.norm(hidden.scalars)
        query, key, value = self.query(x), self.key(x), self.value(x).view(len(x), 3, -1)
        filters, filter_self = self.filter(edges)  # (P, 4, C), (4, C)
        i, j = edges.receivers, edges.senders
        weighted, s1, s2 = self.attend(
            at(query, i), at(key, j), at(value, j), both_ways(filters)
        )  # (2P, C) each
        own, own_s1, _ = self.attend(
            query, key, value, filter_self
        )  # (M, C) each; its direction is 0
        vectors = (
            at(hidden.vectors, j) * s1[:, None] + edges.directions[:, :, None] * s2[:, None]
        )  # (2P, 3, C)
        y = own + neighbor_sum(weighted, edges)
        around = hidden.vectors * own_s1[:, None] + neighbor_sum(vectors, edges)
        o1, o2, o3 = self.output(y).chunk(3, dim=-1)
        product, mixed = self.mix(hidden.vectors)
        return Hidden(
            hidden.scalars + product * o2 + o3, hidden.vectors + mixed * o1[:, None] + around
        )

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, filters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weigh the scalar values by SiLU(Σ_head q k D^K).

        Return them and the two factors of the vectors.
        """
        products = (query * key * filters[..., 0, :]).unflatten(
            -1, (self.n_heads, query.shape[1] // self.n_heads)
        )
        attention = (
            nn.functional.silu(products.sum(-1, keepdim=True)).expand_as(products).flatten(1)
        )
        scalars, s1, s2 = (value * filters[..., 1:, :]).unbind(1)
        return attention * scalars, s1, s2


class Mixing(nn.Module):
    """⟨U_1 v, U_2 v⟩ and U_3 v."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 3 * channels, bias=False)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return scalars (M, C) and vectors (M, 3, C)."""
        first, second, third = self.linear(vectors).chunk(3, dim=-1)
        return (first * second).sum(1), third


class NoVectors(nn.Module):
    """What `Mixing` gives where all vectors are 0."""

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return zeros (M, C) and (M, 3, C)."""
        return torch.zeros_like(vectors[:, 0]), vectors
