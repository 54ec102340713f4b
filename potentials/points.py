"""Door 3: the points at which atoms interact. `FixedPoints` are the nuclei themselves."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from potentials.geometry import Points
from potentials.graph import AtomicGraph


class PointsModel(Protocol):
    """What the trunk asks of the points."""

    def start(self, graph: AtomicGraph, vectors: Tensor, envelope: Tensor) -> Points:
        """Make the points and their pairs from the pairs of atoms: vectors (P, 3) Å, envelope (P,)."""

    def spread(self, per_atom: Tensor) -> Tensor:
        """Give every point the value of its atom: (..., N, C) -> (..., M, C)."""

    def move(self, points: Points, vectors: Tensor, layer: int) -> Points:
        """Move the points by the vector features (M, 3, C) of the architecture."""

    def gather(self, per_point: Tensor) -> Tensor:
        """Collect the points of each atom: (M, C) -> (N, C)."""

    def polarization(self, points: Points) -> Tensor | None:
        """Displacement of the moving point of each atom, (N, 3) Å, or None where nothing moves."""

    def restraint(self, displacement: Tensor | None) -> Tensor | float:
        """Penalise the displacement in training."""


class FixedPoints(nn.Module):
    """One point per atom, at the nucleus: M = N."""

    def start(self, graph: AtomicGraph, vectors: Tensor, envelope: Tensor) -> Points:
        """Take the atoms and their pairs as they are."""
        return Points(torch.zeros_like(graph.positions), graph.idx_i, graph.idx_j, vectors, envelope)

    def spread(self, per_atom: Tensor) -> Tensor:
        """Return the values unchanged."""
        return per_atom

    def move(self, points: Points, vectors: Tensor, layer: int) -> Points:
        """Return the points unchanged."""
        return points

    def gather(self, per_point: Tensor) -> Tensor:
        """Return the values unchanged."""
        return per_point

    def polarization(self, points: Points) -> Tensor | None:
        """Return None: nothing moves."""
        return None

    def restraint(self, displacement: Tensor | None) -> float:
        """Return 0: nothing moves."""
        return 0.0


POINTS = {"fixed": FixedPoints}
