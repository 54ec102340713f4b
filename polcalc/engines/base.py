"""What an engine takes, returns and promises.

The engines themselves stand in `polcalc.engines.selector`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from potentials.potential import Potential
from potentials.quantities import Evaluation
from potentials.structure.graph import AtomicGraph, States, make_graph
from potentials.structure.pairs import Pairs

Floats = NDArray[np.float64]
NO_INPUTS: Mapping[str, Any] = {}
Family = tuple[frozenset[int], bytes, tuple[int, int, bool], bool]
Kind = tuple[bytes, bytes, int, int, tuple[bytes, ...]]


class Structure(NamedTuple):
    """What an engine evaluates; plain numpy, not to be kept or changed."""

    atomic_numbers: NDArray[np.int64]  # (N,)
    positions: Floats  # (N, 3) Å
    cell: Floats  # (3, 3) Å, rows are lattice vectors
    pbc: NDArray[np.bool_]  # (3,)
    charge: int  # e
    multiplicity: int  # 2S + 1
    partial_charges: Floats | None = None  # (N,) e
    fragments: States[NDArray[Any]] | None = (
        None  # arrays; where atoms know the state of their part alone
    )
    inputs: Mapping[str, Any] = NO_INPUTS  # further fields of `AtomicGraph`, by name

    @property
    def kind(self) -> Kind:
        """What is the same for structures that take the same path through an engine."""
        arrays: Any = self.fragments or ()
        parts = tuple(array.tobytes() for array in arrays)
        return (
            self.atomic_numbers.tobytes(),
            self.pbc.tobytes(),
            self.charge,
            self.multiplicity,
            parts,
        )

    @property
    def family(self) -> Family:
        """What structures share that an engine serves alike: elements, periodicity and state."""
        elements = _elements(self.atomic_numbers.tobytes())
        state = self.charge, self.multiplicity, self.fragments is not None
        return elements, self.pbc.tobytes(), state, bool(self.inputs)

    @property
    def is_proton(self) -> bool:
        """Whether it is one proton without electrons, whose energy is 0 by definition."""
        return len(self.atomic_numbers) == 1 and self.atomic_numbers[0] == self.charge == 1

    @property
    def has_stress(self) -> bool:
        """Whether a stress is defined: periodic, with a volume."""
        return bool(self.pbc.any()) and bool(np.linalg.det(self.cell) != 0)

    def graph(self, pairs: Pairs, cutoff: float, device: torch.device | str = "cpu") -> AtomicGraph:
        """Make the graph of this structure with its pairs within the cutoff (Å)."""
        idx_i, idx_j, shift = pairs
        states: Any = self.fragments
        if states is not None:
            states = States(*(torch.tensor(x, device=device) for x in states))
        return make_graph(
            cutoff,
            fragments=states,
            device=device,
            atomic_numbers=np.array(self.atomic_numbers),
            positions=np.array(self.positions),
            cell=np.array(self.cell),
            pbc=np.array(self.pbc),
            idx_i=idx_i,
            idx_j=idx_j,
            shift=shift,
            total_charge=self.charge,
            multiplicity=self.multiplicity,
            partial_charges=self.partial_charges,
            **self.inputs,
        )


@lru_cache(maxsize=1024)
def _elements(atomic_numbers: bytes) -> frozenset[int]:
    """Name the elements of a structure; asked at every step, and the same at most of them."""
    return frozenset(np.frombuffer(atomic_numbers, dtype=np.int64).tolist())


class Unavailable(Exception):
    """An engine cannot be built here, or cannot evaluate this structure.

    The message is one line for people.
    """


class Engine(Protocol):
    """One way to evaluate a potential.

    Raises `Unavailable` when built or called where it cannot serve.
    """

    def __init__(self, potential: Potential, device: torch.device) -> None: ...

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure."""
        ...

    def evaluate_many(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate several structures."""
        return [self.evaluate(structure) for structure in structures]
