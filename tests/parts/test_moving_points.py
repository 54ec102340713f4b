"""Moving points: their definition, their limits, and what the user sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from torch import Tensor
from torch.testing import assert_close

from polcalc import PolarizedCalculator
from polcalc.engines.tables import tabulated
from potentials.build import build
from potentials.checkpoint import Card, save
from potentials.potential import Potential, at_pairs, predict
from potentials.structure.geometry import rounded_unit_vectors, unit_vectors
from potentials.structure.graph import AtomicGraph, from_ase
from tests.contract.structures import graph_of, tiny_crystal, triclinic_crystal

LINKS = ("paired", "full")
MAX_DISPLACEMENT = 0.3  # Å


def make(
    links: str, weight: float = 1.0, architecture: str = "tensornet", **points: Any
) -> Potential:
    """A random potential whose points move far."""
    torch.manual_seed(2)
    spec = {
        "cutoff": 3.0,
        "architecture": {"name": architecture, "channels": 6, "n_layers": 3},
        "radial": {"name": "exp_normal", "n_radial": 6},
        "points": {
            "name": "moving",
            "links": links,
            "max_displacement": MAX_DISPLACEMENT,
            **points,
        },
    }
    potential = build(spec).double()
    with torch.no_grad():
        potential.trunk.points.weights.normal_().mul_(weight)
    return potential


def moved(potential: Potential, graph: AtomicGraph) -> Tensor:
    """The displacements (N, 3) Å."""
    displacement = predict(potential, graph).polarization
    assert displacement is not None
    return displacement


@pytest.mark.parametrize("links", LINKS)
def test_points_that_do_not_move_are_the_base_model_with_doubled_points(links: str) -> None:
    """The reference has two atoms in one place, and the pairs of the definition written out.

    It knows no moving points.
    """
    potential, atoms = make(links, weight=0.0), molecule("CH3OH")
    plain = build(dict(potential.spec) | {"points": {"name": "fixed"}}).double()
    plain.load_state_dict(
        {name: w for name, w in potential.state_dict().items() if "points" not in name}
    )
    one, n = from_ase(atoms, 3.0), len(atoms)
    blocks = [(0, 0), (n, n)] + ([(0, n), (n, 0)] if links == "full" else [])
    two = from_ase(atoms + atoms, 3.0)._replace(
        idx_i=torch.cat([one.idx_i + a for a, _ in blocks] + [torch.arange(n)]),
        idx_j=torch.cat([one.idx_j + b for _, b in blocks] + [torch.arange(n) + n]),
        shift=torch.zeros(len(blocks) * len(one.idx_i) + n, 3, dtype=torch.float64),
    )
    features, _ = plain.trunk(two, _vectors(two), at_pairs)
    mean = features._replace(scalars=0.5 * (features.scalars[:n] + features.scalars[n:]))
    expected = plain.terms[0](one, mean, {})["energies"]
    assert_close(predict(potential, one).energies, expected, rtol=0.0, atol=1e-12)
    assert not moved(potential, one).any()


@pytest.mark.parametrize("links", LINKS)
def test_displacements_are_bounded_and_enter_the_energy(links: str) -> None:
    graph = from_ase(molecule("CH3OH"), 3.0)
    potential, still = make(links, weight=100.0), make(links, weight=0.0)
    lengths = moved(potential, graph).norm(dim=1)
    assert float(lengths.max()) > 0.5 * MAX_DISPLACEMENT
    assert float(lengths.max()) < MAX_DISPLACEMENT
    assert float((predict(potential, graph).energy - predict(still, graph).energy).abs()) > 1e-6


@pytest.mark.parametrize("links", LINKS)
@pytest.mark.parametrize(("name", "center"), [("CH4", 0), ("CO2", 0), ("SF6", 0)])
def test_a_symmetric_site_is_not_polarized(name: str, center: int, links: str) -> None:
    atoms = (
        Atoms("SF6", [[0, 0, 0], *(1.56 * np.vstack([np.eye(3), -np.eye(3)]))])
        if name == "SF6"
        else molecule(name)
    )
    displacement = moved(make(links), from_ase(atoms, 3.0))
    assert float(displacement[center].norm()) < 1e-13
    assert float(displacement.norm(dim=1).max()) > 1e-3  # the others are


@pytest.mark.parametrize("links", LINKS)
def test_forces_are_smooth_where_points_meet(links: str) -> None:
    """The carbon of methane goes through the centre, where its two points meet.

    Forces change with the step, and evenly.
    """
    potential, atoms = make(links), molecule("CH4")

    def forces(x: float) -> Tensor:
        shifted = atoms.copy()
        shifted.positions[0] += [x, 0.4 * x, -0.7 * x]
        found = predict(potential, from_ase(shifted, 3.0)).forces
        assert found is not None
        return found

    center = forces(0.0)
    for step in (1e-3, 1e-4, 1e-5):
        ahead, behind = forces(step), forces(-step)
        assert float((ahead - center).abs().max()) > 1e-3 * step
        assert float((ahead - behind).abs().max()) < 1e3 * step  # continuous
        # no kink: a kink would be of order step
        assert float((ahead + behind - 2 * center).abs().max()) < 1e4 * step**2 + 1e-12


def test_envelopes_are_those_of_the_atoms() -> None:
    """Points of atoms out of reach do not see each other, however near they come."""
    apart = Atoms("OHOH", [[0, 0, 0], [0, 0.9, 0.2], [3.01, 0, 0], [3.3, 0.8, 0.0]])
    apart.positions[2:, 0] += 0.3
    potential = make("full", weight=100.0)
    together, alone = (
        predict(potential, from_ase(apart, 3.0)),
        predict(potential, from_ase(apart[:2], 3.0)),
    )
    assert_close(together.energies[:2], alone.energies, rtol=0.0, atol=1e-12)


def test_rounded_lengths() -> None:
    """Exact beyond the radius, zero at zero, three derivatives continuous at the radius."""
    vectors = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors = (
        vectors
        / vectors.norm(dim=1, keepdim=True)
        * torch.linspace(0, 2, 200, dtype=torch.float64)[:, None]
    )
    length, direction = rounded_unit_vectors(vectors, 0.5)
    exact, unit = unit_vectors(vectors)
    far = exact >= 0.5
    assert_close(length[far], exact[far], rtol=1e-14, atol=0.0)
    assert_close(direction[far], unit[far], rtol=1e-14, atol=1e-15)
    assert not length[0].any()
    assert (direction.norm(dim=1) <= 1 + 1e-12).all()
    assert (length.diff() > 0).all()
    sides = torch.tensor([0.5 - 1e-7, 0.5 + 1e-7], dtype=torch.float64, requires_grad=True)
    value = rounded_unit_vectors(
        sides[:, None] * torch.tensor([1.0, 0, 0], dtype=torch.float64), 0.5
    )[0]
    for _ in range(3):
        (value,) = torch.autograd.grad(value.sum(), sides, create_graph=True)
        assert_close(value[0].detach(), value[1].detach(), rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("crystal", [triclinic_crystal, tiny_crystal])
@pytest.mark.parametrize("links", LINKS)
def test_periodic_images_move_alike(links: str, crystal: Any) -> None:
    potential, atoms = make(links), crystal()
    one, two = (moved(potential, graph_of(a, 3.0)) for a in (atoms, atoms.repeat((2, 1, 1))))
    assert float(one.norm(dim=1).max()) > 1e-3
    assert_close(two, one.repeat(2, 1), rtol=0.0, atol=1e-12)


def test_the_penalty_is_the_mean_square() -> None:
    points = make("paired", penalty=0.3).trunk.points
    displacement = torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.2, 0.2]], dtype=torch.float64)
    assert float(points.restraint(displacement).detach()) == pytest.approx(0.3 * (0.01 + 0.08) / 2)


@pytest.mark.parametrize(
    "wrong", [{"links": "nonsense"}, {"max_displacement": 0.0}, {"penalty": -1.0}]
)
def test_impossible_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(**{"links": "paired"} | wrong)


@pytest.mark.parametrize("radial", ["exp_normal", "gaussian", "learned"])
def test_tables_reach_as_far_as_points_can(radial: str) -> None:
    """Two atoms just inside the cutoff whose points are farther apart than it."""
    spec = dict(make("full").spec)
    spec["radial"] = {"name": radial, "n_radial": 6}
    potential = build(spec).double()
    with torch.no_grad():
        potential.trunk.points.weights.normal_(generator=torch.Generator().manual_seed(0)).mul_(
            100.0
        )
    graph = from_ase(Atoms("OHOH", [[0, 0, 0], [0, 0.9, 0.2], [2.7, 0, 0], [2.9, 0.8, 0.0]]), 3.0)
    expected, found = predict(potential, graph), predict(tabulated(potential)[0], graph)
    assert_close(found.energies, expected.energies, rtol=0.0, atol=1e-8)
    assert_close(found.forces, expected.forces, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("engine", ["auto", "tabulated", "eager"])
def test_the_calculator_shows_them(engine: str, tmp_path: Path) -> None:
    potential, atoms = make("paired"), molecule("CH3OH")
    save(
        tmp_path / "model.pt",
        potential,
        Card(name="moving", elements=[1, 6, 8], states=[[0, 1, 1]]),
    )
    atoms.calc = PolarizedCalculator(str(tmp_path / "model.pt"), device="cpu", engine=engine)
    atoms.get_potential_energy()
    expected = moved(potential, from_ase(atoms, 3.0)).numpy()
    assert np.abs(expected).max() > 1e-3
    assert np.allclose(atoms.calc.polarization_vectors, expected, atol=1e-5)
    assert np.allclose(atoms.calc.virtual_points, atoms.positions + expected, atol=1e-5)


def _vectors(graph: AtomicGraph) -> Tensor:
    return graph.positions[graph.idx_j] - graph.positions[graph.idx_i]
