"""Whether a run sampled the canonical ensemble.

All p-values count only as many samples as are independent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase import units
from scipy import stats

from md_runs.analysis.series import Floats, blocks_of, inefficiency, over_blocks
from md_runs.analysis.statistics import Mean, average

OFFSETS = 20  # ways to choose independent samples that are tried
N_BLOCKS = 8  # left out one by one; long enough to forget each other
NEWTON_STEPS = 50
NEWTON_TOLERANCE = 1e-10


class KineticTest(NamedTuple):
    """Kinetic energies against the gamma distribution of a canonical ensemble of any potential."""

    n_samples: int
    n_independent: int  # so far apart that they have forgotten each other
    temperature: Mean  # K
    variance: Mean  # over its theoretical value, 1
    # Kolmogorov-Smirnov: largest difference of the cumulative distributions, of all samples
    distance: float
    p_distribution: float  # of independent samples alone; the median over the ways to choose them
    p_mean: float
    p_variance: float


class SlopeTest(NamedTuple):
    """The logarithm of the ratio of two potential-energy histograms.

    Its slope against 1/kT1 - 1/kT2, in 1/eV.
    """

    slope: Mean
    expected: float
    p: float


def kinetic_density(energy: npt.ArrayLike, degrees_of_freedom: int, temperature_K: float) -> Floats:
    """Probability density (1/eV) of a kinetic energy in eV in the canonical ensemble."""
    return np.asarray(
        stats.gamma.pdf(energy, degrees_of_freedom / 2, scale=units.kB * temperature_K)
    )


def kinetic_test(
    energy: npt.ArrayLike, degrees_of_freedom: int, temperature_K: float
) -> KineticTest:
    """Compare kinetic energies (eV) with the canonical distribution at a temperature."""
    values = np.asarray(energy, dtype=np.float64)
    shape, scale = degrees_of_freedom / 2, units.kB * temperature_K
    canonical = stats.gamma(shape, scale=scale).cdf
    mean = average(values)
    squares = average((values - shape * scale) ** 2 / (shape * scale**2))
    # of the gamma distribution: rare large squares would make it its own judge
    error = math.sqrt((2 + 6 / shape) / squares.n_independent)
    stride = math.ceil(max(inefficiency(values), len(values) / mean.n_independent))
    p_values = [
        float(stats.kstest(values[offset::stride], canonical).pvalue)
        for offset in range(0, stride, -(-stride // OFFSETS))
    ]
    to_kelvin = 2 / (degrees_of_freedom * units.kB)
    return KineticTest(
        n_samples=len(values),
        n_independent=len(values[::stride]),
        temperature=Mean(*(to_kelvin * x for x in mean.mean)),
        variance=squares.mean,
        distance=float(stats.kstest(values, canonical).statistic),
        p_distribution=float(np.median(p_values)),
        p_mean=mean.p_value(shape * scale),
        p_variance=squares._replace(standard_error=error).p_value(1.0),
    )


def slope_test(
    cold: npt.ArrayLike,
    hot: npt.ArrayLike,
    cold_K: float,
    hot_K: float,
    n_blocks: int = N_BLOCKS,
) -> SlopeTest:
    """Compare potential energies (eV) of two runs that differ in nothing but their temperature.

    In the canonical ensemble P(U) is exp(-U/kT) times a density of states that both share, so
    ln(P_hot / P_cold) is a straight line. Its slope is estimated by maximum likelihood, without
    histograms; its error by leaving out one block of both after another.

    Source: Shirts, J. Chem. Theory Comput. 9, 909 (2013), eqs. 8 and 17; differs: errors from a
    block jackknife.
    """
    series = np.asarray(cold, dtype=np.float64), np.asarray(hot, dtype=np.float64)
    expected = (1 / cold_K - 1 / hot_K) / units.kB
    slope = _log_ratio_slope(*series)
    kept = [
        [np.delete(values, np.r_[block]) for block in blocks_of(len(values), n_blocks)]
        for values in series
    ]
    slopes = np.array([_log_ratio_slope(a, b) for a, b in zip(*kept, strict=True)])
    error = float(np.sqrt((n_blocks - 1) / n_blocks * ((slopes - slopes.mean()) ** 2).sum()))
    p = 2 * float(stats.t.sf(abs(slope - expected) / error, n_blocks - 1))
    return SlopeTest(Mean(slope, error), expected, p)


def log_ratio(
    cold: npt.ArrayLike, hot: npt.ArrayLike, n_bins: int = 30, n_blocks: int = 10
) -> tuple[Floats, Floats, Floats]:
    """Histogram ln(P_hot / P_cold) over the potential energy, to plot: energies, values, errors.

    Bins are taken where both were seen in most blocks.
    """
    series = np.asarray(cold, dtype=np.float64), np.asarray(hot, dtype=np.float64)
    edges = np.linspace(series[1].min(), series[0].max(), n_bins + 1)
    counts = [
        np.array([np.histogram(v[b], edges)[0] / len(v[b]) for b in blocks_of(len(v), n_blocks)])
        for v in series
    ]
    means, errors = zip(*(over_blocks(c) for c in counts), strict=True)
    both = (counts[0] > 0).mean(axis=0) * (counts[1] > 0).mean(axis=0) > 0.5
    ratio = np.log(means[1][both] / means[0][both])
    error = np.hypot(errors[0][both] / means[0][both], errors[1][both] / means[1][both])
    return ((edges[:-1] + edges[1:]) / 2)[both], ratio, error


def _log_ratio_slope(cold: Floats, hot: Floats) -> float:
    """Return the slope (1/eV) of a logistic regression of "is hot" on the energy.

    Newton's method maximises the likelihood.
    """
    centre, scale = np.concatenate([cold, hot]).mean(), np.concatenate([cold, hot]).std()
    x = np.concatenate([cold, hot])
    design = np.stack([np.ones(len(x)), (x - centre) / scale])  # (2, F)
    is_hot = np.repeat([0.0, 1.0], [len(cold), len(hot)])
    parameters = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-parameters @ design))
        curvature = (design * (probability * (1 - probability))) @ design.T
        step = np.linalg.solve(curvature, design @ (is_hot - probability))
        parameters += step
        if np.abs(step).max() < NEWTON_TOLERANCE:
            break
    return float(parameters[1] / scale)
