"""Tables in place of radial filters: a function of one number needs no network at inference.

Each `RadialFilter` is sampled, with its derivative, from the network in float64 on a uniform grid over [0, longest distance], and read back
by cubic Hermite interpolation: value and slope are exact at the knots and continuous everywhere. The grid is refined until the
largest errors between the knots, relative to the largest value and slope, are below a stated bound.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from potentials.geometry import Edges
from potentials.potential import Potential
from potentials.radial import RadialFilter
from potentials.splines import interpolate

TOLERANCES = {torch.float32: (1e-6, 1e-5), torch.float64: (1e-10, 1e-7)}  # value, slope; float32: below the network's rounding
MAX_INTERVALS = 16384


class TableError(NamedTuple):
    """Largest error between the knots, over all filters, relative to the largest value and slope."""

    intervals: int
    value: float
    slope: float


class Table(NamedTuple):
    """Cubic polynomials on a uniform grid: value = Σ_n coefficients[k, n] t^n with length = (k + t) · spacing."""

    coefficients: Tensor  # (K, 4, F)
    spacing: float  # Å
    error: TableError


class TabulatedFilter(nn.Module):
    """The table of a filter, called like the filter.

    Parameters
    ----------
    table : Table
    n_parts : int      T
    """

    coefficients: Tensor

    def __init__(self, table: Table, n_parts: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("coefficients", table.coefficients.to(dtype))
        self.spacing, self.n_parts = table.spacing, n_parts

    def forward(self, edges: Edges) -> tuple[Tensor, Tensor]:
        """Return the filter of each pair (P, T, C) and that of a self loop, at length zero (T, C)."""
        values = interpolate(self.coefficients, self.spacing, edges.length)
        return values.view(len(values), self.n_parts, -1), self.coefficients[0, 0].view(self.n_parts, -1)


def tabulate_filter(radial: nn.Module, network: nn.Module, cutoff: float, tolerance: tuple[float, float]) -> Table:
    """Tabulate ``network(radial(length))`` over [0, cutoff], with as many intervals as the tolerance (value, slope) asks for."""
    radial, network = copy.deepcopy(radial).double(), copy.deepcopy(network).double()
    intervals = 512
    while True:
        table = _hermite(radial, network, cutoff, intervals)
        if (table.error.value <= tolerance[0] and table.error.slope <= tolerance[1]) or intervals >= MAX_INTERVALS:
            return table
        intervals *= 2


def tabulated(potential: Potential) -> tuple[Potential, TableError]:
    """Copy a potential with every radial filter replaced by its table; return the largest errors with it.

    Raises
    ------
    ValueError   the potential has no radial filter
    """
    result = copy.deepcopy(potential)
    dtype, errors = potential.dtype, []
    end = potential.cutoff + potential.trunk.points.reach  # Å
    for parent in list(result.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, RadialFilter):
                table = tabulate_filter(result.trunk.radial, child.network, end, TOLERANCES[dtype])
                setattr(parent, name, TabulatedFilter(table, child.n_parts, dtype).to(table.coefficients.device))
                errors.append(table.error)
    if not errors:
        raise ValueError("`potential` must own radial filters to be tabulated; got none. Use the eager engine.")
    return result, TableError(*(max(values) for values in zip(*errors, strict=True)))


def _hermite(radial: nn.Module, network: nn.Module, cutoff: float, intervals: int) -> Table:
    device = next(network.parameters()).device
    spacing = cutoff / intervals
    knots = torch.linspace(0.0, cutoff, intervals + 1, dtype=torch.float64, device=device)
    middles = knots[:-1] + 0.5 * spacing
    values, slopes = _sample(radial, network, knots)
    exact, exact_slopes = _sample(radial, network, middles)
    left, right, slope_left, slope_right = values[:-1], values[1:], spacing * slopes[:-1], spacing * slopes[1:]
    c2 = 3 * (right - left) - 2 * slope_left - slope_right
    c3 = 2 * (left - right) + slope_left + slope_right
    coefficients = torch.stack([left, slope_left, c2, c3], dim=1)  # (K, 4, F)
    middle = left + 0.5 * slope_left + 0.25 * c2 + 0.125 * c3
    middle_slope = (slope_left + c2 + 0.75 * c3) / spacing
    error = TableError(intervals, _relative(middle, exact), _relative(middle_slope, exact_slopes))
    return Table(coefficients, spacing, error)


def _sample(radial: nn.Module, network: nn.Module, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Values (K, F) and slopes (K, F) of the filter; the slopes as the derivative of a backward pass by its input."""
    with torch.enable_grad():
        lengths = lengths.detach().requires_grad_()
        values = network(radial(lengths))
        cotangent = torch.zeros_like(values, requires_grad=True)
        (pulled,) = torch.autograd.grad(values, lengths, cotangent, create_graph=True)
        (slopes,) = torch.autograd.grad(pulled, cotangent, torch.ones_like(pulled))
    return values.detach(), slopes


def _relative(approximation: Tensor, exact: Tensor) -> float:
    return float((approximation - exact).abs().max() / exact.abs().max())
