"""Constants in the energy: of elements, of states, of charge and spin, of a structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from potentials.parts.conditioning import MAX_ATOMIC_NUMBER, MAX_CHARGE, MAX_MULTIPLICITY
from potentials.structure.geometry import structure_sum
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term


class ReferenceEnergies(Term):
    """A constant for each element, kept and added in float64.

    Parameters
    ----------
    energies_eV : symbol -> eV
    """

    name = "reference_energies"
    compiled = True
    table: Tensor

    def __init__(self, channels: int, energies_eV: Mapping[str, float]) -> None:
        super().__init__()
        table = torch.zeros(MAX_ATOMIC_NUMBER, dtype=torch.float64)
        for symbol, energy in energies_eV.items():
            table[atomic_numbers[symbol]] = energy
        self.register_buffer("table", table)

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the energies (N,) eV."""
        return {"energies": self.table[graph.atomic_numbers]}


class Offset(Term):
    """A constant for each structure whatever its size, shared equally by its atoms.

    It is not size-consistent: only for models trained elsewhere on energies from which a mean per
    molecule was subtracted.

    Parameters
    ----------
    energy_eV : float   eV
    """

    name = "offset"
    compiled = True
    energy: Tensor

    def __init__(self, channels: int, energy_eV: float) -> None:
        super().__init__()
        self.register_buffer("energy", torch.tensor(energy_eV, dtype=torch.float64))

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return (N,) eV."""
        n_atoms = structure_sum(torch.ones_like(graph.partial_charges), graph)  # (S,)
        return {"energies": self.energy / n_atoms[graph.batch]}


class StateEnergies(Term):
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

    name = "state_energies"
    compiled = True
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

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the energies (N,) eV."""
        return {"energies": self.shared(*graph.states)}

    def shared(self, batch: Tensor, charge: Tensor, multiplicity: Tensor) -> Tensor:
        """Return (N,) eV, shared out over molecules with these charges and multiplicities (F,)."""
        energies = self.table[charge.round().long() + MAX_CHARGE, multiplicity - 1]  # (F,)
        n_atoms = torch.zeros_like(energies).index_add(
            0, batch, torch.ones_like(batch, dtype=energies.dtype)
        )
        return (energies / n_atoms)[batch]


class ElectronEnergies(Term):
    """What charge and unpaired electrons of the atoms cost: Σ_i a x_i + b x_i² + c s_i.

    For each element, learned from one start. A cation or a triplet costs about the same whatever
    its size, and where these sums say so they do it for any number of molecules.

    Parameters
    ----------
    charge_eV, squared_charge_eV, unpaired_electron_eV : float   a, b and c at the start, eV
    """

    name = "electron_energies"
    compiled = True
    reads = ("excess_charges", "unpaired_electrons")

    def __init__(
        self,
        channels: int,
        charge_eV: float = 0.0,
        squared_charge_eV: float = 0.0,
        unpaired_electron_eV: float = 0.0,
    ) -> None:
        super().__init__()
        start = torch.tensor([charge_eV, squared_charge_eV, unpaired_electron_eV])
        self.costs = nn.Embedding.from_pretrained(start.repeat(MAX_ATOMIC_NUMBER, 1), freeze=False)

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the energies (N,) eV."""
        charge, unpaired = predicted["excess_charges"], predicted["unpaired_electrons"]
        amounts = torch.stack([charge, charge.square(), unpaired], dim=1)  # (N, 3)
        return {"energies": (self.costs(graph.atomic_numbers).double() * amounts).sum(1)}
