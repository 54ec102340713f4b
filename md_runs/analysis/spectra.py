"""Sections on light: infrared and Raman spectra of runs whose model has a dipole or more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.signal import find_peaks

from md_runs.analysis.dynamics import FASTEST_PER_CM, blocks_for_spectra, folded
from md_runs.analysis.motion import highest_wavenumber
from md_runs.analysis.runs import Run, Trajectory
from md_runs.analysis.section import (
    Row,
    Section,
    Table,
    add_legend,
    curve_rows,
    draw,
    panels,
    with_error,
)
from md_runs.analysis.series import Curve, Floats, over_blocks
from md_runs.spectra.correlation import (
    Spectrum,
    infrared_spectrum,
    raman_spectrum,
)

SMALLEST_BAND = 0.03  # of the highest, as it stands out from its surroundings
N_BANDS = 8  # listed at most


class Kind(NamedTuple):
    """One kind of spectrum of a run."""

    key: str
    title: str
    unit: str  # of the area of a band, for people
    column: str  # of its height, in names of columns
    text: str
    series: Callable[[Trajectory], Floats | None]
    spectrum: Callable[[Floats, float, float], Spectrum]  # of series, interval in fs, temperature


INFRARED = Kind(
    "infrared",
    "Infrared spectrum",
    "km/mol",
    "km_per_mol_cm",
    "From the autocorrelation of the dipole, with the harmonic quantum correction factor"
    " βħω / (1 - exp(-βħω)): the power spectrum of the classical dM/dt over kT.",
    lambda trajectory: trajectory.dipoles,
    infrared_spectrum,
)
RAMAN = Kind(
    "raman",
    "Raman spectrum",
    "Å⁴/u",
    "A4_per_u_cm",
    "Activity, 45 of the mean polarizability and 7 of its anisotropy, from their autocorrelations"
    " with the harmonic quantum correction factor βħω / (1 - exp(-βħω)): power spectra of the"
    " classical rates over kT. The factor of the exciting light is left out.",
    lambda trajectory: trajectory.polarizabilities,
    raman_spectrum,
)


def infrared(runs: Sequence[Run]) -> Section | None:
    """Infrared spectrum, of runs with dipoles."""
    return _section(runs, INFRARED)


def raman(runs: Sequence[Run]) -> Section | None:
    """Raman spectrum, of runs with polarizabilities."""
    return _section(runs, RAMAN)


def _section(runs: Sequence[Run], kind: Kind) -> Section | None:
    runs = [
        run for run in runs if kind.series(run.trajectory) is not None and blocks_for_spectra(run)
    ]
    if not runs:
        return None
    made = panels(1, 2.8)
    (axes,) = made.axes
    rows: list[Row] = []
    data: list[Row] = []
    spacings = []
    for number, run in enumerate(runs):
        curve, area = _curve(run, kind)
        draw(axes, curve, number, run.name)
        spacings.append(f"{curve.x[1]:.0f}")
        data += curve_rows(run.name, "all", curve)
        rows.append((run.name, "all", "–", with_error(*area), ""))
        rows += [
            (run.name, "band", f"{curve.x[n]:.0f}", "", with_error(curve.mean[n], curve.error[n]))
            for n in _bands(curve)
        ]
    fastest = max(highest_wavenumber(run.trajectory.velocity_interval_fs) for run in runs)
    axes.set_xlim(0, min(FASTEST_PER_CM, fastest))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("wavenumber (cm⁻¹)")
    axes.set_ylabel(f"{kind.key} ({kind.unit} cm)")
    add_legend(made, len(runs))
    text = (
        f"{kind.text} The area of a band is its intensity, as polcalc vib tells it. Resolution"
        f" {', '.join(dict.fromkeys(spacings))} cm⁻¹; bands are two standard errors, from ten"
        " blocks."
    )
    header = ("run", "", "wavenumber (cm⁻¹)", f"area ({kind.unit})", f"height ({kind.unit} cm)")
    columns = ("run", "atoms", "wavenumber_per_cm", kind.column, "error")
    warnings = [warning for run in runs for warning in folded(run)]
    return Section(
        kind.key,
        kind.title,
        text,
        made.figure,
        Table(header, rows),
        Table(columns, data),
        warnings,
    )


def _curve(run: Run, kind: Kind) -> tuple[Curve, tuple[float, float]]:
    """Average over blocks: the spectrum, and the area of all of it with its error."""
    series = kind.series(run.trajectory)
    assert series is not None
    temperature_K = float(run.sampled("temperature_K").mean())
    spectra = [
        kind.spectrum(series[block], run.trajectory.velocity_interval_fs, temperature_K)
        for block in blocks_for_spectra(run)
    ]
    wavenumber, densities = spectra[0].wavenumber, np.stack([s.density for s in spectra])
    area, error = over_blocks(np.trapezoid(densities, wavenumber, axis=1))
    return Curve(wavenumber, *over_blocks(densities)), (float(area), float(error))


def _bands(curve: Curve) -> list[int]:
    """Find the highest bands, in the order of wave numbers."""
    highest = curve.mean.max(initial=0.0)
    places, about = find_peaks(curve.mean, prominence=SMALLEST_BAND * highest)
    return sorted(places[np.argsort(-about["prominences"])][:N_BANDS].tolist())
