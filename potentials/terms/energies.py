"""Door 4: energy terms, ``(graph, vectors, scalars) -> (N,)`` eV in float64, summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from torch import Tensor, nn

from potentials.parts.conditioning import MAX_ATOMIC_NUMBER, MAX_CHARGE, MAX_MULTIPLICITY
from potentials.structure.geometry import polynomial_envelope, safe_norm, structure_sum
from potentials.structure.graph import AtomicGraph

COULOMB_EV_ANGSTROM = 14.399645  # e²/(4πε0), eV Å, CODATA 2018


class Readout(nn.Module):
    """Energy of each atom from its scalars: scale · W SiLU(W x + b) + b.

    Parameters
    ----------
    channels : int      C
    scale : float       eV, multiplies the network's number
    """

    scale: Tensor

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(channels, channels // 2), nn.SiLU(), nn.Linear(channels // 2, 1)
        )
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))

    def forward(self, graph: AtomicGraph, vectors: Tensor, scalars: Tensor) -> Tensor:
        """Return (N,) eV."""
        energies: Tensor = self.network(scalars).squeeze(-1)
        return energies.double() * self.scale


class ReferenceEnergies(nn.Module):
    """A constant for each element, kept and added in float64.

    Parameters
    ----------
    energies_eV : symbol -> eV
    """

    table: Tensor

    def __init__(self, channels: int, energies_eV: Mapping[str, float]) -> None:
        super().__init__()
        table = torch.zeros(MAX_ATOMIC_NUMBER, dtype=torch.float64)
        for symbol, energy in energies_eV.items():
            table[atomic_numbers[symbol]] = energy
        self.register_buffer("table", table)

    def forward(self, graph: AtomicGraph, vectors: Tensor, scalars: Tensor) -> Tensor:
        """Return (N,) eV."""
        return self.table[graph.atomic_numbers]


class Offset(nn.Module):
    """A constant for each structure whatever its size, shared equally by its atoms.

    **not size-consistent**.

    Only for models trained elsewhere on energies from which a mean per molecule was subtracted.

    Parameters
    ----------
    energy_eV : float   eV
    """

    energy: Tensor

    def __init__(self, channels: int, energy_eV: float) -> None:
        super().__init__()
        self.register_buffer("energy", torch.tensor(energy_eV, dtype=torch.float64))

    def forward(self, graph: AtomicGraph, vectors: Tensor, scalars: Tensor) -> Tensor:
        """Return (N,) eV."""
        n_atoms = structure_sum(torch.ones_like(graph.partial_charges), graph)  # (S,)
        return self.energy / n_atoms[graph.batch]


class StateEnergies(nn.Module):
    """A constant for each charge and multiplicity of a molecule, shared equally by its atoms.

    0 for states without one.

    To take an electron away costs about the same whatever the size; sums over atoms that see their
    neighbourhood alone cannot say so.

    Parameters
    ----------
    energies_eV : list of [charge, multiplicity, eV]

    Raises
    ------
    ValueError   a charge or multiplicity that no table holds
    """

    table: Tensor

    def __init__(self, channels: int, energies_eV: Sequence[tuple[int, int, float]]) -> None:
        super().__init__()
        table = torch.zeros(2 * MAX_CHARGE + 1, MAX_MULTIPLICITY, dtype=torch.float64)
        for charge, multiplicity, energy in energies_eV:
            if abs(charge) > MAX_CHARGE or not 1 <= multiplicity <= MAX_MULTIPLICITY:
                raise ValueError(
                    f"`energies_eV` must be of charges up to {MAX_CHARGE} and multiplicities up to"
                    f" {MAX_MULTIPLICITY}; got {charge:+d} with {multiplicity}. Correct the spec."
                )
            table[charge + MAX_CHARGE, multiplicity - 1] = energy
        self.register_buffer("table", table)

    def forward(self, graph: AtomicGraph, vectors: Tensor, scalars: Tensor) -> Tensor:
        """Return (N,) eV."""
        return self.shared(*graph.molecules)

    def shared(self, batch: Tensor, charge: Tensor, multiplicity: Tensor) -> Tensor:
        """Return (N,) eV, shared out over molecules with these charges and multiplicities (F,)."""
        energies = self.table[charge.round().long() + MAX_CHARGE, multiplicity - 1]  # (F,)
        n_atoms = torch.zeros_like(energies).index_add(
            0, batch, torch.ones_like(batch, dtype=energies.dtype)
        )
        return (energies / n_atoms)[batch]


class ZBL(nn.Module):
    """Screened repulsion of nuclei, switched off smoothly at the sum of the covalent radii.

    Source: Ziegler, Biersack, Littmark (1985), universal screening function. Differs: a polynomial
    envelope.
    """

    radii: Tensor
    screening = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))

    def __init__(self, channels: int) -> None:
        super().__init__()
        radii = np.zeros(MAX_ATOMIC_NUMBER)
        radii[: len(covalent_radii)] = covalent_radii[:MAX_ATOMIC_NUMBER]
        self.register_buffer("radii", torch.tensor(radii, dtype=torch.float64))

    def forward(self, graph: AtomicGraph, vectors: Tensor, scalars: Tensor) -> Tensor:
        """Return (N,) eV; the energy of a pair is shared by its two atoms."""
        length = safe_norm(vectors)
        z_i, z_j = graph.atomic_numbers[graph.idx_i], graph.atomic_numbers[graph.idx_j]
        screening_length = 0.46850 / (z_i.double() ** 0.23 + z_j.double() ** 0.23)  # Å
        x = length / screening_length
        screened = sum(weight * torch.exp(-rate * x) for weight, rate in self.screening)
        energy = COULOMB_EV_ANGSTROM * (z_i * z_j).double() / length * screened
        reach = self.radii[z_i] + self.radii[z_j]
        half = 0.5 * energy * polynomial_envelope(length / reach, 1.0)  # beyond the reach: 0
        return (
            vectors.new_zeros(len(graph.batch))
            .index_add(0, graph.idx_i, half)
            .index_add(0, graph.idx_j, half)
        )


TERMS: dict[str, type[nn.Module]] = {
    "readout": Readout,
    "reference_energies": ReferenceEnergies,
    "state_energies": StateEnergies,
    "offset": Offset,
    "zbl": ZBL,
}
