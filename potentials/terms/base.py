"""What every term is: a module that reads a structure and names what it predicts of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from potentials.structure.graph import AtomicGraph, States

COULOMB_EV_ANGSTROM = 14.399645  # e²/(4πε0), eV Å, CODATA 2018

# weights (V,) -> (N, 3) or (N, 3, 3), a mixture of what the architecture knows of each atom
Reader = Callable[[Tensor], Tensor]


class Features(NamedTuple):
    """What a trunk knows of a structure, for terms to read."""

    pairs: Tensor  # (P, 3) Å, float64, r_ij of every pair within the cutoff
    envelope: Tensor  # (P,) float64, of the pairs: 0 at the cutoff
    scalars: Tensor  # (N, C), in the dtype of the network
    vectors: Reader
    tensors: Reader  # symmetric, without trace


class Term(nn.Module):
    """An energy term or a head.

    It is called with the graph, the features of the trunk and the quantities that the terms before
    it predicted, and returns quantities by name. Those of one name are summed over the terms.
    """

    name: ClassVar[str] = ""  # in specs
    predicts: tuple[str, ...] = ("energies",)  # names in `QUANTITIES`
    reads: tuple[str, ...] = ()  # quantities that a term before it must predict
    reads_vectors: ClassVar[bool] = False  # or tensors
    compiled: ClassVar[bool] = False  # whether the native engine has it
    lists_pairs: ClassVar[bool] = False  # of its own: shapes depend on the numbers in a structure

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return quantities by name, in float64."""
        raise NotImplementedError


def scalar_network(channels: int) -> nn.Sequential:
    """Make the network of a read-out: W SiLU(W x + b) + b, C to C/2 to 1."""
    return nn.Sequential(nn.Linear(channels, channels // 2), nn.SiLU(), nn.Linear(channels // 2, 1))


def conserved(raw: Tensor, states: States[Tensor]) -> Tensor:
    """Shift numbers (N,) e by the same amount within a molecule, to its total charge."""
    zeros = torch.zeros_like(states.total_charge)
    total = zeros.index_add(0, states.batch, raw)  # (F,)
    n_atoms = zeros.index_add(0, states.batch, torch.ones_like(raw))
    return raw + ((states.total_charge - total) / n_atoms)[states.batch]
