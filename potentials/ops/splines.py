"""Cubic splines on a uniform grid: reading them back, and tables that are learned.

A table of cubics is (K, 4, F): value = Σ_n coefficients[k, n] t^n in interval k, with t from 0 to
1. A learned table holds the K + 3 control points of a cubic B-spline: twice continuously
differentiable, as training on forces needs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

ORDERS = (1, 2, 3)  # differences that a penalty can take
SAMPLES = 8  # of a function to be fitted, per interval

# row n: the coefficients of t^n of the four basis functions that overlap in an interval, times 6
BASIS = ((1.0, 4.0, 1.0, 0.0), (-3.0, 0.0, 3.0, 0.0), (3.0, -6.0, 3.0, 0.0), (-1.0, 3.0, -3.0, 1.0))


def interpolate(coefficients: Tensor, spacing: float, length: Tensor) -> Tensor:
    """Evaluate a table at lengths (P,) from 0, those beyond its end at the end: (P, F).

    Rounding may make a length negative.
    """
    last = len(coefficients)
    x = (length / spacing).clamp(max=float(last))
    knot = x.detach().floor().clamp(0, last - 1)
    t = (x - knot).to(coefficients.dtype)[:, None]
    c0, c1, c2, c3 = coefficients[knot.long()].unbind(1)  # (P, F) each
    return c0 + t * (c1 + t * (c2 + t * c3))


class SplineTable(nn.Module):
    """Learned functions of one number, with a penalty on their roughness.

    Parameters
    ----------
    start, end : float            the range; beyond the end the functions go on as straight lines
    n_intervals : int             K
    function : (P,) -> (P, F)     what the table is fitted to at the start, by least squares
    order : 1, 2 or 3             difference of neighbouring control points that the penalty takes
    strength : float              λ, factor of the penalty

    Source: arXiv 2211.12773 asks for an encoding that is learned, continuous and smooth along the
    physical axis; grid, kernel and the form of the penalty are ours.
    """

    basis: Tensor  # (4, 4), times 6: exact in every dtype

    def __init__(
        self,
        start: float,
        end: float,
        n_intervals: int,
        function: Callable[[Tensor], Tensor],
        order: int = 2,
        strength: float = 0.0,
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise ValueError(
                f"`order` must be one of {', '.join(map(str, ORDERS))}; got {order}. Correct the"
                " spec."
            )
        if n_intervals < 1:
            raise ValueError(
                f"`n_intervals` must be at least 1; got {n_intervals}. Correct the spec."
            )
        if strength < 0:
            raise ValueError(f"`strength` must not be negative; got {strength}. Correct the spec.")
        self.start, self.n_intervals, self.order, self.strength = (
            start,
            n_intervals,
            order,
            strength,
        )
        self.spacing = (end - start) / n_intervals
        self.register_buffer("basis", torch.tensor(BASIS), persistent=False)
        self.table = nn.Parameter(self._fitted(function))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate at numbers (P,): (P, F)."""
        coefficients = self.coefficients(self.table)
        beyond = (
            torch.relu(x - (self.start + self.n_intervals * self.spacing))[:, None] / self.spacing
        )
        end_slope = coefficients[-1, 1] + 2 * coefficients[-1, 2] + 3 * coefficients[-1, 3]  # (F,)
        return interpolate(coefficients, self.spacing, x - self.start) + beyond * end_slope

    def coefficients(self, table: Tensor) -> Tensor:
        """Turn control points (K + 3, F) into cubics (K, 4, F)."""
        return torch.einsum("nb,kfb->knf", self.basis.to(table.dtype) / 6, table.unfold(0, 4, 1))

    def penalty(self) -> Tensor:
        """λ ⟨‖Δ^order T‖²⟩ / ⟨‖T‖²⟩ with the means over the control points.

        The same for a table of any scale.
        """
        difference = self.table.diff(n=self.order, dim=0)
        return self.strength * difference.square().sum(1).mean() / self.table.square().sum(1).mean()

    @torch.no_grad()
    def _fitted(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        x = torch.linspace(0.0, self.n_intervals * self.spacing, SAMPLES * self.n_intervals + 1)
        units = torch.eye(self.n_intervals + 3, dtype=torch.float64)
        design = interpolate(self.coefficients(units), self.spacing, x.double())  # (samples, K + 3)
        solution: Tensor = torch.linalg.lstsq(design, function(x + self.start).double()).solution
        return solution.to(self.basis.dtype)
