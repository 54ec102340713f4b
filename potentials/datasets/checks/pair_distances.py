"""Distances between the atoms of labelled structures, in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ase.data import chemical_symbols

from potentials.card import state_name
from potentials.datasets.frames import Frames
from potentials.structure.pairs import find_pairs

Array = npt.NDArray[Any]

CHUNK_PAIRS = 2**20


class Pairs(NamedTuple):
    """Pairs of atoms of some structures; atoms are numbered through all frames."""

    idx_i: Array  # (P,) int64
    idx_j: Array  # (P,) int64
    distance: Array  # (P,) Å


def pairs_within(frames: Frames, reach: float) -> Iterator[Pairs]:
    """Yield every pair of atoms closer than ``reach`` (Å), each once.

    Open structures of one size together.
    """
    periodic = frames.pbc.any(1)
    for index in np.flatnonzero(periodic):
        yield _periodic(frames, int(index), reach)
    for size in np.unique(frames.n_atoms[~periodic]):
        first = frames.first[:-1][~periodic & (frames.n_atoms == size)]
        i, j = np.triu_indices(size, 1)
        step = max(1, CHUNK_PAIRS // max(1, len(i)))
        for start in range(0, len(first), step):
            yield _open(frames, first[start : start + step, None], i, j, reach)


def closest_distances(frames: Frames, reach: float = 6.0) -> dict[str, float]:
    """Find the closest distance of each pair of elements, ``{"C-H".

    1.02, …}`` in Å, symbols in alphabetical order.
    """
    closest = np.full(128 * 128, np.inf)
    for pairs in pairs_within(frames, reach):
        numbers = np.sort(frames.atomic_numbers[np.stack([pairs.idx_i, pairs.idx_j])], axis=0)
        np.minimum.at(closest, numbers[0] * 128 + numbers[1], pairs.distance)
    found = {
        "-".join(sorted(chemical_symbols[z] for z in divmod(int(code), 128))): code
        for code in np.flatnonzero(closest < np.inf)
    }
    return {name: float(closest[found[name]]) for name in sorted(found)}


def longest_bonds_of_states(frames: Frames, reach: float = 6.0) -> dict[str, dict[str, float]]:
    """Find how far atoms of each pair of elements are at most where they are nearest neighbours.

    Returns
    -------
    dict   by charge and multiplicity, two atoms alone apart from others, as `state_name` names
           them: ``{"+0/1": {"C-H": 1.31, …}, "+0/1 of two": …}`` in Å, symbols in alphabetical
           order
    """
    distance, partner = _nearest(frames, reach)
    charges = np.rint(frames.total_charge).astype(np.int64)
    states, place = np.unique(
        np.stack([charges, frames.multiplicity, frames.n_atoms == 2]), axis=1, return_inverse=True
    )
    bonded = np.isfinite(distance)
    numbers = np.sort(
        np.stack([frames.atomic_numbers, frames.atomic_numbers[partner]])[:, bonded], axis=0
    ).astype(np.int64)
    of_atoms = np.repeat(place, frames.n_atoms)[bonded]
    codes, place = np.unique((of_atoms * 128 + numbers[0]) * 128 + numbers[1], return_inverse=True)
    longest = np.zeros(len(codes))
    np.maximum.at(longest, place, distance[bonded])
    found: dict[str, dict[str, float]] = {}
    for code, length in zip(codes.tolist(), longest.tolist(), strict=True):
        charge, multiplicity, two = states[:, code // 128**2].tolist()
        names = sorted(chemical_symbols[z] for z in divmod(code % 128**2, 128))
        table = found.setdefault(state_name(charge, multiplicity, 2 if two else 0), {})
        table["-".join(names)] = length
    return {state: dict(sorted(found[state].items())) for state in sorted(found)}


def _nearest(frames: Frames, reach: float) -> tuple[Array, Array]:
    """Find the distance (N,) Å of the nearest neighbour of each atom, and its number (N,)."""
    nearest = np.full(len(frames.atomic_numbers), np.inf)
    partner = np.zeros(len(frames.atomic_numbers), dtype=np.int64)
    for pairs in pairs_within(frames, reach):
        for one, other in ((pairs.idx_i, pairs.idx_j), (pairs.idx_j, pairs.idx_i)):
            order = np.argsort(-pairs.distance, kind="stable")  # the nearest is written last
            one, other, distance = one[order], other[order], pairs.distance[order]
            nearer = distance < nearest[one]
            partner[one[nearer]], nearest[one[nearer]] = other[nearer], distance[nearer]
    return nearest, partner


def nearest_neighbor_ratio(frames: Frames, radii: Array) -> Array:
    """Divide the distance of each atom's nearest neighbour by the sum of both covalent radii (N,).

    Infinite where it has none.
    """
    ratio = np.full(len(frames.atomic_numbers), np.inf)
    radius = radii[frames.atomic_numbers]
    for pairs in pairs_within(frames, 6.0):
        relative = pairs.distance / (radius[pairs.idx_i] + radius[pairs.idx_j])
        np.minimum.at(ratio, pairs.idx_i, relative)
        np.minimum.at(ratio, pairs.idx_j, relative)
    return ratio


def _open(frames: Frames, first: Array, i: Array, j: Array, reach: float) -> Pairs:
    idx_i, idx_j = (first + i).ravel(), (first + j).ravel()
    distance = np.linalg.norm(frames.positions[idx_j] - frames.positions[idx_i], axis=1)
    near = distance < reach
    return Pairs(idx_i[near], idx_j[near], distance[near])


def _periodic(frames: Frames, index: int, reach: float) -> Pairs:
    rows = frames.slice_of(index)
    positions, cell, pbc = (
        torch.from_numpy(x.copy())
        for x in (frames.positions[rows], frames.cell[index], frames.pbc[index])
    )
    idx_i, idx_j, shift = find_pairs(positions, cell, pbc, reach)
    distance = torch.linalg.vector_norm(positions[idx_j] + shift @ cell - positions[idx_i], dim=1)
    return Pairs(idx_i.numpy() + rows.start, idx_j.numpy() + rows.start, distance.numpy())
