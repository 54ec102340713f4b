"""Sample geometries: relaxation, Langevin dynamics, thermal displacements along normal modes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ase.data import atomic_masses
from ase.units import fs, kB
from scipy.optimize import minimize

from potentials.labels.method import Failed, Floats, Integers, Method


def relax(
    method: Method,
    atomic_numbers: Integers,
    positions: Floats,
    charge: int,
    multiplicity: int,
    fmax: float = 0.01,
    stiffness: Floats | None = None,
    max_steps: int = 500,
) -> Floats:
    """Follow the forces to a minimum.

    Parameters
    ----------
    fmax : float              eV/Å, the largest component of a force that may be left
    stiffness : (3N, 3N)      eV/Å^2, a Hessian near that of the method, to start from

    Raises
    ------
    Failed                    no minimum within so many steps
    """

    def energy_and_gradient(flat: Floats) -> tuple[float, Floats]:
        label = method(atomic_numbers, flat.reshape(-1, 3), charge, multiplicity)
        return label.energy, -label.forces.ravel()

    options: dict[str, Any] = {"gtol": fmax, "maxiter": max_steps}
    if stiffness is not None:
        curvature, modes = np.linalg.eigh(stiffness)
        inverse = (modes / np.maximum(np.abs(curvature), SOFTEST)) @ modes.T
        # symmetric to the last bit, or it is refused
        options["hess_inv0"] = 0.5 * (inverse + inverse.T)
    found = minimize(
        energy_and_gradient, positions.ravel(), jac=True, method="BFGS", options=options
    )
    if np.abs(found.jac).max() > 2 * fmax:
        raise Failed(f"relaxation ended with a force of {np.abs(found.jac).max():.3f} eV/Å")
    relaxed: Floats = found.x.reshape(-1, 3) - found.x.reshape(-1, 3).mean(0)
    return relaxed


def langevin(
    method: Method,
    atomic_numbers: Integers,
    positions: Floats,
    charge: int,
    multiplicity: int,
    temperature_K: float,
    every: int,
    rng: np.random.Generator,
    timestep_fs: float = 0.5,
    friction_per_ps: float = 20.0,
    masses: Floats | None = None,
) -> Iterator[Floats]:
    """Yield positions (N, 3) Å every so many steps of Langevin dynamics, without end.

    Kick, drift, random, drift, kick.

    Parameters
    ----------
    masses : (N,) or None   amu, other than those of the elements: positions have the same
                            distribution whatever the masses
    """
    step, mass = (
        timestep_fs * fs,
        (atomic_masses[atomic_numbers] if masses is None else masses)[:, None],
    )
    thermal = np.sqrt(kB * temperature_K / mass)
    kept = np.exp(-friction_per_ps / (1000 * fs) * step)
    x, v = positions.copy(), thermal * rng.normal(size=positions.shape)
    forces = method(atomic_numbers, x, charge, multiplicity).forces
    while True:
        for _ in range(every):
            v = v + 0.5 * step * forces / mass
            x = x + 0.5 * step * v
            v = kept * v + np.sqrt(1 - kept**2) * thermal * rng.normal(size=x.shape)
            x = x + 0.5 * step * v
            forces = method(atomic_numbers, x, charge, multiplicity).forces
            v = v + 0.5 * step * forces / mass
        yield x - x.mean(0)


def thermal_displacements(
    hessian: Floats,
    atomic_numbers: Integers,
    temperature_K: float,
    rng: np.random.Generator,
    lowest_per_cm: float = 200.0,
) -> Floats:
    """Draw a displacement (N, 3) Å from the quantum thermal distribution of the harmonic modes.

    Parameters
    ----------
    hessian : (3N, 3N)     eV/Å^2 at a minimum; the six softest modes, translations and rotations,
                           are left alone
    lowest_per_cm : float  softer modes are treated as this stiff: they are not harmonic
    """
    mass = np.repeat(atomic_masses[atomic_numbers], 3)
    curvature, modes = np.linalg.eigh(hessian / np.sqrt(np.outer(mass, mass)))
    n_rigid = 5 if len(atomic_numbers) == 2 else 6
    frequency = np.sqrt(np.abs(curvature[n_rigid:]))  # 1 / ASE time
    frequency = np.maximum(frequency, lowest_per_cm * PER_CM)
    quantum = HBAR * frequency
    # Å sqrt(amu)
    spread = np.sqrt(HBAR / (2 * frequency) / np.tanh(quantum / (2 * kB * temperature_K)))
    displacement: Floats = (
        modes[:, n_rigid:] @ (spread * rng.normal(size=len(spread))) / np.sqrt(mass)
    )
    return displacement.reshape(-1, 3)


SOFTEST = 1.0  # eV/Å^2, so that soft modes do not leap
HBAR = 6.582119569e-16 * 1e15 * fs  # eV · ASE time
# angular frequency of one wave number, 1 / ASE time
PER_CM = 2 * np.pi * 2.99792458e10 * 1e-15 / fs


def hessian(
    method: Method,
    atomic_numbers: Integers,
    positions: Floats,
    charge: int,
    multiplicity: int,
    step: float = 0.01,
) -> Floats:
    """Differentiate the forces: (3N, 3N) eV/Å^2, symmetric; the step is in Å."""
    rows = []
    for k in range(positions.size):
        moved = np.zeros(positions.size)
        moved[k] = step
        ahead, behind = (
            method(
                atomic_numbers, positions + s * moved.reshape(-1, 3), charge, multiplicity
            ).forces
            for s in (1, -1)
        )
        rows.append(-(ahead - behind).ravel() / (2 * step))
    found: Floats = np.array(rows)
    return 0.5 * (found + found.T)
