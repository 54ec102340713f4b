"""Find structures that occur twice, however placed, turned, mirrored and in any order of atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from potentials.datasets.checks.pair_distances import pairs_within
from potentials.datasets.frames import Frames, join

Array = npt.NDArray[Any]

TOLERANCE = 1e-4  # Å, in every distance
REACH = 6.0  # Å; further distances are compared only where a structure is open
FAR = 1e6  # Å


def find_repeats(frames: Frames, other: Frames | None = None) -> list[tuple[int, int]]:
    """Pair equal structures of equal charge and multiplicity.

    Parameters
    ----------
    frames : Frames
    other : Frames or None   None looks within ``frames``

    Returns
    -------
    list of (i, j)           i in ``frames``; j in ``other``, or in ``frames`` with i < j
    """
    everything = (
        frames if other is None else join([frames.without_labels(), other.without_labels()])
    )
    marks = _marks(everything)
    n, key = len(frames), _keys(everything)
    pairs = (
        cKDTree(marks).query_pairs(1.0, p=np.inf, output_type="ndarray")
        if len(marks)
        else np.zeros((0, 2), dtype=np.int64)
    )
    pairs = np.sort(pairs, axis=1)
    wanted = key[pairs[:, 0]] == key[pairs[:, 1]]
    if other is not None:
        wanted &= (pairs[:, 0] < n) & (pairs[:, 1] >= n)
    found = sorted((int(a), int(b)) for a, b in pairs[wanted] if _equal(everything, int(a), int(b)))
    return found if other is None else [(a, b - n) for a, b in found]


def _marks(frames: Frames) -> Array:
    """Compute numbers that equal structures share, in units of how far the tolerance may part them.

    They are (S, 3).
    """
    marks, spread = np.zeros((len(frames), 3)), np.full(len(frames), 1e-9)
    for pairs in pairs_within(frames, REACH):
        structure = np.searchsorted(frames.first, pairs.idx_i, side="right") - 1
        z = frames.atomic_numbers
        near = (1 - pairs.distance / REACH) ** 2  # smooth where a pair leaves the reach
        weights: tuple[Any, ...] = (
            1.0,
            z[pairs.idx_i] * z[pairs.idx_j],
            z[pairs.idx_i] + z[pairs.idx_j],
        )
        for column, weight in enumerate(weights):
            np.add.at(marks[:, column], structure, weight * near)
        np.add.at(spread, structure, 2 / REACH * TOLERANCE)
    scale = np.array([1.0, 36.0, 12.0])  # sizes of the weights, for carbon
    return marks / (scale * float(spread.max()))


def _keys(frames: Frames) -> Array:
    """Number the combinations of composition and state (S,)."""
    names = [
        (
            np.sort(frames.atomic_numbers[frames.slice_of(i)]).tobytes(),
            frames.total_charge[i],
            frames.multiplicity[i],
        )
        for i in range(len(frames))
    ]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def _equal(frames: Frames, a: int, b: int) -> bool:
    """Compare all distances, sorted within each pair of elements."""
    one, two = (_distances(frames.select([i])) for i in (a, b))
    return one.shape == two.shape and bool((np.abs(one - two) < TOLERANCE).all())


def _distances(frames: Frames) -> Array:
    """Element pair and distance of all pairs, sorted (P, 2)."""
    rows = [
        np.column_stack(
            [
                np.sort(frames.atomic_numbers[np.stack([p.idx_i, p.idx_j])], axis=0).T @ [128, 1],
                p.distance,
            ]
        )
        for p in pairs_within(frames, REACH if frames.pbc.any() else FAR)
    ]
    table = np.concatenate(rows)
    ordered: Array = table[np.lexsort((table[:, 1], table[:, 0]))]
    return ordered
