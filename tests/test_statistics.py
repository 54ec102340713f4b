"""Error bars and drifts against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from md_runs.analysis.statistics import Mean, block_average, fit_line


def test_independent_samples_have_the_usual_error():
    samples = np.random.default_rng(0).normal(5, 2, 4096)
    mean = block_average(samples)
    assert mean.value == samples.mean()
    assert mean.error == pytest.approx(2 / 64, rel=0.5)
    assert mean.error >= samples.std(ddof=1) / 64


def test_correlated_samples_have_a_larger_error():
    """x_n = a x_(n-1) + noise has the error of independent samples times sqrt((1+a) / (1-a))."""
    rng, a, n = np.random.default_rng(1), 0.9, 100_000
    noise, samples = rng.normal(size=n), np.zeros(n)
    for k in range(1, n):
        samples[k] = a * samples[k - 1] + noise[k]
    expected = samples.std() / np.sqrt(n) * np.sqrt((1 + a) / (1 - a))
    assert block_average(samples).error == pytest.approx(expected, rel=0.4)


def test_short_series_have_no_error_bar():
    assert block_average([1.0, 3.0]).value == 2
    assert np.isnan(block_average([1.0, 3.0]).error)
    assert (str(block_average([1.0, 3.0])), str(Mean(2.0, 0.25))) == ("2.0", "2.0 ± 0.2")
    assert np.isnan(block_average([]).value)


def test_a_line_is_found():
    time = np.linspace(0, 10, 101)
    line = fit_line(time, 3 + 0.5 * time + 0.1 * (-1.0) ** np.arange(101))
    assert line.slope == pytest.approx(0.5, abs=1e-3)
    assert line.intercept == pytest.approx(3, abs=5e-3)
    assert line.residual == pytest.approx(0.1, rel=1e-3)


def test_two_points_are_not_a_trend():
    assert np.isnan(fit_line([0, 1], [0, 1]).slope)
    assert np.isnan(fit_line([], []).slope)
