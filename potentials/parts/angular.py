"""Door 1, continued: how an angle between two messages is encoded, for architectures with angles.

A message k -> j meets a message j -> i at point j, at an angle θ. Encodings are functions of cos θ,
not of θ, so that nothing is singular where the three points lie on a line; they come as functions
A_a(cos θ), each with functions of the length of k -> j.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from potentials.ops.splines import SplineTable
from potentials.structure.geometry import Angles, Points

BISECTIONS = 60  # of an interval of length π: to rounding in float64


class Triplets(NamedTuple):
    """Pairs of directed messages k -> j and j -> i, k not i, by their rows among 2P."""

    incoming: Tensor  # (T,) k -> j
    outgoing: Tensor  # (T,) j -> i


class AngularEncoding(Protocol):
    """What the trunk asks of an encoding of angles."""

    sizes: Mapping[str, int]  # what an architecture must know of it

    def triplets(self, points: Points) -> Triplets | None:
        """Find the messages that meet; the same before and after points moved."""

    def __call__(
        self, triplets: Triplets | None, length: Tensor, direction: Tensor
    ) -> Angles | None:
        """Encode angles, given length (P,) Å and direction (P, 3) of the pairs."""


class NoAngles(nn.Module):
    """For architectures that see no angles."""

    sizes: Mapping[str, int] = {}

    def __init__(self, cutoff: float) -> None:
        super().__init__()

    def triplets(self, points: Points) -> None:
        """Find nothing."""

    def forward(self, triplets: Triplets | None, length: Tensor, direction: Tensor) -> None:
        """Encode nothing."""


class SphericalBessel(nn.Module):
    """Encode by j_l(z_ln d/r_c) Y_l0(θ) (arXiv 2003.03123, equation 6).

    Stationary waves in a sphere.

    Parameters
    ----------
    cutoff : float       Å
    n_angular : int      A, l = 0 … A - 1
    n_spherical : int    N, roots z_ln of each j_l

    Differs: normalised to the unit ball, without the factor r_c^(-3/2), as in the public code; the
    envelope is that of the sums.
    """

    roots: Tensor  # (A, N)
    nodes: Tensor  # (Q,)
    kernel: Tensor  # (A, Q)
    scale: Tensor  # (A, N)

    def __init__(self, cutoff: float, n_angular: int = 7, n_spherical: int = 6) -> None:
        super().__init__()
        if min(n_angular, n_spherical) < 1:
            raise ValueError(
                f"`n_angular` and `n_spherical` must be at least 1; got {n_angular} and"
                f" {n_spherical}. Correct the spec."
            )
        self.cutoff, self.sizes = cutoff, {"n_angular": n_angular, "n_spherical": n_spherical}
        roots = bessel_roots(n_angular, n_spherical)
        nodes, kernel = _bessel_integral(n_angular + 1, float(roots.max()))
        # j_(l+1) at the roots of j_l
        next_ones = torch.einsum("aq,anq->an", kernel[1:], _waves(roots, nodes, first=1))
        buffers = {
            "roots": roots,
            "nodes": nodes,
            "kernel": kernel[:-1],
            "scale": math.sqrt(2.0) / next_ones.abs(),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def triplets(self, points: Points) -> Triplets:
        """Find the messages that meet, within the cutoff."""
        return find_triplets(
            points.idx_i, points.idx_j, points.envelope > 0, len(points.displacement)
        )

    def forward(self, triplets: Triplets, length: Tensor, direction: Tensor) -> Angles:
        """Encode the angles."""
        return Angles(*triplets, self.distance(length), self.angle(cosines(triplets, direction)))

    def distance(self, length: Tensor) -> Tensor:
        """√2 j_l(z_ln d/r_c) / |j_(l+1)(z_ln)| of lengths (P,) Å: (P, A, N).

        j_l(x) = ½ (-i)^l ∫ e^(ixt) P_l(t) dt over [-1, 1], by Gauss-Legendre quadrature: exact to
        rounding, without a division by a length that may be zero, and as often differentiable as
        one likes.
        """
        x = length[:, None, None] * (self.roots / self.cutoff).to(length.dtype)  # (P, A, N)
        waves = _waves(x, self.nodes.to(length.dtype))  # (P, A, N, Q)
        return torch.einsum("aq,panq->pan", self.kernel.to(length.dtype), waves) * self.scale.to(
            length.dtype
        )

    def angle(self, cosine: Tensor) -> Tensor:
        """Y_l0 = √((2l+1)/4π) P_l(cos θ) of cosines (T,): (T, A)."""
        n_angular = self.sizes["n_angular"]
        legendre = [torch.ones_like(cosine), cosine]
        for degree in range(1, n_angular - 1):
            legendre.append(
                ((2 * degree + 1) * cosine * legendre[-1] - degree * legendre[-2]) / (degree + 1)
            )
        factors = [math.sqrt((2 * degree + 1) / (4 * math.pi)) for degree in range(n_angular)]
        return torch.stack(
            [factor * values for factor, values in zip(factors, legendre, strict=False)], dim=-1
        )


class LearnedAngular(nn.Module):
    """Encode by learned functions of distance and cos θ, B-splines that start at hand-made ones.

    Parameters
    ----------
    cutoff : float             Å
    n_angular, n_spherical     as in `SphericalBessel`
    n_intervals : int          of the grid over cos θ from -1 to 1
    n_distance_intervals : int of the grid over [0, cutoff]
    order : 1, 2 or 3          difference of neighbouring control points that the penalty takes
    strength : float           λ, factor of the penalty

    Source: arXiv 2211.12773; grid, kernel and form of the penalty are ours.
    """

    def __init__(
        self,
        cutoff: float,
        n_angular: int = 7,
        n_spherical: int = 6,
        *,
        n_intervals: int = 32,
        n_distance_intervals: int = 64,
        order: int = 2,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        base = SphericalBessel(cutoff, n_angular, n_spherical)
        self.sizes = base.sizes
        self.angle = SplineTable(-1.0, 1.0, n_intervals, base.angle, order, strength)
        self.distance = SplineTable(
            0.0,
            cutoff,
            n_distance_intervals,
            lambda d: base.distance(d).flatten(1),
            order,
            strength,
        )

    def triplets(self, points: Points) -> Triplets:
        """Find the messages that meet, within the cutoff."""
        return find_triplets(
            points.idx_i, points.idx_j, points.envelope > 0, len(points.displacement)
        )

    def forward(self, triplets: Triplets, length: Tensor, direction: Tensor) -> Angles:
        """Encode the angles."""
        distance = self.distance(length).unflatten(
            1, (self.sizes["n_angular"], self.sizes["n_spherical"])
        )
        return Angles(*triplets, distance, self.angle(cosines(triplets, direction)))


ANGULAR = {"none": NoAngles, "spherical_bessel": SphericalBessel, "learned": LearnedAngular}


def find_triplets(idx_i: Tensor, idx_j: Tensor, within: Tensor, n_points: int) -> Triplets:
    """Find the messages k -> j that end where a message j -> i begins.

    Turning back to where it came from does not count.

    Parameters
    ----------
    idx_i, idx_j : (P,)   pairs, each listed once
    within : (P,)         pairs that take part; the others are beyond the cutoff
    """
    n_pairs = len(idx_i)
    rows = torch.cat([within, within]).nonzero().squeeze(1)  # (E,) of 2P directed messages
    receivers, senders = torch.cat([idx_i, idx_j])[rows], torch.cat([idx_j, idx_i])[rows]
    order, counts = receivers.argsort(stable=True), receivers.bincount(minlength=n_points)
    ending = counts[senders]  # (E,) messages that end where this one begins
    outgoing = torch.arange(len(rows), device=rows.device).repeat_interleave(ending)
    # where they stand in the order, less those before
    first = (counts.cumsum(0) - counts)[senders] - (ending.cumsum(0) - ending)
    incoming = order[torch.arange(len(outgoing), device=rows.device) + first[outgoing]]
    incoming, outgoing = rows[incoming], rows[outgoing]
    forth = (incoming - outgoing).abs() != n_pairs
    return Triplets(incoming[forth], outgoing[forth])


def cosines(triplets: Triplets, direction: Tensor) -> Tensor:
    """Cosine of the angle k-j-i of triplets, given directions (P, 3) of pairs from i to j: (T,)."""
    from_receiver = torch.cat([direction, -direction])  # (2P, 3)
    return -(from_receiver[triplets.incoming] * from_receiver[triplets.outgoing]).sum(-1)


def bessel_roots(n_angular: int, n_roots: int) -> Tensor:
    """Find the first roots z_ln > 0 of the spherical Bessel functions: (A, N), float64.

    Those of j_l lie between those of j_(l-1).
    """
    between = math.pi * torch.arange(1, n_roots + n_angular, dtype=torch.float64)  # of j_0
    nodes, kernel = _bessel_integral(n_angular, float(between[-1]))
    found = [between[:n_roots]]
    for degree in range(1, n_angular):
        low, high = between[:-1].clone(), between[1:].clone()
        sign = _bessel(low, degree, nodes, kernel).sign()
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            below = _bessel(middle, degree, nodes, kernel).sign() == sign
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        between = 0.5 * (low + high)
        found.append(between[:n_roots])
    return torch.stack(found)


def _bessel(x: Tensor, degree: int, nodes: Tensor, kernel: Tensor) -> Tensor:
    waves = torch.sin if degree % 2 else torch.cos
    return waves(x[:, None] * nodes) @ kernel[degree]


def _bessel_integral(n_angular: int, largest: float) -> tuple[Tensor, Tensor]:
    """Return nodes (Q,) and weights (A, Q) of the integrals that are spherical Bessel functions.

    With nodes t_q on [0, 1], j_l(x) = Σ_q w_lq cos or sin (x t_q) up to the largest x; the weights
    hold ±P_l.
    """
    half = 8 + math.ceil((largest + n_angular) / 4)  # the error falls as (e x / 8 half)^(4 half)
    nodes, weights = np.polynomial.legendre.leggauss(2 * half)
    nodes, weights = nodes[half:], weights[half:]
    degrees = np.arange(n_angular)
    legendre = np.polynomial.legendre.legvander(nodes, n_angular - 1).T  # (A, Q)
    sign = (-1.0) ** (degrees // 2)
    return torch.from_numpy(nodes), torch.from_numpy(sign[:, None] * legendre * weights)


def _waves(x: Tensor, nodes: Tensor, first: int = 0) -> Tensor:
    """Return cosines for even, sines for odd degrees, of x (..., A, N) times nodes: (..., A, N, Q).

    ``first`` is the degree of the first of A.
    """
    phase = x[..., None] * nodes
    odd = (torch.arange(first, first + x.shape[-2], device=x.device) % 2 == 1)[:, None, None]
    return torch.where(odd, phase.sin(), phase.cos())
