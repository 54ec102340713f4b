"""Statistics of correlated series, ensembles, spectra and displacements, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from scipy import stats
from scipy.signal import lfilter

from md_runs.analysis.canonical import (
    kinetic_density,
    kinetic_test,
    kolmogorov,
    log_ratio,
    slope_test,
)
from md_runs.analysis.distances import (
    distance_distribution,
    element_pairs,
    histogram,
    largest_radius,
    pair_distances,
    radial_distributions,
)
from md_runs.analysis.motion import (
    PER_CM,
    fit_diffusion,
    highest_wavenumber,
    mean_square_displacement,
    velocity_autocorrelation,
    vibrational_density,
    without_drift,
)
from md_runs.analysis.series import (
    blocks_of,
    correlation,
    correlation_time,
    fit_drift,
    over_blocks,
)
from md_runs.analysis.statistics import FREE, ONE_SIGMA, average

WATER_LIKE = np.array([16.0, 1.0, 1.0])


def autoregressive(memory: float, shape: int | tuple[int, ...], seed: int = 0) -> np.ndarray:
    """x_n = a x_(n-1) + noise, stationary, variance 1.

    Correlations a^t, correlation time (1 + a) / (1 - a) / 2.
    """
    noise = np.random.default_rng(seed).normal(size=shape)
    noise[1:] *= np.sqrt(1 - memory**2)
    return lfilter([1], [1, -memory], noise, axis=0)


def canonical_series(
    degrees: int, temperature_K: float, n: int, memory: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Half the sum of squares of as many normal variables.

    A gamma distribution, with correlations a^2t.
    """
    return (
        0.5
        * units.kB
        * temperature_K
        * (autoregressive(memory, (n, degrees), seed) ** 2).sum(axis=1)
    )


def test_correlations_are_averages_over_all_origins():
    series = np.random.default_rng(0).normal(size=(40, 2))
    found = correlation(series)
    for lag in (0, 1, 17, 39):
        np.testing.assert_allclose(
            found[lag], (series[: 40 - lag] * series[lag:]).mean(axis=0), atol=1e-12
        )


@pytest.mark.parametrize("memory", [0.5, 0.8, 0.95])
def test_a_correlation_time_is_known_as_well_as_it_says(memory):
    """(1 + a) / (1 - a) / 2; of 200 series about two thirds within the error."""
    true = 0.5 * (1 + memory) / (1 - memory)
    found = [correlation_time(autoregressive(memory, 8000, seed)) for seed in range(200)]
    errors = np.array([time.error for time in found])
    values = np.array([time.value for time in found])
    assert values.mean() == pytest.approx(true, rel=0.1)
    assert 0.55 < np.mean(abs(values - true) < errors) < 0.85
    assert np.isnan(correlation_time(np.ones(10)).error)


def test_averages_know_of_memory():
    series = autoregressive(0.9, 200_000)
    found = np.mean([average(part).standard_error ** 2 for part in series.reshape(50, 4000)])
    assert found == pytest.approx(19 / 4000, rel=0.3)
    assert correlation_time(np.ones(10)).value == correlation_time([1.0]).value == 0.5


def test_alternating_series_do_not_say_more_than_there_are_samples():
    noise = np.random.default_rng(0).normal(size=1000)
    series = (-1.0) ** np.arange(1000) + 0.1 * noise
    assert correlation_time(series).value == 0.5
    assert average(series).n_independent == 1000


def test_blocks_have_one_size_and_end_at_the_end():
    assert blocks_of(23, 5) == [
        slice(3, 7),
        slice(7, 11),
        slice(11, 15),
        slice(15, 19),
        slice(19, 23),
    ]
    assert blocks_of(3, 5) == []


def test_averages_over_blocks_leave_out_what_is_missing():
    mean, error = over_blocks(np.array([[1.0, np.nan], [3.0, np.nan], [5.0, 2.0]]))
    np.testing.assert_allclose(mean, [3, 2])
    assert error[0] == pytest.approx(2 / np.sqrt(3))
    assert np.isnan(error[1])


def test_the_error_of_a_drift_is_its_scatter():
    """Slopes of series without drift, over their errors, are distributed as Student's t."""
    time = np.arange(4000.0)
    scores = [
        found.value / found.error
        for found in (fit_drift(time, autoregressive(0.9, 4000, seed)) for seed in range(200))
    ]
    scale = stats.t(FREE).ppf(0.5 + ONE_SIGMA / 2)
    assert stats.kstest(np.array(scores) * scale, stats.t(FREE).cdf).pvalue > 0.01
    found = fit_drift(time, 5 - 0.25 * time)
    assert found.value == pytest.approx(-0.25)
    assert found.error < 1e-12


def test_the_canonical_density_is_normalised_and_has_its_moments():
    energy = np.linspace(0, 4, 20_001)
    density = kinetic_density(energy, 21, 500)
    step = energy[1]
    assert density.sum() * step == pytest.approx(1, abs=1e-6)
    assert (energy * density).sum() * step == pytest.approx(10.5 * units.kB * 500, rel=1e-6)


@pytest.mark.parametrize("independent", [20, 200])
def test_canonical_energies_alarm_as_seldom_as_they_should(independent):
    """P-values below 0.01 in at most 2 % of series, short or long; about as many in the middle."""
    memory = np.exp(-1 / 40)  # of momenta: their squares remember for 20 samples
    tests = [
        kinetic_test(canonical_series(12, 300, 40 * independent, memory, seed), 12, 300)
        for seed in range(200)
    ]
    for name in ("p_distribution", "p_mean", "p_variance"):
        p_values = np.array([getattr(test, name) for test in tests])
        assert (p_values < 0.01).mean() <= 0.02, name
        assert np.nanmedian(p_values) > 0.3, name
    assert np.mean([test.n_independent for test in tests]) > 0.7 * independent


def test_short_runs_are_not_judged():
    """Also where their mean is far off."""
    cold, hot = (canonical_series(12, t, 400, np.exp(-1 / 80), t) for t in (300, 600))
    found = kinetic_test(hot, 12, 300)
    assert found.n_independent < 20
    assert np.isnan([found.p_mean, found.p_variance, found.p_distribution]).all()
    assert np.isnan(slope_test(cold, hot, 300, 310).p)


def test_kolmogorov_is_the_known_distribution_where_the_number_is_known():
    """Student's t becomes normal with many degrees of freedom, and so does this."""
    known = average(np.random.default_rng(0).normal(size=1000))._replace(n_independent=70.0)
    for distance in (0.05, 0.1, 0.2):
        exact = stats.kstwobign.sf(distance * np.sqrt(70 / np.log(2)))
        assert kolmogorov(distance, known._replace(free=1e6)) == pytest.approx(exact, abs=1e-3)
        draws = stats.chi2(6).ppf((np.arange(5000) + 0.5) / 5000) / 6
        averaged = stats.kstwobign.sf(distance * np.sqrt(70 * draws / np.log(2))).mean()
        assert kolmogorov(distance, known._replace(free=6)) == pytest.approx(averaged, abs=1e-3)


@pytest.mark.parametrize("independent", [40, 200])
def test_wrong_ensembles_are_seen_also_in_short_runs(independent):
    """Another temperature, and Berendsen's narrow distribution, in most of thirty runs."""
    memory = np.exp(-1 / 20)
    series = [canonical_series(30, 300, 20 * independent, memory, seed) for seed in range(30)]
    shares = [
        np.mean([kinetic_test(s, 30, 300 * wrong).p_mean < 0.01 for s in series])
        for wrong in (0.7, 1.3)
    ]
    assert min(shares) > (0.5 if independent == 40 else 0.9)
    narrow = [s.mean() + 0.4 * (s - s.mean()) for s in series]
    seen = np.mean([kinetic_test(s, 30, 300).p_variance < 0.01 for s in narrow])
    assert seen > (0.3 if independent == 40 else 0.9)


def test_what_is_not_canonical_is_seen():
    series = canonical_series(21, 300, 20_000, 0.8)
    assert kinetic_test(series, 21, 300).p_mean > 0.01
    assert kinetic_test(series, 21, 310).p_mean < 0.01  # another temperature
    narrow = series.mean() + 0.9 * (series - series.mean())  # as Berendsen's thermostat has it
    found = kinetic_test(narrow, 21, 300)
    assert found.p_variance < 0.01
    assert found.variance.value == pytest.approx(0.81, abs=0.03)
    assert kinetic_test(series, 20, 300).p_distribution < 1e-3  # degrees of freedom miscounted


def test_two_temperatures_have_the_slope_of_their_betas():
    """Harmonic potential energies at two temperatures, correlated."""
    scores = []
    for seed in range(25):
        cold, hot = (canonical_series(15, t, 2500, 0.8, 100 * seed + t) for t in (300, 400))
        found = slope_test(cold, hot, 300, 400)
        scores.append((found.slope.value - found.expected) / found.slope.error)
    assert found.expected == pytest.approx((1 / 300 - 1 / 400) / units.kB)
    assert abs(np.mean(scores)) < 3 / np.sqrt(25)
    assert 0.6 < np.std(scores) < 1.5


def test_two_wrong_temperatures_are_seen():
    cold, hot = canonical_series(15, 300, 20_000, 0.5, 1), canonical_series(15, 380, 20_000, 0.5, 2)
    assert slope_test(cold, hot, 300, 400).p < 1e-3
    energy, ratio, _error = log_ratio(cold, hot)
    assert np.polyfit(energy, ratio, 1)[0] == pytest.approx((1 / 300 - 1 / 380) / units.kB, rel=0.1)


def oscillators(wavenumbers: tuple[float, ...], n_frames: int, interval_fs: float) -> np.ndarray:
    """Velocities (F, N, 3) of oscillators along x, of equal kinetic energy in the mean."""
    times = np.arange(n_frames)[:, None] * interval_fs
    velocities = np.zeros((n_frames, len(wavenumbers), 3))
    velocities[..., 0] = np.cos(2 * np.pi * times * np.array(wavenumbers) / PER_CM + 0.3) / np.sqrt(
        WATER_LIKE[: len(wavenumbers)]
    )
    return velocities


def test_oscillators_have_their_lines_and_one_mode_each():
    lines = (500.0, 1600.0, 3700.0)
    spectrum = vibrational_density(
        oscillators(lines, 8000, 2.0), WATER_LIKE, 2.0, degrees_of_freedom=3
    )
    step = spectrum.wavenumber[1]
    assert step == pytest.approx(10, rel=0.01)
    for atom, line in enumerate(lines):
        assert spectrum.wavenumber[spectrum.density[:, atom].argmax()] == pytest.approx(
            line, abs=step
        )
        near = abs(spectrum.wavenumber - line) < 5 * step
        assert spectrum.density[near, atom].sum() * step == pytest.approx(1, abs=0.02)
    assert spectrum.density.sum() * step == pytest.approx(3)


def test_fast_oscillators_are_folded_back():
    assert highest_wavenumber(10.0) == pytest.approx(1667.8, abs=0.1)
    spectrum = vibrational_density(oscillators((2000.0,), 4000, 10.0), WATER_LIKE[:1], 10.0, 1)
    assert spectrum.wavenumber[spectrum.density[:, 0].argmax()] == pytest.approx(
        2 * highest_wavenumber(10.0) - 2000, abs=12
    )


def test_the_autocorrelation_of_an_oscillator_is_a_cosine():
    found = velocity_autocorrelation(oscillators((1000.0,), 20_000, 1.0), WATER_LIKE[:1])
    lags = np.arange(2000)
    np.testing.assert_allclose(found[:2000], np.cos(2 * np.pi * lags * 1000 / PER_CM), atol=5e-3)


def test_displacements_are_averages_over_all_origins():
    positions = np.random.default_rng(0).normal(size=(30, 4, 3)).cumsum(axis=0)
    found = mean_square_displacement(positions)
    for lag in (0, 1, 13, 29):
        direct = ((positions[lag:] - positions[: 30 - lag]) ** 2).sum(axis=2).mean()
        assert found[lag] == pytest.approx(direct, abs=1e-10)


def test_displacements_agree_with_mdanalysis():
    mda = pytest.importorskip("MDAnalysis")
    from MDAnalysis.analysis.msd import EinsteinMSD

    positions = np.random.default_rng(1).normal(size=(25, 5, 3)).cumsum(axis=0)
    universe = mda.Universe.empty(5, trajectory=True)
    universe.load_new(positions.astype(np.float32), order="fac")
    reference = EinsteinMSD(universe, select="all", fft=False).run().results.timeseries
    np.testing.assert_allclose(mean_square_displacement(positions), reference, rtol=1e-4, atol=1e-4)


def test_a_random_walk_diffuses():
    """Steps of variance s^2 in each direction every dt: D = s^2 / 2 dt."""
    steps = 0.1 * np.random.default_rng(2).normal(size=(1000, 500, 3))
    found = fit_diffusion(np.arange(1000) * 5.0, mean_square_displacement(steps.cumsum(axis=0)))
    assert found.coefficient == pytest.approx(0.1**2 / 10, rel=0.1)
    assert found.exponent == pytest.approx(1, abs=0.1)


def test_flight_and_rattling_are_no_diffusion():
    lag = np.arange(1000) * 2.0
    flight = np.random.default_rng(3).normal(size=(20, 3)) * lag[:, None, None]
    assert fit_diffusion(lag, mean_square_displacement(flight)).exponent == pytest.approx(
        2, abs=1e-3
    )
    rattling = np.random.default_rng(4).normal(size=(1000, 20, 3))
    assert abs(fit_diffusion(lag, mean_square_displacement(rattling)).exponent) < 0.05


def test_drift_of_the_centre_is_taken_out():
    values = np.random.default_rng(5).normal(size=(10, 3, 3)) + np.arange(10)[:, None, None]
    np.testing.assert_allclose(
        np.einsum("fnk,n->fk", without_drift(values, WATER_LIKE), WATER_LIKE), 0, atol=1e-12
    )


def test_an_ideal_gas_has_no_structure():
    pytest.importorskip("MDAnalysis")
    rng, edge, n = np.random.default_rng(6), 20.0, 120
    cells = np.broadcast_to(edge * np.eye(3), (40, 3, 3))
    curves = radial_distributions(
        edge * rng.random((40, n, 3)), cells, ["Ar"] * 60 + ["Ne"] * 60, np.arange(n), 9.0, 9
    )
    assert list(curves) == ["Ar–Ar", "Ar–Ne", "Ne–Ne"]
    for curve in curves.values():
        assert np.all(abs(curve.mean[2:] - 1) < 5 * curve.error[2:] + 1e-3)
        assert curve.mean[2:].mean() == pytest.approx(1, abs=0.02)


def test_a_lattice_has_its_shells_in_any_orientation():
    """12 neighbours at a/sqrt(2), 6 at a, in fcc.

    Coordination numbers are integrals of g, also where the cell is turned.
    """
    pytest.importorskip("MDAnalysis")
    atoms: Atoms = bulk("Cu", a=3.6, cubic=True).repeat(4)
    numbers = []
    for turn in (0, 33):
        turned = atoms.copy()
        turned.rotate(turn, (1, 2, 3), rotate_cell=True)
        frames = np.stack([turned.positions] * 2)
        assert largest_radius(turned.cell.array[None]) == pytest.approx(7.2)
        curve = radial_distributions(
            frames,
            np.stack([turned.cell.array] * 2),
            ["Cu"] * 256,
            np.zeros(256, dtype=int),
            4.0,
            400,
        )["Cu–Cu"]
        shells = (
            curve.mean
            * 4
            * np.pi
            * curve.x**2
            * (curve.x[1] - curve.x[0])
            * 255
            / turned.get_volume()
        )
        numbers += [
            shells[abs(curve.x - 3.6 / np.sqrt(2)) < 0.1].sum(),
            shells[abs(curve.x - 3.6) < 0.1].sum(),
        ]
    np.testing.assert_allclose(numbers, [12, 6, 12, 6], rtol=1e-3)


def test_pairs_inside_a_molecule_do_not_count():
    pytest.importorskip("MDAnalysis")
    rng, n = np.random.default_rng(7), 80
    centres = 20.0 * rng.random((30, n, 1, 3))
    directions = rng.normal(size=(30, n, 1, 3))
    positions = np.concatenate(
        [centres, centres + directions / np.linalg.norm(directions, axis=-1, keepdims=True)], axis=2
    )
    cells = np.broadcast_to(20 * np.eye(3), (30, 3, 3))
    curve = radial_distributions(
        positions.reshape(30, -1, 3), cells, ["N"] * 2 * n, np.arange(2 * n) // 2, 9.0, 18
    )["N–N"]
    assert abs(curve.mean[1:4] - 1).max() < 0.25  # the bond is at 1 Å and would give g = 80
    assert curve.mean[6:].mean() == pytest.approx(1, abs=0.01)


def test_distances_of_a_molecule():
    positions = np.random.default_rng(8).normal(size=(20, 4, 3))
    found = pair_distances(positions)
    assert found.shape == (20, 6)
    assert found[3, 1] == pytest.approx(np.linalg.norm(positions[3, 2] - positions[3, 0]))
    curve = distance_distribution(found, np.linspace(0, 10, 101))
    assert curve.mean.sum() * 0.1 == pytest.approx(1)
    assert [name for name, _, _ in element_pairs(["H", "O", "H"])] == ["H–H", "H–O"]
    assert histogram([0.5, np.nan, 7.0], np.array([0.0, 1.0])).tolist() == [0.5]
