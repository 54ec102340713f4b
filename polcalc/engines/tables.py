"""Tables in place of radial filters: a function of one number needs no network at inference.

Each `RadialFilter` is sampled, with its derivative, from the network in float64 on a uniform grid
over [0, longest distance], and read back by cubic Hermite interpolation: value and slope are exact
at the knots and continuous everywhere. The grid is refined until the largest errors between the
knots, relative to the largest value and slope, are below a stated bound.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from potentials.ops.splines import interpolate
from potentials.parts.radial import RadialFilter
from potentials.potential import Potential
from potentials.structure.geometry import Edges

TOLERANCES = {
    torch.float32: (1e-6, 1e-5),
    torch.float64: (1e-10, 1e-7),
}  # value, slope; float32: below the network's rounding
MAX_INTERVALS = 16384
CELLS = 72  # of a grid that is finer in some of them
MAX_OF_CELL = 1024  # intervals


class TableError(NamedTuple):
    """Largest error between the knots, over all filters, relative to largest value and slope."""

    intervals: int
    value: float
    slope: float


class Table(NamedTuple):
    """Cubic polynomials on a uniform grid.

    Value = Σ_n coefficients[k, n] t^n with length = (k + t) · spacing.
    """

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
        """Return the filter of each pair (P, T, C) and that at length zero (T, C)."""
        values = interpolate(self.coefficients, self.spacing, edges.length)  # (P, T C)
        # named sizes, not -1: of no pairs torch could not tell them
        parts = self.n_parts, values.shape[1] // self.n_parts
        return values.view(len(values), *parts), self.coefficients[0, 0].view(parts)


def tabulate_filter(
    radial: nn.Module, network: nn.Module, cutoff: float, tolerance: tuple[float, float]
) -> Table:
    """Tabulate ``network(radial(length))`` over [0, cutoff], as finely as the tolerance asks for.

    The tolerance is that of value and slope.
    """
    radial, network = copy.deepcopy(radial).double(), copy.deepcopy(network).double()
    device = next(network.parameters()).device
    intervals = 512
    while True:
        made = _hermite(
            radial,
            network,
            torch.linspace(0.0, cutoff, intervals + 1, dtype=torch.float64, device=device),
        )
        error = TableError(
            intervals, float(made.value_errors.max()), float(made.slope_errors.max())
        )
        if (
            error.value <= tolerance[0] and error.slope <= tolerance[1]
        ) or intervals >= MAX_INTERVALS:
            return Table(made.coefficients, cutoff / intervals, error)
        intervals *= 2


def tabulated(potential: Potential) -> tuple[Potential, TableError]:
    """Copy a potential with every radial filter replaced by its table.

    Return the largest errors with it.

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
                setattr(
                    parent,
                    name,
                    TabulatedFilter(table, child.n_parts, dtype).to(table.coefficients.device),
                )
                errors.append(table.error)
    if not errors:
        raise ValueError(
            "`potential` must own radial filters to be tabulated; got none. Use the eager engine."
        )
    return result, TableError(*(max(values) for values in zip(*errors, strict=True)))


class Cells(NamedTuple):
    """Cubics of several functions on one grid, in each of `CELLS` parts as fine as it must be."""

    coefficients: list[Tensor]  # (K, 4, F) of each function, by the position in the interval
    counts: list[int]  # intervals of each cell; K in all
    error: TableError


def tabulate_by_cells(
    networks: Sequence[nn.Module], cutoff: float, tolerance: tuple[float, float]
) -> Cells:
    """Tabulate functions of a length over [0, cutoff], each cell as finely as the tolerance asks.

    A network may be steep at lengths that no two atoms have. Fine there alone, what is read in a
    run stays small enough for the caches.
    """
    counts = torch.ones(CELLS, dtype=torch.long)
    while True:
        inner = [
            (cell + torch.arange(n, dtype=torch.float64) / n) * (cutoff / CELLS)
            for cell, n in enumerate(counts.tolist())
        ]
        knots = torch.cat([*inner, torch.tensor([cutoff], dtype=torch.float64)])
        made = [_hermite(nn.Identity(), network, knots) for network in networks]
        value, slope = (
            torch.stack([m.value_errors for m in made]).amax(0),
            torch.stack([m.slope_errors for m in made]).amax(0),
        )  # (K,)
        cell_of = torch.arange(CELLS).repeat_interleave(counts)
        coarse = torch.zeros(CELLS, dtype=torch.bool)
        coarse[cell_of[(value > tolerance[0]) | (slope > tolerance[1])]] = True
        coarse &= counts < MAX_OF_CELL
        if not coarse.any():
            error = TableError(len(cell_of), float(value.max()), float(slope.max()))
            return Cells([m.coefficients for m in made], counts.tolist(), error)
        counts = torch.where(coarse, 2 * counts, counts)


class _Cubics(NamedTuple):
    """Cubics between knots, and their errors in the middle, relative to largest value and slope."""

    coefficients: Tensor  # (K, 4, F)
    value_errors: Tensor  # (K,)
    slope_errors: Tensor  # (K,)


def _hermite(radial: nn.Module, network: nn.Module, knots: Tensor) -> _Cubics:
    spacing = knots.diff()[:, None]  # (K, 1)
    values, slopes = _sample(radial, network, knots)
    exact, exact_slopes = _sample(radial, network, knots[:-1] + 0.5 * spacing[:, 0])
    left, right, slope_left, slope_right = (
        values[:-1],
        values[1:],
        spacing * slopes[:-1],
        spacing * slopes[1:],
    )
    c2 = 3 * (right - left) - 2 * slope_left - slope_right
    c3 = 2 * (left - right) + slope_left + slope_right
    coefficients = torch.stack([left, slope_left, c2, c3], dim=1)  # (K, 4, F)
    middle = left + 0.5 * slope_left + 0.25 * c2 + 0.125 * c3
    middle_slope = (slope_left + c2 + 0.75 * c3) / spacing
    return _Cubics(coefficients, _relative(middle, exact), _relative(middle_slope, exact_slopes))


def _sample(radial: nn.Module, network: nn.Module, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Values (K, F) and slopes (K, F) of the filter.

    The slopes as the derivative of a backward pass by its input.
    """
    with torch.enable_grad():
        lengths = lengths.detach().requires_grad_()
        values = network(radial(lengths))
        cotangent = torch.zeros_like(values, requires_grad=True)
        (pulled,) = torch.autograd.grad(values, lengths, cotangent, create_graph=True)
        (slopes,) = torch.autograd.grad(pulled, cotangent, torch.ones_like(pulled))
    return values.detach(), slopes


def _relative(approximation: Tensor, exact: Tensor) -> Tensor:
    return (approximation - exact).abs().amax(1) / exact.abs().max()
