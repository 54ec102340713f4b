"""Error bars and drifts of time series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

MIN_SAMPLES = 16  # fewer samples than this say too little of their own memory
SLOWEST = 2  # frequencies that an error is read from; more would not be slow enough in short runs
FREE = 2 * SLOWEST  # degrees of freedom of an error: what is known of it to 35 %
MOST, PER_FREQUENCY = 5, 50  # frequencies of long runs, and independent samples that allow one
ONE_SIGMA = 0.6827  # how often a value lies within its error
LEAST = 20  # independent samples; fewer are not judged
LEAST_FREE = 1.0  # degrees of freedom; with fewer, Student's t has no width to speak of
ROUNDS = 100  # in which a number of independent samples agrees with its own memory
TOLERANCE = 1e-6


class Mean(NamedTuple):
    """A mean and its standard error; the error is NaN where the series is too short to tell."""

    value: float
    error: float

    def __str__(self) -> str:
        """One decimal, with the error if there is one."""
        return format(self, ".1f")

    def __format__(self, form: str) -> str:
        """Both numbers in a form of floats; the error if there is one."""
        form = form or ".1f"
        return (
            f"{self.value:{form}}"
            if np.isnan(self.error)
            else f"{self.value:{form}} ± {self.error:{form}}"
        )


def mean_of(value: float | None, error: float | None) -> Mean:
    """Join the two numbers of a mean that a file keeps apart."""
    return Mean(float("nan") if value is None else value, float("nan") if error is None else error)


class Line(NamedTuple):
    """A straight line through a series, and the spread around it."""

    slope: float
    intercept: float
    residual: float  # root mean square


class Average(NamedTuple):
    """A mean over a correlated series, and what is known of its error."""

    value: float
    standard_error: float  # NaN where the series is too short to tell
    n_independent: float  # samples that would say as much if they had no memory
    free: float = FREE  # degrees of freedom of the error

    @property
    def mean(self) -> Mean:
        """Value and error: two of three repetitions of the run lie within it."""
        width = float(stats.t.ppf(0.5 + ONE_SIGMA / 2, self.free))
        return Mean(self.value, self.standard_error * width)

    def p_value(self, expected: float) -> float:
        """Return how often a mean is further from what is expected by chance; NaN if unknown."""
        if not self.standard_error > 0:
            return float("nan")
        return 2 * float(stats.t.sf(abs(self.value - expected) / self.standard_error, self.free))


def average(series: npt.ArrayLike) -> Average:
    """Average a correlated series; the error comes from its slowest fluctuations.

    The variance of a mean is the power spectrum at frequency zero over the length. The spectrum is
    read at the `SLOWEST` frequencies of the series, and at up to `MOST` of a long one. Each
    contributes two degrees of freedom, and the ratio of deviation and standard error is distributed
    as Student's t. `at_frequency_zero` mends what a short series misses; where it cannot, the error
    is NaN.

    Source: Heidelberger and Welch, Commun. ACM 24, 233 (1981); differs: the mean of the ordinates
    stands for a line through their logarithms, and an exponential memory leads to frequency zero.
    """
    values = np.asarray(series, dtype=np.float64)
    if values.size == 0:
        return Average(float("nan"), float("nan"), 0.0)
    mean, variance = float(values.mean()), float(values.var())
    if len(values) < MIN_SAMPLES:
        return Average(mean, float("nan"), float("nan"))
    squared = slow_power(values - mean, 1) / len(values)
    if squared == 0:
        return Average(mean, 0.0, float(len(values)))
    n_frequencies = int(np.clip(variance / squared / PER_FREQUENCY, SLOWEST, MOST))
    squared = slow_power(values - mean, 1, n_frequencies) / len(values)
    share, free = at_frequency_zero(variance / squared, n_frequencies)
    error = float(np.sqrt(squared / share)) if free else float("nan")
    return Average(mean, error, min(share * variance / squared, float(len(values))), free)


def at_frequency_zero(apparent: float, n_frequencies: int = SLOWEST) -> tuple[float, float]:
    """Tell how much of the power at frequency zero the slowest frequencies show.

    Memory that fades as exp(-t/τ) leaves the share 1 / (1 + (ωτ)²) at the frequency ω. A series of
    length L has n = L / 2τ independent samples and frequencies ω = 2πk / L, so ωτ = πk / n: the
    share depends on n alone, and n on the share.

    Parameters
    ----------
    apparent : float      independent samples that follow from the power as it is
    n_frequencies : int   that show it

    Returns
    -------
    share, free : float   the degrees of freedom are fewer where the share hangs on that power, too;
                          0 where the series is too short for any answer
    """
    independent = apparent
    for _ in range(ROUNDS):
        shares = 1 / (1 + (np.pi * np.arange(1, 1 + n_frequencies) / independent) ** 2)
        # d ln share / d ln n: an error of the power is amplified by 1 / (1 - slope)
        slope = 2 * float(((1 - shares) * shares).sum() / shares.sum())
        if slope >= 1:  # no memory leaves so much power at these frequencies
            return float(shares.mean()), 0.0
        before, independent = independent, apparent * float(shares.mean())
        if independent > (1 - TOLERANCE) * before:  # it falls towards the answer
            break
    return float(shares.mean()), max(LEAST_FREE, 2 * n_frequencies * (1 - slope) ** 2)


def slow_power(
    deviations: npt.NDArray[np.float64], first: int, n_frequencies: int = SLOWEST
) -> float:
    """Average the power spectrum over some frequencies from the given one on."""
    spectrum = np.abs(np.fft.rfft(deviations)[first : first + n_frequencies]) ** 2
    return float(spectrum.mean()) / len(deviations)


def fit_line(time: npt.ArrayLike, series: npt.ArrayLike) -> Line:
    """Fit a straight line by least squares.

    Slope and residual are NaN for fewer than three samples.
    """
    t, y = np.asarray(time, dtype=np.float64), np.asarray(series, dtype=np.float64)
    if len(t) < 3:
        return Line(float("nan"), float(y[0]) if len(y) else float("nan"), float("nan"))
    offset = t - t.mean()
    slope = float(offset @ (y - y.mean()) / (offset @ offset))
    intercept = float(y.mean() - slope * t.mean())
    return Line(slope, intercept, float(np.sqrt(np.mean((y - intercept - slope * t) ** 2))))
