"""The one place where the four doors meet.

Embeddings, points, encoding, layers, energy terms, and their derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from potentials.ops.splines import SplineTable
from potentials.ops.stencils import Nodes, Stencil
from potentials.parts.angular import AngularEncoding, Triplets
from potentials.parts.attention import ChargedAttention, NoAttention
from potentials.parts.conditioning import StateFactor
from potentials.parts.points import PointsModel
from potentials.structure.geometry import (
    ENVELOPES,
    Edges,
    Points,
    pair_vectors,
    safe_norm,
    structure_sum,
)
from potentials.structure.graph import AtomicGraph, Prediction


class Trunk(nn.Module):
    """From a graph to scalars per atom.

    Parameters
    ----------
    cutoff : float        Å
    envelope : str        name in `ENVELOPES`
    radial : Module       lengths (P,) -> (P, R)
    angular : Module      encodes angles, or nothing
    embeddings : Modules  graph -> (N, C), summed
    factor : StateFactor  graph -> (L, N, 1 or C)
    points : PointsModel
    attention : Module    between the layers, over the atoms of a molecule
    architecture : Module start, layers, scalars, vectors; for attention invariants, add
    """

    def __init__(
        self,
        cutoff: float,
        envelope: str,
        radial: nn.Module,
        angular: AngularEncoding,
        embeddings: Sequence[nn.Module],
        factor: StateFactor,
        points: PointsModel,
        attention: NoAttention | ChargedAttention,
        architecture: Any,
    ) -> None:
        super().__init__()
        self.cutoff, self.envelope = cutoff, ENVELOPES[envelope]
        self.radial, self.angular = radial, angular
        self.embeddings, self.factor = nn.ModuleList(embeddings), factor
        self.points, self.attention, self.architecture = points, attention, architecture
        self.nodes = Nodes(
            cutoff + points.reach,
            *(table.spacing for table in radial.modules() if isinstance(table, SplineTable)),
        )

    def forward(
        self, graph: AtomicGraph, vectors: Tensor, encode: Encode
    ) -> tuple[Tensor, Tensor | None]:
        """Return the scalars (N, C) and the displacement (N, 3) Å of moving points, if any."""
        scalars = self.embeddings[0](graph)
        for embedding in self.embeddings[1:]:
            scalars = scalars + embedding(graph)
        factors = self.points.spread(self.factor(graph))
        molecules = graph.molecules._replace(
            batch=self.points.spread(graph.molecules.batch[:, None])[:, 0]
        )
        points = self.points.start(graph, vectors, self.envelope(safe_norm(vectors), self.cutoff))
        triplets = self.angular.triplets(points)
        edges = self.edges_of(points, triplets, scalars.dtype, encode)
        state = self.architecture.start(self.points.spread(scalars), edges)
        for n, layer in enumerate(self.architecture.layers):
            moved = self.points.move(points, partial(self.architecture.vectors, state, edges), n)
            if moved is not points:
                points, edges = moved, self.edges_of(moved, triplets, scalars.dtype, encode)
            state = self.attention(n, self.architecture, state, molecules)
            state = layer(state, edges, factors[n])
        return self.points.gather(self.architecture.scalars(state)), self.points.polarization(
            points
        )

    def edges_of(
        self, points: Points, triplets: Triplets | None, dtype: torch.dtype, encode: Encode
    ) -> Edges:
        """Encode the pairs of points, and the angles between them, in the dtype of the network."""
        length, direction = self.points.measure(points.vector)
        radial, stencil = encode(self, length, dtype)
        return Edges(
            idx_i=points.idx_i,
            idx_j=points.idx_j,
            direction=direction.to(dtype),
            length=length,
            envelope=points.envelope.to(dtype),
            radial=radial,
            n_points=len(points.displacement),
            angles=self.angular(triplets, length.to(dtype), direction.to(dtype)),
            stencil=stencil,
        )


# lengths (P,) Å -> their encoding, and where each is to be read in it
Encode = Callable[[Trunk, Tensor, torch.dtype], tuple[Tensor, Stencil | None]]


def at_pairs(trunk: Trunk, length: Tensor, dtype: torch.dtype) -> tuple[Tensor, None]:
    """Encode zero length, for self loops, and the length of every pair: (1 + P, R)."""
    return trunk.radial(torch.cat([length.new_zeros(1), length]).to(dtype)), None


def at_nodes(trunk: Trunk, length: Tensor, dtype: torch.dtype) -> tuple[Tensor, Stencil]:
    """Encode a grid of lengths (G, R), and say where every pair lies between its nodes.

    Training does so; see `potentials.ops.stencils`.
    """
    return trunk.radial(trunk.nodes.lengths(length.device).to(dtype)), trunk.nodes.stencil(
        length, dtype
    )


class Energies(NamedTuple):
    """Energies of a batch before differentiation."""

    energies: Tensor  # (N,) eV, float64
    polarization: Tensor | None  # (N, 3) Å


class Potential(nn.Module):
    """A trunk and the energy terms on top of it.

    Parameters
    ----------
    trunk : Trunk
    terms : Modules     (graph, vectors, scalars) -> (N,) eV, summed
    spec : dict         what `build` made it from
    """

    def __init__(self, trunk: Trunk, terms: Sequence[nn.Module], spec: dict[str, Any]) -> None:
        super().__init__()
        self.trunk, self.terms, self.spec = trunk, nn.ModuleList(terms), spec

    @property
    def cutoff(self) -> float:
        """Distance in Å beyond which atoms do not see each other directly."""
        return self.trunk.cutoff

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the network; geometry and energy sums are float64 always."""
        return next(p.dtype for p in self.trunk.parameters() if p.is_floating_point())

    def forward(self, graph: AtomicGraph, encode: Encode = at_pairs) -> Energies:
        """Return the energy of each atom."""
        if graph.cutoff < self.cutoff:
            raise ValueError(
                f"`graph.cutoff` must be at least the potential's {self.cutoff} Å; got"
                f" {graph.cutoff} Å. Build the graph with the larger cutoff."
            )
        vectors = pair_vectors(graph)
        scalars, polarization = self.trunk(graph, vectors, encode)
        return Energies(sum(term(graph, vectors, scalars) for term in self.terms), polarization)


def predict(
    potential: Potential,
    graph: AtomicGraph,
    *,
    forces: bool = True,
    stress: bool = False,
    create_graph: bool = False,
) -> Prediction:
    """Evaluate energy, forces -dE/dr and stress dE/dε / V of a batch.

    Parameters
    ----------
    create_graph : bool   keep the graph of the forces, to train on them

    Raises
    ------
    ValueError            stress asked for a structure without three lattice vectors
    """
    positions = graph.positions.detach()
    wanted = []
    if forces or stress:
        positions.requires_grad_()
        wanted.append(positions)
    moved = graph._replace(positions=positions)
    if stress:
        strain = torch.zeros_like(graph.cell).requires_grad_()
        wanted.append(strain)
        moved = _strained(moved, strain)
    with torch.set_grad_enabled(bool(wanted) or create_graph):
        energies, polarization = potential(moved)
        energy = structure_sum(energies, graph)
    gradients = (
        torch.autograd.grad(energy.sum(), wanted, create_graph=create_graph) if wanted else ()
    )
    keep = (lambda x: x) if create_graph else torch.Tensor.detach
    return Prediction(
        energy=keep(energy),
        energies=keep(energies),
        forces=-gradients[0] if forces else None,
        stress=gradients[1] / _volume(graph)[:, None, None] if stress else None,
        polarization=None if polarization is None else keep(polarization),
    )


def _strained(graph: AtomicGraph, strain: Tensor) -> AtomicGraph:
    deformation = torch.eye(3, dtype=strain.dtype, device=strain.device) + 0.5 * (
        strain + strain.transpose(1, 2)
    )
    positions = torch.einsum("na,nab->nb", graph.positions, deformation[graph.batch])
    return graph._replace(positions=positions, cell=graph.cell @ deformation)


def _volume(graph: AtomicGraph) -> Tensor:
    volume: Tensor = torch.linalg.det(graph.cell).abs()
    # while a CUDA graph is captured values cannot be looked at; the evaluation before it did
    capturing = graph.cell.is_cuda and torch.cuda.is_current_stream_capturing()
    if not capturing and not bool((volume > 0).all()):
        raise ValueError(
            "`stress` must be asked of structures with three lattice vectors; got a cell without"
            " volume. Pass stress=False."
        )
    return volume
