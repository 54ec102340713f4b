"""The one place where the doors meet.

Embeddings, points, encoding, layers, energy terms, and their derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from potentials.ops.splines import SplineTable
from potentials.ops.stencils import Nodes, Stencil
from potentials.parts.angular import AngularEncoding, Triplets
from potentials.parts.architecture import Architecture
from potentials.parts.attention import ChargedAttention, NoAttention
from potentials.parts.conditioning import StateFactor
from potentials.parts.electrons import GlobalElectrons, LocalElectrons
from potentials.parts.points import PointsModel
from potentials.quantities import Prediction, named
from potentials.structure.geometry import (
    ENVELOPES,
    Edges,
    Points,
    pair_vectors,
    safe_norm,
    structure_sum,
)
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term
from potentials.terms.field import FIELD, in_field


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
    electrons : Module    what each atom knows of charge and unpaired electrons
    architecture : Architecture
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
        electrons: GlobalElectrons | LocalElectrons,
        architecture: Architecture,
    ) -> None:
        super().__init__()
        self.cutoff, self.envelope = cutoff, ENVELOPES[envelope]
        self.radial, self.angular = radial, angular
        self.embeddings: Any = nn.ModuleList(embeddings)
        self.factor = factor
        self.points, self.attention, self.electrons = points, attention, electrons
        self.architecture: Any = architecture  # a module
        self.nodes = Nodes(
            cutoff + points.reach,
            *(table.spacing for table in radial.modules() if isinstance(table, SplineTable)),
        )

    def forward(
        self, graph: AtomicGraph, pairs: Tensor, encode: Encode
    ) -> tuple[Features, dict[str, Tensor]]:
        """Return the features of the atoms, and what the trunk predicts by itself.

        Pairs (P, 3) Å are r_ij of the pairs of atoms.
        """
        electrons = self.electrons.start(graph)
        scalars = self.embeddings[0](electrons.graph)
        for embedding in self.embeddings[1:]:
            scalars = scalars + embedding(electrons.graph)
        factors = self.points.spread(self.factor(electrons.graph))
        states = graph.states._replace(batch=self.points.spread(graph.states.batch[:, None])[:, 0])
        envelope = self.envelope(safe_norm(pairs), self.cutoff)
        points = self.points.start(graph, pairs, envelope)
        triplets = self.angular.triplets(points)
        edges = self.edges_of(points, triplets, scalars.dtype, encode)
        hidden = self.architecture.start(self.points.spread(scalars), edges)
        for n, layer in enumerate(self.architecture.layers):
            moved = self.points.move(points, partial(self.architecture.vectors, hidden, edges), n)
            if moved is not points:
                points, edges = moved, self.edges_of(moved, triplets, scalars.dtype, encode)
            hidden = self.attention(n, self.architecture, hidden, states)
            hidden = layer(hidden, edges, factors[n])
            settled = self.electrons.settle(electrons, graph, n, partial(self._invariants, hidden))
            if settled is not electrons:
                assert settled.scalars is not None
                electrons, factors = settled, self.points.spread(self.factor(settled.graph))
                hidden = self.architecture.add(hidden, self.points.spread(settled.scalars))

        def vectors(weights: Tensor) -> Tensor:
            return self.points.gather(self.architecture.vectors(hidden, edges, weights))

        def tensors(weights: Tensor) -> Tensor:
            return self.points.gather(self.architecture.tensors(hidden, edges, weights))

        scalars = self.points.gather(self.architecture.scalars(hidden))
        predicted = dict(electrons.predicted)
        if (displacement := self.points.polarization(points)) is not None:
            predicted["polarization"] = displacement
        return Features(pairs, envelope, scalars, vectors, tensors), predicted

    def _invariants(self, hidden: Any) -> Tensor:
        return self.points.gather(self.architecture.invariants(hidden))

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


class Potential(nn.Module):
    """A trunk and the terms on top of it.

    Parameters
    ----------
    trunk : Trunk
    terms : Terms   called in order; quantities of one name are summed
    spec : dict     what `build` made it from
    """

    def __init__(self, trunk: Trunk, terms: Sequence[Term], spec: dict[str, Any]) -> None:
        super().__init__()
        self.trunk, self.spec = trunk, spec
        self.terms: Any = nn.ModuleList(terms)

    @property
    def cutoff(self) -> float:
        """Distance in Å beyond which atoms do not see each other directly."""
        return self.trunk.cutoff

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the network; geometry and energy sums are float64 always."""
        return next(p.dtype for p in self.trunk.parameters() if p.is_floating_point())

    @property
    def parts(self) -> list[nn.Module]:
        """Everything that may read the electronic state or an input: embeddings to terms."""
        trunk = self.trunk
        return [*trunk.embeddings, trunk.factor, trunk.attention, trunk.electrons, *self.terms]

    @property
    def predicts(self) -> tuple[str, ...]:
        """Name the quantities that it predicts, and those that follow from an energy."""
        parts = (self.trunk.electrons, *self.terms)
        names = dict.fromkeys(name for part in parts for name in part.predicts)
        follow = ("energy", "forces", "stress") if "energies" in names else ()
        moving = ("polarization",) if self.trunk.points.reach else ()
        return (*follow, *names, *moving)

    @property
    def state_inputs(self) -> set[str]:
        """Name what it sees of the electronic state: names in `conditioning.ATTRIBUTES`."""
        return {name for part in self.parts for name in getattr(part, "state_inputs", ())}

    @property
    def looked_up(self) -> set[str]:
        """Name what it knows from tables: of a value that was not trained it knows nothing."""
        return {name for part in self.parts for name in getattr(part, "looked_up", ())}

    @property
    def lists_pairs(self) -> bool:
        """Whether a term lists pairs of its own: nothing that needs fixed shapes can hold it."""
        return any(term.lists_pairs for term in self.terms)

    @property
    def inputs(self) -> set[str]:
        """Name the further inputs of `AtomicGraph` that it reads."""
        read = {name for part in self.parts for name in getattr(part, "inputs", ())}
        return {*read, FIELD} if self.has_dipole else read

    @property
    def has_dipole(self) -> bool:
        """Whether it predicts energies and a dipole: all that an answer to a field takes."""
        predicted = {name for term in self.terms for name in term.predicts}
        return {"energies", "dipole"} <= predicted

    @property
    def adds_field(self) -> bool:
        """Whether the answer to a field is added here: no part of its own reads the field."""
        reads = any(FIELD in getattr(part, "inputs", ()) for part in self.parts)
        return self.has_dipole and not reads

    def features(self, graph: AtomicGraph) -> Features:
        """Return what the trunk knows of a structure."""
        found: Features = self.trunk(graph, pair_vectors(graph), at_pairs)[0]
        return found

    def forward(self, graph: AtomicGraph, encode: Encode = at_pairs) -> Prediction:
        """Return what trunk and terms say, without derivatives."""
        if graph.cutoff < self.cutoff:
            raise ValueError(
                f"`graph.cutoff` must be at least the potential's {self.cutoff} Å; got"
                f" {graph.cutoff} Å. Build the graph with the larger cutoff."
            )
        features, predicted = self.trunk(graph, pair_vectors(graph), encode)
        for term in self.terms:
            for name, value in term(graph, features, predicted).items():
                predicted[name] = predicted[name] + value if name in predicted else value
        if "energies" in predicted:
            predicted["energies"] = _without_bare_protons(predicted["energies"], graph)
        said = Prediction(**predicted)
        return in_field(graph, said) if self.adds_field else said


def predict(
    potential: Potential,
    graph: AtomicGraph,
    *,
    forces: bool = True,
    stress: bool = False,
    create_graph: bool = False,
) -> Prediction:
    """Evaluate every quantity of a batch, with forces -dE/dr and stress dE/dε / V.

    A potential that predicts no energy has neither of them.

    Parameters
    ----------
    create_graph : bool   keep the graph of the forces, to train on them

    Raises
    ------
    ValueError            stress asked for a structure without three lattice vectors
    """
    has_energy = "energies" in potential.predicts
    forces, stress = forces and has_energy, stress and has_energy
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
        said: Prediction = potential(moved)
        if has_energy:
            said = said._replace(energy=structure_sum(said.energies, graph))
    gradients = (
        torch.autograd.grad(said.energy.sum(), wanted, create_graph=create_graph) if wanted else ()
    )
    if not create_graph:
        said = Prediction(**{name: value.detach() for name, value in named(said).items()})
    return said._replace(
        forces=-gradients[0] if forces else None,
        stress=gradients[1] / _volume(graph)[:, None, None] if stress else None,
    )


def _without_bare_protons(energies: Tensor, graph: AtomicGraph) -> Tensor:
    """Give a structure that is one proton, which has no electrons, the energy 0 by definition."""
    n_atoms = structure_sum(torch.ones_like(energies), graph)  # (S,)
    bare = (n_atoms == 1) & (graph.total_charge == 1)
    return energies.masked_fill(bare[graph.batch] & (graph.atomic_numbers == 1), 0.0)


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
