"""Every back end against a brute-force search, pair for pair."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from potentials.structure import pairs
from potentials.structure.pairs import find_pairs

Pair = tuple[int, int, int, int, int]
OPEN = np.zeros(3, dtype=bool)
needs_torch_cluster = pytest.mark.skipif(
    importlib.util.find_spec("torch_cluster") is None, reason="torch-cluster is not installed"
)
OPEN_BACKENDS = ["all-pairs", "vesin", pytest.param("torch-cluster", marks=needs_torch_cluster)]


def brute(positions: NDArray, cell: NDArray, pbc: NDArray, cutoff: float) -> set[Pair]:
    """All images within reach of the atoms, one by one."""
    extent = cutoff + np.ptp(positions, axis=0).max() * 3**0.5
    # a lattice vector's height above the plane of the other periodic ones bounds how many images
    # are in reach
    heights = [_height(cell, pbc, k) for k in range(3)]
    counts = [
        int(extent / h) + 1 if periodic else 0 for h, periodic in zip(heights, pbc, strict=True)
    ]
    found = set()
    for image in itertools.product(*(range(-n, n + 1) for n in counts)):
        vectors = positions[None] + np.array(image, dtype=float) @ cell - positions[:, None]
        for i, j in zip(*np.nonzero((vectors**2).sum(-1) < cutoff**2), strict=True):
            if i < j or (i == j and image > (0, 0, 0)):
                found.add((int(i), int(j), *image))
    return found


def _height(cell: NDArray, pbc: NDArray, k: int) -> float:
    others = [cell[m] for m in range(3) if m != k and pbc[m]]
    vector = cell[k].copy()
    if others:
        plane = np.linalg.qr(np.array(others).T)[0]
        vector -= plane @ (plane.T @ vector)
    return float(np.linalg.norm(vector)) if pbc[k] else 1.0


def search(
    positions: NDArray, cell: NDArray, pbc: NDArray, cutoff: float, backend: str = "auto"
) -> list[Pair]:
    """Return pairs as plain tuples."""
    idx_i, idx_j, shift = find_pairs(
        torch.tensor(positions), torch.tensor(cell), torch.tensor(pbc), cutoff, backend
    )
    assert (idx_i.dtype, idx_j.dtype, shift.dtype) == (torch.int64, torch.int64, torch.float64)
    return [
        (i, j, *map(int, s))
        for i, j, s in zip(idx_i.tolist(), idx_j.tolist(), shift.tolist(), strict=True)
    ]


def agree(found: list[Pair], expected: set[Pair]) -> None:
    """Every pair once, none missing, none too many."""
    assert len(found) == len(set(found))
    assert set(found) == expected


def random_cell(rng: np.random.Generator, pbc: NDArray) -> NDArray:
    """Triclinic, down to a third of the cutoffs used.

    Left-handed half of the time; open rows zero half of the time.
    """
    while True:
        cell = np.diag(rng.uniform(1.5, 5, 3)) + rng.uniform(-1.4, 1.4, (3, 3))
        if abs(np.linalg.det(cell)) > 4:
            break
    if rng.random() < 0.5:
        cell = cell[[1, 0, 2]]
    if rng.random() < 0.5:
        cell[~pbc] = 0
    return cell


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)))
def test_vesin_agrees_with_brute_force(pbc: tuple[bool, ...]) -> None:
    """Atoms outside the cell, cells smaller than the cutoff, left-handed, mixed boundaries."""
    rng = np.random.default_rng(sum(2**k * p for k, p in enumerate(pbc)))
    periodic = np.array(pbc)
    for _ in range(12):
        cell = random_cell(rng, periodic)
        positions = rng.uniform(-5, 5, (rng.integers(1, 7), 3))
        cutoff = rng.uniform(2, 4.5)
        agree(
            search(positions, cell, periodic, cutoff, "vesin"),
            brute(positions, cell, periodic, cutoff),
        )


@pytest.mark.parametrize("backend", OPEN_BACKENDS)
@pytest.mark.parametrize("n_atoms", [1, 2, 9, 150])
def test_open_back_ends_agree_with_brute_force(backend: str, n_atoms: int) -> None:
    """150 atoms in 6 Å: far more neighbours than torch-cluster keeps by default."""
    positions = np.random.default_rng(n_atoms).uniform(0, 6, (n_atoms, 3))
    for cutoff in (1.0, 4.0):
        agree(
            search(positions, np.zeros((3, 3)), OPEN, cutoff, backend),
            brute(positions, np.zeros((3, 3)), OPEN, cutoff),
        )


@pytest.mark.parametrize("backend", OPEN_BACKENDS)
def test_the_cutoff_is_strict(backend: str) -> None:
    positions = np.array([[0.0, 0, 0], [3.0, 0, 0]])
    assert search(positions, np.zeros((3, 3)), OPEN, 3.0, backend) == []
    assert search(positions, np.zeros((3, 3)), OPEN, np.nextafter(3.0, 4.0), backend) == [
        (0, 1, 0, 0, 0)
    ]


def test_own_images_come_once() -> None:
    """One atom in a cubic cell: 3 pairs to the 6 nearest images, 9 with the 12 next."""
    cell, pbc, positions = 2.0 * np.eye(3), np.ones(3, dtype=bool), np.zeros((1, 3))
    assert set(search(positions, cell, pbc, 2.1)) == {
        (0, 0, 1, 0, 0),
        (0, 0, 0, 1, 0),
        (0, 0, 0, 0, 1),
    }
    assert len(search(positions, cell, pbc, 2.9)) == 9


@pytest.mark.parametrize(
    "row", [[0.0, 0, 0.5], [0.0, 0, 0], [6.0, 0, 0], [1.0, 1, 1e-9], [2.0, 2, 0.1]]
)
@pytest.mark.parametrize("n_atoms", [2, 300])
def test_a_slab_ignores_the_open_vector(row: list[float], n_atoms: int) -> None:
    """Short, zero, parallel to a periodic one.

    Used, it would bring images within reach or span no volume. 300 atoms need a cell list.
    """
    cell = np.array([[9.0, 0, 0], [1, 9, 0], row])
    pbc = np.array([True, True, False])
    positions = np.random.default_rng(n_atoms).uniform(-3, 12, (n_atoms, 3))
    agree(search(positions, cell, pbc, 3.5), brute(positions, cell, pbc, 3.5))


def test_large_systems_agree_with_brute_force() -> None:
    rng = np.random.default_rng(2)
    positions = rng.uniform(-9, 18, (500, 3))
    agree(
        search(positions, np.zeros((3, 3)), OPEN, 4.0, "vesin"),
        brute(positions, np.zeros((3, 3)), OPEN, 4.0),
    )
    cell = np.array([[14.0, 0, 0], [5, 15, 0], [-4, 3, 13]])
    agree(search(positions[:150], cell, ~OPEN, 3.0), brute(positions[:150], cell, ~OPEN, 3.0))


def test_auto_takes_all_pairs_only_for_small_open_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    for name, function in list(pairs.BACKENDS.items()):
        monkeypatch.setitem(
            pairs.BACKENDS,
            name,
            lambda *a, name=name, function=function: used.append(name) or function(*a),
        )
    rng = np.random.default_rng(0)
    search(rng.uniform(0, 5, (9, 3)), np.zeros((3, 3)), OPEN, 3.0)
    search(rng.uniform(0, 9, (pairs.ALL_PAIRS_LIMIT + 1, 3)), np.zeros((3, 3)), OPEN, 3.0)
    search(rng.uniform(0, 5, (9, 3)), 5 * np.eye(3), np.ones(3, dtype=bool), 3.0)
    assert used == ["all-pairs", "vesin", "vesin"]


def test_bad_input_is_refused() -> None:
    positions, cell, pbc = np.zeros((2, 3)), np.eye(3), np.ones(3, dtype=bool)
    with pytest.raises(
        ValueError,
        match="`backend` must be one of auto, all-pairs, vesin, torch-cluster; got 'ase'",
    ):
        search(positions, cell, OPEN, 1.0, "ase")
    with pytest.raises(ValueError, match="must be vesin for a periodic structure; got 'all-pairs'"):
        search(positions, cell, pbc, 1.0, "all-pairs")
    with pytest.raises(ValueError, match="`cutoff` must be positive"):
        search(positions, cell, OPEN, 0.0)
    with pytest.raises(
        ValueError, match=r"`positions` must be finite; got \[0.0, nan, 0.0\] Å for atom 1"
    ):
        search(np.array([[0.0, 0, 0], [0, np.nan, 0]]), cell, OPEN, 1.0)
    for flat in (np.zeros((3, 3)), np.array([[1.0, 0, 0], [2, 0, 0], [0, 0, 1]])):
        with pytest.raises(ValueError, match="`cell` must have independent vectors"):
            search(positions, flat, pbc, 1.0)


def test_torch_cluster_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_cluster", None)
    with pytest.raises(ImportError, match=r"Install polcalc\[cluster\]"):
        search(np.zeros((2, 3)), np.zeros((3, 3)), OPEN, 1.0, "torch-cluster")


def test_torch_cluster_grows_until_nothing_is_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that truncates as the real one does: silently, and not the farthest."""
    fake = __import__("types").ModuleType("torch_cluster")

    def radius_graph(x: torch.Tensor, r: float, loop: bool, max_num_neighbors: int) -> torch.Tensor:
        near = (torch.cdist(x, x) < r) & ~torch.eye(len(x), dtype=torch.bool)
        kept = [
            (j, i)
            for i in range(len(x))
            for j in near[i].nonzero().flatten().tolist()[:max_num_neighbors]
        ]
        return torch.tensor(kept).reshape(-1, 2).T

    fake.radius_graph = radius_graph  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "torch_cluster", fake)
    positions = np.random.default_rng(1).uniform(0, 5, (150, 3))
    assert sorted(search(positions, np.zeros((3, 3)), OPEN, 4.0, "torch-cluster")) == sorted(
        brute(positions, np.zeros((3, 3)), OPEN, 4.0)
    )
