"""Tables in place of radial filters: a function of one number needs no network at inference.

Each `RadialFilter` is sampled, with its derivative, from the network in float64 on a uniform grid
over [0, longest distance], and read back by cubic Hermite interpolation: value and slope are exact
at the knots and continuous everywhere. The grid is refined until the largest errors between the
knots, relative to the largest value and slope, are below a stated bound.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from potentials.ops.splines import interpolate
from potentials.parts.radial import RadialFilter
from potentials.potential import Potential
from potentials.structure.geometry import Edges

Function = Callable[[Tensor], Tensor]  # lengths (N,) to values (N, F)
# value, slope; float32: below the network's rounding
TOLERANCES = {torch.float32: (1e-6, 1e-5), torch.float64: (1e-10, 1e-7)}
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

    def filter_at(length: Tensor) -> Tensor:
        values: Tensor = network(radial(length))
        return values

    knots = torch.linspace(0.0, cutoff, intervals + 1, dtype=torch.float64, device=device)
    samples = _sample(filter_at, knots)
    while True:
        spacing = cutoff / intervals
        middles = spacing * (torch.arange(intervals, dtype=torch.float64, device=device) + 0.5)
        samples = _woven(samples, _sample(filter_at, middles))
        cubics = _cubics(samples, spacing)
        error = TableError(intervals, *(cubics.errors.amax(0) / cubics.largest.amax(0)).tolist())
        if (
            error.value <= tolerance[0] and error.slope <= tolerance[1]
        ) or intervals >= MAX_INTERVALS:
            return Table(cubics.coefficients, spacing, error)
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
    functions: Sequence[Function], cutoff: float, tolerance: tuple[float, float]
) -> Cells:
    """Tabulate functions of a length over [0, cutoff], each cell as finely as the tolerance asks.

    The tolerance is that of value and slope, relative to the largest at this length or beyond. A
    network may be steep at lengths that no two atoms have: those must not say how coarse the
    others may be, and fine there alone, what is read in a run stays small enough for the caches.
    """
    counts = [1] * CELLS
    ends = torch.arange(CELLS + 1, dtype=torch.float64) / CELLS * cutoff
    at_ends = [_sample(function, ends) for function in functions]
    # of each function and cell
    sampled = [[_Samples(*(x[c : c + 2] for x in both)) for c in range(CELLS)] for both in at_ends]
    known: list[dict[int, _Cubics]] = [{} for _ in functions]
    coarse = list(range(CELLS))
    while True:
        sizes = [counts[cell] for cell in coarse]
        middles = torch.cat([_middles(cell, counts[cell], cutoff) for cell in coarse])
        for samples, cubics, function in zip(sampled, known, functions, strict=True):
            new = (x.split(sizes) for x in _sample(function, middles))
            for cell, *both in zip(coarse, *new, strict=True):
                samples[cell] = _woven(samples[cell], _Samples(*both))
                cubics[cell] = _cubics(samples[cell], cutoff / CELLS / counts[cell])
        ordered = [[cubics[cell] for cell in range(CELLS)] for cubics in known]
        errors = torch.stack([_relative(cubics) for cubics in ordered]).amax(0)  # (K, 2)
        cell_of = torch.arange(CELLS).repeat_interleave(torch.tensor(counts))  # (K,)
        inexact = cell_of[(errors > torch.tensor(tolerance)).any(1)].unique().tolist()
        coarse = [cell for cell in inexact if counts[cell] < MAX_OF_CELL]
        if not coarse:
            error = TableError(len(cell_of), *errors.amax(0).tolist())
            tables = [torch.cat([part.coefficients for part in cubics]) for cubics in ordered]
            return Cells(tables, counts, error)
        for cell in coarse:
            counts[cell] *= 2


class _Samples(NamedTuple):
    """A function at the ends and in the middle of K intervals, or at the ends alone."""

    values: Tensor  # (2 K + 1, F), or (K + 1, F)
    slopes: Tensor  # likewise


class _Cubics(NamedTuple):
    """Cubics between two knots each, their errors in the middle, and what these are relative to."""

    coefficients: Tensor  # (K, 4, F)
    errors: Tensor  # (K, 2) largest of value and slope
    largest: Tensor  # (K, 2) value and slope in the middle


def _middles(cell: int, count: int, cutoff: float) -> Tensor:
    """Return the middles of the intervals of a cell (K,)."""
    within = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return (cell + within) / CELLS * cutoff


def _woven(ends: _Samples, middles: _Samples) -> _Samples:
    """Put samples in the middle of intervals between those at their ends.

    They are the ends of intervals half as wide: nothing is evaluated twice.
    """
    woven = []
    for old, new in zip(ends, middles, strict=True):
        both = old.new_empty(len(old) + len(new), old.shape[1])
        both[::2], both[1::2] = old, new
        woven.append(both)
    return _Samples(*woven)


def _relative(cells: Sequence[_Cubics]) -> Tensor:
    """Divide errors by the largest value and slope in the same interval or beyond it: (K, 2)."""
    largest = torch.cat([cell.largest for cell in cells])
    return torch.cat([cell.errors for cell in cells]) / largest.flip(0).cummax(0).values.flip(0)


def _cubics(samples: _Samples, spacing: float) -> _Cubics:
    """Fit cubics to values and slopes at both ends of intervals of one width in Å."""
    values, slopes = samples
    left, exact, right = values[:-1:2], values[1::2], values[2::2]  # (K, F) each
    left_slope, exact_slope = spacing * slopes[:-1:2], slopes[1::2]
    right_slope = spacing * slopes[2::2]
    c2 = 3 * (right - left) - 2 * left_slope - right_slope
    c3 = 2 * (left - right) + left_slope + right_slope
    middle = left + 0.5 * left_slope + 0.25 * c2 + 0.125 * c3
    middle_slope = (left_slope + c2 + 0.75 * c3) / spacing
    errors = (middle - exact).abs().amax(1), (middle_slope - exact_slope).abs().amax(1)
    return _Cubics(
        torch.stack([left, left_slope, c2, c3], dim=1),
        torch.stack(errors, dim=1),
        torch.stack([exact.abs().amax(1), exact_slope.abs().amax(1)], dim=1),
    )


def _sample(function: Function, lengths: Tensor) -> _Samples:
    """Return values and slopes (N, F), these as the derivative of a backward pass by its input.

    Sums need no gradients of outputs, for which torch would import its algebra of shapes.
    """
    with torch.enable_grad():
        lengths = lengths.detach().requires_grad_()
        values = function(lengths)
        cotangent = torch.zeros_like(values, requires_grad=True)
        (pulled,) = torch.autograd.grad((values * cotangent).sum(), lengths, create_graph=True)
        (slopes,) = torch.autograd.grad(pulled.sum(), cotangent)
    return _Samples(values.detach(), slopes)
