"""Error bars and drifts against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from md_runs.analysis.statistics import FREE, SLOWEST, Mean, at_frequency_zero, average, fit_line


def remembering(memory: float, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """x_n = a x_(n-1) + noise along the second axis, stationary, of variance 1."""
    noise = np.random.default_rng(seed).normal(size=shape)
    noise[:, 1:] *= np.sqrt(1 - memory**2)
    return np.asarray(lfilter([1], [1, -memory], noise, axis=1))


@pytest.mark.parametrize("memory", [0.0, 0.9, 0.98])
def test_errors_hold_the_truth_as_often_as_they_say(memory: float) -> None:
    """Means of series without memory and with much: 68 % within the error, 1 % at p < 0.01."""
    found = [average(series) for series in remembering(memory, (1000, 4000))]
    covered = np.mean([abs(a.value) < a.mean.error for a in found])
    alarms = np.mean([a.p_value(0.0) < 0.01 for a in found])
    assert covered == pytest.approx(0.6827, abs=0.05)
    assert 0.002 < alarms < 0.02
    independent = np.median([a.n_independent for a in found])
    assert independent == pytest.approx(4000 * (1 - memory) / (1 + memory), rel=0.25)


@pytest.mark.parametrize("independent", [10, 20, 40])
def test_errors_of_short_series_hold_the_truth_as_well(independent: int) -> None:
    """Series of a few independent samples, with memory for twenty; most have an error bar."""
    found = [average(s) for s in remembering(np.exp(-1 / 20), (600, 40 * independent), 4)]
    told = [a for a in found if np.isfinite(a.standard_error)]
    assert len(told) > 400
    assert np.mean([abs(a.value) < a.mean.error for a in told]) == pytest.approx(0.6827, abs=0.06)
    assert np.mean([a.p_value(0.0) < 0.01 for a in found]) < 0.03


def test_the_slowest_frequencies_show_a_share_of_the_power() -> None:
    """Of an exponential memory the share is known, and so is the number that follows from it."""
    k = np.arange(1, 1 + SLOWEST)
    for independent in (15.0, 50.0, 1e6):
        share = np.mean(1 / (1 + (np.pi * k / independent) ** 2))
        found, free = at_frequency_zero(independent / share)
        assert found == pytest.approx(share, rel=1e-4)
        above = np.mean(1 / (1 + (np.pi * k / (independent * 1.001)) ** 2))
        amplified = 1 / (1 - np.log(above / share) / np.log(1.001))
        assert free == pytest.approx(FREE / amplified**2, rel=1e-2)
    assert at_frequency_zero(4.0)[1] == 0


def test_a_trend_has_no_error_bar() -> None:
    assert np.isnan(average(np.linspace(0, 1, 1000)).mean.error)


def test_the_error_is_that_of_a_series_with_memory() -> None:
    """The error of independent samples times sqrt((1+a) / (1-a)), in the mean over many.

    The mean of squares is a fifth too large: frequencies are added where the slowest show little.
    """
    squares = [average(s).standard_error ** 2 for s in remembering(0.9, (300, 4000), 1)]
    assert np.mean(squares) == pytest.approx(1.15 * 19 / 4000, rel=0.12)


def test_a_slow_tail_under_fast_noise_is_seen() -> None:
    """A tenth of the variance that remembers for 50 samples makes most of the error."""
    fast, slow = remembering(0.0, (400, 4000), 2), remembering(0.98, (400, 4000), 3)
    found = [average(series) for series in 0.95 * fast + 0.31 * slow]
    assert np.mean([abs(a.value) < a.mean.error for a in found]) == pytest.approx(0.68, abs=0.07)


def test_short_series_have_no_error_bar():
    assert average([1.0, 3.0]).value == 2
    assert np.isnan(average([1.0, 3.0]).mean.error)
    assert (str(average([1.0, 3.0]).mean), str(Mean(2.0, 0.25))) == ("2.0", "2.0 ± 0.2")
    assert np.isnan(average([]).value)
    assert average(np.ones(100)).mean == (1.0, 0.0)


def test_a_line_is_found():
    time = np.linspace(0, 10, 101)
    line = fit_line(time, 3 + 0.5 * time + 0.1 * (-1.0) ** np.arange(101))
    assert line.slope == pytest.approx(0.5, abs=1e-3)
    assert line.intercept == pytest.approx(3, abs=5e-3)
    assert line.residual == pytest.approx(0.1, rel=1e-3)


def test_two_points_are_not_a_trend():
    assert np.isnan(fit_line([0, 1], [0, 1]).slope)
    assert np.isnan(fit_line([], []).slope)
