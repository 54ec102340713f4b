"""Error bars and drifts of time series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MIN_BLOCKS = 16  # fewer blocks than this say too little of their own spread


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


def block_average(series: npt.ArrayLike) -> Mean:
    """Average a correlated series; the error is the largest over block lengths 1, 2, 4, ….

    Neighbouring samples are joined in pairs until blocks are independent of each other: the error
    then stops growing.

    Source: Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989), eq. 27; differs: the maximum
    stands for the plateau.
    """
    blocks = np.asarray(series, dtype=np.float64)
    if blocks.size == 0:
        return Mean(float("nan"), float("nan"))
    mean, errors = float(blocks.mean()), []
    while len(blocks) >= MIN_BLOCKS:
        errors.append(float(blocks.std(ddof=1) / np.sqrt(len(blocks))))
        even = len(blocks) // 2 * 2
        blocks = blocks[:even].reshape(-1, 2).mean(axis=1)
    return Mean(mean, max(errors, default=float("nan")))


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
