"""Many structures followed at once on the teacher: a few steps downhill, or of Langevin dynamics.

One network of the ensemble says the forces.
Sizes in comments: S structures, N atoms of the largest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from ase.data import atomic_masses
from ase.units import fs, kB
from numpy.typing import NDArray

from potentials.labels.method import Floats
from potentials.labels.teacher import Structures

SHARE_DOWNHILL = 0.9  # of the step to the minimum of the springs
FIRM = 2.0  # eV/Å^2, added to the springs, so that soft ways are no leaps
LONGEST = 0.12  # Å, of an atom in a step
# heavy hydrogens: positions are distributed alike whatever the masses
TIMESTEP_FS, FRICTION_PER_PS, HYDROGEN_AMU = 2.0, 40.0, 4.0


class Guide(Protocol):
    """What says the forces on a path: the teacher, or the teacher and springs."""

    def follow(self, structures: Structures) -> NDArray[Any]:
        """Compute forces (S, N, 3) eV/Å."""
        ...


def downhill(
    teacher: Guide, structures: Structures, springs: Sequence[Floats], n_steps: int
) -> Floats:
    """Follow the forces to positions (S, N, 3) Å.

    Parameters
    ----------
    springs : (3n, 3n) eV/Å^2   for each structure of n atoms a guess of its Hessian
    """
    x = structures.positions.astype(np.float64)
    inverse = np.zeros((len(x), x[0].size, x[0].size))
    for n, stiffness in enumerate(springs):
        inverse[n, : len(stiffness), : len(stiffness)] = np.linalg.inv(
            stiffness + FIRM * np.eye(len(stiffness))
        )
    share, before = np.full((len(x), 1, 1), SHARE_DOWNHILL), np.full((len(x), 1, 1), np.inf)
    for _ in range(n_steps):
        forces = teacher.follow(structures._replace(positions=x)).astype(np.float64)
        steepness = np.linalg.norm(forces, axis=(1, 2), keepdims=True)
        # a stiffer one than its springs
        share, before = np.where(steepness > before, 0.5 * share, share), steepness
        x = x + _shortened(share * (inverse @ forces.reshape(len(x), -1, 1)).reshape(x.shape))
    return x


def dynamics(
    teacher: Guide,
    structures: Structures,
    temperature_K: Floats,
    every: int,
    rng: np.random.Generator,
) -> Iterator[Floats]:
    """Yield positions (S, N, 3) Å every so many steps, without end.

    Parameters
    ----------
    temperature_K : (S,)
    """
    numbers, step = structures.atomic_numbers, TIMESTEP_FS * fs
    mass = np.where(numbers == 1, HYDROGEN_AMU, atomic_masses[numbers])[..., None]
    moves = (numbers > 0)[..., None]
    thermal = np.sqrt(kB * temperature_K[:, None, None] / mass) * moves
    kept = np.exp(-FRICTION_PER_PS / (1000 * fs) * step)
    x, v = (
        structures.positions.astype(np.float64),
        thermal * rng.normal(size=structures.positions.shape),
    )
    while True:
        for _ in range(every):
            v = v + step * teacher.follow(structures._replace(positions=x)) / mass
            x = x + _shortened(0.5 * step * v)
            v = kept * v + np.sqrt(1 - kept**2) * thermal * rng.normal(size=x.shape)
            x = x + _shortened(0.5 * step * v)
        yield x


def _shortened(steps: Floats) -> Floats:
    length = np.linalg.norm(steps, axis=-1, keepdims=True)
    shortened: Floats = steps * np.minimum(1, LONGEST / np.maximum(length, 1e-12))
    return shortened
