"""What an engine takes, returns and promises.

The engines themselves stand in `polcalc.engines.selector`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from potentials.potential import Potential

Floats = NDArray[np.float64]
Kind = tuple[bytes, bytes, int, int, tuple[bytes, ...]]


class Parts(NamedTuple):
    """Groups of atoms that know their own charge and multiplicity."""

    batch: NDArray[np.int64]  # (N,) group of each atom
    charge: Floats  # (F,) e
    multiplicity: NDArray[np.int64]  # (F,) 2S + 1


class Structure(NamedTuple):
    """What an engine evaluates; plain numpy, not to be kept or changed."""

    atomic_numbers: NDArray[np.int64]  # (N,)
    positions: Floats  # (N, 3) Å
    cell: Floats  # (3, 3) Å, rows are lattice vectors
    pbc: NDArray[np.bool_]  # (3,)
    charge: int  # e
    multiplicity: int  # 2S + 1
    partial_charges: Floats | None = None  # (N,) e
    fragments: Parts | None = None  # where atoms know the state of their group alone

    @property
    def kind(self) -> Kind:
        """What is the same for structures that take the same path through an engine."""
        parts = () if self.fragments is None else tuple(array.tobytes() for array in self.fragments)
        return (
            self.atomic_numbers.tobytes(),
            self.pbc.tobytes(),
            self.charge,
            self.multiplicity,
            parts,
        )

    @property
    def has_stress(self) -> bool:
        """Whether a stress is defined: periodic, with a volume."""
        return bool(self.pbc.any()) and bool(np.linalg.det(self.cell) != 0)


class Evaluation(NamedTuple):
    """What an engine returns; float64 arrays of its own."""

    energy: float  # eV
    energies: Floats  # (N,) eV
    forces: Floats  # (N, 3) eV/Å
    stress: Floats | None = None  # (3, 3) eV/Å^3, where `Structure.has_stress`
    polarization: Floats | None = None  # (N, 3) Å, displacement of the moving points


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
