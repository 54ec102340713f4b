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
    while True:
        knots = torch.linspace(0.0, cutoff, intervals + 1, dtype=torch.float64, device=device)
        cubics = _cubics(lambda length: network(radial(length)), knots[:-1], knots[1:])
        error = TableError(intervals, *(cubics.errors.amax(0) / cubics.largest.amax(0)).tolist())
        if (
            error.value <= tolerance[0] and error.slope <= tolerance[1]
        ) or intervals >= MAX_INTERVALS:
            return Table(cubics.coefficients, cutoff / intervals, error)
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
    known: list[dict[int, _Cubics]] = [{} for _ in functions]  # by cell
    coarse = list(range(CELLS))
    while True:
        left, right = _intervals(coarse, counts, cutoff)
        sizes = [counts[cell] for cell in coarse]
        for cubics, function in zip(known, functions, strict=True):
            new = _cubics(function, left, right)
            cubics.update(zip(coarse, _split(new, sizes), strict=True))
        joined = [_join([cubics[cell] for cell in range(CELLS)]) for cubics in known]
        errors = torch.stack([_relative(cubics) for cubics in joined]).amax(0)  # (K, 2)
        cell_of = torch.arange(CELLS).repeat_interleave(torch.tensor(counts))  # (K,)
        inexact = cell_of[(errors > torch.tensor(tolerance)).any(1)].unique().tolist()
        coarse = [cell for cell in inexact if counts[cell] < MAX_OF_CELL]
        if not coarse:
            error = TableError(len(cell_of), *errors.amax(0).tolist())
            return Cells([cubics.coefficients for cubics in joined], counts, error)
        for cell in coarse:
            counts[cell] *= 2


class _Cubics(NamedTuple):
    """Cubics between two knots each, their errors in the middle, and what these are relative to."""

    coefficients: Tensor  # (K, 4, F)
    errors: Tensor  # (K, 2) largest of value and slope
    largest: Tensor  # (K, 2) value and slope in the middle


def _intervals(cells: Sequence[int], counts: Sequence[int], cutoff: float) -> tuple[Tensor, Tensor]:
    """Return where the intervals of some cells begin and end (K,)."""
    ends = [
        (cell + torch.arange(counts[cell] + 1, dtype=torch.float64) / counts[cell]) / CELLS * cutoff
        for cell in cells
    ]
    return torch.cat([end[:-1] for end in ends]), torch.cat([end[1:] for end in ends])


def _split(cubics: _Cubics, sizes: list[int]) -> list[_Cubics]:
    return [_Cubics(*part) for part in zip(*(field.split(sizes) for field in cubics), strict=True)]


def _join(parts: Sequence[_Cubics]) -> _Cubics:
    return _Cubics(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _relative(cubics: _Cubics) -> Tensor:
    """Divide errors by the largest value and slope in the same interval or beyond it: (K, 2)."""
    return cubics.errors / cubics.largest.flip(0).cummax(0).values.flip(0)


def _cubics(function: Function, begin: Tensor, end: Tensor) -> _Cubics:
    """Fit cubics to values and slopes of a function at both ends of intervals (K,)."""
    spacing = (end - begin)[:, None]  # (K, 1)
    values, slopes = _sample(function, torch.cat([begin, end, 0.5 * (begin + end)]))
    left, right, exact = values.chunk(3)  # (K, F) each
    left_slope, right_slope, exact_slope = slopes.chunk(3)
    left_slope, right_slope = spacing * left_slope, spacing * right_slope
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


def _sample(function: Function, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return values and slopes (N, F), these as the derivative of a backward pass by its input."""
    with torch.enable_grad():
        lengths = lengths.detach().requires_grad_()
        values = function(lengths)
        cotangent = torch.zeros_like(values, requires_grad=True)
        (pulled,) = torch.autograd.grad(values, lengths, cotangent, create_graph=True)
        (slopes,) = torch.autograd.grad(pulled, cotangent, torch.ones_like(pulled))
    return values.detach(), slopes
