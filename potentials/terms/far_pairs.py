"""Pairs of atoms for terms that reach further than the network, of every structure of a batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from potentials.structure.geometry import at
from potentials.structure.graph import AtomicGraph
from potentials.structure.pairs import all_pairs, find_pairs


class FarPairs(NamedTuple):
    """Pairs of atoms of one structure, each once; of a periodic one also of an atom and images."""

    idx_i: Tensor  # (P,)
    idx_j: Tensor  # (P,)
    vectors: Tensor  # (P, 3) Å, float64, r_ij


def far_pairs(graph: AtomicGraph, reach: float) -> FarPairs:
    """List the pairs of atoms of each structure, within a reach (Å) where it is periodic.

    Of an open structure all are listed, whatever their distance.
    """
    counts = torch.bincount(graph.batch, minlength=graph.n_structures)
    first = (counts.cumsum(0) - counts).tolist()
    periodic = graph.pbc.any(1).tolist()
    idx_i, idx_j, offsets = [], [], []
    for n, (start, count) in enumerate(zip(first, counts.tolist(), strict=True)):
        if periodic[n]:
            here = graph.positions[start : start + count]
            i, j, shift = find_pairs(here, graph.cell[n], graph.pbc[n], reach)
        else:
            i, j, shift = all_pairs(count, graph.batch.device)
        idx_i.append(i + start)
        idx_j.append(j + start)
        offsets.append(shift @ graph.cell[n] if periodic[n] else shift)
    i, j = torch.cat(idx_i), torch.cat(idx_j)
    return FarPairs(i, j, at(graph.positions, j) - at(graph.positions, i) + torch.cat(offsets))


def shared_by_pairs(energies: Tensor, pairs: FarPairs, n_atoms: int) -> Tensor:
    """Give each of the two atoms of a pair half of its energy (P,): (N,)."""
    half = 0.5 * energies
    none = half.new_zeros(n_atoms)
    return none.index_add(0, pairs.idx_i, half).index_add(0, pairs.idx_j, half)
