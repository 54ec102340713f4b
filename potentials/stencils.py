"""Functions of the length of a pair, evaluated on a grid of lengths and read between its nodes.

A radial filter depends on the length alone. Training on forces differentiates it twice at every pair; evaluated at a few hundred nodes
instead, where nothing depends on the positions, the network is differentiated once, and what every pair costs is an interpolation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from potentials import kernels
from potentials.kernels import STENCIL

DENOMINATOR = 2 ** (STENCIL - 1) * math.factorial(STENCIL - 1)
SPACING = 0.0125  # Å between nodes; filters of 32 Gaussians within 4.5 Å are off by 2e-6 of their largest value, slopes by 4e-5


class Stencil(NamedTuple):
    """Where each pair lies between the nodes: Lagrange's polynomial of degree `STENCIL` - 1 through the nearest."""

    first: Tensor  # (P,) int64
    weights: Tensor  # (P, K), a function of the length

    def interpolate(self, values: Tensor) -> Tensor:
        """Read functions given at the nodes (G, F) at the lengths of the pairs: (P, F)."""
        return kernels.interpolate(self.first, self.weights, values)


class Nodes(nn.Module):
    """A grid of lengths from 0 to ``end`` Å and a little beyond."""

    matrix: Tensor

    def __init__(self, end: float) -> None:
        super().__init__()
        self.count = max(int(end / SPACING) + 2, STENCIL)  # G
        self.register_buffer("matrix", _lagrange(), persistent=False)  # of integers, which change of dtype leaves alone

    def lengths(self, device: torch.device) -> Tensor:
        """Return the grid (G,) Å, float64."""
        return SPACING * torch.arange(self.count, dtype=torch.float64, device=device)

    def stencil(self, length: Tensor, dtype: torch.dtype) -> Stencil:
        """Find the nodes around each length (P,) Å, float64, and their weights; lengths beyond the last node are read there."""
        x = length.clamp(max=(self.count - 1) * SPACING) / SPACING
        first = (x.detach().long() - (STENCIL // 2 - 1)).clamp(0, self.count - STENCIL)
        u = x - first - (STENCIL - 1) / 2  # from the middle of the stencil
        powers = [torch.ones_like(u), u]
        while len(powers) < STENCIL:
            powers.append(powers[-1] * u)
        weights = torch.stack(powers, dim=1) @ (self.matrix.double() / DENOMINATOR)
        return Stencil(first, weights.to(dtype))


def _lagrange() -> Tensor:
    """Coefficients of Lagrange's basis polynomials times `DENOMINATOR`, lowest power first, a column for each: (K, K) int64."""
    places = torch.arange(STENCIL, dtype=torch.float64) - (STENCIL - 1) / 2
    basis: Tensor = torch.linalg.inv(torch.stack([places**n for n in range(STENCIL)], dim=1))
    numerators: Tensor = (DENOMINATOR * basis).round().long()
    return numerators
