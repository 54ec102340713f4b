"""Sections on motion: vibrations and diffusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from md_runs.analysis.motion import (
    DIFFUSIVE_FROM,
    DIFFUSIVE_TO,
    fit_diffusion,
    highest_wavenumber,
    mean_square_displacement,
    velocity_autocorrelation,
    vibrational_density,
    without_drift,
)
from md_runs.analysis.runs import Run
from md_runs.analysis.section import (
    Row,
    Section,
    Table,
    add_legend,
    colour,
    curve_rows,
    draw,
    panels,
    with_error,
)
from md_runs.analysis.series import Curve, Floats, blocks_of, over_blocks
from md_runs.analysis.topology import find_topology

SHOWN_FS = 500.0  # of the velocity autocorrelation
FASTEST_PER_CM = 4000.0  # what molecules with hydrogen reach
MIN_BLOCK_FRAMES = 50  # fewer frames make no spectrum
CM2_PER_S = 0.1  # of one Å^2/fs
N_DIFFUSION_BLOCKS = 5  # longer and fewer than elsewhere: a displacement needs time


def autocorrelation(runs: Sequence[Run]) -> Section | None:
    """Velocity autocorrelation."""
    runs = [run for run in runs if blocks_for_spectra(run)]
    if not runs:
        return None
    made = panels(1, 2.4)
    (axes,) = made.axes
    data: list[Row] = []
    for number, run in enumerate(runs):
        curve = _correlation_curve(run)
        draw(axes, curve, number, run.name)
        data += curve_rows(run.name, "all", curve)
    axes.axhline(0, color="black", lw=0.5)
    axes.set_xlabel("lag (fs)")
    axes.set_ylabel("velocity autocorrelation")
    add_legend(made, len(runs))
    text = (
        "Correlation of mass-weighted velocities over time, 1 at the start; bands are two standard"
        " errors, from ten blocks."
    )
    columns = ("run", "atoms", "lag_fs", "correlation", "error")
    return Section(
        "vacf", "Velocity autocorrelation", text, made.figure, Table((), []), Table(columns, data)
    )


def vibrations(runs: Sequence[Run]) -> Section | None:
    """Vibrational density of states, all atoms and by element."""
    runs = [run for run in runs if blocks_for_spectra(run)]
    if not runs:
        return None
    elements = sorted({symbol for run in runs for symbol in run.atoms.get_chemical_symbols()})
    made = panels(1, 2.8)
    (axes,) = made.axes
    data: list[Row] = []
    warnings: list[str] = []
    for number, run in enumerate(runs):
        curves = _density_curves(run, elements)
        draw(axes, curves["all"], number, run.name if len(runs) > 1 else "all atoms")
        for name, curve in curves.items():
            data += curve_rows(run.name, name, curve)
            if len(runs) == 1 and name != "all":
                axes.plot(
                    curve.x, curve.mean, color=colour(1 + elements.index(name)), lw=0.8, label=name
                )
        warnings += folded(run)
    axes.set_xlabel("wavenumber (cm⁻¹)")
    axes.set_ylabel("modes per cm⁻¹")
    axes.set_xlim(
        0,
        min(
            FASTEST_PER_CM,
            max(highest_wavenumber(run.trajectory.velocity_interval_fs) for run in runs),
        ),
    )
    axes.set_ylim(bottom=0)
    if len(runs) == 1:
        axes.legend(loc="upper center", ncols=4)
    add_legend(made, len(runs))
    text = (
        "Power spectrum of mass-weighted velocities, the Fourier transform of their"
        " autocorrelation; its integral is the number of degrees of freedom. Bands are two standard"
        " errors, from ten blocks. Classical atoms: no quantum corrections, intensities are not"
        " infrared."
    )
    columns = ("run", "atoms", "wavenumber_per_cm", "modes_per_wavenumber", "error")
    return Section(
        "vdos",
        "Vibrational density of states",
        text,
        made.figure,
        Table((), []),
        Table(columns, data),
        warnings,
    )


def diffusion(runs: Sequence[Run]) -> Section | None:
    """Mean-square displacement and diffusion coefficients of periodic runs."""
    runs = [
        run
        for run in runs
        if run.atoms.pbc.any() and len(run.trajectory.positions) >= N_DIFFUSION_BLOCKS * 10
    ]
    if not runs:
        return None
    names = sorted({name for run in runs for name in _particles(run)})
    made = panels(len(names), 2.2)
    rows: list[Row] = []
    data: list[Row] = []
    warnings = []
    for axes, name in zip(made.axes, names, strict=True):
        for number, run in enumerate(runs):
            particles = _particles(run)
            if name not in particles:
                continue
            stretches = [
                mean_square_displacement(particles[name][b])
                for b in blocks_of(len(particles[name]), N_DIFFUSION_BLOCKS)
            ]
            lag_fs = np.arange(len(stretches[0])) * run.trajectory.interval_fs
            half = len(lag_fs) // 2
            curve = Curve(lag_fs[:half] / 1000, *over_blocks(np.array(stretches)[:, :half]))
            draw(axes, curve, number, run.name)
            data += curve_rows(run.name, name, curve)
            dimensions = int(run.atoms.pbc.sum())
            fits = np.array([fit_diffusion(lag_fs, stretch, dimensions) for stretch in stretches])
            (coefficient, exponent), (error, exponent_error) = over_blocks(fits)
            in_cm2 = with_error(coefficient * CM2_PER_S * 1e5, error * CM2_PER_S * 1e5)
            rows.append((run.name, name, in_cm2, with_error(exponent, exponent_error)))
            if not abs(exponent - 1) < max(0.15, 2 * exponent_error):
                warnings.append(
                    f"{run.name}, {name}: displacement grows as time to the power {exponent:.2f};"
                    " it does not diffuse yet."
                )
        axes.set_title(name)
        axes.set_xlabel("lag (ps)")
        axes.set_ylabel("⟨Δr²⟩ (Å²)")
        axes.set_ylim(bottom=0)
    add_legend(made, len(runs))
    text = (
        "Mean-square displacement relative to the centre of mass. D = slope / 2d between"
        f" {DIFFUSIVE_FROM:.0%} and {DIFFUSIVE_TO:.0%} of the longest lag, in each of"
        f" {N_DIFFUSION_BLOCKS} blocks; errors are their scatter. Not corrected for the size of the"
        " cell."
    )
    header = ("run", "particles", "D (10⁻⁵ cm²/s)", "power of time")
    columns = ("run", "particles", "lag_ps", "displacement_A2", "error")
    return Section(
        "msd", "Diffusion", text, made.figure, Table(header, rows), Table(columns, data), warnings
    )


def folded(run: Run) -> list[str]:
    """Warn where frames are too far apart for the fastest vibrations."""
    interval_fs = run.trajectory.velocity_interval_fs
    fastest = highest_wavenumber(interval_fs)
    if fastest >= FASTEST_PER_CM:
        return []
    return [
        f"{run.name}: velocities every {interval_fs:g} fs show motion up to {fastest:.0f} cm⁻¹"
        " only; faster vibrations are folded back into the picture. Run with a smaller"
        " --velocities-every, 4 fs or less, for a true spectrum."
    ]


def blocks_for_spectra(run: Run) -> list[slice]:
    """Blocks long enough for a spectrum, at most ten."""
    n_frames = len(run.trajectory.velocities)
    return (
        blocks_of(n_frames, min(10, n_frames // MIN_BLOCK_FRAMES))
        if n_frames >= MIN_BLOCK_FRAMES
        else []
    )


def _correlation_curve(run: Run) -> Curve:
    masses, velocities = run.atoms.get_masses(), _velocities(run)
    values = [
        velocity_autocorrelation(velocities[block], masses) for block in blocks_for_spectra(run)
    ]
    shown = min(len(values[0]) // 2, int(SHOWN_FS / run.trajectory.velocity_interval_fs) + 1)
    return Curve(
        np.arange(shown) * run.trajectory.velocity_interval_fs,
        *over_blocks(np.array(values)[:, :shown]),
    )


def _density_curves(run: Run, elements: Sequence[str]) -> dict[str, Curve]:
    masses, velocities, symbols = (
        run.atoms.get_masses(),
        _velocities(run),
        np.array(run.atoms.get_chemical_symbols()),
    )
    spectra = [
        vibrational_density(
            velocities[block], masses, run.trajectory.velocity_interval_fs, run.degrees_of_freedom
        )
        for block in blocks_for_spectra(run)
    ]
    densities = np.stack([spectrum.density for spectrum in spectra])  # (B, K, N)
    curves = {"all": Curve(spectra[0].wavenumber, *over_blocks(densities.sum(axis=2)))}
    for element in elements:
        if (symbols == element).any():
            curves[element] = Curve(
                spectra[0].wavenumber, *over_blocks(densities[:, :, symbols == element].sum(axis=2))
            )
    return curves


def _velocities(run: Run) -> Floats:
    return run.trajectory.velocities


def _particles(run: Run) -> dict[str, Floats]:
    """Return positions (F, N, 3) of the atoms of each element, and of molecules if several."""
    masses, symbols = run.atoms.get_masses(), np.array(run.atoms.get_chemical_symbols())
    positions = without_drift(run.trajectory.positions, masses)
    found = {symbol: positions[:, symbols == symbol] for symbol in sorted(set(symbols.tolist()))}
    molecules = find_topology(run.atoms).molecules
    n_molecules = int(molecules.max()) + 1
    if 1 < n_molecules < len(symbols):
        weights = np.zeros((n_molecules, len(symbols)))
        weights[molecules, np.arange(len(symbols))] = masses
        weights /= weights.sum(axis=1, keepdims=True)
        found["molecules"] = np.einsum("mn,fnk->fmk", weights, positions)
    return found
