"""Coulomb energy of the charges of a structure, over all distances, open or periodic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor, nn

from potentials.parts.conditioning import MAX_ATOMIC_NUMBER
from potentials.structure.geometry import at, safe_norm
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import COULOMB_EV_ANGSTROM, Features, Term
from potentials.terms.ewald import lattice_energies, real_space
from potentials.terms.far_pairs import FarPairs, far_pairs, shared_by_pairs

NEAREST = 1e-6  # Å; closer sites have the energy of this distance, so that nothing is divided by 0


class Sites(NamedTuple):
    """Where the charges of each atom sit: one at its nucleus, or a core and a shell (K is 1 or 2).

    Shells are of electrons: core q + n at the nucleus, shell -n displaced from it.
    """

    charges: Tensor  # (N, K) e
    offsets: Tensor  # (N, K, 3) Å, from the nucleus


class Coulomb(Term):
    """E = ½ k Σ_a Σ_b Q_a Q_b erf(r_ab / (√2 σ_ab)) / r_ab over sites of different atoms.

    Sites are Gaussian charges with a width s for each element, σ_ab² = s_a² + s_b²: the energy is
    finite wherever they sit, and the plain one beyond a few widths. There is no cutoff: of an open
    structure every pair is summed, of a periodic one all images, by Ewald's method without a field
    at the surface, and with a uniform background that neutralises a charged cell.

    Charges, displacements of shells and their charges are those that terms before it predict
    (``charges``, ``shells``, ``shell_charges``); without any, the fixed partial charges of the
    structure.

    Source of the widths at the start: Ko, Finkler, Goedecker, Behler (2021), covalent radii.

    Parameters
    ----------
    channels : int        of the network, not read
    width_A : float, Å    s of every element, fixed; without it widths are learned. Learned ones may
                          grow beyond the cutoff, where nothing makes up for what they damp

    Raises
    ------
    ValueError   width_A is not positive
    """

    name = "coulomb"
    compiled = True
    lists_pairs = True
    widths_A: Tensor  # s of each element

    def __init__(self, channels: int, width_A: float | None = None) -> None:
        super().__init__()
        if width_A is not None:
            if not width_A > 0:
                raise ValueError(
                    f"`width_A` must be positive; got {width_A} Å. Take about 1, or leave it out."
                )
            self.register_buffer("widths_A", torch.full((MAX_ATOMIC_NUMBER,), float(width_A)))
            return
        radii = np.full(MAX_ATOMIC_NUMBER, 1.0)
        radii[: len(covalent_radii)] = covalent_radii[:MAX_ATOMIC_NUMBER]
        self.widths_A = nn.Parameter(torch.tensor(radii, dtype=torch.float32))

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the energies (N,) eV; the energy of a pair is shared by its two atoms.

        Raises
        ------
        ValueError   a structure with one or two periodic directions
        """
        directions = graph.pbc.sum(1)
        if bool(((directions == 1) | (directions == 2)).any()):
            raise ValueError(
                "`pbc` must be true in all three directions or in none for a model with a Coulomb"
                f" energy; got {int(directions.remainder(3).max())} of 3. Make the structure"
                " periodic in all three with enough vacuum, or open."
            )
        sites = sites_of(graph, predicted)
        squared_widths = self.widths_A.double()[graph.atomic_numbers].square()  # (N,)
        lattice = real_space(graph, squared_widths, sites.offsets)
        pairs = far_pairs(graph, lattice.reach)
        sigma = (squared_widths[pairs.idx_i] + squared_widths[pairs.idx_j]).sqrt()  # (P,)
        screening = lattice.screening[graph.batch[pairs.idx_i]]  # (P,) α, 0 where open
        energies = shared_by_pairs(
            _of_pairs(sites, pairs, sigma, screening), pairs, len(graph.batch)
        )
        return {"energies": energies + lattice_energies(graph, *sites, lattice)}


def sites_of(graph: AtomicGraph, predicted: Mapping[str, Tensor]) -> Sites:
    """Gather the charges of cores and shells from what was predicted."""
    charges = predicted.get("charges", graph.partial_charges)  # (N,)
    if "shells" not in predicted:
        return Sites(charges[:, None], graph.positions.new_zeros(len(charges), 1, 3))
    shells, electrons = predicted["shells"], predicted["shell_charges"]
    return Sites(
        torch.stack([charges + electrons, -electrons], dim=1),
        torch.stack([torch.zeros_like(shells), shells], dim=1),
    )


def _of_pairs(sites: Sites, pairs: FarPairs, sigma: Tensor, screening: Tensor) -> Tensor:
    """Energy of the sites of each pair of atoms, (P,) eV, less what the lattice sum has of it."""
    i, j, vectors = pairs
    offsets = at(sites.offsets, j)[:, None] - at(sites.offsets, i)[:, :, None]  # (P, K, K, 3)
    length = safe_norm(vectors[:, None, None] + offsets).clamp(min=NEAREST)
    products = at(sites.charges, i)[:, :, None] * at(sites.charges, j)[:, None]  # (P, K, K)
    damped = torch.erf(length / (math.sqrt(2) * sigma)[:, None, None])
    smooth = torch.erf(length * screening[:, None, None])
    return COULOMB_EV_ANGSTROM * (products * (damped - smooth) / length).sum((1, 2))
