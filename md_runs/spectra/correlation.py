"""Spectra from how the dipole and the polarizability of a run fluctuate.

The absorption of a quantum system follows from the classical autocorrelation of its dipole with the
harmonic quantum correction factor βħω / (1 - exp(-βħω)): the temperature and ħ cancel, and what is
left is the power spectrum of the classical rate dM/dt over kT. A harmonic mode then has the area
that `intensities` gives it, at any temperature.

Source: Ramírez et al., J. Chem. Phys. 121, 3973 (2004), sec. II; Thomas et al., Phys. Chem. Chem.
Phys. 15, 6608 (2013), eqs. 3 and 14.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import units
from scipy.signal import welch

from md_runs.spectra.intensities import KM_PER_MOL
from potentials.quantities import VOLUME_A3

Floats = npt.NDArray[Any]

PER_CM = 1e15 / (units._c * 100)  # cm^-1 of one oscillation per fs
RESOLUTION_PER_CM = 10.0
KT = units.kB * 1e-10 * units._e / units._amu  # u Å^2/fs^2 of one kelvin


class Spectrum(NamedTuple):
    """An area per wave number: its integral over a line is the intensity of the mode."""

    wavenumber: Floats  # (K,) 1/cm
    density: Floats  # (K,)


def infrared_spectrum(dipoles: Floats, interval_fs: float, temperature_K: float) -> Spectrum:
    """Return the infrared spectrum of a run, km/mol per 1/cm.

    Parameters
    ----------
    dipoles : (F, 3)      e Å, about a point that moves with the molecule
    interval_fs : float   between frames; faster motion is folded back
    """
    wavenumber, power = power_of_rate(dipoles, interval_fs)
    return Spectrum(wavenumber, KM_PER_MOL * power.sum(axis=1) / (KT * temperature_K))


def raman_spectrum(tensors: Floats, interval_fs: float, temperature_K: float) -> Spectrum:
    """Return the Raman activity of a run, Å^4/u per 1/cm: 45 of the mean and 7 of the anisotropy.

    Parameters
    ----------
    tensors : (F, 3, 3)   polarizabilities, e Å^2/V
    """
    volumes = VOLUME_A3 * np.asarray(tensors)
    third = np.trace(volumes, axis1=1, axis2=2) / 3  # (F,)
    rest = (volumes - third[:, None, None] * np.eye(3)).reshape(-1, 9)
    series = np.column_stack([np.sqrt(45) * third, np.sqrt(7 * 1.5) * rest])
    wavenumber, power = power_of_rate(series, interval_fs)
    return Spectrum(wavenumber, power.sum(axis=1) / (KT * temperature_K))


def power_of_rate(series: Floats, interval_fs: float) -> tuple[Floats, Floats]:
    """Power spectrum of the rate of change of some series, by wave number.

    Parameters
    ----------
    series : (F, K)

    Returns
    -------
    wavenumber : (L,)    1/cm
    power : (L, K)       square of a unit per fs, per 1/cm: its integral is the mean square rate

    Source: Welch (1967), overlapping stretches under a Hann window. The rate is taken as 2πf in
    Fourier space, where finite differences would weaken fast motion.
    """
    length = min(len(series), max(2, round(PER_CM / (RESOLUTION_PER_CM * interval_fs))))
    frequency, power = welch(series, fs=1 / interval_fs, nperseg=length, axis=0)
    return frequency * PER_CM, (2 * np.pi * frequency[:, None]) ** 2 * power / PER_CM
