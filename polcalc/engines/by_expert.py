"""One engine for each electronic state that has weights of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from polcalc.engines.base import Engine, Structure, Unavailable
from polcalc.engines.neighbors import NeighborList
from potentials.experts import Experts
from potentials.potential import Potential
from potentials.quantities import Evaluation

ChargeAndMultiplicity = tuple[int, int]


class ByExpert(Engine):
    """One engine for each electronic state that has weights of its own, made when first needed.

    Parameters
    ----------
    make : callable        makes an engine of a potential
    potential : Experts
    """

    def __init__(
        self,
        make: Callable[[Potential, torch.device], Engine],
        potential: Experts,
        device: torch.device,
    ) -> None:
        self.make, self.potential, self.device = make, potential, device
        self._engines: dict[ChargeAndMultiplicity | None, Engine] = {}
        self._last: Engine | None = None

    @property
    def neighbors(self) -> NeighborList | None:
        """The pair list of the last structure, where its engine keeps one."""
        return getattr(self._last, "neighbors", None)

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure."""
        _refuse_fragments([structure])
        self._last = self._engine(_expert_of(structure, self.potential))
        return self._last.evaluate(structure)

    def evaluate_many(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate the structures of each state together."""
        _refuse_fragments(structures)
        states = [_expert_of(structure, self.potential) for structure in structures]
        found: dict[int, Evaluation] = {}
        for state in dict.fromkeys(states):
            chosen = [n for n, other in enumerate(states) if other == state]
            found.update(
                zip(
                    chosen,
                    self._engine(state).evaluate_many([structures[n] for n in chosen]),
                    strict=True,
                )
            )
        return [found[n] for n in range(len(structures))]

    def _engine(self, state: ChargeAndMultiplicity | None) -> Engine:
        if state not in self._engines:
            expert = self.potential.shared if state is None else self.potential.of(*state)
            self._engines[state] = self.make(expert, self.device)
        return self._engines[state]


def _expert_of(structure: Structure, potential: Experts) -> ChargeAndMultiplicity | None:
    """Return the state whose weights answer; None: those that all states share."""
    state = structure.charge, structure.multiplicity
    return state if potential.has(*state) else None


def _refuse_fragments(structures: Sequence[Structure]) -> None:
    if any(structure.fragments is not None for structure in structures):
        raise Unavailable("fragments mix the weights of several states")
