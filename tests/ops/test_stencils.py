"""Nodes and stencils: polynomials are read back exactly, twice differentiable.

Potentials on nodes: tests/contract/test_nodes.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from potentials.ops.kernels import STENCIL
from potentials.ops.splines import SplineTable
from potentials.ops.stencils import INTERVAL, Nodes

CPU = torch.device("cpu")
END = 1.0  # Å
LENGTHS = torch.tensor([0.0, 1e-3, 0.3, 4 * INTERVAL, 0.51, 0.99, 1.0], dtype=torch.float64)


@pytest.fixture
def nodes() -> Nodes:
    return Nodes(END).float()  # the matrix must not be rounded


def test_polynomials_are_read_exactly(nodes: Nodes) -> None:
    grid, found = nodes.lengths(CPU), nodes.stencil(LENGTHS, torch.float64)
    assert grid[0] == 0 and grid[-1] >= END
    assert int(found.first.min()) >= 0 and int(found.first.max()) + STENCIL <= len(grid)
    for degree in range(STENCIL):
        torch.testing.assert_close(
            found.interpolate(grid[:, None] ** degree)[:, 0], LENGTHS**degree, rtol=0, atol=1e-10
        )


def test_lengths_beyond_the_last_node_are_read_there(nodes: Nodes) -> None:
    grid, beyond = (
        nodes.lengths(CPU),
        nodes.stencil(torch.tensor([50.0], dtype=torch.float64), torch.float64),
    )
    torch.testing.assert_close(
        beyond.interpolate(grid[:, None])[0, 0], grid[-1], rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_by_the_length(check: Callable[..., bool], nodes: Nodes) -> None:
    grid = nodes.lengths(CPU)
    values = torch.stack([torch.sin(5 * grid), torch.exp(-grid)], dim=1).requires_grad_()
    length = (LENGTHS[1:-1] + 1e-4).requires_grad_()
    assert check(
        lambda length, values: nodes.stencil(length, torch.float64).interpolate(values),
        (length, values),
    )


def test_networks_of_a_cubic_spline_are_read_where_knots_are_ends_of_intervals() -> None:
    """The slope as well.

    With intervals of another length the kinks in the third derivative show.
    """
    torch.manual_seed(0)
    table = SplineTable(0.0, END, 11, lambda x: torch.sin(9 * x[:, None] + torch.arange(3)))
    table.table = torch.nn.Parameter(torch.randn_like(table.table).double())
    length = torch.linspace(0.0, END, 501, dtype=torch.float64, requires_grad=True)
    exact = torch.tanh(0.3 * table(length)).sum(1)
    (slope,) = torch.autograd.grad(exact.sum(), length, retain_graph=True)
    errors = []
    for nodes in (Nodes(END, table.spacing), Nodes(END, 0.97 * table.spacing)):
        found = (
            nodes.stencil(length, torch.float64)
            .interpolate(torch.tanh(0.3 * table(nodes.lengths(CPU))))
            .sum(1)
        )
        (found_slope,) = torch.autograd.grad(found.sum(), length)
        errors.append(
            [
                float((found - exact).detach().abs().max()),
                float((found_slope - slope).abs().max() / slope.abs().max()),
            ]
        )
    assert errors[0][0] < 1e-4 and errors[0][1] < 1e-3
    assert errors[1][0] > 10 * errors[0][0] and errors[1][1] > 10 * errors[0][1]
