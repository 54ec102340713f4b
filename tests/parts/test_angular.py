"""Encodings of angles: against SciPy, the triplets against loops, and what is learned."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.special import eval_legendre, spherical_jn
from torch.testing import assert_close

from potentials.build import build
from potentials.parts.angular import (
    ANGULAR,
    LearnedAngular,
    SphericalBessel,
    bessel_roots,
    cosines,
    find_triplets,
)
from potentials.potential import Potential, predict
from potentials.training.loss import parameter_groups, penalties
from tests.architectures.reference_architectures import bessel_roots as roots_of
from tests.contract.structures import ALL, graph_of

SPEC: dict[str, Any] = {
    "cutoff": 3.0,
    "architecture": {"name": "dimenetpp", "channels": 8, "n_layers": 2},
    "radial": {"name": "learned", "n_radial": 6, "strength": 0.1},
    "angular": {"name": "learned", "n_angular": 4, "n_spherical": 3, "strength": 0.2},
}


def make(**changes: Any) -> Potential:
    torch.manual_seed(1)
    return build(SPEC | changes).double()


def test_roots() -> None:
    expected = torch.tensor([roots_of(degree, 6) for degree in range(7)], dtype=torch.float64)
    assert_close(bessel_roots(7, 6), expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_waves_are_those_of_scipy(dtype: torch.dtype) -> None:
    """At zero too, where a division by the length would fail."""
    encoding, d = SphericalBessel(5.0), np.linspace(0.0, 5.0, 61)
    found = encoding.distance(torch.tensor(d, dtype=dtype))
    for degree in range(7):
        z = encoding.roots[degree].numpy()
        expected = (
            spherical_jn(degree, z * d[:, None] / 5.0)
            * np.sqrt(2)
            / np.abs(spherical_jn(degree + 1, z))
        )
        atol = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
        assert_close(found[:, degree].double(), torch.as_tensor(expected), rtol=0.0, atol=atol)


def test_waves_are_orthonormal_in_the_unit_ball() -> None:
    """∫ over the ball of two waves is 1 where both their numbers agree, else 0.

    The norm of the paper.
    """
    encoding = SphericalBessel(1.0, 4, 3)
    nodes, weights = (torch.as_tensor(x) for x in np.polynomial.legendre.leggauss(60))
    x = 0.5 * (nodes + 1)
    distance, angle = encoding.distance(x), encoding.angle(nodes)  # (Q, A, N), (Q, A)
    overlap = torch.einsum("q,qan,qbm->anbm", 0.5 * weights * x * x, distance, distance)
    overlap = (
        overlap * torch.einsum("q,qa,qb->ab", 2 * np.pi * weights, angle, angle)[:, None, :, None]
    )
    assert_close(overlap.reshape(12, 12), torch.eye(12, dtype=torch.float64), rtol=0.0, atol=1e-10)


def test_harmonics_are_those_of_scipy() -> None:
    cosine = torch.linspace(-1, 1, 21, dtype=torch.float64)
    for n_angular in (1, 2, 7):
        found = SphericalBessel(5.0, n_angular).angle(cosine)
        degrees = np.arange(n_angular)
        expected = np.sqrt((2 * degrees + 1) / (4 * np.pi)) * eval_legendre(
            degrees, cosine.numpy()[:, None]
        )
        assert_close(found, torch.as_tensor(expected), rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("name", ALL)
def test_triplets(name: str) -> None:
    """All pairs of messages, tried one by one; in crystals an atom may meet its own image."""
    graph = graph_of(ALL[name](), 3.0)
    n_pairs = len(graph.idx_i)
    within = torch.arange(n_pairs) % 5 != 4
    found = find_triplets(graph.idx_i, graph.idx_j, within, len(graph.positions))
    receivers, senders = (
        torch.cat([graph.idx_i, graph.idx_j]).tolist(),
        torch.cat([graph.idx_j, graph.idx_i]).tolist(),
    )
    expected = {
        (k_j, j_i)
        for k_j, j_i in product(range(2 * n_pairs), repeat=2)
        if receivers[k_j] == senders[j_i]
        and k_j != (j_i + n_pairs) % (2 * n_pairs)
        and within[k_j % n_pairs]
        and within[j_i % n_pairs]
    }
    assert len(found.incoming) == len(expected)
    assert set(zip(found.incoming.tolist(), found.outgoing.tolist(), strict=True)) == expected


def test_the_angle_is_the_one_at_the_middle_point() -> None:
    atoms = Atoms("HOH", [[1, 0, 0], [0, 0, 0], [np.cos(1.8), np.sin(1.8), 0]])
    graph = graph_of(atoms, 1.2)
    direction = graph.positions[graph.idx_j] - graph.positions[graph.idx_i]
    triplets = find_triplets(graph.idx_i, graph.idx_j, torch.ones(2, dtype=torch.bool), 3)
    assert_close(cosines(triplets, direction), torch.full((2,), np.cos(1.8), dtype=torch.float64))


@pytest.mark.parametrize("base", [{"name": "spherical_bessel"}, {"name": "learned"}], ids=str)
def test_a_straight_line_is_nothing_special(base: dict[str, Any]) -> None:
    """No kink in the angle at 180°, where rounding may make a cosine larger than 1."""
    potential = make(angular=base)

    def energy(bend: float) -> float:
        atoms = Atoms("OCO", [[-1.1, 0, 0], [0, 0, 0], [1.1 * np.cos(bend), 1.1 * np.sin(bend), 0]])
        return float(predict(potential, graph_of(atoms, 3.0)).energy)

    for step in (1e-2, 1e-3):
        bent, straight = 0.5 * (energy(step) + energy(-step)), energy(0.0)
        assert abs(bent - straight) < 1.0 * step**2
        assert abs(energy(step) - energy(-step)) < 1e-10
    line = graph_of(Atoms("OCO", np.outer([-1.1, 0, 1.1], np.array([1, 2, 3]) / np.sqrt(14))), 3.0)
    forces = predict(potential, line).forces
    assert forces is not None
    assert forces.isfinite().all()


def test_the_learned_one_starts_at_the_hand_made_one() -> None:
    base, learned = SphericalBessel(5.0), LearnedAngular(5.0)
    x, d = torch.linspace(-1, 1, 301), torch.linspace(0, 5, 301)
    for exact, fitted in (
        (base.angle(x), learned.angle(x)),
        (base.distance(d).flatten(1), learned.distance(d)),
    ):
        assert float(((exact - fitted).abs().max() / exact.abs().max()).detach()) < 5e-3


def test_a_table_over_cosines_forgives_rounding() -> None:
    table = LearnedAngular(5.0).double().angle
    ends = table(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    beyond = table(torch.tensor([-1.0 - 1e-12, 1.0 + 1e-12], dtype=torch.float64))
    assert_close(beyond, ends, rtol=0.0, atol=1e-9)


def test_both_tables_are_penalised_and_keep_their_weight() -> None:
    potential = make()
    radial, angular = potential.trunk.radial.splines, potential.trunk.angular
    expected = radial.penalty() + angular.angle.penalty() + angular.distance.penalty()
    assert_close(penalties(potential).detach(), expected.detach())
    tables = parameter_groups(potential)[1]
    assert tables["weight_decay"] == 0.0
    assert len(tables["params"]) == 3


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="sees no angles"):
        make(architecture={"name": "schnet", "channels": 8, "n_layers": 2})
    with pytest.raises(ValueError, match="angular"):
        make(angular={"name": "nonsense"})
    with pytest.raises(ValueError, match="n_angular"):
        make(angular={"name": "spherical_bessel", "n_angular": 0})
    with pytest.raises(ValueError, match="dimenetpp"):
        make(angular={"name": "none"})
    assert set(ANGULAR) == {"none", "spherical_bessel", "learned"}
