"""Door 2: what an atom knows of itself, and of its molecule's charge and spin state.

Additive conditioning: embeddings ``graph -> (N, C)`` that are summed. Multiplicative: attributes
``graph -> (N,)`` that enter the state factor a = 1 + Σ_l λ_l t_l of each layer (arXiv 2403.15073;
the sum, so that a spin counts at charge 0). A neutral singlet has a = 1 and embeddings 0 exactly.
An atom knows the charge and multiplicity of ``graph.states``: of its structure, or of its
fragment where fragments are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from potentials.structure.graph import AtomicGraph, States

MAX_ATOMIC_NUMBER = 128  # rows of an element table, as in the public TensorNet
MAX_CHARGE = 6  # e, either sign; rows of a table of charges
MAX_MULTIPLICITY = 9  # 2S + 1


class Species(nn.Module):
    """Embed the element of each atom."""

    compiled = True

    def __init__(self, channels: int, max_atomic_number: int = MAX_ATOMIC_NUMBER) -> None:
        super().__init__()
        self.table = nn.Embedding(max_atomic_number, channels)

    def forward(self, graph: AtomicGraph) -> Tensor:
        """Return (N, C)."""
        return self.table(graph.atomic_numbers)  # type: ignore[no-any-return]


class ChargeTable(nn.Module):
    """Embed the total charge by a row for each value; the neutral one is 0.

    For a charge beyond the table it raises IndexError.

    Parameters
    ----------
    channels : int      C
    max_charge : int    e, either sign
    """

    state_inputs = looked_up = ("total_charge",)

    compiled = True

    def __init__(self, channels: int, max_charge: int = MAX_CHARGE) -> None:
        super().__init__()
        self.negative = nn.Parameter(torch.randn(max_charge, channels))  # -max_charge … -1
        self.positive = nn.Parameter(torch.randn(max_charge, channels))  # 1 … max_charge

    def forward(self, graph: AtomicGraph) -> Tensor:
        """Return (N, C)."""
        table = torch.cat([self.negative, torch.zeros_like(self.positive[:1]), self.positive])
        states = graph.states
        rows = functional.embedding(
            states.total_charge.round().long() + len(self.negative), table
        )  # (F, C)
        return rows[states.batch]

    @torch.no_grad()
    def silence(self) -> None:
        """Add nothing, yet: for a model that goes on from one without this table."""
        self.negative.zero_()
        self.positive.zero_()


class MultiplicityTable(nn.Module):
    """Embed the multiplicity by a row for each value; the singlet is 0.

    Beyond the table it raises IndexError.

    Parameters
    ----------
    channels : int            C
    max_multiplicity : int    2S + 1
    """

    state_inputs = looked_up = ("unpaired_electrons",)

    compiled = True

    def __init__(self, channels: int, max_multiplicity: int = MAX_MULTIPLICITY) -> None:
        super().__init__()
        # doublet, triplet, …
        self.table = nn.Parameter(torch.randn(max_multiplicity - 1, channels))

    def forward(self, graph: AtomicGraph) -> Tensor:
        """Return (N, C)."""
        table = torch.cat([torch.zeros_like(self.table[:1]), self.table])
        states = graph.states
        return functional.embedding(states.multiplicity - 1, table)[states.batch]

    @torch.no_grad()
    def silence(self) -> None:
        """Add nothing, yet: for a model that goes on from one without this table."""
        self.table.zero_()


class PartialCharges(nn.Module):
    """Embed the fixed partial charge of each atom by a network without bias.

    0 where the charge is 0.
    """

    state_inputs = ("partial_charges",)

    compiled = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(1, channels, bias=False), nn.SiLU(), nn.Linear(channels, channels, bias=False)
        )

    def forward(self, graph: AtomicGraph) -> Tensor:
        """Return (N, C)."""
        charges = graph.partial_charges.to(next(self.parameters()).dtype)
        return self.network(charges[:, None])  # type: ignore[no-any-return]


class Electronic(nn.Module):
    """Share charge or unpaired electrons out over the atoms, as their elements attend to them.

    With t the attribute, e = relu([t, -t]) for a charge and |t| for unpaired electrons: key k = W_k
    e / max(1, e), value v = W_v e, weight a_i = softplus(q_i·k / √C), and the embedding of atom i
    is ResMLP(v a_i / Σ_j a_j), the sum over the atoms of its molecule alone. No layer after the
    weight has a bias, so that t = 0 gives 0.

    Parameters
    ----------
    channels : int    C
    attribute : str   "total_charge" or "unpaired_electrons"

    Source: arXiv 2105.00304, electronic embeddings. Differs: the query q_i = W_q z_i + b of an
    element is a row of a table; e is divided by the larger of 1 and its own norm.
    """

    compiled = True

    def __init__(self, channels: int, attribute: str) -> None:
        super().__init__()
        if attribute not in ELECTRONIC:
            raise ValueError(
                f"`attribute` must be one of {', '.join(ELECTRONIC)}; got {attribute!r}. Correct"
                " the spec."
            )
        self.attribute, n_signs = attribute, ELECTRONIC[attribute]
        self.state_inputs = (attribute,)
        self.query = nn.Embedding(MAX_ATOMIC_NUMBER, channels)
        self.key = nn.Linear(n_signs, channels, bias=False)
        self.value = nn.Linear(n_signs, channels, bias=False)
        self.residual = nn.Sequential(
            nn.SiLU(),
            nn.Linear(channels, channels, bias=False),
            nn.SiLU(),
            nn.Linear(channels, channels, bias=False),
        )

    def forward(self, graph: AtomicGraph) -> Tensor:
        """Return (N, C)."""
        states, dtype = graph.states, self.key.weight.dtype
        amount = self._amount(states).to(dtype)  # (F, 1 or 2)
        key = self.key(amount / amount.norm(dim=1, keepdim=True).clamp(min=1.0))[
            states.batch
        ]  # (N, C)
        query = self.query(graph.atomic_numbers)
        weight = functional.softplus((query * key).sum(1) / math.sqrt(key.shape[1]))  # (N,)
        total = weight.new_zeros(len(amount)).index_add(0, states.batch, weight)  # (F,)
        shared = (weight / total[states.batch])[:, None] * self.value(amount)[
            states.batch
        ]  # (N, C)
        return shared + self.residual(shared)  # type: ignore[no-any-return]

    @torch.no_grad()
    def silence(self) -> None:
        """Make every state embed as none: 0."""
        self.value.weight.zero_()

    def _amount(self, states: States[Tensor]) -> Tensor:
        if self.attribute == "unpaired_electrons":
            return (states.multiplicity - 1)[:, None]
        return torch.relu(torch.stack([states.total_charge, -states.total_charge], dim=1))


# attribute -> numbers that describe it: both signs, or one
ELECTRONIC = {"total_charge": 2, "unpaired_electrons": 1}
EMBEDDINGS: dict[str, type[nn.Module]] = {
    "species": Species,
    "total_charge": ChargeTable,
    "multiplicity": MultiplicityTable,
    "partial_charges": PartialCharges,
    "electronic": Electronic,
}


def total_charge(graph: AtomicGraph) -> Tensor:
    """Total charge of the molecule of each atom: (N,) e.

    Acts on every atom, however far: not size-consistent.
    """
    return graph.states.total_charge[graph.states.batch]


def unpaired_electrons(graph: AtomicGraph) -> Tensor:
    """Number of unpaired electrons 2S of the molecule of each atom: (N,)."""
    return (graph.states.multiplicity - 1)[graph.states.batch]


def partial_charges(graph: AtomicGraph) -> Tensor:
    """Fixed partial charge of each atom: (N,) e."""
    return graph.partial_charges


ATTRIBUTES = {
    "total_charge": total_charge,
    "unpaired_electrons": unpaired_electrons,
    "partial_charges": partial_charges,
}
STRENGTHS = ("fixed", "per_layer", "per_channel")
# λ; no two states share a sum
INITIAL = {"total_charge": 0.1, "unpaired_electrons": 0.1 / math.sqrt(2), "partial_charges": 0.1}


class StateFactor(nn.Module):
    """Factor a = 1 + Σ_l λ_l t_l that multiplies the products of each interaction layer.

    Parameters
    ----------
    attributes : names in `ATTRIBUTES`
    strength : "fixed", "per_layer" (learned, one number) or "per_channel" (learned)
    initial : float   λ at the start, of every attribute; default: those of `INITIAL`

    Source: arXiv 2403.15073, with λ = 0.1. Differs: several attributes at once, as a sum; there an
    equal λ would make the doublet of an anion (-0.1 + 0.1) a neutral singlet, hence the factor 1/√2
    of the unpaired electrons.
    """

    def __init__(
        self,
        attributes: Sequence[str],
        n_layers: int,
        channels: int,
        strength: str = "fixed",
        initial: float | None = None,
    ) -> None:
        super().__init__()
        unknown = [name for name in attributes if name not in ATTRIBUTES]
        if unknown:
            raise ValueError(
                f"`attributes` must be among {', '.join(ATTRIBUTES)}; got {', '.join(unknown)}."
                " Correct the spec."
            )
        if strength not in STRENGTHS:
            raise ValueError(
                f"`strength` must be one of {', '.join(STRENGTHS)}; got {strength!r}. Correct the"
                " spec."
            )
        self.state_inputs = tuple(attributes)
        self.attributes, self.strength, self.n_layers = tuple(attributes), strength, n_layers
        width = channels if strength == "per_channel" else 1
        each = torch.tensor(
            [INITIAL[name] if initial is None else initial for name in self.attributes]
        )
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
