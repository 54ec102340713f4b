"""The ways down from a saddle point: the intrinsic reaction coordinate.

In mass-weighted coordinates the steepest descent is followed within the local quadratic
approximation: the gradient and the analytic Hessian of each point give the curve up to the next.

Source: M. Page, J. W. McIver, J. Chem. Phys. 88, 922 (1988), eqs 8-14.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms

from md_runs.structures.rigid import rigid_motions, shape_of
from polcalc import PolarizedCalculator

Floats = npt.NDArray[np.float64]

STEP = 0.1  # sqrt(u) Å along the way
FIRST_STEP = 0.1  # off the saddle point, along its mode
SUBSTEPS = 1000  # of the curve, to measure its length
FLATTEST = 1e-8  # eigenvalues (eV/Å^2/u) that are taken as zero


class Place(NamedTuple):
    """A point of a way down."""

    atoms: Atoms
    length: float  # from the saddle point, sqrt(u) Å, negative on the second side
    energy_eV: float
    fmax_eV_per_A: float


def descend(
    saddle: Atoms,
    calculator: PolarizedCalculator,
    mode: Floats,
    side: int,
    fmax_eV_per_A: float,
    steps: int,
) -> list[Place]:
    """Follow the way down to one side until the forces are small or the energy rises.

    Parameters
    ----------
    mode : (N, 3)   displacements of the imaginary mode
    side : int      1 or -1, to which the mode is followed
    steps : int     at most
    """
    root = np.repeat(saddle.get_masses(), 3) ** 0.5  # (3N,)
    atoms = saddle.copy()
    way = mode.ravel() * root
    x = saddle.positions.ravel() * root + side * FIRST_STEP * way / np.linalg.norm(way)
    length, places = FIRST_STEP, list[Place]()
    for _ in range(steps):
        atoms.positions = (x / root).reshape(-1, 3)
        atoms.calc = calculator
        energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
        fmax = float(np.linalg.norm(forces, axis=1).max())
        if places and energy > places[-1].energy_eV:
            break
        places.append(Place(atoms.copy(), side * length, energy, fmax))
        if fmax <= fmax_eV_per_A:
            break
        gradient = -forces.ravel() / root
        hessian = calculator.get_hessian(atoms).reshape(len(root), -1) / root / root[:, None]
        x = x + along_the_curve(gradient, hessian, _turns(atoms, root), STEP)
        length += STEP
    return places


def along_the_curve(gradient: Floats, hessian: Floats, rigid: Floats, step: float) -> Floats:
    """Follow the steepest descent of a quadratic surface for a length.

    Parameters
    ----------
    gradient : (n,), hessian : (n, n)   mass-weighted
    rigid : (r, n)                      orthonormal motions that change nothing, left out
    step : float                        length of the curve

    Returns
    -------
    (n,)                                the displacement; shorter where the curve ends in a minimum
    """
    keep = np.eye(len(gradient)) - rigid.T @ rigid
    values, vectors = np.linalg.eigh(keep @ hessian @ keep)
    values = np.where(np.abs(values) < FLATTEST, FLATTEST, values)
    slope = vectors.T @ (keep @ gradient)  # (n,) eq 8
    size = np.linalg.norm(slope)
    if size == 0:
        return np.zeros_like(gradient)
    # eq 13: the speed along the curve at each time; its integral is the length
    times = np.linspace(0, 1, SUBSTEPS) ** 2 * 20 * step / size
    speeds = np.linalg.norm(slope * np.exp(np.clip(-np.outer(times, values), -50, 50)), axis=1)
    lengths = np.concatenate([[0], np.cumsum(np.diff(times) * (speeds[1:] + speeds[:-1]) / 2)])
    end = float(np.interp(step, lengths, times))
    shift = -slope * -np.expm1(np.clip(-values * end, -50, 50)) / values  # eq 9
    return np.asarray(vectors @ shift)


def _turns(atoms: Atoms, root: Floats) -> Floats:
    return rigid_motions(atoms, list(range(len(atoms))), shape_of(atoms), root)
