"""Small labelled structures for the tests of data sets."""

from __future__ import annotations

import numpy as np

from potentials.datasets import Frames, Units, make_frames

WATER = np.array([[0.0, 0.0, 0.119], [0.0, 0.763, -0.477], [0.0, -0.763, -0.477]])  # Å
WATER_ENERGY = -2079.0  # eV, all electrons
STIFFNESS = 30.0  # eV/Å² of each bond


def waters(n: int, *, seed: int = 0, units: Units | None = None, **labels: object) -> Frames:
    """Shaken water molecules on two springs, so that energies and forces belong together."""
    positions = WATER + np.random.default_rng(seed).normal(scale=0.04, size=(n, 3, 3))
    bonds = positions[:, 1:] - positions[:, :1]  # (n, 2, 3)
    length = np.linalg.norm(bonds, axis=2, keepdims=True)
    stretch = length - 0.97
    pull = STIFFNESS * stretch * bonds / length
    forces = np.concatenate([pull.sum(1, keepdims=True), -pull], axis=1)
    given = units or Units()
    return make_frames(
        n_atoms=np.full(n, 3),
        atomic_numbers=np.tile([8, 1, 1], n),
        positions=positions / given.length_A,
        energy=(WATER_ENERGY + STIFFNESS / 2 * (stretch**2).sum((1, 2))) / given.energy_eV,
        forces=forces / given.force_eV_per_A,
        units=given,
        **labels,  # type: ignore[arg-type]
    )


def mixed() -> Frames:
    """Three structures of different size, state and cell, with every label there is."""
    generator = np.random.default_rng(1)
    n_atoms = np.array([3, 1, 2])
    return make_frames(
        n_atoms=n_atoms,
        atomic_numbers=np.array([8, 1, 1, 11, 6, 7]),
        positions=np.concatenate([WATER, [[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [1.17, 0.0, 0.0]]]),
        energy=np.array([-2079.0, -4400.1, -2500.3]),
        forces=generator.normal(size=(6, 3)),
        total_charge=np.array([0.0, 1.0, -1.0]),
        multiplicity=np.array([3, 1, 1]),
        cell=np.stack(
            [
                np.zeros((3, 3)),
                np.diag([5.0, 6.0, 7.0]),
                np.array([[4.0, 0, 0], [1, 5, 0], [0.5, 0.2, 6]]),
            ]
        ),
        pbc=np.array([[False] * 3, [True] * 3, [True, True, False]]),
        stress=np.array([a + a.T for a in generator.normal(size=(3, 3, 3))]),
        partial_charges=generator.normal(size=6),
        group=np.array([0, 1, 1]),
    )
