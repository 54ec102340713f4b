"""Repulsion of nuclei that come too close."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor

from potentials.parts.conditioning import MAX_ATOMIC_NUMBER
from potentials.structure.geometry import polynomial_envelope, safe_norm
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import COULOMB_EV_ANGSTROM, Features, Term


class ZBL(Term):
    """Screened repulsion of nuclei, switched off smoothly at the sum of the covalent radii.

    Source: Ziegler, Biersack, Littmark (1985), universal screening function. Differs: a polynomial
    envelope.
    """

    name = "zbl"
    compiled = True
    radii: Tensor
    screening = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))

    def __init__(self, channels: int) -> None:
        super().__init__()
        radii = np.zeros(MAX_ATOMIC_NUMBER)
        radii[: len(covalent_radii)] = covalent_radii[:MAX_ATOMIC_NUMBER]
        self.register_buffer("radii", torch.tensor(radii, dtype=torch.float64))

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return (N,) eV; the energy of a pair is shared by its two atoms."""
        length = safe_norm(features.pairs)
        z_i, z_j = graph.atomic_numbers[graph.idx_i], graph.atomic_numbers[graph.idx_j]
        screening_length = 0.46850 / (z_i.double() ** 0.23 + z_j.double() ** 0.23)  # Å
        x = length / screening_length
        screened = sum(weight * torch.exp(-rate * x) for weight, rate in self.screening)
        energy = COULOMB_EV_ANGSTROM * (z_i * z_j).double() / length * screened
        reach = self.radii[z_i] + self.radii[z_j]
        half = 0.5 * energy * polynomial_envelope(length / reach, 1.0)  # beyond the reach: 0
        energies = half.new_zeros(len(graph.batch))
        energies = energies.index_add(0, graph.idx_i, half).index_add(0, graph.idx_j, half)
        return {"energies": energies}
