"""Weights of its own for each electronic state.

Capacity that costs no time, since a structure is in one state.

A network of one size must say with the same weights what a molecule is as a neutral singlet, as an
anion, as a triplet. Here every state has a copy of the network, an expert, trained further on
labels of that state alone. A file holds what an expert differs by, in half precision.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from potentials.potential import Encode, Potential, at_pairs
from potentials.quantities import QUANTITIES, Prediction, named
from potentials.structure.graph import AtomicGraph, apart, select

PREFIX = "experts."  # of the names of their weights


class Experts(Potential):
    """A potential, and an expert for each of some states.

    Other states are left to the potential. So are fragments with states of their own, but for what
    each is alone: there its expert has the word, so that far fragments add up.

    Parameters
    ----------
    shared : Potential               knows all states
    states : (charge, multiplicity)  those with an expert, which starts as the shared potential

    Source: a mixture of linear experts (arXiv 2506.23971) that the state alone decides. Differs:
    one expert per state, not a mixture.
    """

    def __init__(self, shared: Potential, states: Sequence[tuple[int, int]]) -> None:
        super().__init__(
            shared.trunk,
            list(shared.terms),
            {**shared.spec, "experts": [list(state) for state in states]},
        )
        self._shared_spec = shared.spec
        self.experts = nn.ModuleDict({name_of(*state): copy.deepcopy(shared) for state in states})

    @property
    def shared(self) -> Potential:
        """The potential that knows all states, on the same weights."""
        return Potential(self.trunk, list(self.terms), self._shared_spec)

    @property
    def states(self) -> list[tuple[int, int]]:
        """Charge and multiplicity of every expert."""
        return [(int(charge), int(multiplicity)) for charge, multiplicity in self.spec["experts"]]

    def of(self, charge: float, multiplicity: int) -> Potential:
        """Return the expert of a state, or the shared potential."""
        if not self.has(charge, multiplicity):
            return self.shared
        return self.experts[name_of(charge, multiplicity)]  # type: ignore[return-value]

    def has(self, charge: float, multiplicity: int) -> bool:
        """Whether a state has an expert."""
        return name_of(charge, multiplicity) in self.experts

    def forward(self, graph: AtomicGraph, encode: Encode = at_pairs) -> Prediction:
        """Return what the experts say; structures of one state are evaluated together."""
        if graph.fragments is not None:
            return self._of_fragments(graph, encode)
        whole: dict[str, Tensor] = {}
        for expert, structures in self._by_expert(graph):
            part, atoms = select(graph, structures)
            rows = {"atom": atoms, "structure": structures.nonzero().flatten()}
            counts = {"atom": len(graph.batch), "structure": graph.n_structures}
            for name, value in named(expert(part, encode)).items():
                per = QUANTITIES[name].per
                if name not in whole:
                    whole[name] = value.new_zeros(counts[per], *value.shape[1:])
                whole[name] = whole[name].index_copy(0, rows[per], value)
        return Prediction(**whole)

    def _of_fragments(self, graph: AtomicGraph, encode: Encode) -> Prediction:
        """Let the shared potential say how fragments act on each other, experts what each is alone.

        Energies alone follow the experts; other quantities are those of the shared potential.
        """
        whole = super().forward(graph, encode)
        if whole.energies is None:
            return whole
        alone, atoms = apart(graph)
        own = self.forward(alone, encode).energies - super().forward(alone, encode).energies
        return whole._replace(energies=whole.energies.index_add(0, atoms, own))

    def _by_expert(self, graph: AtomicGraph) -> Iterator[tuple[Potential, Tensor]]:
        """Yield potentials, and which structures (S,) each is to evaluate."""
        states = torch.stack([graph.total_charge, graph.multiplicity.to(graph.total_charge)], dim=1)
        for charge, multiplicity in torch.unique(states, dim=0).tolist():
            yield (
                self.of(charge, int(multiplicity)),
                (states == states.new_tensor([charge, multiplicity])).all(1),
            )


def compact(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace the weights of experts by their differences from the shared ones, in half precision.

    What is not single stays exact.

    The last rows of a weight are left out where they do not differ: those of heavy elements, in
    tables of all.
    """
    return {
        name: (
            _without_last_zeros((x - _shared(weights, name)).half())
            if _is_compact(name, x, torch.float32)
            else x
        )
        for name, x in weights.items()
    }


def expanded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `compact`, but for rounding."""
    return {
        name: _sum(_shared(weights, name), x) if _is_compact(name, x, torch.float16) else x
        for name, x in weights.items()
    }


def _is_compact(name: str, weight: Tensor, dtype: torch.dtype) -> bool:
    return name.startswith(PREFIX) and weight.dtype == dtype


def _shared(weights: Mapping[str, Tensor], name: str) -> Tensor:
    return weights[name.removeprefix(PREFIX).partition(".")[2]]


def _without_last_zeros(difference: Tensor) -> Tensor:
    rows = torch.atleast_1d(difference)
    differing = rows.ne(0).unsqueeze(-1).flatten(1).any(1).nonzero()
    kept: Tensor = rows[: int(differing[-1]) + 1 if len(differing) else 0].clone()
    return kept


def _sum(shared: Tensor, difference: Tensor) -> Tensor:
    found, rows = shared.clone(), torch.atleast_1d(difference).float()
    torch.atleast_1d(found)[: len(rows)] += rows
    return found


def name_of(charge: float, multiplicity: int) -> str:
    """Name the expert of a state, as its weights are named in a file."""
    return f"{charge:+g},{multiplicity}".replace(".", "_")
