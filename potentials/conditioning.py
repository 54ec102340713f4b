"""Door 2: what an atom knows before it sees its neighbours, and the total charge and spin state of its molecule.

Additive conditioning: embeddings ``graph -> (N, C)`` that are summed. Multiplicative: attributes ``graph -> (N,)`` that
enter the state factor a = 1 + Σ_l λ_l t_l of each layer (arXiv 2403.15073; the sum, so that a spin counts at charge 0).
A neutral singlet has a = 1 exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from potentials.graph import AtomicGraph

MAX_ATOMIC_NUMBER = 128  # rows of an element table, as in the public TensorNet


class Species(nn.Module):
    """Embed the element of each atom."""

    def __init__(self, channels: int, max_atomic_number: int = MAX_ATOMIC_NUMBER) -> None:
        super().__init__()
        self.table = nn.Embedding(max_atomic_number, channels)

    def forward(self, graph: AtomicGraph) -> Tensor:
        """Return (N, C)."""
        return self.table(graph.atomic_numbers)  # type: ignore[no-any-return]


EMBEDDINGS = {"species": Species}


def total_charge(graph: AtomicGraph) -> Tensor:
    """Total charge of the molecule of each atom: (N,) e. Acts on every atom, however far: not size-consistent."""
    return graph.total_charge[graph.batch]


def unpaired_electrons(graph: AtomicGraph) -> Tensor:
    """Number of unpaired electrons 2S of the molecule of each atom: (N,)."""
    return (graph.multiplicity - 1)[graph.batch]


def partial_charges(graph: AtomicGraph) -> Tensor:
    """Fixed partial charge of each atom: (N,) e."""
    return graph.partial_charges


ATTRIBUTES = {"total_charge": total_charge, "unpaired_electrons": unpaired_electrons, "partial_charges": partial_charges}
STRENGTHS = ("fixed", "per_layer", "per_channel")
INITIAL = {"total_charge": 0.1, "unpaired_electrons": 0.1 / math.sqrt(2), "partial_charges": 0.1}  # λ; no two states share a sum


class StateFactor(nn.Module):
    """Factor a = 1 + Σ_l λ_l t_l that multiplies the products of each interaction layer.

    Parameters
    ----------
    attributes : names in `ATTRIBUTES`
    strength : "fixed", "per_layer" (learned, one number) or "per_channel" (learned)
    initial : float   λ at the start, of every attribute; default: those of `INITIAL`

    Source: arXiv 2403.15073, with λ = 0.1. Differs: several attributes at once, as a sum; there an equal λ would make the doublet of
    an anion (-0.1 + 0.1) a neutral singlet, hence the factor 1/√2 of the unpaired electrons.
    """

    def __init__(
        self, attributes: Sequence[str], n_layers: int, channels: int, strength: str = "fixed", initial: float | None = None
    ) -> None:
        super().__init__()
        unknown = [name for name in attributes if name not in ATTRIBUTES]
        if unknown:
            raise ValueError(f"`attributes` must be among {', '.join(ATTRIBUTES)}; got {', '.join(unknown)}. Correct the spec.")
        if strength not in STRENGTHS:
            raise ValueError(f"`strength` must be one of {', '.join(STRENGTHS)}; got {strength!r}. Correct the spec.")
        self.attributes, self.strength, self.n_layers = tuple(attributes), strength, n_layers
        width = channels if strength == "per_channel" else 1
        each = torch.tensor([INITIAL[name] if initial is None else initial for name in self.attributes])
        strengths = each[:, None].repeat(n_layers, 1, width)  # (L, attributes, C or 1)
        self.strengths = nn.Parameter(strengths, requires_grad=strength != "fixed")

    def forward(self, graph: AtomicGraph) -> Tensor:
        """Return the factor of each layer: (L, N, 1 or C)."""
        dtype = self.strengths.dtype
        factor = torch.ones(self.n_layers, 1, 1, dtype=dtype, device=self.strengths.device)
        for k, name in enumerate(self.attributes):
            attribute = ATTRIBUTES[name](graph).to(dtype)  # (N,)
            factor = factor + self.strengths[:, None, k] * attribute[:, None]
        return factor.expand(-1, len(graph.batch), -1)
