"""The native engine as the calculator asks it: a structure in, named quantities out."""

from __future__ import annotations

import numpy as np
import torch

from polcalc.engines.base import Engine, Structure, Unavailable
from polcalc.engines.native.engine import NativeEngine, Unsupported
from polcalc.engines.neighbors import NeighborList
from potentials.potential import Potential
from potentials.quantities import Evaluation


class Native(Engine):
    """TensorNet in compiled code on the CPU."""

    def __init__(self, potential: Potential, device: torch.device, skin: float = 0.5) -> None:
        if device.type != "cpu":
            raise Unavailable("it runs on the CPU")
        try:
            self.compiled = NativeEngine(
                potential, potential.dtype, n_threads=torch.get_num_threads()
            )
        except Unsupported as error:
            raise Unavailable(
                str(error).partition(": ")[2].removesuffix(". Use another engine.") or str(error)
            ) from error
        self.neighbors = NeighborList(potential.cutoff, skin)
        self._pairs = tuple(x.numpy() for x in self.neighbors.pairs)

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure; the compiled code skips pairs of the skin."""
        numbers, positions, cell, pbc, charge, multiplicity, partial_charges, parts, _ = structure
        if self.neighbors.update(positions, cell, pbc):
            self._pairs = tuple(x.numpy() for x in self.neighbors.pairs)
        idx_i, idx_j, shift = self._pairs
        answer = self.compiled.evaluate(
            numbers,
            positions,
            (idx_i, idx_j, shift @ cell if pbc.any() else None),
            charge if parts is None else parts.total_charge[parts.batch],
            multiplicity if parts is None else parts.multiplicity[parts.batch],
            np.zeros(len(numbers)) if partial_charges is None else partial_charges,
            groups=None if parts is None else parts.batch,
        )
        stress = answer.virial / abs(np.linalg.det(cell)) if structure.has_stress else None
        return Evaluation(
            energy=answer.energy, energies=answer.energies, forces=answer.forces, stress=stress
        )
