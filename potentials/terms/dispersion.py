"""Dispersion energy D3(BJ) between atoms, of two bodies.

Sources: Grimme, Antony, Ehrlich, Krieg (2010), coefficients of the reference systems and the
coordination numbers; Grimme, Ehrlich, Goerigk (2011), damping. ``d3.npz`` holds their numbers for
H to I as tad-dftd3 0.7 distributes them, with the radii of Pyykkö and Atsumi (2009), those of
metals less a tenth, and for rare gases the ⟨r⁴⟩/⟨r²⟩ of Mewes (2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree
from torch import Tensor

from potentials.structure.geometry import at, safe_norm
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term
from potentials.terms.far_pairs import FarPairs, far_pairs, shared_by_pairs

FILE = Path(__file__).with_name("d3.npz")
HEAVIEST = 53  # iodine
STEEPNESS, STRETCH, SHARPNESS = 16.0, 4 / 3, 4.0  # k1, k2, k3 of the paper
NEAREST = 1e-6  # Å; closer atoms have the energy of this distance


class Damping(NamedTuple):
    """Parameters of one density functional."""

    s6: float
    s8: float
    a1: float
    a2: float  # bohr


# Grimme, Ehrlich, Goerigk (2011); wB97M: Najibi, Goerigk (2018); r2SCAN: Ehlert et al. (2021)
DAMPING = {
    "b3lyp": Damping(1.0, 1.9889, 0.3981, 4.4211),
    "bp86": Damping(1.0, 3.2822, 0.3946, 4.8516),
    "cam-b3lyp": Damping(1.0, 2.0674, 0.3708, 5.4743),
    "pbe": Damping(1.0, 0.7875, 0.4289, 4.4407),
    "pbe0": Damping(1.0, 1.2177, 0.4145, 4.8593),
    "r2scan": Damping(1.0, 0.78981345, 0.49484001, 5.73083694),
    "revpbe": Damping(1.0, 2.3550, 0.5238, 3.5016),
    "tpss": Damping(1.0, 1.9435, 0.4535, 4.4752),
    "wb97m": Damping(1.0, 0.3908, 0.5660, 3.1280),
}


class Dispersion(Term):
    """E = - Σ C6_ij [s6 / (r⁶ + R⁶) + s8 q_ij / (r⁸ + R⁸)] over pairs, R = a1 √q_ij + a2.

    The coefficient of two atoms depends on how many neighbours each has. It has no weights: where a
    model is trained on total energies with this term in it, the network learns what is left.

    Parameters
    ----------
    channels : int      of the network, not read
    method : str        density functional of the labels, a name in `DAMPING`
    cutoff_A : float    beyond it atoms do not attract each other
    counting_A : float  beyond it they do not count as neighbours
    switching_A : float over this length before the one and the other is switched off, smoothly

    Raises
    ------
    ValueError          an unknown functional, or lengths without sense
    """

    name = "dispersion"
    compiled = True
    lists_pairs = True
    radii: Tensor
    scales: Tensor
    reference: Tensor
    coordination: Tensor

    def __init__(
        self,
        channels: int,
        method: str,
        cutoff_A: float = 16.0,
        counting_A: float = 12.0,
        switching_A: float = 4.0,
    ) -> None:
        super().__init__()
        if method.lower() not in DAMPING:
            raise ValueError(
                f"`method` of the dispersion must be one of {', '.join(DAMPING)}; got {method!r}."
                " Name the density functional of the labels."
            )
        if not 0 < switching_A <= counting_A <= cutoff_A:
            raise ValueError(
                "`switching_A` must be positive, at most `counting_A`, and this at most `cutoff_A`;"
                f" got {switching_A}, {counting_A} and {cutoff_A} Å. Correct the spec."
            )
        self.damping = DAMPING[method.lower()]
        self.cutoff_A, self.counting_A = float(cutoff_A), float(counting_A)
        self.switching_A = float(switching_A)
        for name, values in _tables()._asdict().items():
            self.register_buffer(name, values, persistent=False)

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the energies (N,) eV; the energy of a pair is shared by its two atoms.

        Raises
        ------
        ValueError   an element heavier than iodine
        """
        heaviest = int(graph.atomic_numbers.max()) if len(graph.atomic_numbers) else 0
        if heaviest > HEAVIEST:
            raise ValueError(
                "`atoms` must hold elements from H to I for a model with D3 dispersion; got"
                f" {chemical_symbols[heaviest]}. Use a model without this term."
            )
        pairs = _near(far_pairs(graph, self.cutoff_A), self.cutoff_A)
        weights = self._weights(graph.atomic_numbers, _near(pairs, self.counting_A))
        energies = self._of_pairs(graph.atomic_numbers, pairs, weights)
        return {"energies": shared_by_pairs(energies, pairs, len(graph.batch))}

    def _switched(self, length: Tensor, cutoff: float) -> Tensor:
        """1, from the beginning of the switching to a cutoff down to 0 in C²."""
        x = ((cutoff - length) / self.switching_A).clamp(max=1.0)
        return x**3 * (10 - 15 * x + 6 * x * x)

    def _weights(self, atomic_numbers: Tensor, pairs: FarPairs) -> Tensor:
        """Say how much an atom is like each reference of its element: (N, A), sums of 1."""
        length = safe_norm(pairs.vectors).clamp(min=NEAREST)  # (P,) Å
        radii = self.radii[atomic_numbers]  # (N,) Å
        bond = STRETCH * (radii[pairs.idx_i] + radii[pairs.idx_j])
        counts = torch.sigmoid(STEEPNESS * (bond / length - 1))
        counts = counts * self._switched(length, self.counting_A)
        coordination = 2 * shared_by_pairs(counts, pairs, len(atomic_numbers))  # (N,)
        references = self.coordination[atomic_numbers]  # (N, A)
        absent = references.isinf()
        distance = coordination[:, None] - references.masked_fill(absent, 0.0)
        scores = -SHARPNESS * distance.square()
        return scores.masked_fill(absent, -torch.inf).softmax(1)

    def _of_pairs(self, atomic_numbers: Tensor, pairs: FarPairs, weights: Tensor) -> Tensor:
        """Energy (P,) eV."""
        length_A = safe_norm(pairs.vectors).clamp(min=NEAREST)
        length = length_A / Bohr
        z_i, z_j = atomic_numbers[pairs.idx_i], atomic_numbers[pairs.idx_j]
        mixed = torch.bmm(at(weights, pairs.idx_i)[:, None], self.reference[z_i, z_j])  # (P, 1, A)
        c6 = (mixed[:, 0] * at(weights, pairs.idx_j)).sum(1)
        ratio = 3 * self.scales[z_i] * self.scales[z_j]  # C8 / C6
        radius = self.damping.a1 * ratio.sqrt() + self.damping.a2
        sixth = self.damping.s6 / (length**6 + radius**6)
        eighth = self.damping.s8 * ratio / (length**8 + radius**8)
        present = self._switched(length_A, self.cutoff_A)
        energies: Tensor = -Hartree * c6 * (sixth + eighth) * present
        return energies


def _near(pairs: FarPairs, cutoff: float) -> FarPairs:
    near = pairs.vectors.detach().square().sum(1) < cutoff**2
    return FarPairs(*(x[near] for x in pairs))


class Tables(NamedTuple):
    """What the file holds, by atomic number Z and reference A."""

    radii: Tensor  # (Z,) Å
    scales: Tensor  # (Z,) √(½ √Z ⟨r⁴⟩/⟨r²⟩), atomic units
    coordination: Tensor  # (Z, A), infinite where there are fewer references
    reference: Tensor  # (Z, Z, A, A) C6, atomic units


def _tables() -> Tables:
    with np.load(FILE) as file:
        element, c6 = file["element"].astype(np.int64), 1e-4 * file["c6_1e4"]
        counted, radii = 1e-4 * file["coordination_1e4"], file["radius_A"]
        scales = np.sqrt(0.5 * np.sqrt(np.arange(len(radii))) * file["r4_over_r2"])
    number = np.arange(len(element)) - np.searchsorted(element, element)  # within the element
    coordination = np.full((len(radii), number.max() + 1), np.inf)
    coordination[element, number] = counted
    i, j = np.tril_indices(len(element))
    reference = np.zeros((len(radii), len(radii), *[number.max() + 1] * 2))
    reference[element[i], element[j], number[i], number[j]] = c6
    reference[element[j], element[i], number[j], number[i]] = c6
    return Tables(*(torch.from_numpy(x) for x in (radii, scales, coordination, reference)))
