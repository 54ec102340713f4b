"""Labelled structures as flat tensors, made once; a batch is a gather by index.

Sizes in comments: S structures, N atoms, P pairs of all of them; B structures of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from potentials.datasets import Frames, graphs, targets
from potentials.datasets.gaps import geometry_key
from potentials.quantities import QUANTITIES, Targets, named
from potentials.structure.graph import AtomicGraph, Size, collate, take, to_device

# a list for all structures of one molecule may be so much longer than their own lists on average
SHARED_PAIRS = 1.5


class Batch(NamedTuple):
    """Structures and what is to be predicted of them."""

    graph: AtomicGraph
    targets: Targets


class StructureSet:
    """Structures with their pair lists and labels.

    Structures of one open molecule share the union of their pair lists, so that every batch has the
    same shapes: pairs beyond the cutoff are inert, and a compiled step is compiled once.

    Parameters
    ----------
    frames : Frames
    cutoff : float    Å
    device : device   where the tensors live
    """

    def __init__(self, frames: Frames, cutoff: float, device: torch.device | str = "cpu") -> None:
        self.cutoff = cutoff
        single = _share_pairs(graphs(frames, cutoff))
        # Indices count over all structures; below they are brought back to each structure's own.
        joined = collate(single)
        self.n_atoms = torch.from_numpy(frames.n_atoms.copy())  # (S,)
        self.n_pairs = torch.tensor([len(g.idx_i) for g in single])  # (S,)
        self.first_atom = self.n_atoms.cumsum(0) - self.n_atoms
        self.first_pair = self.n_pairs.cumsum(0) - self.n_pairs
        offset = self.first_atom.repeat_interleave(self.n_pairs)  # (P,)
        self._graph = to_device(
            joined._replace(idx_i=joined.idx_i - offset, idx_j=joined.idx_j - offset), device
        )
        self._labels = {name: x.to(device) for name, x in named(targets(frames)).items()}
        self.charges = joined.total_charge.round().long()  # (S,) of each structure, for tables
        self.multiplicities = joined.multiplicity
        self.energies = self._labels["energy"]  # (S,) eV
        self.device = torch.device(device)

    def __len__(self) -> int:
        """Return the number of structures."""
        return len(self.n_atoms)

    @cached_property
    def geometries(self) -> list[bytes]:
        """Name the geometry of each structure (S,), whatever its electronic state."""
        graph, ends = self._graph, self.n_atoms.cumsum(0)[:-1].tolist()
        numbers, positions = (
            np.split(x.cpu().numpy(), ends) for x in (graph.atomic_numbers, graph.positions)
        )
        return [
            geometry_key(*one)
            for one in zip(numbers, positions, graph.cell.cpu().numpy(), strict=True)
        ]

    def batch(self, indices: Tensor) -> Batch:
        """Gather structures by number: indices (B,) int64 on the CPU."""
        n_atoms, n_pairs = self.n_atoms[indices], self.n_pairs[indices]  # (B,)
        before = n_atoms.cumsum(0) - n_atoms
        atoms = self._to_device(_ranges(self.first_atom[indices], n_atoms))
        pairs = self._to_device(_ranges(self.first_pair[indices], n_pairs))
        structures = self._to_device(indices)
        offset = self._to_device(before.repeat_interleave(n_pairs))
        batch = self._to_device(torch.arange(len(indices)).repeat_interleave(n_atoms))
        return self._gather(structures, atoms, pairs, batch, offset)

    @cached_property
    def equal(self) -> bool:
        """Whether all structures have as many atoms and pairs, so that batches have one shape."""
        return bool(
            (self.n_atoms == self.n_atoms[0]).all() and (self.n_pairs == self.n_pairs[0]).all()
        )

    def equal_batch(self, indices: Tensor) -> Batch:
        """Gather structures of equal size by number, on their device alone.

        Indices (B,) int64 there.
        """
        n_atoms, n_pairs = int(self.n_atoms[0]), int(self.n_pairs[0])
        place = torch.arange(len(indices), device=self.device)  # (B,) in the batch
        atoms = indices[:, None] * n_atoms + torch.arange(n_atoms, device=self.device)
        pairs = indices[:, None] * n_pairs + torch.arange(n_pairs, device=self.device)
        batch, offset = (
            place.repeat_interleave(n_atoms),
            (place * n_atoms).repeat_interleave(n_pairs),
        )
        return self._gather(indices, atoms.flatten(), pairs.flatten(), batch, offset)

    def _gather(
        self, structures: Tensor, atoms: Tensor, pairs: Tensor, batch: Tensor, offset: Tensor
    ) -> Batch:
        rows: dict[Size, Tensor] = {"structure": structures, "atom": atoms, "pair": pairs}
        graph = take(
            self._graph, rows, {"structure": lambda _: batch, "atom": lambda x: x + offset}
        )
        labels = {name: values[rows[QUANTITIES[name].per]] for name, values in self._labels.items()}
        return Batch(graph, Targets(**labels))

    def batches(self, max_atoms: int) -> Iterator[Batch]:
        """Go through all structures in order, in batches of up to ``max_atoms`` atoms."""
        start = 0
        ends = self.n_atoms.cumsum(0)
        while start < len(self):
            limit = self.first_atom[start] + max_atoms
            end = max(int(torch.searchsorted(ends, limit, right=True)), start + 1)
            yield self.batch(torch.arange(start, end))
            start = end

    def _to_device(self, x: Tensor) -> Tensor:
        return x.to(self.device, non_blocking=True)


def epoch_order(n_structures: int, seed: int, epoch: int) -> Tensor:
    """Order the structures of an epoch at random.

    A function of its arguments alone, so that nothing has to be remembered.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(n_structures, generator=generator)


def _ranges(first: Tensor, counts: Tensor) -> Tensor:
    """Concatenate first_k, first_k + 1, … of so many numbers each."""
    before = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum())) + (first - before).repeat_interleave(counts)


def _share_pairs(single: list[AtomicGraph]) -> list[AtomicGraph]:
    """Give structures of one open molecule the union of their pairs, unless that is much longer."""
    numbers = single[0].atomic_numbers
    if any(bool(g.pbc.any()) or not torch.equal(g.atomic_numbers, numbers) for g in single):
        return single
    n_atoms = len(numbers)
    union = torch.unique(torch.cat([g.idx_i * n_atoms + g.idx_j for g in single]))
    mean = sum(len(g.idx_i) for g in single) / len(single)
    if len(union) > SHARED_PAIRS * mean:
        return single
    shared = {
        "idx_i": union // n_atoms,
        "idx_j": union % n_atoms,
        "shift": torch.zeros(len(union), 3, dtype=torch.float64),
    }
    return [g._replace(**shared) for g in single]
