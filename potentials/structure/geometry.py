"""What must be true for every potential.

Pair vectors, safe lengths and directions, the envelope, and the sums over neighbours.

A pair (i, j) is listed once and acts both ways: ``direction`` points from i to j and is reversed
for the message j <- i. Only the ``neighbor_…`` sums lead from pairs to points, and only `angle_sum`
from pairs to pairs; all of them apply the envelope. The envelope is a function of the atom-atom
distance, also where the points of a pair have moved.

Directed quantities have 2P rows: first all i <- j, then all j <- i.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from potentials.ops import kernels
from potentials.ops.stencils import Stencil
from potentials.structure.graph import AtomicGraph


class Points(NamedTuple):
    """Interaction sites of one layer and the pairs between them."""

    displacement: Tensor  # (M, 3) Å, from the nucleus of the owning atom
    idx_i: Tensor  # (P,)
    idx_j: Tensor  # (P,)
    vector: Tensor  # (P, 3) Å, from point i to point j
    envelope: Tensor  # (P,) of the distance between the owning atoms


class Angles(NamedTuple):
    """Messages k -> j that end where a message j -> i begins, and the encoding of their angle.

    Rows count 2P directed messages.
    """

    incoming: Tensor  # (T,) k -> j
    outgoing: Tensor  # (T,) j -> i, not the reverse
    distance: Tensor  # (P, A, N) functions of the length of a pair
    angle: Tensor  # (T, A) functions of the angle k-j-i


class Edges(NamedTuple):
    """Pairs of points as a layer sees them, in the dtype of the network (the length in float64)."""

    idx_i: Tensor  # (P,)
    idx_j: Tensor  # (P,)
    direction: Tensor  # (P, 3) unit vectors from i to j
    length: Tensor  # (P,) Å, float64
    envelope: Tensor  # (P,)
    # (P + 1, R) encoding of the length; the first row is that of zero length, for self loops
    radial: Tensor
    n_points: int
    angles: Angles | None = None  # for architectures that see angles
    stencil: Stencil | None = (
        None  # where ``radial`` is at nodes (G, R), from zero length on, and not at the pairs
    )

    @property
    def receivers(self) -> Tensor:
        """Receiving point of each directed message, (2P,)."""
        return torch.cat([self.idx_i, self.idx_j])

    @property
    def senders(self) -> Tensor:
        """Sending point of each directed message, (2P,)."""
        return torch.cat([self.idx_j, self.idx_i])

    @property
    def directions(self) -> Tensor:
        """Direction of each directed message, from receiver to sender, (2P, 3)."""
        return torch.cat([self.direction, -self.direction])


def at(values: Tensor, indices: Tensor) -> Tensor:
    """Rows of values (M, ...) at indices (P,).

    The same as plain indexing, with the cheaper backward.
    """
    return values.index_select(0, indices)


def pair_vectors(graph: AtomicGraph) -> Tensor:
    """Compute r_ij of every pair: (P, 3) Å, float64."""
    offset = torch.einsum("pa,pab->pb", graph.shift, graph.cell[graph.batch[graph.idx_i]])
    return at(graph.positions, graph.idx_j) - at(graph.positions, graph.idx_i) + offset


def safe_norm(vectors: Tensor) -> Tensor:
    """Length along the last axis, with gradient zero (not NaN) at zero."""
    squared = (vectors * vectors).sum(-1)
    at_zero = squared == 0
    return squared.masked_fill(at_zero, 1.0).sqrt().masked_fill(at_zero, 0.0)


def unit_vectors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Length (P,) and direction (P, 3) of vectors; both 0 at zero, where the direction jumps."""
    length = safe_norm(vectors)
    return length, vectors / length.masked_fill(length == 0, 1.0)[:, None]


def rounded_unit_vectors(vectors: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Return length (P,) and direction (P, 3), both smooth for short vectors, and 0 at zero.

    Within the radius 1/|v| is replaced by its Taylor polynomial in |v|² about the radius, to third
    order: no square root of zero, no kink where two points meet, three continuous derivatives
    everywhere, and beyond the radius nothing changes.
    """
    x = (vectors * vectors).sum(-1) / radius**2
    inside = x < 1
    y = x.masked_fill(~inside, 1.0) - 1
    polynomial = 1 + y * (-1 / 2 + y * (3 / 8 + y * (-5 / 16)))
    inverse = torch.where(inside, polynomial, x.masked_fill(inside, 1.0).rsqrt()) / radius  # 1/Å
    return x * radius**2 * inverse, vectors * inverse[:, None]


def cosine_envelope(length: Tensor, cutoff: float) -> Tensor:
    """½(cos(πd/r_c) + 1) inside the cutoff, 0 outside (arXiv 2306.06482)."""
    return torch.where(length < cutoff, 0.5 * torch.cos(torch.pi / cutoff * length) + 0.5, 0.0)


def polynomial_envelope(length: Tensor, cutoff: float) -> Tensor:
    """(1 - x)³(1 + 3x + 6x²), twice differentiable at the cutoff.

    Written so that float32 never goes below zero.
    """
    x = (length / cutoff).clamp(max=1.0)
    return (1 - x) ** 3 * (1 + 3 * x + 6 * x * x)


ENVELOPES = {"cosine": cosine_envelope, "polynomial": polynomial_envelope}


def neighbor_sum(messages: Tensor, edges: Edges) -> Tensor:
    """Sum directed messages over the neighbours of each point, weighted by the cutoff envelope.

    Parameters
    ----------
    messages : (2P, ...)  first i <- j of every pair, then j <- i
    edges : Edges         the envelope is 0 at and beyond the cutoff

    Returns
    -------
    (M, ...)              0 for a point without neighbours
    """
    envelope = torch.cat([edges.envelope, edges.envelope]).view(
        -1, *(1,) * (messages.ndim - 1)
    )  # (2P, 1...)
    weighted = messages * envelope
    return weighted.new_zeros(edges.n_points, *weighted.shape[1:]).index_add(
        0, edges.receivers, weighted
    )


def neighbor_softmax(scores: Tensor, edges: Edges) -> Tensor:
    """Return weights of attention e^s_ij / (1 + Σ_k φ_ik e^s_ik), for `neighbor_sum`.

    The sum brings the envelope of the numerator.

    The 1 lets a point attend to nothing: without it the last neighbour on its way out would keep
    weight 1 and then jump to 0.

    Parameters
    ----------
    scores : (2P, H)

    Returns
    -------
    (2P, H)
    """
    receivers = edges.receivers
    nothing = scores.new_zeros(edges.n_points, scores.shape[1])
    largest = nothing.scatter_reduce(
        0, receivers[:, None].expand_as(scores), scores.detach(), "amax"
    )  # (M, H), at least 0
    weights = torch.exp(scores - at(largest, receivers))
    return weights / at(torch.exp(-largest) + neighbor_sum(weights, edges), receivers)


def neighbor_vectors(messages: Tensor, weights: Tensor, edges: Edges) -> Tensor:
    """Sum directions to the neighbours times their messages (2P, C), mixed by weights: (M, 3)."""
    return neighbor_sum(edges.directions * (messages @ weights)[:, None], edges)


def neighbor_tensors(messages: Tensor, weights: Tensor, edges: Edges) -> Tensor:
    """Sum u uᵀ - ⅓ of the directions times their messages (2P, C), mixed by weights: (M, 3, 3)."""
    shapes = traceless(edges.directions[:, :, None] * edges.directions[:, None, :])
    return neighbor_sum(shapes * (messages @ weights)[:, None, None], edges)


def traceless(tensors: Tensor) -> Tensor:
    """Take a third of the trace off the diagonal: (..., 3, 3)."""
    identity = torch.eye(3, dtype=tensors.dtype, device=tensors.device)
    third = tensors.diagonal(dim1=-2, dim2=-1).mean(-1)
    return tensors - third[..., None, None] * identity


def angle_sum(messages: Tensor, edges: Edges) -> Tensor:
    """Sum over the messages k -> j that end where a message j -> i begins, with envelope of k-j.

    Parameters
    ----------
    messages : (T, C)   for each two messages that meet, in the order of ``edges.angles``

    Returns
    -------
    (2P, C)             0 for a message that starts at a point without other neighbours
    """
    assert edges.angles is not None
    incoming, outgoing = edges.angles.incoming, edges.angles.outgoing
    weighted = messages * edges.envelope[incoming % max(len(edges.idx_i), 1)][:, None]
    return weighted.new_zeros(2 * len(edges.idx_i), messages.shape[1]).index_add(
        0, outgoing, weighted
    )


def neighbor_convolution(filters: Tensor, values: Tensor, edges: Edges) -> Tensor:
    """Sum filter times neighbour value, y_i = Σ_j φ_ij f_ij ⊙ x_j, with the same filter both ways.

    Parameters
    ----------
    filters : (P, 3, C)   for the isotropic, antisymmetric and symmetric components
    values : (9, M, C)    components first

    Returns
    -------
    (9, M, C)
    """
    result: Tensor = kernels.convolve(edges.envelope, filters, values, edges.idx_i, edges.idx_j)
    return result


def neighbor_embedding(filters: Tensor, harmonics: Tensor, species: Tensor, edges: Edges) -> Tensor:
    """Sum filter times harmonic times species factor, y_i = Σ_j φ_ij f_ij ⊙ Y(u_ij) ⊙ (c_i + n_j).

    Parameters
    ----------
    filters : (P, 3, C)   for the isotropic, antisymmetric and symmetric components
    harmonics : (P, 9)    of the direction from i to j
    species : (2, M, C)   c and n

    Returns
    -------
    (9, M, C)
    """
    return kernels.embed_pairs(
        filters, harmonics * edges.envelope[:, None], species, edges.idx_i, edges.idx_j
    )


def structure_sum(values: Tensor, graph: AtomicGraph) -> Tensor:
    """Sum per-atom values (N, ...) over each structure: (S, ...)."""
    return values.new_zeros(graph.n_structures, *values.shape[1:]).index_add(0, graph.batch, values)
