"""The dipole of a structure: of the charges of its atoms, and of their own dipoles."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from potentials.structure.geometry import structure_sum
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term

INITIAL_WEIGHT = 1e-2  # e Å, of the atoms' own dipoles: a training starts near point charges


class Dipole(Term):
    """μ = Σ_i q_i r_i + Σ_i Σ_c w_c v_ic, about the origin of the coordinates; for open structures.

    The dipole of an ion moves with the origin, by its charge times the shift.

    Parameters
    ----------
    channels : int    C
    n_vectors : int   V, vectors that the architecture knows of each atom
    """

    name = "dipole"
    compiled = True
    predicts = ("dipole",)
    reads = ("charges",)
    reads_vectors = True

    def __init__(self, channels: int, n_vectors: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(INITIAL_WEIGHT * torch.randn(n_vectors))

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the dipole (S, 3) e Å."""
        own = features.vectors(self.weights).double()  # (N, 3)
        charges = predicted["charges"][:, None] * graph.positions
        return {"dipole": structure_sum(charges + own, graph)}


class ShellDipole(Term):
    """μ = Σ_i q_i r_i - Σ_i n_i d_i, of cores and shells, about the origin of the coordinates.

    Parameters
    ----------
    channels : int   not read
    """

    name = "shell_dipole"
    compiled = True
    predicts = ("dipole",)
    reads = ("charges", "shells", "shell_charges")

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the dipole (S, 3) e Å."""
        charges, electrons = predicted["charges"], predicted["shell_charges"]
        of_atoms = charges[:, None] * graph.positions - electrons[:, None] * predicted["shells"]
        return {"dipole": structure_sum(of_atoms, graph)}
