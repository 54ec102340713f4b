"""Functions of the length of a pair, evaluated on a grid of lengths and read between its nodes.

A radial filter depends on the length alone. Training on forces differentiates it twice at every
pair; evaluated at a few hundred nodes instead, where nothing depends on the positions, the network
is differentiated once, and what every pair costs is an interpolation.

The grid is cut into intervals, and a pair reads the nodes of its own interval alone: where the
knots of a learned table are the ends of intervals, no polynomial crosses the kink in the third
derivative of a cubic spline.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from potentials.ops import kernels
from potentials.ops.kernels import STENCIL

ROUNDING = 1e-9  # of a length that is a whole number of intervals
DENOMINATOR = 2 ** (STENCIL - 1) * math.factorial(STENCIL - 1)
N_PIECES = STENCIL - 1  # of an interval, with a node at either end
# Å; 32 exp-normal functions within 4.5 Å are off by 1e-6 of their largest value, slopes by 1e-4
INTERVAL = 0.07


class Stencil(NamedTuple):
    """Where each pair lies between the nodes.

    Lagrange's polynomial of degree `STENCIL` - 1 through those of its interval.
    """

    first: Tensor  # (P,) int64
    weights: Tensor  # (P, K), a function of the length

    def interpolate(self, values: Tensor) -> Tensor:
        """Read functions given at the nodes (G, F) at the lengths of the pairs: (P, F)."""
        return kernels.interpolate(self.first, self.weights, values)


class Nodes(nn.Module):
    """A grid of lengths from 0 to ``end`` Å or a little beyond.

    Parameters
    ----------
    end : float        Å
    knots : float      Å between kinks of the functions to be read: a whole number of intervals;
                       without kinks `INTERVAL`
    """

    matrix: Tensor

    def __init__(self, end: float, knots: float = INTERVAL) -> None:
        super().__init__()
        self.interval = knots / max(round(knots / INTERVAL), 1)
        self.n_intervals = math.ceil(end / self.interval * (1 - ROUNDING))
        self.count = self.n_intervals * N_PIECES + 1  # G
        # of integers, which change of dtype leaves alone
        self.register_buffer("matrix", _lagrange(), persistent=False)

    def lengths(self, device: torch.device) -> Tensor:
        """Return the grid (G,) Å, float64."""
        return (
            self.interval / N_PIECES * torch.arange(self.count, dtype=torch.float64, device=device)
        )

    def stencil(self, length: Tensor, dtype: torch.dtype) -> Stencil:
        """Find the interval of each length (P,) Å, float64, and the weights of its nodes.

        Lengths beyond the last node are read there.
        """
        x = length.clamp(max=self.n_intervals * self.interval) / self.interval
        place = x.detach().long().clamp(max=self.n_intervals - 1)
        u = (x - place - 0.5) * N_PIECES  # from the middle of the interval
        powers = [torch.ones_like(u), u]
        while len(powers) < STENCIL:
            powers.append(powers[-1] * u)
        weights = torch.stack(powers, dim=1) @ (self.matrix.double() / DENOMINATOR)
        return Stencil(place * N_PIECES, weights.to(dtype))


def _lagrange() -> Tensor:
    """Tabulate the coefficients of Lagrange's basis polynomials times `DENOMINATOR`: (K, K) int64.

    A column for each polynomial, its lowest power first.
    """
    places = torch.arange(STENCIL, dtype=torch.float64) - (STENCIL - 1) / 2
    basis: Tensor = torch.linalg.inv(torch.stack([places**n for n in range(STENCIL)], dim=1))
    numerators: Tensor = (DENOMINATOR * basis).round().long()
    return numerators
