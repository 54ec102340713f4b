"""Equiformer: attention to neighbours with messages that are spherical tensors (arXiv 2206.11990).

Every point carries, for each degree l, features that turn like spherical harmonics: (M, 2l+1, C_l),
in the basis of e3nn.

    symbol of the paper          here
    f_ij, DTP                    Attention.message, Product with weights of the distance
    a_ij                         neighbor_softmax
    v_ij                         Attention.value
    Linear, LN, Gate             Mixing, Norm, Gate

Differs: features have the parity of their degree, so that mirror images have one energy (group =
"O(3)"; the labels of the paper are "SO(3)"); a point may attend to nothing, else the last neighbour
to leave would keep all attention up to the cutoff; the envelope acts in the sums; the energy is
read out from the scalars of the last block; no dropout, no division by a mean number of neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from potentials.parts.radial import RadialFilter, both_ways
from potentials.structure.geometry import Edges, at, neighbor_softmax, neighbor_sum, traceless

Features = tuple[Tensor, ...]  # by degree: (rows, 2l+1, C_l)
# of a norm; with the 1e-5 of the public code features that fade with the last neighbour do so just
# before the cutoff
EPSILON = 1e-2


class Hidden(NamedTuple):
    """Features of all points; after the last block scalars alone."""

    features: Features


class Equiformer(nn.Module):
    """Embedding of degrees, blocks of attention and feed-forward networks, and a last norm.

    Parameters
    ----------
    channels : int     C of the scalars; each higher degree has half as many as the one below
    n_layers : int
    n_radial : int     R, length of the radial encoding
    n_heads : int      H, a divisor of the channels of every degree
    max_degree : int   largest l, at least 1
    n_hidden : int     width of the networks that read the distance
    group : "O(3)" or "SO(3)"   whether reflections are respected by construction

    Raises
    ------
    ModuleNotFoundError   e3nn is not installed
    """

    uses_state_factor = False
    angular = ""
    for_vectors: ClassVar[dict[str, int]] = {"last_degree": 1}
    n_silent = 0  # layers before which there is no vector: the embedding sees the neighbours

    def __init__(
        self,
        channels: int,
        n_layers: int,
        n_radial: int,
        *,
        n_heads: int = 4,
        max_degree: int = 2,
        n_hidden: int = 64,
        group: str = "O(3)",
        last_degree: int = 0,
    ) -> None:
        super().__init__()
        if group not in GROUPS:
            raise ValueError(
                f"`group` must be one of {', '.join(GROUPS)}; got {group!r}. Correct the spec."
            )
        if max_degree < 1:
            raise ValueError(
                f"`max_degree` must be at least 1; got {max_degree}. Correct the spec."
            )
        sizes = tuple(channels // 2**degree for degree in range(max_degree + 1))
        if sizes[-1] == 0 or any(size % n_heads for size in sizes):
            raise ValueError(
                f"`n_heads` must divide the channels of every degree, {sizes}; got {n_heads}."
                " Correct the spec."
            )
        self.channels = self.n_invariants = channels
        self.n_layers, self.n_vectors = n_layers, sizes[1]
        self.embedding = Embedding(sizes, n_radial, n_hidden)
        last = [sizes] * (n_layers - 1) + [sizes[: 1 + last_degree]]
        self.layers = nn.ModuleList(
            Layer(sizes, out, n_radial, n_heads, n_hidden, group) for out in last
        )
        self.norm = nn.LayerNorm(channels)

    def start(self, scalars: Tensor, edges: Edges) -> Hidden:
        """Embed points by their own scalars (M, C) and the directions to their neighbours."""
        return Hidden(self.embedding(scalars, edges))

    def scalars(self, hidden: Hidden) -> Tensor:
        """Return (M, C)."""
        return self.norm(hidden.features[0][:, 0])  # type: ignore[no-any-return]

    def invariants(self, hidden: Hidden) -> Tensor:
        """Return the features of degree 0: (M, C)."""
        return hidden.features[0][:, 0]

    def add(self, hidden: Hidden, scalars: Tensor) -> Hidden:
        """Add to the features of degree 0."""
        first, *others = hidden.features
        return Hidden((first + scalars[:, None], *others))

    def vectors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Mix the features of degree 1 by weights (C_1,): (M, 3)."""
        return hidden.features[1] @ weights

    def tensors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Mix the shapes v vᵀ of the features of degree 1 by weights (C_1,): (M, 3, 3)."""
        return traceless((hidden.features[1] * weights) @ hidden.features[1].mT)


class Embedding(nn.Module):
    """x_i = z_i + W Σ_j f(d_ij) Y(u_ij): elements, and how neighbours are spread around."""

    def __init__(self, sizes: Sequence[int], n_radial: int, n_hidden: int) -> None:
        super().__init__()
        self.sizes, self.harmonics = list(sizes), Harmonics(len(sizes) - 1)
        self.filter = RadialFilter(radial_network(n_radial, n_hidden, sum(sizes)), n_parts=1)
        self.mix = Mixing(sizes, sizes)

    def forward(self, scalars: Tensor, edges: Edges) -> Features:
        """Return features of every degree."""
        filters = both_ways(self.filter(edges)[0][:, 0]).split(self.sizes, dim=1)
        spread = (
            f[:, None] * y[:, :, None]
            for f, y in zip(filters, self.harmonics(edges.directions), strict=True)
        )
        first, *others = self.mix(tuple(neighbor_sum(messages, edges) for messages in spread))
        return (first + scalars[:, None], *others)


class Layer(nn.Module):
    """x ← x + Attention(LN x); x ← x + FeedForward(LN x)."""

    def __init__(
        self,
        sizes: Sequence[int],
        out: Sequence[int],
        n_radial: int,
        n_heads: int,
        n_hidden: int,
        group: str,
    ) -> None:
        super().__init__()
        self.norm, self.attention = (
            Norm(sizes),
            Attention(sizes, out, n_radial, n_heads, n_hidden, group),
        )
        self.second_norm, self.feed_forward = Norm(out), FeedForward(out)

    def forward(self, hidden: Hidden, edges: Edges, factor: Tensor) -> Hidden:
        """Update the features."""
        features = _added(hidden.features, self.attention(self.norm(hidden.features), edges))
        return Hidden(_added(features, self.feed_forward(self.second_norm(features))))


class Attention(nn.Module):
    """Σ_j a_ij v_ij, with weights and values from one message: x_ij = DTP(W x_i + W x_j, Y.

    W(d)) (equations 3 to 6).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        out: Sequence[int],
        n_radial: int,
        n_heads: int,
        n_hidden: int,
        group: str,
    ) -> None:
        super().__init__()
        self.n_heads, channels = n_heads, sizes[0]
        self.harmonics = Harmonics(len(sizes) - 1)
        self.receiver, self.sender = Mixing(sizes, sizes, bias=False), Mixing(sizes, sizes)
        self.message = Product(sizes, len(sizes), group)
        self.filter = RadialFilter(
            radial_network(n_radial, n_hidden, self.message.n_weights), n_parts=1
        )
        self.score = nn.Linear(self.message.sizes[0], channels)
        self.attend = nn.Parameter(
            torch.randn(n_heads, channels // n_heads) / math.sqrt(channels // n_heads)
        )
        self.gate = Gate(self.message.sizes, sizes)
        self.value = Product(sizes, len(out), group)
        self.weights = nn.Parameter(torch.ones(self.value.n_weights))
        self.heads, self.output = Mixing(self.value.sizes, out), Mixing(out, out)

    def forward(self, features: Features, edges: Edges) -> Features:
        """Return what each point gathers."""
        i, j, harmonics = edges.receivers, edges.senders, self.harmonics(edges.directions)
        pairs = zip(self.receiver(features), self.sender(features), strict=True)
        message = self.message(
            tuple(at(a, i) + at(b, j) for a, b in pairs),
            harmonics,
            both_ways(self.filter(edges)[0][:, 0]),
        )
        scores = leaky(self.score(message[0][:, 0])).unflatten(
            1, self.attend.shape
        )  # (2P, H, C / H)
        attention = neighbor_softmax((scores * self.attend).sum(-1), edges)  # (2P, H)
        values = self.heads(self.value(self.gate(message), harmonics, self.weights))
        return self.output(tuple(neighbor_sum(self.weighted(v, attention), edges) for v in values))  # type: ignore[no-any-return]

    def weighted(self, values: Tensor, attention: Tensor) -> Tensor:
        """Weigh the channels (2P, 2l+1, C_l) of each head by its attention (2P, H)."""
        heads: Tensor = values.unflatten(2, (self.n_heads, values.shape[2] // self.n_heads))
        return (heads * attention[:, None, :, None]).flatten(2)


class FeedForward(nn.Module):
    """Linear, gate, linear, three times as wide inside."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        wide = [3 * size for size in sizes]
        self.gate, self.mix = Gate(sizes, wide), Mixing(wide, sizes)

    def forward(self, features: Features) -> Features:
        """Act on each point."""
        return self.mix(self.gate(features))  # type: ignore[no-any-return]


class Gate(nn.Module):
    """Mix; then SiLU on scalars, and a sigmoid of further scalars scales the other degrees."""

    def __init__(self, sizes: Sequence[int], out: Sequence[int]) -> None:
        super().__init__()
        self.out = list(out)
        self.mix = Mixing(sizes, [sum(out), *out[1:]])

    def forward(self, features: Features) -> Features:
        """Act on each row."""
        first, *others = self.mix(features)
        scalars, *gates = first.split(self.out, dim=2)
        return (
            nn.functional.silu(scalars),
            *(x * gate.sigmoid() for x, gate in zip(others, gates, strict=True)),
        )


class Mixing(nn.Module):
    """Mix the channels of each degree by a matrix; only scalars have a bias."""

    def __init__(self, sizes: Sequence[int], out: Sequence[int], bias: bool = True) -> None:
        super().__init__()
        pairs = enumerate(zip(sizes, out, strict=False))
        self.linears = nn.ModuleList(
            nn.Linear(a, b, bias=bias and degree == 0) for degree, (a, b) in pairs
        )

    def forward(self, features: Features) -> Features:
        """Act on each row."""
        return tuple(linear(x) for linear, x in zip(self.linears, features, strict=False))


class Norm(nn.Module):
    """Scalars: a layer norm.

    Other degrees: divide by the root of the mean square over components and channels.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.scalars = nn.LayerNorm(sizes[0])
        self.weights = nn.ParameterList(torch.ones(size) for size in sizes[1:])

    def forward(self, features: Features) -> Features:
        """Act on each row."""
        first, *others = features
        scaled = (
            x * w * (x.square().mean((1, 2), keepdim=True) + EPSILON).rsqrt()
            for x, w in zip(others, self.weights, strict=True)
        )
        return (self.scalars(first), *scaled)


class Product(nn.Module):
    """Depth-wise tensor product of features with spherical harmonics.

    Every channel by itself, with a weight for every path.

    A path (l1, l2, l3) couples features of degree l1 with harmonics of degree l2 to degree l3.

    Parameters
    ----------
    sizes : C_l of the features
    n_degrees : of the result
    group : name in `GROUPS`
    """

    def __init__(self, sizes: Sequence[int], n_degrees: int, group: str) -> None:
        super().__init__()
        self.paths = [path for path in coupled(len(sizes), n_degrees) if GROUPS[group](sum(path))]
        self.lengths = [sizes[l1] for l1, _, _ in self.paths]
        self.n_weights = sum(self.lengths)
        self.sizes = [
            sum(sizes[l1] for l1, _, l3 in self.paths if l3 == degree)
            for degree in range(n_degrees)
        ]
        for n, path in enumerate(self.paths):
            self.register_buffer(
                f"coupling_{n}", math.sqrt(2 * path[2] + 1) * wigner_3j(*path), persistent=False
            )

    def forward(self, features: Features, harmonics: Features, weights: Tensor) -> Features:
        """Couple features (E, 2l+1, C_l) with harmonics (E, 2l+1), weighted by (E, W) or (W,)."""
        found: list[list[Tensor]] = [[] for _ in self.sizes]
        for n, ((l1, l2, l3), weight) in enumerate(
            zip(self.paths, torch.split(weights, self.lengths, dim=-1), strict=True)
        ):
            coupling = self.get_buffer(f"coupling_{n}").to(weights.dtype)
            matrix = torch.einsum("abc,eb->eca", coupling, harmonics[l2])  # (E, 2 l3 + 1, 2 l1 + 1)
            found[l3].append(matrix @ features[l1] * weight.unsqueeze(-2))
        return tuple(torch.cat(parts, dim=2) for parts in found)


class Harmonics(nn.Module):
    """Spherical harmonics of directions, of squared length 2l+1 for unit vectors.

    Each degree coupled from the one below.
    """

    def __init__(self, max_degree: int) -> None:
        super().__init__()
        self.max_degree = max_degree
        axis = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
        for degree in range(2, max_degree + 1):
            self.register_buffer(
                f"coupling_{degree}", wigner_3j(degree - 1, 1, degree), persistent=False
            )
            size = self(axis, degree)[degree].norm()
            self.get_buffer(f"coupling_{degree}").mul_(math.sqrt(2 * degree + 1) / size)

    def forward(self, directions: Tensor, max_degree: int | None = None) -> Features:
        """Return (E, 2l+1) for each degree, polynomials of directions (E, 3)."""
        vectors = math.sqrt(3.0) * directions
        found = [torch.ones_like(directions[:, :1]), vectors]
        for degree in range(2, (max_degree or self.max_degree) + 1):
            coupling = self.get_buffer(f"coupling_{degree}").to(directions.dtype)
            found.append(torch.einsum("abc,ea,eb->ec", coupling, found[-1], vectors))
        return tuple(found)


def radial_network(n_radial: int, n_hidden: int, n_weights: int) -> nn.Module:
    """Two hidden layers with norms, from an encoded distance to weights."""
    sizes = [n_radial, n_hidden, n_hidden]
    hidden = (
        layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.LayerNorm(b), nn.SiLU())
    )
    return nn.Sequential(*hidden, nn.Linear(n_hidden, n_weights))


def leaky(x: Tensor, slope: float = 0.2) -> Tensor:
    """Smooth leaky rectifier: slope·x far below zero, x far above."""
    return 0.5 * x * (1 + slope + (1 - slope) * (2 * x.sigmoid() - 1))


def coupled(n_degrees: int, n_out: int) -> list[tuple[int, int, int]]:
    """List the degrees (l1, l2, l3) that couple."""
    ranges = ((a, b, c) for a in range(n_degrees) for b in range(n_degrees) for c in range(n_out))
    return [(a, b, c) for a, b, c in ranges if abs(a - b) <= c <= a + b]


def _even(total: int) -> bool:
    return total % 2 == 0


def _any(total: int) -> bool:
    return True


# which sums of the three degrees may couple: with an odd one parity would be lost
GROUPS = {"O(3)": _even, "SO(3)": _any}


def wigner_3j(l1: int, l2: int, l3: int) -> Tensor:
    """Coupling coefficients of e3nn, of unit Frobenius norm.

    (2 l1 + 1, 2 l2 + 1, 2 l3 + 1), float64.
    """
    try:
        from e3nn import o3
    except ImportError as error:
        raise ModuleNotFoundError(
            "`e3nn` must be installed for the architecture equiformer. Install polcalc[equiformer]."
        ) from error
    table: Tensor = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
    return table


def _added(features: Features, change: Features) -> Features:
    """Add, as far as there is a change."""
    return tuple(x + dx for x, dx in zip(features, change, strict=False))
