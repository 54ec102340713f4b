"""Infrared and Raman intensities of normal modes, of derivatives by the positions of the atoms.

Both are of the harmonic, non-resonant kind that programs of quantum chemistry print: averaged over
all orientations of the molecule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase import units

from md_runs.surfaces.vibrations import Mode
from potentials.quantities import VOLUME_A3

Array = npt.NDArray[np.float64]

# N_A / (12 ε0 c²) in km/mol for a (dμ/dQ)² of one e²/u, 974.88; 42.256 of one (D/Å)²/u
KM_PER_MOL = units._Nav * units._e**2 / (12e3 * units._eps0 * units._c**2 * units._amu)


class Raman(NamedTuple):
    """How strongly each mode scatters light."""

    activity: Array  # (M,) Å^4/u
    depolarization: Array  # (M,) perpendicular over parallel, of polarised light; 0 to 3/4


def infrared_intensities(modes: Sequence[Mode], derivative: Array) -> Array:
    """Return the integrated intensity of each mode, (M,) km/mol.

    Parameters
    ----------
    derivative : (N, 3, 3)   e, of the dipole (last axis) by each coordinate of each atom
    """
    along = _along(modes, derivative)  # (M, 3) e per sqrt(u)
    return np.asarray(KM_PER_MOL * (along**2).sum(axis=1))


def raman_activities(modes: Sequence[Mode], derivative: Array) -> Raman:
    """Return activity 45 a'² + 7 γ'² and depolarization ratio of each mode.

    Parameters
    ----------
    derivative : (N, 3, 3, 3)   e Å/V, of the polarizability (last two axes) by each coordinate

    Source: Long, The Raman Effect (2002), sec. A14.7; Porezag and Pederson, Phys. Rev. B 54, 7830
    (1996), eq. 13.
    """
    along = VOLUME_A3 * _along(modes, derivative)  # (M, 3, 3) Å^2 per sqrt(u)
    squares, anisotropy = mean_square(along), anisotropy_square(along)
    whole = 45 * squares + 4 * anisotropy
    ratio = np.divide(3 * anisotropy, whole, out=np.zeros_like(whole), where=whole > 0)
    return Raman(45 * squares + 7 * anisotropy, ratio)


def mean_square(tensors: Array) -> Array:
    """Square of a third of the trace, of tensors (..., 3, 3)."""
    return np.asarray((np.trace(tensors, axis1=-2, axis2=-1) / 3) ** 2)


def anisotropy_square(tensors: Array) -> Array:
    """γ² of symmetric tensors (..., 3, 3): 3/2 of the squares of what is left without the trace."""
    third = np.trace(tensors, axis1=-2, axis2=-1)[..., None, None] / 3
    return np.asarray(1.5 * ((tensors - third * np.eye(3)) ** 2).sum(axis=(-2, -1)))


def _along(modes: Sequence[Mode], derivative: Array) -> Array:
    """Derivatives (M, ...) by the coordinates of modes, Å sqrt(u)."""
    vectors = np.array([mode.vectors for mode in modes]).reshape(-1, *derivative.shape[:2])
    return np.tensordot(vectors, derivative, axes=2)
