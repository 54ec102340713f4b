"""Tables in place of radial filters: agreement with the network, continuity, and what lies beyond the cutoff."""

from __future__ import annotations

import copy

import pytest
import torch
from ase.build import molecule

from potentials.build import build
from potentials.graph import from_ase
from potentials.potential import Potential, predict
from potentials.splines import interpolate
from potentials.tables import TOLERANCES, TabulatedFilter, tabulate_filter, tabulated


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
    """Compare value and slope at random lengths, not at the middles where the error was measured."""
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
    table = tabulate_filter(potential.trunk.radial, network, potential.cutoff, TOLERANCES[torch.float32])
    knots = table.spacing * torch.arange(1, 100, dtype=torch.float64)
    below, above = (interpolate(table.coefficients, table.spacing, knots + step) for step in (-1e-9, 1e-9))
    torch.testing.assert_close(below, above, atol=1e-6, rtol=0)
    ends = interpolate(table.coefficients, table.spacing, torch.tensor([potential.cutoff, potential.cutoff + 3.0], dtype=torch.float64))
    torch.testing.assert_close(ends[0], ends[1], atol=0, rtol=0)
    torch.testing.assert_close(ends[:1], network(potential.trunk.radial(torch.tensor([potential.cutoff], dtype=torch.float64))))


def test_a_potential_without_filters_is_refused(potential: Potential) -> None:
    with pytest.raises(ValueError, match="radial filters"):
        tabulated(tabulated(potential)[0])
