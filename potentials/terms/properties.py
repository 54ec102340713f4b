"""Heads for properties of a molecule, as QM9 has them: sums, means, and sizes about a centre."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from ase.data import atomic_masses
from torch import Tensor

from potentials.parts.conditioning import MAX_ATOMIC_NUMBER
from potentials.quantities import DEBYE, QUANTITIES
from potentials.structure.geometry import safe_norm, structure_sum
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term, conserved, scalar_network

BOHR = 0.52917721  # Å, CODATA 2018


class MeanReadout(Term):
    """A property that does not grow with the molecule: shift + scale · ⟨w_i⟩ over its atoms.

    Parameters
    ----------
    channels : int        C
    quantity : str        name in `QUANTITIES`, of a structure
    scale, shift : float  of the labels
    """

    name = "mean_readout"
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        channels: int,
        quantity: str = "orbital_energy",
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        super().__init__()
        self.quantity = _of_structures(quantity)
        self.predicts = (quantity,)
        self.network = scalar_network(channels)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float64))

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the property (S,)."""
        values: Tensor = self.network(features.scalars).squeeze(-1).double()
        mean = structure_sum(values, graph) / structure_sum(torch.ones_like(values), graph)
        return {self.quantity: self.shift + self.scale * mean}


class SumReadout(Term):
    """A property that grows with the molecule: Σ_i (shift + scale · w_i) over its atoms.

    Parameters
    ----------
    channels : int        C
    quantity : str        name in `QUANTITIES`, of a structure
    scale, shift : float  of the labels per atom
    """

    name = "sum_readout"
    scale: Tensor
    shift: Tensor

    def __init__(
        self, channels: int, quantity: str, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        super().__init__()
        self.quantity = _of_structures(quantity)
        self.predicts = (quantity,)
        self.network = scalar_network(channels)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float64))

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the property (S,)."""
        values: Tensor = self.network(features.scalars).squeeze(-1).double()
        return {self.quantity: structure_sum(self.shift + self.scale * values, graph)}


class _FromCenter(Term):
    """One number of each atom, and its place from the centre of mass."""

    masses: Tensor  # (Z,)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = scalar_network(channels)
        self.register_buffer("masses", _masses())


class DipoleMoment(_FromCenter):
    """|Σ q_i (r_i - r_c)| in D, with charges q_i of the atoms that add up to the total charge.

    r_c is the centre of mass; for open molecules. Differs from arXiv 2202.02541: dipoles of the
    atoms themselves are left out.
    """

    name = "dipole_moment"
    predicts = ("dipole_moment",)
    state_inputs = ("total_charge",)

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the size of the dipole (S,) D."""
        raw = self.network(features.scalars).squeeze(-1).double()
        charges = conserved(raw, graph.states)
        dipole = structure_sum(charges[:, None] * _from_center(graph, self.masses), graph)
        return {"dipole_moment": safe_norm(dipole) / DEBYE}


class SpatialExtent(_FromCenter):
    """Σ q_i |r_i - r_c|² in bohr², with learned q_i and r_c the centre of mass; for open molecules.

    Source: arXiv 2202.02541, section 3.4.
    """

    name = "spatial_extent"
    predicts = ("spatial_extent",)

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the extent (S,) bohr²."""
        weights: Tensor = self.network(features.scalars).squeeze(-1).double()
        squared = _from_center(graph, self.masses).square().sum(-1)  # (N,)
        return {"spatial_extent": structure_sum(weights * squared, graph) / BOHR**2}


def _of_structures(quantity: str) -> str:
    scalars = [q.name for q in QUANTITIES.values() if q.per == "structure" and not q.shape]
    names = [name for name in scalars if not name.endswith("_uncertainty")]
    if quantity not in names:
        raise ValueError(
            f"`quantity` must be one of {', '.join(names)}; got {quantity!r}. Correct the spec."
        )
    return quantity


def _masses() -> Tensor:
    table = torch.zeros(MAX_ATOMIC_NUMBER, dtype=torch.float64)
    known = torch.from_numpy(atomic_masses[:MAX_ATOMIC_NUMBER].copy())
    table[: len(known)] = known
    return table


def _from_center(graph: AtomicGraph, masses: Tensor) -> Tensor:
    """Positions about the centre of mass of each molecule, (N, 3) Å."""
    mass = masses[graph.atomic_numbers]  # (N,)
    center = structure_sum(mass[:, None] * graph.positions, graph)  # (S, 3)
    center = center / structure_sum(mass, graph)[:, None]
    return graph.positions - center[graph.batch]
