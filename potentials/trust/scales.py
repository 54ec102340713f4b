"""Scales that make uncertainties mean something: quantiles of errors of new molecules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potentials.terms.uncertainty import PERCENT

Floats = NDArray[np.float64]


def quantiles(ratios: Floats) -> Floats:
    """Return what `PERCENT` of ratios (R,), errors over lengths, lie within, and a new one would.

    Source: conformal prediction; the rank is that of R + 1 ratios.
    """
    ranks = np.ceil((len(ratios) + 1) * np.array(PERCENT) / 100).astype(np.int64)
    found: Floats = np.sort(ratios)[np.minimum(ranks, len(ratios)) - 1]
    return found


def coverage(ratios: Floats, scales: Floats) -> list[float]:
    """Return which percentage of ratios lies within each of some scales."""
    return [round(100 * float((ratios <= scale).mean()), 1) for scale in scales]


def ranking(scores: Floats, is_large: NDArray[np.bool_]) -> float:
    """Return how often a large error has a higher score than another: the area below the ROC."""
    n_large = int(is_large.sum())
    if n_large in (0, len(scores)):
        return float("nan")
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return float(
        (ranks[is_large].sum() - n_large * (n_large - 1) / 2) / (n_large * (len(scores) - n_large))
    )


def rounded(values: Sequence[float] | Floats) -> list[float]:
    """Round to four digits, for a card."""
    return [float(f"{value:.4g}") for value in values]


def record(**values: Any) -> dict[str, Any]:
    """Name plain values for a card; those that are not finite are left out."""
    return {n: v for n, v in values.items() if not (isinstance(v, float) and not np.isfinite(v))}
