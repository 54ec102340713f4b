"""Door 3: the points at which atoms interact.

`FixedPoints` are the nuclei themselves. `MovingPoints` give every nucleus a companion that stands
for its electrons and moves from layer to layer (Neural Polarization). Points keep displacements,
never positions: translations and periodic images need no care.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from potentials.structure.geometry import Points, at, rounded_unit_vectors, unit_vectors
from potentials.structure.graph import AtomicGraph

# weights (C,) -> one vector for each point (M, 3), mixed from those of the architecture
Reader = Callable[[Tensor], Tensor]
# Å, shorter than any distance between nuclei: only points of which one has moved come closer
ROUNDING_RADIUS = 0.5
INITIAL_WEIGHT = (
    1e-3  # of the vectors that move the points: a training starts near the fixed points
)


class PointsModel(Protocol):
    """What the trunk, training and tables ask of the points."""

    reach: float  # Å, by how much two points can be farther apart than their atoms

    def start(self, graph: AtomicGraph, vectors: Tensor, envelope: Tensor) -> Points:
        """Make the points and their pairs from the pairs of atoms.

        Vectors (P, 3) Å, envelope (P,).
        """

    def spread(self, per_atom: Tensor) -> Tensor:
        """Give every point the value of its atom: (..., N, C) -> (..., M, C)."""

    def move(self, points: Points, vectors: Reader, layer: int) -> Points:
        """Move the points before a layer by the vector features of the architecture."""

    def measure(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return length (P,) and direction (P, 3) of the vectors between points."""

    def gather(self, per_point: Tensor) -> Tensor:
        """Collect the points of each atom: (M, C) -> (N, C)."""

    def polarization(self, points: Points) -> Tensor | None:
        """Displacement of the moving point of each atom, (N, 3) Å, or None where nothing moves."""

    def restraint(self, displacement: Tensor | None) -> Tensor | float:
        """Penalise the displacement in training."""


class FixedPoints(nn.Module):
    """One point per atom, at the nucleus: M = N."""

    reach = 0.0
    compiled = True

    def __init__(self, channels: int = 0, n_layers: int = 0, n_silent: int = 0) -> None:
        super().__init__()

    def start(self, graph: AtomicGraph, vectors: Tensor, envelope: Tensor) -> Points:
        """Take the atoms and their pairs as they are."""
        return Points(
            torch.zeros_like(graph.positions), graph.idx_i, graph.idx_j, vectors, envelope
        )

    def spread(self, per_atom: Tensor) -> Tensor:
        """Return the values unchanged."""
        return per_atom

    def move(self, points: Points, vectors: Reader, layer: int) -> Points:
        """Return the points unchanged."""
        return points

    def measure(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return length and direction as they are: nuclei do not meet."""
        return unit_vectors(vectors)

    def gather(self, per_point: Tensor) -> Tensor:
        """Return the values unchanged."""
        return per_point

    def polarization(self, points: Points) -> Tensor | None:
        """Return None: nothing moves."""
        return None

    def restraint(self, displacement: Tensor | None) -> float:
        """Return 0: nothing moves."""
        return 0.0


class SecondPoint(nn.Module):
    """A point for each atom that moves away from the nucleus by mixtures of vectors.

    d ← clip(d + Σ_c w_c v_c), with clip(x) = x/√(1 + |x|²/d_max²) and weights for each step.

    Parameters
    ----------
    n_vectors : int           that the architecture knows of each point
    n_steps : int
    max_displacement : float  d_max, Å
    """

    channel_axis = 1  # of its weights

    def __init__(self, n_vectors: int, n_steps: int, max_displacement: float) -> None:
        super().__init__()
        if not max_displacement > 0:
            raise ValueError(
                f"`max_displacement` must be positive; got {max_displacement} Å. Use fixed points"
                " to move nothing."
            )
        self.max_displacement = max_displacement
        self.weights = nn.Parameter(INITIAL_WEIGHT * torch.randn(n_steps, n_vectors))

    def moved(self, displacement: Tensor, vectors: Reader, step: int) -> Tensor:
        """Return the displacement (N, 3) Å after a step."""
        new = displacement + vectors(self.weights[step]).to(displacement.dtype)
        squared = (new * new).sum(-1, keepdim=True)  # (N, 1)
        return new * (1 + squared / self.max_displacement**2).rsqrt()


class MovingPoints(SecondPoint):
    """Two points per atom, M = 2N: first all nuclei, then all points that move.

    A moving point starts at its nucleus. Before each layer it moves by a learned mixture of its
    vector features. The two points of an atom see each other; their features are averaged in the
    end.

    Parameters
    ----------
    channels : int            C, vector features of the architecture
    n_layers : int
    n_silent : int            first layers before which the architecture has no vectors yet
    links : str               name in `LINKS`: "paired", nuclei with nuclei and moving points with
                              moving points; or "full", all pairs
    max_displacement : float  d_max, Å
    penalty : float           λ_d, 1/Å², of the mean squared displacement in training

    Source: arXiv 2406.00441, of which no equations are public: the definition is ours.
    """

    def __init__(
        self,
        channels: int,
        n_layers: int,
        n_silent: int = 0,
        links: str = "paired",
        max_displacement: float = 0.5,
        penalty: float = 0.0,
    ) -> None:
        if links not in LINKS:
            raise ValueError(
                f"`links` must be one of {', '.join(LINKS)}; got {links!r}. Correct the spec."
            )
        if penalty < 0:
            raise ValueError(f"`penalty` must not be negative; got {penalty}. Correct the spec.")
        if n_layers <= n_silent:
            raise ValueError(
                f"`n_layers` must be at least {n_silent + 1} for points that move; got {n_layers}."
                " Correct the spec."
            )
        super().__init__(channels, n_layers - n_silent, max_displacement)
        self.blocks, self.strength = LINKS[links], penalty
        self.reach, self.n_silent = 2 * max_displacement, n_silent

    def start(self, graph: AtomicGraph, vectors: Tensor, envelope: Tensor) -> Points:
        """Double the atoms, link points as atoms are, and each nucleus with its own point."""
        n_atoms = len(graph.positions)
        own = torch.arange(n_atoms, device=vectors.device)
        return Points(
            displacement=vectors.new_zeros(2 * n_atoms, 3),
            idx_i=torch.cat([*(graph.idx_i + a * n_atoms for a, _ in self.blocks), own]),
            idx_j=torch.cat([*(graph.idx_j + b * n_atoms for _, b in self.blocks), own + n_atoms]),
            vector=torch.cat([vectors.repeat(len(self.blocks), 1), vectors.new_zeros(n_atoms, 3)]),
            envelope=torch.cat([envelope.repeat(len(self.blocks)), envelope.new_ones(n_atoms)]),
        )

    def spread(self, per_atom: Tensor) -> Tensor:
        """Give both points the value of their atom."""
        return torch.cat([per_atom, per_atom], dim=-2)

    def move(self, points: Points, vectors: Reader, layer: int) -> Points:
        """Move by the mixed vectors, and with the points the vectors between them.

        The envelopes stay those of the atoms.
        """
        if layer < self.n_silent:
            return points
        nuclei, moving = points.displacement.chunk(2)
        moved = self.moved(moving, lambda w: vectors(w).chunk(2)[1], layer - self.n_silent)
        new = torch.cat([nuclei, moved])
        change = new - points.displacement
        return points._replace(
            displacement=new,
            vector=points.vector + at(change, points.idx_j) - at(change, points.idx_i),
        )

    def measure(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return length and direction, without a kink where points meet."""
        return rounded_unit_vectors(vectors, ROUNDING_RADIUS)

    def gather(self, per_point: Tensor) -> Tensor:
        """Average the two points of each atom."""
        nuclei, moving = per_point.chunk(2)
        return 0.5 * (nuclei + moving)

    def polarization(self, points: Points) -> Tensor | None:
        """Return the displacement of the moving points, (N, 3) Å."""
        return points.displacement.chunk(2)[1]

    def restraint(self, displacement: Tensor | None) -> Tensor:
        """Return λ_d ⟨|d|²⟩."""
        assert displacement is not None
        return self.strength * displacement.square().sum(-1).mean()


# which point of atom i sees which of atom j: 0 the nucleus, 1 the moving point
LINKS = {"paired": ((0, 0), (1, 1)), "full": ((0, 0), (1, 1), (0, 1), (1, 0))}
POINTS = {"fixed": FixedPoints, "moving": MovingPoints}
