"""How atoms move: velocity autocorrelation, its spectrum, mean-square displacement."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase import units
from scipy.signal import welch

from md_runs.analysis.series import Floats, correlation
from md_runs.analysis.statistics import fit_line

PER_CM = 1e15 / (units._c * 100)  # cm^-1 of one oscillation per fs
RESOLUTION_PER_CM = 10.0
# of the longest lag: what the diffusion coefficient is fitted to
DIFFUSIVE_FROM, DIFFUSIVE_TO = 0.1, 0.5


class Spectrum(NamedTuple):
    """A density of states, atom by atom."""

    wavenumber: Floats  # (K,) 1/cm
    density: Floats  # (K, N) degrees of freedom per 1/cm


class Diffusion(NamedTuple):
    """A line through a mean-square displacement, and its power of time: 1 when it is diffusion."""

    coefficient: float  # Å^2/fs
    exponent: float


def velocity_autocorrelation(velocities: Floats, masses: Floats) -> Floats:
    """Correlate velocities over time, weighted with masses and normalised to 1 at lag 0.

    Parameters
    ----------
    velocities : (F, N, 3)   any unit
    masses : (N,)            u

    Returns
    -------
    (F,)   sum over atoms of m <v(0) v(t)>
    """
    summed = np.einsum("fnk,n->f", correlation(velocities), masses)
    return np.asarray(summed / summed[0])


def vibrational_density(
    velocities: Floats,
    masses: Floats,
    interval_fs: float,
    degrees_of_freedom: float,
    resolution_per_cm: float = RESOLUTION_PER_CM,
) -> Spectrum:
    """Power spectrum of the mass-weighted velocities.

    Its integral over wavenumbers and atoms is the number of degrees of freedom.

    It is the Fourier transform of the velocity autocorrelation, averaged over overlapping stretches
    under a Hann window.

    Parameters
    ----------
    velocities : (F, N, 3)   any unit
    masses : (N,)            u
    interval_fs : float      between frames; motion faster than 33356 / (2 interval) 1/cm is folded
                             back
    degrees_of_freedom       what holds kinetic energy
    resolution_per_cm        width of a sharp line, in 1/cm; the length of a trajectory sets a limit
                             of its own

    Source: Berens et al., J. Chem. Phys. 79, 2375 (1983), eq. 2.10; estimator: Welch (1967).
    """
    length = min(len(velocities), max(2, round(PER_CM / (resolution_per_cm * interval_fs))))
    frequency, power = welch(
        velocities, fs=1 / interval_fs, nperseg=length, detrend=False, axis=0
    )  # (K, N, 3)
    density = power.sum(axis=2) * masses
    wavenumber = frequency * PER_CM
    total = density.sum() * (wavenumber[1] - wavenumber[0])
    return Spectrum(wavenumber, density * (degrees_of_freedom / total))


def highest_wavenumber(interval_fs: float) -> float:
    """Fastest motion in 1/cm that frames at this interval can show."""
    return PER_CM / (2 * interval_fs)


def mean_square_displacement(positions: Floats) -> Floats:
    """Average the square of how far each particle went, over particles and all origins of time.

    Parameters
    ----------
    positions : (F, N, 3)   Å, unwrapped

    Returns
    -------
    (F,) Å^2                for lags 0, 1, …, F - 1

    Source: Calandrini et al., Collection SFN 12, 201 (2011), sec. 4.2: <|r(t)|^2 + |r(0)|^2> - 2
    <r(0) r(t)>.
    """
    n_frames = len(positions)
    centred = positions - positions.mean(axis=0)  # small numbers cancel better
    squares = (centred**2).sum(axis=2)  # (F, N)
    ahead = np.cumsum(squares[::-1], axis=0)[::-1]  # from a frame to the end
    behind = np.cumsum(squares, axis=0)  # from the start to a frame
    counts = np.arange(n_frames, 0, -1)[:, None]
    both = (ahead + behind[::-1]) / counts
    return np.asarray((both - 2 * correlation(centred).sum(axis=2)).mean(axis=1))


def fit_diffusion(lag_fs: Floats, displacement: Floats, dimensions: int = 3) -> Diffusion:
    """Fit Einstein's relation, <r^2> = 2 d D t, to `DIFFUSIVE_FROM` … `DIFFUSIVE_TO` of the lags.

    Parameters
    ----------
    lag_fs, displacement : (L,)   fs and Å^2
    """
    window = slice(
        max(1, int(DIFFUSIVE_FROM * len(lag_fs))), max(4, int(DIFFUSIVE_TO * len(lag_fs)))
    )
    slope = fit_line(lag_fs[window], displacement[window]).slope
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = fit_line(np.log(lag_fs[window]), np.log(displacement[window])).slope
    return Diffusion(slope / (2 * dimensions), exponent)


def without_drift(values: npt.NDArray[np.float64], masses: Floats) -> Floats:
    """Positions or velocities (F, N, 3) relative to those of the centre of mass."""
    centre = np.einsum("fnk,n->fk", values, masses) / masses.sum()
    return np.asarray(values - centre[:, None])
