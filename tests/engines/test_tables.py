"""Tables in place of radial filters.

Agreement with the network, continuity, and what lies beyond the cutoff.
"""

from __future__ import annotations

import copy

import pytest
import torch
from ase.build import molecule
from torch import Tensor, nn

from polcalc.engines.tables import (
    CELLS,
    MAX_OF_CELL,
    TOLERANCES,
    TabulatedFilter,
    tabulate_by_cells,
    tabulate_filter,
    tabulated,
)
from potentials.build import build
from potentials.ops.splines import interpolate
from potentials.potential import Potential, predict
from potentials.structure.graph import from_ase


@pytest.fixture
def potential() -> Potential:
    torch.manual_seed(3)
    spec = {"cutoff": 4.5, "architecture": {"name": "tensornet", "channels": 16, "n_layers": 2}}
    return build(spec).double().eval()


def test_every_filter_is_replaced_and_the_original_is_left_alone(potential: Potential) -> None:
    before = copy.deepcopy(potential.state_dict())
    result, _ = tabulated(potential)
    assert sum(isinstance(m, TabulatedFilter) for m in result.modules()) == 3
    assert not any(isinstance(m, TabulatedFilter) for m in potential.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in potential.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stated_error_holds_everywhere(potential: Potential, dtype: torch.dtype) -> None:
    """Compare at random lengths, not at the middles where the error was measured."""
    network = potential.trunk.architecture.layers[0].filter.network
    table = tabulate_filter(potential.trunk.radial, network, potential.cutoff, TOLERANCES[dtype])
    length = (potential.cutoff * torch.rand(2000, dtype=torch.float64)).requires_grad_()
    exact = network(potential.trunk.radial(length))
    approximate = interpolate(table.coefficients, table.spacing, length)
    scale = exact.abs().max()
    assert table.error.value <= TOLERANCES[dtype][0]
    assert (approximate - exact).abs().max() <= 1.5 * TOLERANCES[dtype][0] * scale
    channel = 5
    slopes = [torch.autograd.grad(x[:, channel].sum(), length)[0] for x in (approximate, exact)]
    assert (slopes[0] - slopes[1]).abs().max() <= 20 * TOLERANCES[dtype][1] * slopes[1].abs().max()


def test_table_and_network_give_the_same_energy_and_forces(potential: Potential) -> None:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=2)
    graph = from_ase(atoms, potential.cutoff)
    expected, result = predict(potential, graph), predict(tabulated(potential)[0], graph)
    torch.testing.assert_close(result.energy, expected.energy, atol=1e-9, rtol=0)
    torch.testing.assert_close(result.forces, expected.forces, atol=1e-8, rtol=0)


def test_table_is_continuous_at_its_knots_and_constant_beyond_its_end(potential: Potential) -> None:
    network = potential.trunk.architecture.layers[0].filter.network
    table = tabulate_filter(
        potential.trunk.radial, network, potential.cutoff, TOLERANCES[torch.float32]
    )
    knots = table.spacing * torch.arange(1, 100, dtype=torch.float64)
    below, above = (
        interpolate(table.coefficients, table.spacing, knots + step) for step in (-1e-9, 1e-9)
    )
    torch.testing.assert_close(below, above, atol=1e-6, rtol=0)
    ends = interpolate(
        table.coefficients,
        table.spacing,
        torch.tensor([potential.cutoff, potential.cutoff + 3.0], dtype=torch.float64),
    )
    torch.testing.assert_close(ends[0], ends[1], atol=0, rtol=0)
    torch.testing.assert_close(
        ends[:1],
        network(potential.trunk.radial(torch.tensor([potential.cutoff], dtype=torch.float64))),
    )


class Bump(nn.Module):
    """A smooth function with a steep place, and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(0.31, dtype=torch.float64))

    def forward(self, length: Tensor) -> Tensor:
        return torch.stack(
            [torch.cos(length) + torch.exp(-(((length - self.at) / 0.02) ** 2)), torch.sin(length)],
            dim=1,
        )


def test_cells_are_fine_where_a_function_is_steep_and_the_error_holds_everywhere() -> None:
    bump, cutoff, tolerance = Bump(), 4.5, (1e-6, 1e-5)
    (coefficients, other), counts, error = tabulate_by_cells(
        [bump, copy.deepcopy(bump)], cutoff, tolerance
    )
    assert (
        len(counts) == CELLS
        and len(coefficients) == sum(counts) == error.intervals
        and torch.equal(coefficients, other)
    )
    steep = int(0.31 / cutoff * CELLS)
    assert counts[steep] == max(counts) >= 16 * max(counts[2 * steep + 1 :])
    length = (cutoff * torch.rand(4000, dtype=torch.float64)).requires_grad_()
    cell = (length.detach() / cutoff * CELLS).long()
    number = (length / cutoff * CELLS - cell) * torch.tensor(counts)[cell]
    at = coefficients[torch.tensor([0, *counts]).cumsum(0)[cell] + number.detach().long()]
    t = (number - number.detach().floor())[:, None]
    found, exact = at[:, 0] + t * (at[:, 1] + t * (at[:, 2] + t * at[:, 3])), bump(length)
    assert error.value <= tolerance[0] and error.slope <= tolerance[1]
    assert (found - exact).abs().max() <= 1.5 * tolerance[0] * exact.abs().max()
    slopes = [
        torch.autograd.grad(x[:, 0].sum(), length, retain_graph=True)[0] for x in (found, exact)
    ]
    assert (slopes[0] - slopes[1]).abs().max() <= 20 * tolerance[1] * slopes[1].abs().max()


def test_a_steep_wall_does_not_make_what_lies_beyond_it_coarse() -> None:
    """Filters reach thousands where no two atoms are; errors elsewhere are held against others."""

    def wall(length: Tensor) -> Tensor:
        return (1e3 * torch.exp(-((length / 0.1) ** 2)) + torch.sin(10 * length))[:, None]

    [coefficients], counts, _ = tabulate_by_cells([wall], 4.5, (1e-6, 1e-5))
    first = sum(counts[: CELLS // 4])  # from here on the wall is gone
    spacing = torch.repeat_interleave(4.5 / CELLS / torch.tensor(counts), torch.tensor(counts))
    middle = (spacing.cumsum(0) - 0.5 * spacing)[first:]
    found = coefficients[first:, :, 0] @ torch.tensor([1, 0.5, 0.25, 0.125], dtype=torch.float64)
    assert (found - torch.sin(10 * middle)).abs().max() <= 1e-6


def test_cells_have_an_end() -> None:
    step = nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Linear(1, 1), nn.Threshold(0.5, 0.0)).double()
    nn.init.ones_(step[1].weight)
    nn.init.zeros_(step[1].bias)  # a jump at 0.5 Å
    counts = tabulate_by_cells([step], 4.5, (1e-6, 1e-5)).counts
    assert max(counts) == MAX_OF_CELL and counts[-1] == 1


def test_a_potential_without_filters_is_refused(potential: Potential) -> None:
    with pytest.raises(ValueError, match="radial filters"):
        tabulated(tabulated(potential)[0])
