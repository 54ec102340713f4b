"""The eager engine: `predict`, operation by operation. Every other engine is judged against it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from polcalc.engines.base import Engine, Structure
from polcalc.engines.neighbors import NeighborList
from potentials.potential import Potential, predict
from potentials.quantities import QUANTITIES, Evaluation, named
from potentials.structure.graph import AtomicGraph, collate, to_device

BATCH_ATOMS = 2000  # atoms per batch; above it a CPU gains nothing and memory grows


class Eager(Engine):
    """The reference: `predict`, operation by operation.

    Parameters
    ----------
    potential : Potential
    device : torch.device
    skin : float            Å, of the pair list; longer pairs are dropped before they cost anything
    """

    def __init__(self, potential: Potential, device: torch.device, skin: float = 0.5) -> None:
        self.potential, self.device = potential, device
        self.neighbors = NeighborList(potential.cutoff, skin)

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure, with the pairs of the last one where they still hold."""
        self.neighbors.update(structure.positions, structure.cell, structure.pbc)
        graph = _graph(structure, self.neighbors)
        return self._predict(graph, structure.has_stress)[0]

    def evaluate_many(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate in batches, structures with and without stress apart."""
        found: dict[int, Evaluation] = {}
        for has_stress in (False, True):
            chosen = [
                n for n, structure in enumerate(structures) if structure.has_stress == has_stress
            ]
            for batch in batches(chosen, [len(s.atomic_numbers) for s in structures]):
                graph = collate([self.graph_of(structures[n]) for n in batch])
                found.update(zip(batch, self._predict(graph, has_stress), strict=True))
        return [found[n] for n in range(len(structures))]

    def graph_of(self, structure: Structure) -> AtomicGraph:
        """Make the graph of one structure, with pairs of its own."""
        neighbors = NeighborList(self.potential.cutoff, skin=0)
        neighbors.update(structure.positions, structure.cell, structure.pbc)
        return _graph(structure, neighbors)

    def _predict(self, graph: AtomicGraph, stress: bool) -> list[Evaluation]:
        said = named(predict(self.potential, to_device(graph, self.device), stress=stress))
        ends = np.cumsum(np.bincount(graph.batch.numpy(), minlength=graph.n_structures))[:-1]
        rows = {}
        for name, values in said.items():
            array = values.double().cpu().numpy()
            rows[name] = np.split(array, ends) if QUANTITIES[name].per == "atom" else array
        rows["energy"] = [float(energy) for energy in rows["energy"]]
        return [
            Evaluation(**{name: values[n] for name, values in rows.items()})
            for n in range(graph.n_structures)
        ]


def _graph(structure: Structure, neighbors: NeighborList) -> AtomicGraph:
    pairs = neighbors.within(structure.positions, structure.cell)
    return structure.graph(pairs, neighbors.cutoff)


def batches(chosen: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Cut a list of structures where a batch would grow above the limit of atoms."""
    batches: list[list[int]] = []
    atoms = BATCH_ATOMS
    for n in chosen:
        if atoms + sizes[n] > BATCH_ATOMS:
            batches.append([])
            atoms = 0
        batches[-1].append(n)
        atoms += sizes[n]
    return batches
