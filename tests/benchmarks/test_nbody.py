"""Five charged particles: conservation, equivariance, and frozen points that change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks.science.nbody import (
    EGNN,
    MAX_DISPLACEMENT,
    MODELS,
    TIMESTEP,
    _clip,
    energy,
    forces,
    propagate,
    simulated,
    text,
    train,
)


@pytest.fixture
def start() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Charges, positions and velocities of systems that have not settled yet."""
    rng = np.random.default_rng(0)
    return (
        rng.choice([-1.0, 1.0], size=(20, 5)),
        rng.normal(scale=0.5, size=(20, 5, 3)),
        0.3 * rng.normal(size=(20, 5, 3)),
    )


def drift(start, timestep: float) -> float:
    charges, positions, velocities = start
    end = propagate(charges, positions, velocities, 2.0, timestep)
    return float(np.abs(energy(charges, *end) - energy(charges, positions, velocities)).max())


def test_energy_is_conserved_to_second_order(start):
    assert drift(start, TIMESTEP) < 5e-3
    assert drift(start, TIMESTEP / 2) == pytest.approx(drift(start, TIMESTEP) / 4, rel=0.1)


def test_forces_are_minus_the_gradient(start):
    charges, positions, velocities = start
    step = np.zeros_like(positions)
    step[:, 2, 1] = 1e-5
    slope = (
        energy(charges, positions + step, velocities)
        - energy(charges, positions - step, velocities)
    ) / 2e-5
    np.testing.assert_allclose(forces(charges, positions)[:, 2, 1], -slope, atol=1e-8)


def test_momentum_is_conserved_and_time_runs_backwards(start):
    charges, positions, velocities = start
    x, v = propagate(charges, positions, velocities, 0.5)
    np.testing.assert_allclose(v.sum(1), velocities.sum(1), atol=1e-12)
    back, _ = propagate(charges, x, -v, 0.5)
    np.testing.assert_allclose(back, positions, atol=1e-9)


def grown(points: str) -> EGNN:
    """A network in float64 whose points move visibly."""
    torch.manual_seed(1)
    model = EGNN(points, channels=8, n_layers=3).double()
    if points == "moving":
        model.polarize.data.fill_(0.5)
    for name, p in model.named_parameters():
        if "move.2" in name:
            p.data.fill_(0.3)
    return model


@pytest.mark.parametrize("points", MODELS)
def test_final_positions_turn_and_shift_with_the_system(start, points):
    charges, x, v = (torch.from_numpy(a) for a in start)
    model = grown(points)
    # with a reflection
    turn = torch.from_numpy(-Rotation.from_euler("xyz", [0.3, -1.0, 2.0]).as_matrix())
    torch.testing.assert_close(
        model(charges, x @ turn + 5.0, v @ turn), model(charges, x, v) @ turn + 5.0
    )


@pytest.mark.parametrize("points", MODELS)
def test_particles_may_be_renamed(start, points):
    charges, x, v = (torch.from_numpy(a) for a in start)
    order = torch.tensor([3, 1, 4, 0, 2])
    model = grown(points)
    torch.testing.assert_close(
        model(charges[:, order], x[:, order], v[:, order]), model(charges, x, v)[:, order]
    )


def test_frozen_points_are_moving_points_that_stay(start):
    inputs = [torch.from_numpy(a) for a in start]
    moving, frozen = grown("moving"), grown("frozen")
    assert sum(p.numel() for p in moving.parameters()) == sum(
        p.numel() for p in frozen.parameters()
    )
    assert moving.polarize.requires_grad and not frozen.polarize.requires_grad
    assert not torch.allclose(moving(*inputs), frozen(*inputs))
    moving.polarize.data.zero_()
    torch.testing.assert_close(moving(*inputs), frozen(*inputs))


def test_displacements_stay_within_their_limit():
    d = _clip(torch.tensor([[1e6, 0.0, 0.0], [1e-6, 0.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(
        d.norm(dim=1), torch.tensor([MAX_DISPLACEMENT, 1e-6], dtype=torch.float64)
    )


def test_training_learns_and_is_repeated_by_its_seed():
    data = dict.fromkeys(("train", "validation", "test"), simulated(100, 1))
    short, long, again = (train("base", 0, steps, data) for steps in (1, 25, 25))
    assert long["test_mse"] < 0.9 * short["test_mse"]
    assert long["test_mse"] == again["test_mse"] != train("base", 1, 25, data)["test_mse"]
    assert "| base | 1 |" in text(
        {"steps": 25, "batch": 100, "linear_test_mse": 0.1, "machine": {}, "rows": [long]}
    )
