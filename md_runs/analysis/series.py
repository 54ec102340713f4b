"""Correlated time series: how long they remember, and error bars from blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft

from md_runs.analysis.statistics import MIN_SAMPLES, SLOWEST, Average, Mean, fit_line, slow_power

Floats = npt.NDArray[Any]

# of curves: enough for an error bar that is right to a quarter, few enough that blocks are long
N_BLOCKS = 10
WINDOW = 5.0  # correlation times that are summed over, see `correlation_time`


class Curve(NamedTuple):
    """A function on a grid, with standard errors; NaN where there are too few blocks."""

    x: Floats  # (K,)
    mean: Floats  # (K,)
    error: Floats  # (K,)


def correlation(series: Floats) -> Floats:
    """Average the products of a series with itself over all origins: <x(0) x(t)>.

    Parameters
    ----------
    series : (F, ...)   along time

    Returns
    -------
    (F, ...)            for lags 0, 1, …, F - 1; the last rest on few origins
    """
    n = len(series)
    size = next_fast_len(2 * n, real=True)  # padded with zeros, or the ends would meet
    spectrum = rfft(series, size, axis=0)
    sums = irfft((spectrum * spectrum.conj()).real, size, axis=0)[:n]
    return np.asarray(sums / np.arange(n, 0, -1).reshape(-1, *(1,) * (series.ndim - 1)))


def correlation_time(series: npt.ArrayLike) -> Mean:
    """Sum the correlations of a series over all lags: its correlation time τ in samples.

    1/2 for samples without memory. Two correlation times make one independent sample. The error is
    τ √(2 (2 W + 1) / F), of F samples and a sum that ends at lag W.

    Source: Sokal, in Functional Integration (1997), sec. 3: correlations are summed up to the first
    lag that is `WINDOW` times the correlation time found so far, since what follows is noise.
    """
    values = np.asarray(series, dtype=np.float64)
    deviations = values - values.mean()
    if len(values) < 2 or not deviations.any():
        return Mean(0.5, float("nan"))
    rho = correlation(deviations)
    rho /= rho[0]
    times = np.cumsum(rho) - 0.5  # summed up to each lag
    enough = np.nonzero(np.arange(len(times)) >= WINDOW * times)[0]
    last = int(enough[0]) if len(enough) else len(times) - 1
    time = max(0.5, float(times[last]))
    return Mean(time, time * float(np.sqrt(2 * (2 * last + 1) / len(values))))


def blocks_of(length: int, n_blocks: int = N_BLOCKS) -> list[slice]:
    """Cut a length into blocks of equal size.

    What does not fill the last is left out at the start.
    """
    size = length // n_blocks
    first = length - size * n_blocks
    return (
        [slice(first + k * size, first + (k + 1) * size) for k in range(n_blocks)] if size else []
    )


def over_blocks(values: Floats) -> tuple[Floats, Floats]:
    """Average what independent blocks gave.

    Parameters
    ----------
    values : (B, ...)   one result per block; NaN where a block has none

    Returns
    -------
    mean, error : (...)   standard error of the mean
    """
    found = np.isfinite(values).sum(axis=0)
    mean = np.divide(
        np.nansum(values, axis=0), found, out=np.full(values.shape[1:], np.nan), where=found > 0
    )
    squares = np.nansum((values - mean) ** 2, axis=0)
    few = found < 2
    error = np.sqrt(
        np.divide(squares, found * (found - 1), out=np.full(values.shape[1:], np.nan), where=~few)
    )
    return mean, error


def curve_over_blocks(
    x: Floats, length: int, of: Callable[[slice], Floats], n_blocks: int = N_BLOCKS
) -> Curve:
    """Evaluate a function of a stretch of time on every block."""
    blocks = blocks_of(length, n_blocks) or [slice(0, length)]
    return Curve(x, *over_blocks(np.stack([of(block) for block in blocks])))


def fit_drift(time: npt.ArrayLike, series: npt.ArrayLike) -> Mean:
    """Fit a slope, with its error from the slowest fluctuations around the line.

    The slowest of all is left out, for the line takes most of it; of the others it takes
    6 / (π k)² of the power, which is given back.

    NaN for a series of fewer than `MIN_SAMPLES`.
    """
    t, y = np.asarray(time, dtype=np.float64), np.asarray(series, dtype=np.float64)
    line = fit_line(t, y)
    if len(y) < MIN_SAMPLES:
        return Mean(line.slope, float("nan"))
    given_back = 1 - np.mean(6 / (np.pi * np.arange(2, 2 + SLOWEST)) ** 2)
    power = slow_power(y - line.intercept - line.slope * t, 2) / given_back
    error = float(np.sqrt(power / ((t - t.mean()) ** 2).sum()))
    return Average(line.slope, error, float("nan")).mean
