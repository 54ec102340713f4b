"""Learned tables: the splines against SciPy's, the start, the penalty, and training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule
from scipy.interpolate import BSpline
from torch.testing import assert_close

from polcalc.engines.tables import TOLERANCES, tabulated
from potentials.build import build
from potentials.ops.splines import SplineTable
from potentials.parts.radial import BASES, LearnedEncoding
from potentials.potential import predict
from potentials.structure.graph import from_ase
from potentials.training.loss import parameter_groups, penalties

LEARNED: dict[str, Any] = {"name": "learned", "n_radial": 8, "strength": 0.1}
SPEC: dict[str, Any] = {
    "cutoff": 4.5,
    "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2},
    "radial": LEARNED,
}


def table_of(
    start: float = 0.0, end: float = 4.5, n_intervals: int = 10, **options: Any
) -> SplineTable:
    """A table of random control points."""
    table = SplineTable(
        start, end, n_intervals, lambda x: x[:, None].repeat(1, 4), **options
    ).double()
    torch.nn.init.normal_(table.table, generator=torch.Generator().manual_seed(1))
    return table


@pytest.mark.parametrize("start", [0.0, -1.0])
def test_agrees_with_scipy(start: float) -> None:
    """Values and two derivatives, inside the range."""
    end, n = 4.5, 10
    table = table_of(start, end, n)
    knots = start + (end - start) / n * np.arange(-3, n + 4)
    expected = BSpline(knots, table.table.detach().numpy(), 3)
    x = torch.linspace(start, end - 1e-9, 137, dtype=torch.float64).requires_grad_()
    (first,) = torch.autograd.grad(table(x)[:, 2].sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    points = x.detach().numpy()
    assert_close(table(x).detach(), torch.as_tensor(expected(points)), rtol=0.0, atol=1e-12)
    assert_close(
        first.detach(), torch.as_tensor(expected.derivative(1)(points)[:, 2]), rtol=0.0, atol=1e-11
    )
    assert_close(
        second, torch.as_tensor(expected.derivative(2)(points)[:, 2]), rtol=0.0, atol=1e-10
    )


def test_goes_on_straight_beyond_its_end() -> None:
    """A point that has moved may be farther than the cutoff.

    Value and slope must not jump there.
    """
    table = table_of()
    x = torch.tensor([4.5 - 1e-8, 4.5 + 1e-8, 5.0, 5.5], dtype=torch.float64, requires_grad=True)
    values = table(x)
    (slopes,) = torch.autograd.grad(values[:, 0].sum(), x)
    assert_close(values[0], values[1], rtol=0.0, atol=1e-6)
    assert_close(slopes, slopes[:1].expand(4), rtol=1e-6, atol=0.0)
    assert_close(values[3] - values[2], values[2] - values[1], rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("base", BASES)
def test_starts_at_its_base(base: str) -> None:
    """64 intervals of cubics follow 8 functions of the base to a thousandth."""
    length = torch.linspace(0.0, 4.5, 1001)
    learned, exact = LearnedEncoding(4.5, 8, base=base)(length), BASES[base](4.5, 8)(length)
    assert float(((learned - exact).abs().max() / exact.abs().max()).detach()) < 1e-3


@pytest.mark.parametrize("order", [1, 2, 3])
def test_penalty(order: int) -> None:
    """Against numpy; free of scale; zero for what its order does not see."""
    table = table_of(order=order, strength=0.3)
    control = table.table.detach().numpy()
    expected = (
        0.3 * (np.diff(control, order, axis=0) ** 2).sum(1).mean() / (control**2).sum(1).mean()
    )
    assert float(table.penalty().detach()) == pytest.approx(expected, rel=1e-12)
    with torch.no_grad():
        table.table.mul_(100.0)
        assert float(table.penalty().detach()) == pytest.approx(expected, rel=1e-12)
        table.table.copy_((torch.arange(13.0) ** (order - 1))[:, None].expand(-1, 4))
        assert float(table.penalty().detach()) < 1e-20
        table.table.copy_((torch.arange(13.0) ** order)[:, None].expand(-1, 4))
        assert float(table.penalty().detach()) > 1e-9


@pytest.mark.parametrize(
    "wrong",
    [{"order": 4}, {"order": 0}, {"n_intervals": 0}, {"strength": -1.0}, {"base": "nonsense"}],
)
def test_impossible_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        build(SPEC | {"radial": LEARNED | wrong})


def test_the_penalty_is_trained_and_replaces_weight_decay() -> None:
    potential = build(SPEC)
    plain, tables = parameter_groups(potential)
    assert penalties(potential).detach() > 0
    assert tables["weight_decay"] == 0.0
    assert [p is potential.trunk.radial.splines.table for p in tables["params"]] == [True]
    assert len(plain["params"]) + 1 == sum(p.requires_grad for p in potential.parameters())
    assert len(parameter_groups(build(SPEC | {"radial": {"name": "exp_normal"}}))) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_filters_on_a_learned_encoding_are_tabulated(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    potential = build(SPEC).to(dtype)
    graph = from_ase(molecule("CH3CH2OH"), 4.5)
    table, error = tabulated(potential)
    assert error.value <= TOLERANCES[dtype][0]
    expected, found = predict(potential, graph), predict(table, graph)
    atol = {torch.float32: 1e-5, torch.float64: 1e-8}[dtype]
    assert_close(found.energies, expected.energies, rtol=0.0, atol=atol)
    assert_close(found.forces, expected.forces, rtol=0.0, atol=10 * atol)
