"""Sections on energy and temperature.

Are the numbers of the log those of the ensemble that was asked for?
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from md_runs.analysis.canonical import (
    KineticTest,
    kinetic_density,
    kinetic_test,
    log_ratio,
    slope_test,
)
from md_runs.analysis.runs import Run
from md_runs.analysis.section import (
    Row,
    Section,
    Table,
    add_legend,
    colour,
    panels,
    shown,
    with_error,
)
from md_runs.analysis.series import correlation_time, fit_drift
from md_runs.analysis.statistics import LEAST, MIN_SAMPLES, average, fit_line
from md_runs.dynamics.momenta import kinetic_temperature
from potentials.quantities import QUANTITIES, unit_key

MEV = 1000.0
POINTS = 1500  # of a series that are drawn; more cannot be seen
SUSPICIOUS = 0.01  # p-values below are pointed out


def energies(runs: Sequence[Run]) -> Section:
    """Potential, kinetic and total energy over time."""
    made = panels(3)
    columns = ("potential_energy_eV", "kinetic_energy_eV", "total_energy_eV")
    rows: list[Row] = []
    for axes, column in zip(made.axes, columns, strict=True):
        for number, run in enumerate(runs):
            moments, values = _thinned(run.log["time_ps"]), _thinned(run.log[column])
            shift = run.log[column][0] if column != "kinetic_energy_eV" else 0.0
            axes.plot(
                moments, values - shift, color=colour(number), lw=0.5, alpha=0.7, label=run.name
            )
            axes.axvline(run.log["time_ps"][run.first_row], color=colour(number), lw=0.7, ls=":")
        axes.set_xlabel("time (ps)")
        name = column.split("_")[0]
        axes.set_ylabel(
            f"{name} energy (eV)" if name == "kinetic" else f"{name} energy − start (eV)"
        )
    add_legend(made, len(runs))
    for run in runs:
        means = [average(run.sampled(column)).mean for column in columns]
        moments = run.log["time_ps"]
        interval_fs = 1000 * float(moments[-1] - moments[0]) / (len(moments) - 1)
        memories = [correlation_time(run.sampled(column)) for column in columns[:2]]
        in_fs = (with_error(*(interval_fs * x for x in memory)) for memory in memories)
        rows.append((run.name, *(with_error(mean.value, mean.error) for mean in means), *in_fs))
    header = (
        *("run", "potential (eV)", "kinetic (eV)", "total (eV)"),
        *("memory of the potential (fs)", "memory of the kinetic energy (fs)"),
    )
    text = (
        "Energies over time. Dotted lines: the averages, here and below, start there. Errors come"
        " from the slowest fluctuations of a run: of three repetitions, two lie within them."
        " Memory: the correlation time; twice as long makes one independent sample."
    )
    data: list[Row] = [
        (run.name, *(float(run.log[name][n]) for name in ("time_ps", *columns)))
        for run in runs
        for n in range(len(run.log["time_ps"]))
    ]
    return Section(
        "energies",
        "Energies",
        text,
        made.figure,
        Table(header, rows),
        Table(("run", "time_ps", *columns), data),
    )


def temperatures(runs: Sequence[Run]) -> Section:
    """Distribution of the kinetic temperature against the canonical one, with test statistics."""
    made = panels(len(runs), 2.4)
    rows: list[Row] = []
    data: list[Row] = []
    warnings = []
    for number, (axes, run) in enumerate(zip(made.axes, runs, strict=True)):
        degrees, values = run.degrees_of_freedom, run.sampled("temperature_K")
        found = average(values).mean
        target_K = run.bath_K or found.value
        counts, edges, _ = axes.hist(
            values, bins=50, density=True, color=colour(number), alpha=0.35
        )
        grid = np.linspace(edges[0], edges[-1], 300)
        to_eV = 1 / kinetic_temperature(1.0, degrees)
        label = f"canonical, {target_K:.0f} K"
        axes.plot(
            grid,
            kinetic_density(grid * to_eV, degrees, target_K) * to_eV,
            color="black",
            lw=1.2,
            label=label,
        )
        axes.set_xlabel("kinetic temperature (K)")
        axes.set_ylabel("probability (1/K)")
        axes.set_title(run.name)
        axes.legend(loc="upper right", handlelength=1)
        axes.set_ylim(top=1.25 * np.max(counts))
        data += [
            (run.name, float(low), float(high), float(count))
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
        if run.bath_K is None:
            rows.append((run.name, degrees, "none", with_error(*found), "–", "–", "–", "–", "–"))
            continue
        test = kinetic_test(run.sampled("kinetic_energy_eV"), degrees, run.bath_K)
        rows.append((run.name, degrees, f"{run.bath_K:g}", *_test_cells(test)))
        warnings += _test_warnings(run, test)
    header: Row = (
        *(
            "run",
            "degrees of freedom",
            "thermostat (K)",
            "mean (K)",
            "variance / theory",
            "KS distance",
        ),
        *("p (KS)", "p (mean)", "p (variance)"),
    )
    text = (
        "Kinetic energies of a canonical ensemble follow a gamma distribution, whatever the"
        " potential. p-values of their distribution (Kolmogorov–Smirnov), mean and variance count"
        " only as many samples as are independent, and how well that number is known; fewer than"
        f" {LEAST} are not judged. Without a thermostat, the line is the canonical"
        " distribution at the mean temperature, for comparison: constant energy makes the"
        " distribution narrower."
    )
    columns = ("run", "temperature_from_K", "temperature_to_K", "density_per_K")
    return Section(
        "temperature",
        "Temperature",
        text,
        made.figure,
        Table(header, rows),
        Table(columns, data),
        warnings,
    )


def drift(runs: Sequence[Run]) -> Section:
    """Straight line through the conserved energy."""
    made = panels(1, 2.6)
    (axes,) = made.axes
    rows: list[Row] = []
    data: list[Row] = []
    warnings = []
    for number, run in enumerate(runs):
        moments = run.log["time_ps"]
        values = run.log["conserved_energy_eV"] * MEV / len(run.atoms)
        values = values - values[0]
        slope, line = fit_drift(moments, values), fit_line(moments, values)
        if np.isnan(slope.value):
            warnings.append(
                f"{run.name}: too short for a drift, {len(moments)} rows in its log; three are the"
                " least."
            )
        axes.plot(_thinned(moments), _thinned(values), color=colour(number), lw=0.4, alpha=0.6)
        axes.plot(
            moments,
            values.mean() + slope.value * (moments - moments.mean()),
            color=colour(number),
            lw=1.5,
            label=run.name,
        )
        rows.append((run.name, with_error(*slope), shown(line.residual, ".3g")))
        data += [(run.name, float(t), float(v)) for t, v in zip(moments, values, strict=True)]
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("conserved energy − start (meV/atom)")
    add_legend(made, len(runs))
    header = ("run", "drift (meV/atom/ps)", "fluctuation (meV/atom)")
    text = (
        "Potential + kinetic energy + what the thermostat took. Its drift is the error of"
        " integration and forces; the error of the slope comes from the slowest fluctuations"
        " around the line."
    )
    return Section(
        "drift",
        "Energy drift",
        text,
        made.figure,
        Table(header, rows),
        Table(("run", "time_ps", "conserved_energy_meV_per_atom"), data),
        warnings,
    )


def ensemble_pairs(runs: Sequence[Run]) -> Section | None:
    """Potential energies of runs that differ in temperature alone.

    None where there are no such two.
    """
    ordered = sorted(
        (run for run in runs if run.bath_K is not None), key=lambda run: run.bath_K or 0
    )
    pairs = [
        (cold, hot)
        for n, cold in enumerate(ordered)
        for hot in ordered[n + 1 :]
        if _same_but_temperature(cold, hot) and _overlap(cold, hot)
    ]
    if not pairs:
        return None
    made = panels(len(pairs), 2.4)
    rows: list[Row] = []
    data: list[Row] = []
    warnings = []
    for number, (axes, (cold, hot)) in enumerate(zip(made.axes, pairs, strict=True)):
        series = cold.sampled("potential_energy_eV"), hot.sampled("potential_energy_eV")
        temperatures_K = float(cold.bath_K or 0), float(hot.bath_K or 0)
        test = slope_test(*series, *temperatures_K)
        energy, ratio, error = log_ratio(*series)
        origin = cold.log["potential_energy_eV"].min()
        axes.errorbar(
            energy - origin, ratio, 2 * error, fmt=".", color=colour(number), ms=3, lw=0.7
        )
        line = ratio.mean() + test.expected * (energy - energy.mean())
        axes.plot(
            energy - origin, line, color="black", lw=1.1, label=f"slope {test.expected:.2f} /eV"
        )
        axes.set_xlabel("potential energy − lowest (eV)")
        axes.set_ylabel("ln P(hot) / P(cold)")
        axes.set_title(f"{cold.bath_K:g} and {hot.bath_K:g} K")
        axes.legend(loc="upper left", handlelength=1)
        rows.append(
            (
                cold.name,
                hot.name,
                with_error(*test.slope),
                f"{test.expected:.3f}",
                shown(test.p, ".2g"),
            )
        )
        data += [
            (f"{cold.name} / {hot.name}", float(x), float(y), float(e))
            for x, y, e in zip(energy, ratio, error, strict=True)
        ]
        both = f"{cold.name}, {hot.name}"
        if not test.n_independent >= LEAST:
            length_ps = min(cold.sampled_ps, hot.sampled_ps)
            warnings.append(_too_short(both, "potential energies", test.n_independent, length_ps))
        if test.p < SUSPICIOUS:
            warnings.append(
                f"{both}: the slope is not that of two canonical ensembles (p = {test.p:.1g})."
            )
    header = ("cold", "hot", "slope (1/eV)", "theory (1/eV)", "p")
    text = (
        "Potential energies of two canonical runs that differ in temperature alone: the logarithm"
        " of the ratio of their histograms is a straight line of slope 1/kT₁ − 1/kT₂. The slope is"
        " a maximum-likelihood estimate, its error is that of the slowest fluctuations."
    )
    columns = ("runs", "potential_energy_eV", "log_ratio", "error")
    return Section(
        "ensemble",
        "Two temperatures",
        text,
        made.figure,
        Table(header, rows),
        Table(columns, data),
        warnings,
    )


def further_columns(runs: Sequence[Run]) -> Section | None:
    """Volume, pressure and whatever else the logs hold; None where they hold no more."""
    known = {
        "step", "time_ps", "potential_energy_eV", "kinetic_energy_eV", "total_energy_eV",
        "conserved_energy_eV", "temperature_K",
    }  # fmt: skip
    names = sorted(
        {
            name
            for run in runs
            for name in run.log
            if name not in known and np.isfinite(run.log[name]).any()
        }
    )
    if not names:
        return None
    made = panels(len(names))
    rows: list[Row] = []
    data: list[Row] = []
    for axes, name in zip(made.axes, names, strict=True):
        for number, run in enumerate(runs):
            if name not in run.log:
                continue
            axes.plot(
                _thinned(run.log["time_ps"]),
                _thinned(run.log[name]),
                color=colour(number),
                lw=0.6,
                label=run.name,
            )
            mean = average(run.sampled(name)).mean
            rows.append((run.name, name, with_error(*mean)))
            data += [
                (run.name, name, float(t), float(v))
                for t, v in zip(run.log["time_ps"], run.log[name], strict=True)
            ]
        axes.set_xlabel("time (ps)")
        axes.set_ylabel(_label(name))
    add_legend(made, len(runs))
    text = "What else was logged, over time."
    return Section(
        "more",
        "Further columns of the log",
        text,
        made.figure,
        Table(("run", "quantity", "mean"), rows),
        Table(("run", "quantity", "time_ps", "value"), data),
    )


def _label(column: str) -> str:
    """Write a column as people read it: dipole_x_e_A is "dipole x (e Å)"."""
    for quantity in QUANTITIES.values():
        unit = f"_{unit_key(quantity.unit)}"
        if column.startswith(f"{quantity.name}_") and column.endswith(unit):
            return f"{column.removesuffix(unit).replace('_', ' ')} ({quantity.unit})"
    name, _, unit = column.rpartition("_")
    return f"{name.replace('_', ' ')} ({unit})" if name else column


def _thinned(values: np.ndarray) -> np.ndarray:
    return values[:: max(1, len(values) // POINTS)]


def _test_cells(test: KineticTest) -> Row:
    p_values = (shown(p, ".2g") for p in (test.p_distribution, test.p_mean, test.p_variance))
    return (
        with_error(*test.temperature),
        with_error(*test.variance),
        shown(test.distance, ".3f"),
        *p_values,
    )


def _too_short(names: str, what: str, n_independent: float, length_ps: float) -> str:
    """Say that a run has too few independent samples, and how long it should be."""
    if not n_independent > 0:
        return f"{names}: too short to judge: less than {MIN_SAMPLES} rows in its log."
    return (
        f"{names}: too short to judge: {n_independent:.0f} independent {what}, {LEAST} are the"
        f" least. Run for {shown(length_ps * LEAST / n_independent, '.2g')} ps or more."
    )


def _test_warnings(run: Run, test: KineticTest) -> list[str]:
    if not test.n_independent >= LEAST:
        return [_too_short(run.name, "kinetic energies", test.n_independent, run.sampled_ps)]
    named = (
        ("distribution", test.p_distribution),
        ("mean", test.p_mean),
        ("variance", test.p_variance),
    )
    return [
        f"{run.name}: the {what} of the kinetic energy is not canonical (p = {p:.1g})."
        for what, p in named
        if p < SUSPICIOUS
    ]


def _same_but_temperature(a: Run, b: Run) -> bool:
    same = ("ensemble", "thermostat", "timestep_fs", "pressure_GPa", "barostat")
    models = [run.manifest.get("model", {}).get("sha256") for run in (a, b)]
    alike = (
        all(a.options.get(name) == b.options.get(name) for name in same) and models[0] == models[1]
    )
    return (
        alike
        and a.bath_K != b.bath_K
        and a.atoms.get_chemical_formula() == b.atoms.get_chemical_formula()
    )


def _overlap(cold: Run, hot: Run) -> bool:
    """Whether the potential energies of both have a stretch in common that both visit often."""
    return bool(
        np.quantile(cold.sampled("potential_energy_eV"), 0.95)
        > np.quantile(hot.sampled("potential_energy_eV"), 0.05)
    )
