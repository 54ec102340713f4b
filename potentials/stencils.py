"""Functions of the length of a pair, evaluated on a grid of lengths and read between its nodes.

A radial filter depends on the length alone. Training on forces differentiates it twice at every pair; evaluated at a few hundred nodes
instead, where nothing depends on the positions, the network is differentiated once, and what every pair costs is an interpolation.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from potentials import kernels
from potentials.kernels import STENCIL

SPACING = 0.0125  # Å between nodes; filters of 32 Gaussians within 4.5 Å are off by 2e-6 of their largest value, slopes by 4e-5


class Stencil(NamedTuple):
    """Where each pair lies between the nodes: Lagrange's polynomial of degree `STENCIL` - 1 through the nearest."""

    first: Tensor  # (P,) int64
    weights: Tensor  # (P, K), a function of the length

    def interpolate(self, values: Tensor) -> Tensor:
        """Read functions given at the nodes (G, F) at the lengths of the pairs: (P, F)."""
        return kernels.interpolate(self.first, self.weights, values)


def nodes(end: float, device: torch.device) -> Tensor:
    """Place nodes from 0 to ``end`` Å and a little beyond: (G,) float64."""
    return SPACING * torch.arange(max(int(end / SPACING) + 2, STENCIL), dtype=torch.float64, device=device)


def stencil(length: Tensor, n_nodes: int, dtype: torch.dtype) -> Stencil:
    """Find the nodes around each length (P,) Å, float64, and their weights; lengths beyond the last node are read there."""
    x = length.clamp(max=(n_nodes - 1) * SPACING) / SPACING
    first = (x.detach().long() - (STENCIL // 2 - 1)).clamp(0, n_nodes - STENCIL)
    u = x - first - (STENCIL - 1) / 2  # from the middle of the stencil
    powers = [torch.ones_like(u), u]
    for _ in range(2, STENCIL):
        powers.append(powers[-1] * u)
    weights = torch.stack(powers, dim=1) @ _lagrange(u.device)
    return Stencil(first, weights.to(dtype))


@cache
def _lagrange(device: torch.device) -> Tensor:
    """Coefficients of Lagrange's basis polynomials, lowest power first, a column for each: (K, K) float64."""
    places = torch.arange(STENCIL, dtype=torch.float64) - (STENCIL - 1) / 2
    return torch.linalg.inv(torch.stack([places**n for n in range(STENCIL)], dim=1)).to(device)
