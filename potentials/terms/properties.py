"""Door 4, continued: heads for properties of a molecule that are no sum of energies of atoms.

Like every energy term they give a number for each atom, and the sum over a molecule is the
property, in the unit of the labels. A property that is no sum is shared equally by the atoms. A
model with such a head answers no question about energies or forces.
"""

from __future__ import annotations

import torch
from ase.data import atomic_masses
from torch import Tensor, nn

from potentials.parts.conditioning import MAX_ATOMIC_NUMBER
from potentials.structure.geometry import safe_norm, structure_sum
from potentials.structure.graph import AtomicGraph

DEBYE = 0.20819433  # e Å, CODATA 2018
BOHR = 0.52917721  # Å, CODATA 2018


class MeanReadout(nn.Module):
    """A property that does not grow with the molecule.

    Shift + scale · ⟨W SiLU(W x + b) + b⟩ over its atoms.

    Parameters
    ----------
    channels : int        C
    scale, shift : float  of the labels
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, channels: int, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.network = _network(channels)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float64))

    def forward(self, graph: AtomicGraph, vectors: Tensor, scalars: Tensor) -> Tensor:
        """Return (N,), each atom's share of the mean."""
        values: Tensor = self.network(scalars).squeeze(-1).double()
        return (self.shift + self.scale * values) / _n_atoms(graph)


class _FromCenter(nn.Module):
    """One number of each atom, and its place from the centre of mass."""

    masses: Tensor  # (Z,)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = _network(channels)
        self.register_buffer("masses", _masses())


class DipoleMoment(_FromCenter):
    """|Σ q_i (r_i - r_c)| in D, with learned charges q_i in e and r_c the centre of mass.

    The charges add up to the total charge.

    For open molecules. Differs from arXiv 2202.02541: dipoles of the atoms themselves are left out,
    since a term sees no vectors of the architecture.
    """

    def forward(self, graph: AtomicGraph, vectors: Tensor, scalars: Tensor) -> Tensor:
        """Return (N,) D, equal for all atoms of a molecule."""
        raw = self.network(scalars).squeeze(-1).double()
        n_atoms = _n_atoms(graph)
        charges = raw + ((graph.total_charge - structure_sum(raw, graph))[graph.batch]) / n_atoms
        dipole = structure_sum(
            charges[:, None] * _from_center(graph, self.masses), graph
        )  # (S, 3) e Å
        return safe_norm(dipole)[graph.batch] / DEBYE / n_atoms


class SpatialExtent(_FromCenter):
    """Σ q_i |r_i - r_c|² in bohr², with learned q_i and r_c the centre of mass; for open molecules.

    Source: arXiv 2202.02541, section 3.4.
    """

    def forward(self, graph: AtomicGraph, vectors: Tensor, scalars: Tensor) -> Tensor:
        """Return (N,) bohr²."""
        weights: Tensor = self.network(scalars).squeeze(-1).double()
        return weights * _from_center(graph, self.masses).square().sum(-1) / BOHR**2


PROPERTIES: dict[str, type[nn.Module]] = {
    "mean_readout": MeanReadout,
    "dipole_moment": DipoleMoment,
    "spatial_extent": SpatialExtent,
}


def _network(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, channels // 2), nn.SiLU(), nn.Linear(channels // 2, 1))


def _masses() -> Tensor:
    table = torch.zeros(MAX_ATOMIC_NUMBER, dtype=torch.float64)
    known = torch.from_numpy(atomic_masses[:MAX_ATOMIC_NUMBER].copy())
    table[: len(known)] = known
    return table


def _n_atoms(graph: AtomicGraph) -> Tensor:
    """Size of each atom's molecule, (N,)."""
    return structure_sum(torch.ones_like(graph.partial_charges), graph)[graph.batch]


def _from_center(graph: AtomicGraph, masses: Tensor) -> Tensor:
    """Positions about the centre of mass of each molecule, (N, 3) Å."""
    mass = masses[graph.atomic_numbers]  # (N,)
    center = (
        structure_sum(mass[:, None] * graph.positions, graph) / structure_sum(mass, graph)[:, None]
    )  # (S, 3)
    return graph.positions - center[graph.batch]
