"""A box of liquid water to start from, by a simple force field, so that no model has a say in it.

Molecules of three springs with the charges and the repulsion of SPC (Berendsen et al., 1981),
whose forces end smoothly at the cutoff.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from potentials.labels.method import Floats, Integers, Label
from potentials.labels.sampling import langevin

WATERS, EDGE_A = 64, 12.42  # 1 g/cm³
OH, HH = 1.0, 1.633  # Å
STIFF_OH, STIFF_HH = 46.0, 12.0  # eV/Å^2
CHARGES = (-0.82, 0.41, 0.41)  # e, of O, H, H
EPSILON, SIGMA = 0.00674, 3.166  # eV, Å
COULOMB = 14.399645  # eV Å
CUTOFF_A = 6.0
TEMPERATURE_K, STEPS = 300.0, 6000  # of 1 fs


def liquid(steps: int = STEPS) -> Atoms:
    """Let molecules on a grid, turned at random, come to rest in 6 ps: 192 atoms, periodic."""
    rng = np.random.default_rng(0)
    half = np.arcsin(HH / 2 / OH)
    across, along = OH * np.sin(half), OH * np.cos(half)
    one = Atoms("OHH", [[0, 0, 0], [across, along, 0], [-across, along, 0]])
    box = Atoms(cell=3 * [EDGE_A], pbc=True)
    for site in np.indices((4, 4, 4)).reshape(3, -1).T:
        turned = one.copy()
        turned.euler_rotate(*rng.uniform(0, 360, 3))
        turned.positions += (site + 0.5) * EDGE_A / 4
        box += turned
    walk = langevin(
        _method,
        box.numbers,
        box.positions,
        charge=0,
        multiplicity=1,
        temperature_K=TEMPERATURE_K,
        every=steps,
        rng=rng,
        timestep_fs=1.0,
    )
    box.positions = next(walk)
    return box


def _method(atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int) -> Label:
    """Compute forces; energies are not needed."""
    forces = _springs(positions.reshape(-1, 3, 3)).reshape(-1, 3) + _between(positions)
    return Label(0.0, forces, np.zeros(len(positions)))


def _springs(molecules: Floats) -> Floats:
    """Compute forces (M, 3, 3) eV/Å of the three springs of each molecule."""
    forces = np.zeros_like(molecules)
    for i, j, length, stiffness in (
        (0, 1, OH, STIFF_OH),
        (0, 2, OH, STIFF_OH),
        (1, 2, HH, STIFF_HH),
    ):
        way = molecules[:, j] - molecules[:, i]
        distance = np.linalg.norm(way, axis=1, keepdims=True)
        pull = stiffness * (1 - length / distance) * way
        forces[:, i] += pull
        forces[:, j] -= pull
    return forces


def _between(positions: Floats) -> Floats:
    """Compute forces (N, 3) eV/Å between molecules."""
    n = len(positions)
    way = positions[:, None] - positions[None]
    way -= EDGE_A * np.round(way / EDGE_A)
    molecule = np.arange(n) // 3
    distance = np.sqrt((way**2).sum(-1) + np.eye(n))
    near = (molecule[:, None] != molecule[None]) & (distance < CUTOFF_A)
    charges = np.tile(CHARGES, n // 3)
    push = COULOMB * np.outer(charges, charges) * (distance**-2 - CUTOFF_A**-2)
    oxygens = np.arange(n) % 3 == 0
    ratio = (SIGMA / distance) ** 6
    push += 24 * EPSILON * (2 * ratio**2 - ratio) / distance * np.outer(oxygens, oxygens)
    forces: Floats = ((near * push / distance)[..., None] * way).sum(1)
    return forces
