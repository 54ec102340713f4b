"""Coulomb energy of the charges of the atoms, over all pairs of an open structure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from potentials.structure.geometry import safe_norm
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import COULOMB_EV_ANGSTROM, Features, Term


class Coulomb(Term):
    """E = ½ k Σ_i Σ_j q_i q_j erf(r_ij / (√2 σ)) / r_ij of Gaussian charges, without a cutoff.

    The charges are those that a term before it predicts, else the fixed partial charges of the
    structure. Open structures alone.

    Parameters
    ----------
    channels : int    of the network, not read
    sigma_A : float   σ, Å; the energy of two charges at one place is finite
    """

    name = "coulomb"

    def __init__(self, channels: int, sigma_A: float = 0.5) -> None:
        super().__init__()
        if not sigma_A > 0:
            raise ValueError(f"`sigma_A` must be positive; got {sigma_A} Å. Correct the spec.")
        self.sigma_A = sigma_A

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the energies (N,) eV; the energy of a pair is shared by its two atoms."""
        if bool(graph.pbc.any()):
            raise ValueError(
                "`coulomb` must be asked of open structures; got a periodic one, whose sum over"
                " images needs Ewald's method. Take a cluster, or a model without this term."
            )
        charges = predicted.get("charges", graph.partial_charges)
        idx_i, idx_j = _all_pairs(graph)
        length = safe_norm(graph.positions[idx_j] - graph.positions[idx_i])  # (Q,)
        damped = torch.erf(length / (math.sqrt(2) * self.sigma_A)) / length
        half = 0.5 * COULOMB_EV_ANGSTROM * charges[idx_i] * charges[idx_j] * damped
        energies = torch.zeros_like(charges)
        return {"energies": energies.index_add(0, idx_i, half).index_add(0, idx_j, half)}


def _all_pairs(graph: AtomicGraph) -> tuple[Tensor, Tensor]:
    """Every pair of atoms of one structure, listed once: (Q,), (Q,)."""
    counts = torch.bincount(graph.batch, minlength=graph.n_structures)
    first = counts.cumsum(0) - counts
    pairs = [
        torch.triu_indices(n, n, 1, device=graph.batch.device) + start
        for n, start in zip(counts.tolist(), first.tolist(), strict=True)
    ]
    joined = torch.cat(pairs, dim=1)
    return joined[0], joined[1]
