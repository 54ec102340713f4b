"""One CUDA graph for the whole evaluation.

Captured once per kind of structure, replayed with new positions.

A graph replays fixed addresses and fixed shapes. `FixedShapes` therefore holds the tensors of one
kind of structure at a fixed capacity of pairs; unused places hold a pair whose image lies far
beyond the cutoff, where the envelope is zero. Molecules that take all pairs never change their
list. A list that outgrows the capacity is noticed and captured anew, never cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polcalc.engines.base import Engine, Kind, Structure, Unavailable
from polcalc.engines.neighbors import NeighborList
from polcalc.engines.tables import tabulated
from potentials.potential import Potential, predict
from potentials.quantities import Evaluation
from potentials.structure.pairs import Pairs

RETURNED = ("energy", "energies", "forces", "stress")
HEADROOM = 1.2  # capacity over the present number of pairs
FAR_A = 1000.0  # edge of the cell that carries unused pairs of an open structure out of reach, Å
WARM_UP = 3  # evaluations before a capture, as torch asks for


class FixedShapes:
    """The evaluation of one kind of structure with fixed shapes.

    `load` fills the inputs, `evaluate` reads and writes in place.

    Parameters
    ----------
    potential : Potential    on the device
    structure : Structure    numbers, pbc, charge and multiplicity stay those of this one
    capacity : int           places for pairs
    """

    def __init__(
        self, potential: Potential, structure: Structure, capacity: int, device: torch.device
    ) -> None:
        self.potential, self.capacity, self.device = potential, capacity, device
        self.periodic = bool(structure.pbc.any())
        self.stress = structure.has_stress
        n_atoms = len(structure.positions)
        nowhere = structure._replace(positions=np.zeros((n_atoms, 3)), cell=np.zeros((3, 3)))
        # each tensor is written to in place, so that none may share its memory with another
        idx_i, idx_j = torch.zeros(2, capacity, dtype=torch.int64).unbind()
        pairs = idx_i, idx_j, torch.zeros(capacity, 3, dtype=torch.float64)
        self.graph = nowhere.graph(pairs, potential.cutoff, device)
        self.output = torch.zeros(4 * n_atoms + 9, dtype=torch.float64, device=device)
        pin = device.type == "cuda"
        self._positions = torch.zeros(n_atoms, 3, dtype=torch.float64, pin_memory=pin)
        self._output = torch.zeros(4 * n_atoms + 9, dtype=torch.float64, pin_memory=pin)

    def load(self, structure: Structure, pairs: Pairs | None) -> None:
        """Copy positions and, where given, charges, cell and a new list of pairs to the device."""
        self._positions.copy_(torch.from_numpy(structure.positions))
        self.graph.positions.copy_(self._positions, non_blocking=True)
        if structure.partial_charges is not None:
            self.graph.partial_charges.copy_(torch.from_numpy(structure.partial_charges))
        if self.periodic:
            self.graph.cell.copy_(torch.from_numpy(structure.cell)[None])
        elif pairs is not None:
            self.graph.cell.copy_(FAR_A * torch.eye(3, dtype=torch.float64)[None])
        if pairs is not None:
            idx_i, idx_j, shift = self._padded(pairs, structure.cell)
            self.graph.idx_i.copy_(idx_i)
            self.graph.idx_j.copy_(idx_j)
            self.graph.shift.copy_(shift)

    def evaluate(self) -> None:
        """Write energies, forces and stress to `output`."""
        prediction = predict(self.potential, self.graph, stress=self.stress)
        assert prediction.forces is not None
        parts = [prediction.energies, prediction.forces.reshape(-1)]
        parts.append(
            prediction.energy.new_zeros(9)
            if prediction.stress is None
            else prediction.stress.reshape(-1)
        )
        self.output.copy_(torch.cat(parts))

    def read(self) -> Evaluation:
        """Copy the results to the host."""
        self._output.copy_(self.output, non_blocking=True)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        n_atoms = len(self.graph.positions)
        energies, forces, stress = (
            x.numpy().copy() for x in self._output.split([n_atoms, 3 * n_atoms, 9])
        )
        return Evaluation(
            energy=float(energies.sum()),
            energies=energies,
            forces=forces.reshape(-1, 3),
            stress=stress.reshape(3, 3) if self.stress else None,
        )

    def _padded(self, pairs: Pairs, cell: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Fill unused places with an image of atom 0 so far away that nothing reaches it."""
        idx_i, idx_j, shift = pairs
        unused = self.capacity - len(idx_i)
        assert unused >= 0
        edge = np.linalg.norm(cell, axis=1).max() if self.periodic else FAR_A
        axis = int(np.argmax(np.linalg.norm(cell, axis=1))) if self.periodic else 0
        far = torch.zeros(unused, 3, dtype=torch.float64)
        far[:, axis] = float(np.ceil(FAR_A / edge))
        zeros = torch.zeros(unused, dtype=torch.int64)
        return torch.cat([idx_i, zeros]), torch.cat([idx_j, zeros]), torch.cat([shift, far])


class Captured(NamedTuple):
    """Fixed shapes, their pair list, and how to run the evaluation again."""

    shapes: FixedShapes
    neighbors: NeighborList
    replay: Callable[[], None]


class CudaGraph(Engine):
    """Tabulated filters, fixed shapes, one CUDA graph per kind of structure.

    Parameters
    ----------
    potential : Potential
    device : torch.device
    skin : float            Å, of the pair list
    """

    def __init__(self, potential: Potential, device: torch.device, skin: float = 0.5) -> None:
        if device.type != "cuda":
            raise Unavailable("it needs a GPU")
        if more := [name for name in potential.predicts if name not in RETURNED]:
            raise Unavailable(f"it does not return {', '.join(more)}")
        if potential.inputs:
            raise Unavailable(f"it does not take {', '.join(sorted(potential.inputs))}")
        if potential.trunk.angular.sizes:
            raise Unavailable("the number of angles changes from step to step")
        if potential.lists_pairs:
            raise Unavailable("a term makes a list of pairs of its own at each step")
        try:
            self.potential = tabulated(potential)[0]
        except ValueError:
            self.potential = potential  # no radial filters: nothing to tabulate
        self.device, self.skin = device, skin
        self._captured: dict[Kind, Captured] = {}

    def evaluate(self, structure: Structure) -> Evaluation:
        """Replay the graph of this kind of structure.

        It is captured when first met, and when its pairs outgrew the capacity.
        """
        key = structure.kind
        held = self._captured.get(key)
        neighbors = held.neighbors if held else NeighborList(self.potential.cutoff, self.skin)
        searched = neighbors.update(structure.positions, structure.cell, structure.pbc)
        if held is None or len(neighbors.pairs[0]) > held.shapes.capacity:
            held = self._captured[key] = self._capture(structure, neighbors)
        else:
            held.shapes.load(structure, neighbors.pairs if searched else None)
        held.replay()
        return held.shapes.read()

    def _capture(self, structure: Structure, neighbors: NeighborList) -> Captured:
        n_pairs = len(neighbors.pairs[0])
        capacity = n_pairs if neighbors.static else int(HEADROOM * n_pairs) + 16
        shapes = FixedShapes(self.potential, structure, capacity, self.device)
        shapes.load(structure, neighbors.pairs)
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                shapes.evaluate()
        torch.cuda.current_stream(self.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            shapes.evaluate()
        return Captured(shapes, neighbors, graph.replay)
