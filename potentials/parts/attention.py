"""Attention between layers: what atoms of a charged or open-shell molecule know beyond the cutoff.

A charge, a hole or an unpaired electron sits where of all sites of the molecule it is lowest in
energy. A network that sees a few Å cannot compare sites that are farther apart.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from potentials.structure.graph import States

UNIT = 5.0  # of ln Σ exp: about what it is in a molecule of a hundred atoms


class NoAttention(nn.Module):
    """Atoms know of each other what the layers tell them."""

    def __init__(self, channels: int, n_layers: int, n_invariants: int) -> None:
        super().__init__()

    def forward(self, layer: int, architecture: Any, hidden: Any, states: States[Tensor]) -> Any:
        """Return what it was given."""
        return hidden


class ChargedAttention(nn.Module):
    """Let the atoms of a charged or open-shell molecule attend to each other between the layers.

    With n_i the invariants of an atom, standardised, s_i = W_s n_i + b_s the scores of the heads
    and p_i = softmax_i(s_i) over the atoms of the molecule alone: x_i += W_o SiLU(W_x n_i + b_x +
    W_g [Σ_i p_i ⊗ (W_v n_i + b_v) ⊕ ln(Σ_i exp(s_i) / t) / 5]), where t = |charge| + unpaired
    electrons, so that two equal states with twice the charge are as one. In a neutral singlet, t
    = 0, nothing is added: parts far from each other do not feel each other there.

    Parameters
    ----------
    channels : int       C
    n_layers : int       L
    n_invariants : int   of the architecture
    n_heads : int        H
    n_values : int       D, of each head

    Source: softmax attention (arXiv 1706.03762) with one query for all atoms; among atoms far apart
    arXiv 2105.00304, whose is linear.
    """

    state_inputs = ("total_charge", "unpaired_electrons")

    def __init__(
        self, channels: int, n_layers: int, n_invariants: int, n_heads: int = 8, n_values: int = 8
    ) -> None:
        super().__init__()
        if n_layers < 2:
            raise ValueError(
                f"`n_layers` must be at least 2 for attention between layers; got {n_layers}."
                " Correct the spec."
            )
        self.n_heads, self.n_values = n_heads, n_values
        self.layers = nn.ModuleList(
            _Exchange(channels, n_invariants, n_heads, n_values) for _ in range(n_layers - 1)
        )

    def forward(self, layer: int, architecture: Any, hidden: Any, states: States[Tensor]) -> Any:
        """Add, before a layer, what atoms learn from the others of their molecule."""
        if layer == 0:
            return hidden
        amounts = shared_out(states)
        added = self.layers[layer - 1](architecture.invariants(hidden), states.batch, amounts)
        return architecture.add(hidden, added * (amounts > 0)[states.batch, None])

    @torch.no_grad()
    def silence(self) -> None:
        """Add nothing, yet: for a model that goes on from one without attention."""
        for layer in self.layers:
            layer.output.weight.zero_()  # type: ignore[operator, union-attr]


def shared_out(states: States[Tensor]) -> Tensor:
    """Return t = |charge| + unpaired electrons of each molecule: (F,), float64."""
    return states.total_charge.abs() + (states.multiplicity - 1)


class _Exchange(nn.Module):
    def __init__(self, channels: int, n_invariants: int, n_heads: int, n_values: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_invariants)
        self.scores = nn.Linear(n_invariants, n_heads)
        self.values = nn.Linear(n_invariants, n_heads * n_values)
        self.own = nn.Linear(n_invariants, channels)
        self.common = nn.Linear(n_heads * n_values + n_heads, channels, bias=False)
        self.output = nn.Linear(channels, channels, bias=False)

    def forward(self, invariants: Tensor, batch: Tensor, amounts: Tensor) -> Tensor:
        """From (M, I), the molecule of each point and t of each molecule, to (M, C) to be added."""
        n = self.norm(invariants)
        scores = self.scores(n)  # (M, H)
        index = batch[:, None].expand_as(scores)
        largest = (
            torch.full_like(scores[:1], -torch.inf)
            .repeat(len(amounts), 1)
            .scatter_reduce(0, index, scores.detach(), "amax")
        )
        weights = torch.exp(scores - largest[batch])
        sums = torch.zeros_like(largest).index_add(0, batch, weights)  # (F, H)
        values = (weights / sums[batch])[:, :, None] * self.values(n).view(*scores.shape, -1)
        attended = (
            torch.zeros_like(largest[:, :1])
            .repeat(1, values[0].numel())
            .index_add(0, batch, values.flatten(1))
        )
        # where it is 0 the result is not used
        amount = torch.where(amounts > 0, amounts, 1.0).to(sums.dtype)[:, None]
        exponents = largest + (sums / amount).log()  # (F, H)
        common = self.common(torch.cat([attended, exponents / UNIT], dim=1))  # (F, C)
        added: Tensor = self.output(nn.functional.silu(self.own(n) + common[batch]))
        return added


ATTENTION = {"none": NoAttention, "charged": ChargedAttention}
