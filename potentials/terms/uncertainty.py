"""How far the energy of a structure and the forces of its atoms may be off.

What a read-out is sure of are the directions of its hidden layer that training data filled: the
posterior of its last row of weights has the covariance (Σ x xᵀ)⁻¹, x the hidden layer and a one.
Of that matrix a factor is kept, so that an uncertainty is the length of x times it, scaled to what
errors of new molecules are. A structure is the sum of its atoms; forces go by each atom alone.

Source: F. Bigi, S. Chong, M. Ceriotti, F. Grasselli, Mach. Learn. Sci. Technol. 5, 045018 (2024).
Differs: forces have a matrix of their own in place of derivatives; scales are quantiles of errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from potentials.structure.geometry import structure_sum
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term

PERCENT = (50.0, 68.27, 95.0)  # of new molecules, or of their force components, that lie within
USUAL = 1  # of these, what an uncertainty is without more words
RELATIVE, GAP = 0, 1  # rows of the scales of differences


class Uncertainty(Term):
    """Uncertainties from the hidden layer of the read-out, as it was when they were calibrated.

    `potentials.trust.calibrate` fills what starts empty here.

    Parameters
    ----------
    channels : int           C
    states : [charge, multiplicity] of each state with scales of its own; others have the last row
    """

    name = "uncertainty"
    predicts = ("energy_uncertainty", "forces_uncertainty")
    compiled = True
    weight: Tensor
    bias: Tensor
    energy_factor: Tensor
    forces_factor: Tensor
    states: Tensor
    energy_scales: Tensor
    forces_scales: Tensor
    difference_scales: Tensor
    warn_above: Tensor

    def __init__(self, channels: int, states: Sequence[Sequence[int]]) -> None:
        super().__init__()
        size, n_states = channels // 2 + 1, len(states)
        empty = {
            "weight": (size - 1, channels),  # of the hidden layer, (H, C)
            "bias": (size - 1,),
            "energy_factor": (size, size),  # of x of a structure
            "forces_factor": (size, size),  # of x of an atom
            "energy_scales": (n_states + 1, len(PERCENT)),  # eV
            "forces_scales": (n_states + 1, len(PERCENT)),  # eV/Å
            "difference_scales": (2, len(PERCENT)),  # eV; rows RELATIVE and GAP
            "warn_above": (),  # eV/Å, hardly ever reached by an atom of a new molecule
        }
        for name, shape in empty.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        rows = torch.tensor([[int(q), int(m)] for q, m in states]).reshape(-1, 2)
        self.register_buffer("states", rows)

    @torch.no_grad()
    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return what 68 % of errors lie within: energies (S,) eV, force components (N,) eV/Å."""
        x = self.rows(features.scalars)
        row = self.row_of(graph.total_charge, graph.multiplicity)  # (S,)
        energy = (structure_sum(x, graph) @ self.energy_factor).norm(dim=1)
        forces = (x @ self.forces_factor).norm(dim=1)
        return {
            "energy_uncertainty": self.energy_scales[row, USUAL] * energy,
            "forces_uncertainty": self.forces_scales[row, USUAL][graph.batch] * forces,
        }

    def rows(self, scalars: Tensor) -> Tensor:
        """Return the hidden layer of each atom, and a one: (N, H + 1)."""
        hidden = torch.nn.functional.silu(scalars.double() @ self.weight.T + self.bias)
        return torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1)

    def row_of(self, charge: Tensor, multiplicity: Tensor) -> Tensor:
        """Find the row of scales of each state (S,); the last where a state has none."""
        given = torch.stack([charge.round().long(), multiplicity.long()], dim=1)  # (S, 2)
        same = (given[:, None] == self.states).all(2)  # (S, T)
        others = same.new_ones(len(given), 1)
        return torch.cat([same, others], dim=1).long().argmax(1)
