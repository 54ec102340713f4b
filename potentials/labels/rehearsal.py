"""Rehearsal: what a model says of the molecules that it has learnt from, beside labels of others.

A training on new labels alone forgets the old ones. Where these are no longer there, or would cost
hours again, the model to start from says what they were, to some meV/atom, on geometries drawn as
they were. Geometries that cost the method a path, dynamics and relaxations, are displaced along the
modes of the force field instead, or left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from potentials.datasets import Frames
from potentials.labels.gfn2 import Convergence
from potentials.labels.method import Failed, Floats, Integers, Label
from potentials.labels.organic import MOST_FORCE, Job, compute
from potentials.potential import Potential, predict
from potentials.training.data import StructureSet
from potentials.training.evaluate import BATCH_ATOMS

NAME = "organic-xtb-rehearsal"


class Unsaid:
    """A method of zeros, as long as no model has spoken; it knows no path."""

    def __init__(
        self, atomic_numbers: Integers, charge: int, multiplicity: int, convergence: Convergence
    ) -> None:
        self._spin = (multiplicity - 1) / 2

    def label(self, positions: Floats) -> Label:
        """Return zeros."""
        n_atoms = len(positions)
        return Label(
            0.0,
            np.zeros((n_atoms, 3)),
            np.zeros(n_atoms),
            np.zeros(3),
            self._spin * (self._spin + 1),
        )

    def follow(self, positions: Floats) -> Label:
        """Raise `Failed`."""
        raise Failed("a path needs the method")


def draw(job: Job) -> dict[str, Any]:
    """Draw the geometries of one job and their states, without labels."""
    return compute(job, Unsaid)


def said_by(potential: Potential, frames: Frames) -> Frames:
    """Label structures by a model; those with a force that no label may have are left out."""
    said = [
        predict(potential, batch.graph)
        for batch in StructureSet(frames, potential.cutoff).batches(BATCH_ATOMS)
    ]
    energy = np.concatenate([part.energy.double().numpy() for part in said])
    forces = np.concatenate(
        [part.forces.double().numpy() for part in said if part.forces is not None]
    )
    largest = np.maximum.reduceat(np.abs(forces).max(1), frames.first[:-1])
    found = replace(frames, energy=energy, forces=forces, partial_charges=None, dipole=None)
    return found.select(np.flatnonzero(largest <= MOST_FORCE))
