"""Whether a run sampled the canonical ensemble.

All p-values count only as many samples as are independent, and how well that number is known. They
are NaN for fewer than `LEAST` independent samples: too few to judge.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase import units
from scipy import stats

from md_runs.analysis.series import Floats, blocks_of, over_blocks
from md_runs.analysis.statistics import LEAST, Average, Mean, average

TERMS = 1000  # of Kolmogorov's series
NEWTON_STEPS = 50
NEWTON_TOLERANCE = 1e-10


class KineticTest(NamedTuple):
    """Kinetic energies against the gamma distribution of a canonical ensemble of any potential."""

    n_samples: int
    n_independent: float
    temperature: Mean  # K
    variance: Mean  # over its theoretical value, 1
    # Kolmogorov-Smirnov: largest difference of the cumulative distributions, of all samples
    distance: float
    p_distribution: float
    p_mean: float
    p_variance: float


class SlopeTest(NamedTuple):
    """The logarithm of the ratio of two potential-energy histograms.

    Its slope against 1/kT1 - 1/kT2, in 1/eV.
    """

    slope: Mean
    expected: float
    n_independent: float  # of the run that has fewer
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
    distance = float(stats.kstest(values, canonical).statistic)
    p_values = [math.nan] * 3
    if mean.n_independent >= LEAST:
        p_values = [
            kolmogorov(distance, mean),
            mean.p_value(shape * scale),
            squares._replace(standard_error=error).p_value(1.0),
        ]
    to_kelvin = 2 / (degrees_of_freedom * units.kB)
    return KineticTest(
        n_samples=len(values),
        n_independent=mean.n_independent,
        temperature=Mean(*(to_kelvin * x for x in mean.mean)),
        variance=squares.mean,
        distance=distance,
        p_distribution=p_values[0],
        p_mean=p_values[1],
        p_variance=p_values[2],
    )


def kolmogorov(distance: float, sampled: Average) -> float:
    """Return how often a distribution is further from the true one by chance.

    Of n independent samples that is 2 Σ (-1)^(j-1) exp(-2 j² D² n). Here n is known with a number
    of degrees of freedom ν, as the square of an error is: the average over its χ² distribution
    stands in place of the exponential, as Student's t stands in place of the normal distribution.
    n is that of "K is below x": it forgets sooner than K, by ln 2 for the median of a normal
    variable with exponential memory.

    Parameters
    ----------
    distance : float     largest difference of the cumulative distributions, of all samples
    sampled : Average    of the variable
    """
    j, free = np.arange(1, 1 + TERMS), sampled.free
    independent = sampled.n_independent / math.log(2)
    terms = (1 + 4 * j**2 * distance**2 * independent / free) ** (-free / 2)
    return float(np.clip(2 * (np.where(j % 2, terms, -terms)).sum(), 0, 1))


def slope_test(cold: npt.ArrayLike, hot: npt.ArrayLike, cold_K: float, hot_K: float) -> SlopeTest:
    """Compare potential energies (eV) of two runs that differ in nothing but their temperature.

    In the canonical ensemble P(U) is exp(-U/kT) times a density of states that both share, so
    ln(P_hot / P_cold) is a straight line. Its slope is estimated by maximum likelihood, without
    histograms. What each sample pulls at it is a series as any other, and its average has an error;
    those of the two runs add up, and so do their degrees of freedom (Welch and Satterthwaite).

    Source: Shirts, J. Chem. Theory Comput. 9, 909 (2013), eqs. 8 and 17; differs: errors from the
    slowest fluctuations of the influence of the samples.
    """
    series = np.asarray(cold, dtype=np.float64), np.asarray(hot, dtype=np.float64)
    expected = (1 / cold_K - 1 / hot_K) / units.kB
    slope, pulls = _log_ratio_slope(*series)
    parts = [average(len(pull) * pull) for pull in pulls]
    squares = np.array([part.standard_error**2 for part in parts])
    free = squares.sum() ** 2 / (squares**2 / [part.free for part in parts]).sum()
    independent = min(average(values).n_independent for values in series)
    found = Average(slope, float(np.sqrt(squares.sum())), independent, float(free))
    p = found.p_value(expected) if independent >= LEAST else math.nan
    return SlopeTest(found.mean, expected, independent, p)


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


def _log_ratio_slope(cold: Floats, hot: Floats) -> tuple[float, list[Floats]]:
    """Return the slope (1/eV) of a logistic regression of "is hot" on the energy.

    Newton's method maximises the likelihood. The second answer is the influence of each sample of
    both runs on the slope; all of them together are zero.
    """
    centre, scale = np.concatenate([cold, hot]).mean(), np.concatenate([cold, hot]).std()
    x = np.concatenate([cold, hot])
    design = np.stack([np.ones(len(x)), (x - centre) / scale])  # (2, F)
    is_hot = np.repeat([0.0, 1.0], [len(cold), len(hot)])
    parameters = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-parameters @ design))
        curvature = (design * (probability * (1 - probability))) @ design.T
        pulls = np.linalg.solve(curvature, design * (is_hot - probability))
        step = pulls.sum(axis=1)
        parameters += step
        if np.abs(step).max() < NEWTON_TOLERANCE:
            break
    return float(parameters[1] / scale), np.split(pulls[1] / scale, [len(cold)])
