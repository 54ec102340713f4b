"""Many searches step by step together.

Each step is one batched evaluation of all that are not done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS

Floats = npt.NDArray[np.float64]

MAX_STEP_A = 0.2  # of any atom, as in ASE


class Place(NamedTuple):
    """What a search is told where it stands."""

    energy: float  # eV
    forces: Floats  # (N, 3) eV/Å, the way to go
    done: bool


Evaluate = Callable[[Sequence[Atoms]], Sequence[Place]]


def search(frames: Sequence[Atoms], evaluate: Evaluate, steps: int) -> list[bool]:
    """Move structures along their forces by BFGS, in place, until each is done; say which are.

    Parameters
    ----------
    frames : list of Atoms   left with the energy and forces of the last evaluation
    evaluate : Callable      judges structures at once
    steps : int              at most
    """
    searches = [BFGS(atoms, logfile=None, maxstep=MAX_STEP_A) for atoms in frames]
    done = [False] * len(frames)
    for step in range(steps + 1):
        active = [n for n in range(len(frames)) if not done[n]]
        if not active:
            break
        for n, place in zip(active, evaluate([frames[n] for n in active]), strict=True):
            frames[n].calc = SinglePointCalculator(
                frames[n], energy=place.energy, forces=place.forces
            )
            done[n] = place.done
            if not place.done and step < steps:
                searches[n].step()
    return done


def largest(forces: Floats) -> float:
    """Return the length of the largest force."""
    return float(np.linalg.norm(forces, axis=1).max())
