"""Weights of its own for each electronic state.

Capacity that costs no time, since a structure is in one state.

A network of one size must say with the same weights what a molecule is as a neutral singlet, as an
anion, as a triplet. Here every state has a copy of the network, an expert, trained further on
labels of that state alone. A file holds what an expert differs by, in half precision.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from potentials.potential import Encode, Energies, Potential, at_pairs
from potentials.structure.graph import AtomicGraph

PREFIX = "experts."  # of the names of their weights


class Experts(Potential):
    """A potential, and an expert for each of some states.

    Other states, and fragments with states of their own, are left to the potential.

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
        self.experts = nn.ModuleDict({_name(*state): copy.deepcopy(shared) for state in states})

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
        return self.experts[_name(charge, multiplicity)]  # type: ignore[return-value]

    def has(self, charge: float, multiplicity: int) -> bool:
        """Whether a state has an expert."""
        return _name(charge, multiplicity) in self.experts

    def forward(self, graph: AtomicGraph, encode: Encode = at_pairs) -> Energies:
        """Return the energy of each atom; structures of one state are evaluated together."""
        if graph.fragments is not None:
            return super().forward(graph, encode)
        energies = graph.positions.new_zeros(len(graph.batch))
        polarization = None
        for expert, structures in self._by_expert(graph):
            part, atoms = _selected(graph, structures)
            found = expert(part, encode)
            energies = energies.index_copy(0, atoms, found.energies)
            if found.polarization is not None:
                whole = torch.zeros_like(graph.positions) if polarization is None else polarization
                polarization = whole.index_copy(0, atoms, found.polarization)
        return Energies(energies, polarization)

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


def _name(charge: float, multiplicity: int) -> str:
    return f"{charge:+g},{multiplicity}".replace(".", "_")


def _selected(graph: AtomicGraph, structures: Tensor) -> tuple[AtomicGraph, Tensor]:
    """Take some structures (S,) out of a batch; return the numbers of their atoms with them."""
    if bool(structures.all()):
        return graph, torch.arange(len(graph.batch), device=graph.batch.device)
    of_atoms = structures[graph.batch]
    atoms, pairs = of_atoms.nonzero().flatten(), of_atoms[graph.idx_i].nonzero().flatten()
    place, number = (mask.cumsum(0) - 1 for mask in (of_atoms, structures))  # in the part
    parts: dict[str, Any] = {
        "batch": number[graph.batch[atoms]],
        "idx_i": place[graph.idx_i[pairs]],
        "idx_j": place[graph.idx_j[pairs]],
        "shift": graph.shift[pairs],
    }
    parts |= {
        name: getattr(graph, name)[atoms]
        for name in ("atomic_numbers", "positions", "partial_charges")
    }
    parts |= {
        name: getattr(graph, name)[structures]
        for name in ("cell", "pbc", "total_charge", "multiplicity")
    }
    return graph._replace(**parts), atoms
