"""TensorNet: Cartesian tensors of rank 0 to 2 (arXiv 2306.06482), charge and spin (2403.15073).

Every point carries, per channel, a real 3x3 matrix X = I + A + S: isotropic, antisymmetric,
symmetric traceless. It is kept as nine components in an orthonormal basis of matrices, components
first: X is (9, M, C), split 1 + 3 + 5, so that the squared Frobenius norm is a plain sum of
squares.

    symbol of the paper          here
    e(d)                         edges.radial
    φ(d)                         edges.envelope (applied by the neighbour sums) and inside e(d)
    f^I, f^A, f^S                the three parts of a RadialFilter
    a (state factor)              factor
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from potentials.ops.kernels import PART, matrix_product, symmetric_product
from potentials.parts.radial import RadialFilter
from potentials.structure.geometry import Edges, neighbor_convolution, neighbor_embedding

SIZES = (1, 3, 5)  # components of I, A and S


class Hidden(NamedTuple):
    """Tensor features of all points."""

    tensors: Tensor  # (9, M, C)


class TensorNet(nn.Module):
    """Embedding, interaction layers and read-out to scalars.

    Parameters
    ----------
    channels : int        C
    n_layers : int
    n_radial : int        R, length of the radial encoding
    group : "O(3)" or "SO(3)"   whether reflections are respected by construction
    """

    uses_state_factor = True
    compiled = True
    angular = ""
    for_vectors: ClassVar[dict[str, int]] = {}
    n_silent = 0  # layers before which there is no vector: the embedding sees the neighbours

    def __init__(self, channels: int, n_layers: int, n_radial: int, group: str = "O(3)") -> None:
        super().__init__()
        if group not in PRODUCTS:
            raise ValueError(
                f"`group` must be one of {', '.join(PRODUCTS)}; got {group!r}. Correct the spec."
            )
        self.channels = self.n_vectors = channels
        self.n_invariants = 3 * channels
        self.n_layers, self.group = n_layers, group
        self.embedding = Embedding(channels, n_radial)
        self.layers = nn.ModuleList(Interaction(channels, n_radial, group) for _ in range(n_layers))
        self.norm = nn.LayerNorm(3 * channels)
        self.output = nn.Linear(3 * channels, channels)

    def start(self, scalars: Tensor, edges: Edges) -> Hidden:
        """Embed points by their species scalars (M, C) and their neighbours."""
        return Hidden(self.embedding(scalars, edges))

    def scalars(self, hidden: Hidden) -> Tensor:
        """Read out x = SiLU(W LayerNorm[3ι² ⊕ ‖A‖ ⊕ ‖S‖] + b): (M, C)."""
        return nn.functional.silu(self.output(self.norm(self.invariants(hidden))))

    def invariants(self, hidden: Hidden) -> Tensor:
        """Return 3ι² ⊕ ‖A‖ ⊕ ‖S‖: (M, 3C), none negative."""
        return torch.cat([part.sum(0) for part in hidden.tensors.square().split(SIZES)], dim=-1)

    def add(self, hidden: Hidden, scalars: Tensor) -> Hidden:
        """Add scalars (M, C) to the isotropic parts."""
        return Hidden(torch.cat([hidden.tensors[:1] + scalars, hidden.tensors[1:]]))

    def vectors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Mix the vectors of the antisymmetric parts by weights (C,): (M, 3)."""
        return (hidden.tensors[1:4] @ weights).T

    def tensors(self, hidden: Hidden, edges: Edges, weights: Tensor) -> Tensor:
        """Mix the symmetric traceless parts by weights (C,): (M, 3, 3)."""
        return symmetric_matrices((hidden.tensors[4:] @ weights).T)


class Embedding(nn.Module):
    """X_i = Σ_j Z_ij (f^I·1 + f^A·[u]_× + f^S·(u uᵀ - ⅓)), gated by its norms.

    The self loop has u = 0.
    """

    def __init__(self, channels: int, n_radial: int) -> None:
        super().__init__()
        self.pair = nn.Linear(2 * channels, channels)
        self.filter = RadialFilter(nn.Linear(n_radial, 3 * channels), n_parts=3)
        self.norm = nn.LayerNorm(channels)
        self.gates = nn.Sequential(
            nn.Linear(channels, 2 * channels),
            nn.SiLU(),
            nn.Linear(2 * channels, 3 * channels),
            nn.SiLU(),
        )
        self.mix = Mixing(channels)

    def forward(self, scalars: Tensor, edges: Edges) -> Tensor:
        """Return the first tensors (9, M, C)."""
        tensors = self.neighborhood(scalars, edges)
        norm = self.norm(tensors.square().sum(0))  # (M, C)
        gates: Tensor = self.gates(norm).view(len(norm), 3, -1)  # (M, 3, C)
        gated: Tensor = gates.transpose(0, 1)[list(PART)] * self.mix(tensors)
        return gated

    def neighborhood(self, scalars: Tensor, edges: Edges) -> Tensor:
        """Sum the pair tensors over the neighbours and the self loop."""
        filters, filter_self = self.filter(edges)  # (P, 3, C), (3, C)
        central, neighbor = self.pair.weight.chunk(2, dim=1)
        from_central = nn.functional.linear(scalars, central, self.pair.bias)  # (M, C)
        from_neighbor = nn.functional.linear(scalars, neighbor)
        species = torch.stack([from_central, from_neighbor])  # Z_ij is the sum of the two
        tensors = neighbor_embedding(
            filters, tensor_harmonics(edges.direction), species, edges
        )  # (9, M, C)
        # u = 0: only I remains
        at_self = math.sqrt(3.0) * filter_self[0] * (from_central + from_neighbor)
        return torch.cat([tensors[:1] + at_self, tensors[1:]])


class Interaction(nn.Module):
    """One message-passing layer, in the seven steps of the paper."""

    def __init__(self, channels: int, n_radial: int, group: str) -> None:
        super().__init__()
        self.filter = RadialFilter(
            nn.Sequential(
                nn.Linear(n_radial, channels),
                nn.SiLU(),
                nn.Linear(channels, 2 * channels),
                nn.SiLU(),
                nn.Linear(2 * channels, 3 * channels),
                nn.SiLU(),
            ),
            n_parts=3,
        )
        self.mix_in = Mixing(channels)
        self.mix_out = Mixing(channels)
        self.product = PRODUCTS[group]

    def forward(self, hidden: Hidden, edges: Edges, factor: Tensor) -> Hidden:
        """Update the tensors; ``factor`` (M, 1 or C) is the charge and spin factor a."""
        filters, filter_self = self.filter(edges)  # step 1: (P, 3, C), (3, C)
        x = normalize(hidden.tensors)  # step 2
        y = self.mix_in(x)  # step 3
        messages = neighbor_convolution(filters, y, edges)  # step 4, without
        messages = messages + filter_self[list(PART)][:, None] * y  # and with the self loop
        c = normalize(self.product(y, messages, factor))  # steps 5 and 6
        delta = self.mix_out(c)
        return Hidden(x + delta + factor * matrix_product(delta, delta))  # step 7

    @torch.no_grad()
    def silence(self) -> None:
        """Normalise tensors alone, yet: for a model that goes on from another."""
        self.mix_out.weight.zero_()


class Mixing(nn.Module):
    """Mix the channels of I, A and S by a matrix each, without bias."""

    channel_axis = 2  # of its weights

    def __init__(self, channels: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(channels)  # as nn.Linear starts
        self.weight = nn.Parameter(torch.empty(3, channels, channels).uniform_(-bound, bound))

    def forward(self, tensors: Tensor) -> Tensor:
        """Return (9, M, C)."""
        return torch.bmm(tensors, self.weight[list(PART)].transpose(1, 2))


def normalize(tensors: Tensor) -> Tensor:
    """Divide by ‖X‖ + 1, the squared Frobenius norm."""
    return tensors * (1 / (tensors.square().sum(0) + 1))


def tensor_harmonics(direction: Tensor) -> Tensor:
    """Components of 1, [u]_× and u uᵀ - ⅓ (traceless also where u = 0): (P, 3) -> (P, 9)."""
    x, y, z = direction.unbind(-1)
    root2 = math.sqrt(2.0)
    return torch.stack(
        [
            torch.full_like(x, math.sqrt(3.0)),
            root2 * x,
            root2 * y,
            root2 * z,
            root2 * x * y,
            root2 * y * z,
            (2 * z * z - x * x - y * y) / math.sqrt(6.0),
            root2 * x * z,
            (x * x - y * y) / root2,
        ],
        dim=-1,
    )


def symmetric_matrices(components: Tensor) -> Tensor:
    """Make matrices (M, 3, 3) of the last five components (M, 5) of `tensor_harmonics`."""
    root2, root6 = math.sqrt(2.0), math.sqrt(6.0)
    xy, yz, zz, xz, xx_yy = components.unbind(-1)
    rows = [
        [xx_yy / root2 - zz / root6, xy / root2, xz / root2],
        [xy / root2, -xx_yy / root2 - zz / root6, yz / root2],
        [xz / root2, yz / root2, 2 * zz / root6],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _symmetric(y: Tensor, m: Tensor, factor: Tensor) -> Tensor:
    return factor * symmetric_product(y, m)


def _one_sided(y: Tensor, m: Tensor, factor: Tensor) -> Tensor:
    return 2 * matrix_product(y, m)  # the factor acts in step 7 alone, as in the public code


PRODUCTS = {"O(3)": _symmetric, "SO(3)": _one_sided}
