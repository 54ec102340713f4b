"""Error bars and drifts of time series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

MIN_SAMPLES = 16  # fewer samples than this say too little of their own memory
SLOWEST = 3  # frequencies that an error is read from; more would not be slow enough in short runs
FREE = 2 * SLOWEST  # degrees of freedom of an error: what is known of it to 30 %
ONE_SIGMA = 0.6827  # how often a value lies within its error
FEW = 15  # independent samples; an error bar from fewer is too small


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

    @property
    def mean(self) -> Mean:
        """Value and error: two of three repetitions of the run lie within it."""
        return Mean(self.value, self.standard_error * float(stats.t.ppf(0.5 + ONE_SIGMA / 2, FREE)))

    def p_value(self, expected: float) -> float:
        """Return how often a mean is further from what is expected by chance; NaN if unknown."""
        if not self.standard_error > 0:
            return float("nan")
        return 2 * float(stats.t.sf(abs(self.value - expected) / self.standard_error, FREE))


def average(series: npt.ArrayLike) -> Average:
    """Average a correlated series; the error comes from its slowest fluctuations.

    The variance of a mean is the power spectrum at frequency zero over the length. The spectrum is
    read at the `SLOWEST` frequencies of the series, where whatever remembers for less than a tenth
    of its length looks like noise without memory. Each contributes two degrees of freedom, and the
    ratio of deviation and standard error is distributed as Student's t.

    Source: Heidelberger and Welch, Commun. ACM 24, 233 (1981); differs: the mean of the ordinates
    stands for a line through their logarithms.
    """
    values = np.asarray(series, dtype=np.float64)
    if values.size == 0:
        return Average(float("nan"), float("nan"), 0.0)
    mean, variance = float(values.mean()), float(values.var())
    if len(values) < MIN_SAMPLES:
        return Average(mean, float("nan"), float("nan"))
    squared = slow_power(values - mean, 1) / len(values)
    independent = len(values) if squared == 0 else min(variance / squared, len(values))
    return Average(mean, float(np.sqrt(squared)), float(independent))


def slow_power(deviations: npt.NDArray[np.float64], first: int) -> float:
    """Average the power spectrum over `SLOWEST` frequencies from the given one on."""
    spectrum = np.abs(np.fft.rfft(deviations)[first : first + SLOWEST]) ** 2
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
