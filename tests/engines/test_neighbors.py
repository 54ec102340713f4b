"""Lists that live: complete at every step, searched only when the bound demands it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from polcalc.engines.neighbors import STATIC_LIMIT, NeighborList
from tests.structure.test_pairs import Pair, brute

PERIODIC, SLAB, OPEN = (
    np.ones(3, dtype=bool),
    np.array([True, True, False]),
    np.zeros(3, dtype=bool),
)


def inside(neighbors: NeighborList, positions: NDArray, cell: NDArray) -> set[Pair]:
    """Pairs within the cutoff as plain tuples; the list must not name one twice."""
    idx_i, idx_j, shift = neighbors.within(positions, cell)
    found = [
        (i, j, *map(int, s))
        for i, j, s in zip(idx_i.tolist(), idx_j.tolist(), shift.tolist(), strict=True)
    ]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("pbc", [PERIODIC, SLAB, OPEN])
@pytest.mark.parametrize("strain_step", [0.0, 0.004])
def test_complete_along_a_random_walk(pbc: NDArray, strain_step: float) -> None:
    """Positions and cell wander.

    The pairs inside the cutoff are those of a fresh search at every step.
    """
    rng = np.random.default_rng(3)
    cell = np.array([[6.0, 0, 0], [1.0, 6, 0], [0, -1, 6]])
    positions = rng.uniform(0, 6, (STATIC_LIMIT + 3, 3))
    neighbors = NeighborList(3.0, skin=0.6)
    for _ in range(60):
        neighbors.update(positions, cell, pbc)
        assert inside(neighbors, positions, cell) == brute(positions, cell, pbc, 3.0)
        positions = positions + rng.normal(0, 0.02, positions.shape)
        deformation = np.eye(3) + rng.normal(0, strain_step, (3, 3))
        positions, cell = positions @ deformation, cell @ deformation
    assert 1 < neighbors.n_searches < 40


def test_searched_just_before_a_pair_could_be_missed() -> None:
    """Two atoms at the edge of the list approach each other; half of the skin each is the limit."""
    positions = np.random.default_rng(0).uniform(100, 200, (STATIC_LIMIT + 2, 3))
    positions[0], positions[1] = 0.0, [4.01, 0, 0]  # cutoff 3, skin 1: not listed
    neighbors = NeighborList(3.0, skin=1.0)
    cell = np.zeros((3, 3))
    assert neighbors.update(positions, cell, OPEN)
    for step, searched in [(0.4999, False), (0.5001, True)]:
        moved = positions.copy()
        moved[0, 0] += step
        moved[1, 0] -= step
        assert neighbors.update(moved, cell, OPEN) is searched


def test_compression_alone_is_bounded() -> None:
    """The bound is the smallest singular value, here 1 - ε, against (cutoff + skin)/cutoff."""
    rng = np.random.default_rng(5)
    cell = 8.0 * np.eye(3)
    positions = rng.uniform(0, 8, (40, 3))
    neighbors = NeighborList(4.0, skin=1.0)
    neighbors.update(positions, cell, PERIODIC)
    for factor, searched in [(0.801, False), (0.799, True)]:
        deformation = np.diag([factor, 1.0, 1.0])
        assert neighbors.update(positions @ deformation, cell @ deformation, PERIODIC) is searched
        assert inside(neighbors, positions @ deformation, cell @ deformation) == brute(
            positions @ deformation, cell @ deformation, PERIODIC, 4.0
        )


def test_a_cell_that_changes_under_fixed_atoms_is_noticed() -> None:
    """The atoms keep their Cartesian positions, so relative to the cell they all moved."""
    cell = 8.0 * np.eye(3)
    positions = np.random.default_rng(6).uniform(0, 8, (40, 3))
    neighbors = NeighborList(4.0, skin=0.5)
    neighbors.update(positions, cell, PERIODIC)
    assert neighbors.update(positions, 0.9 * cell, PERIODIC)
    assert inside(neighbors, positions, 0.9 * cell) == brute(positions, 0.9 * cell, PERIODIC, 4.0)


def test_other_atoms_or_boundaries_are_searched() -> None:
    cell = 8.0 * np.eye(3)
    positions = np.random.default_rng(7).uniform(0, 8, (40, 3))
    neighbors = NeighborList(4.0, skin=1.0)
    assert neighbors.update(positions, cell, PERIODIC)
    assert not neighbors.update(positions, cell, PERIODIC)
    assert neighbors.update(positions, cell, SLAB)
    assert neighbors.update(positions[:-1], cell, SLAB)


def test_small_molecules_are_listed_once() -> None:
    """All pairs, also far beyond the cutoff, and never again."""
    positions = np.random.default_rng(8).uniform(0, 30, (9, 3))
    neighbors = NeighborList(3.0, skin=0.5)
    assert neighbors.update(positions, np.zeros((3, 3)), OPEN)
    assert len(neighbors.pairs[0]) == 36
    assert not neighbors.update(positions + 0.3 * positions**2, np.zeros((3, 3)), OPEN)
    assert inside(neighbors, positions, np.zeros((3, 3))) == brute(
        positions, np.zeros((3, 3)), OPEN, 3.0
    )


def test_a_failed_search_leaves_no_list() -> None:
    positions = np.random.default_rng(9).uniform(0, 8, (40, 3))
    neighbors = NeighborList(4.0, skin=1.0)
    neighbors.update(positions, 8.0 * np.eye(3), PERIODIC)
    broken = positions.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="`positions` must be finite"):
        neighbors.update(broken, 8.0 * np.eye(3), PERIODIC)
    assert len(neighbors.pairs[0]) == 0
    assert neighbors.update(positions, 8.0 * np.eye(3), PERIODIC)


def test_without_a_skin_every_change_is_searched() -> None:
    positions = np.random.default_rng(10).uniform(0, 8, (40, 3))
    neighbors = NeighborList(4.0, skin=0)
    assert neighbors.update(positions, 8.0 * np.eye(3), PERIODIC)
    assert not neighbors.update(positions, 8.0 * np.eye(3), PERIODIC)
    assert neighbors.update(positions + 1e-9, 8.0 * np.eye(3), PERIODIC)
    with pytest.raises(ValueError, match="`skin` must not be negative"):
        NeighborList(4.0, skin=-0.1)
