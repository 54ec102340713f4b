"""Figures of runs and validations.

Each function returns a figure; `output.write_figure` stores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from md_runs.analysis.statistics import Mean, mean_of

if TYPE_CHECKING:
    from md_runs.dynamics.phase import Summary
    from md_runs.dynamics.protocol import Phase
    from md_runs.dynamics.recorder import Log

Array = npt.NDArray[np.float64]

BLUE, ORANGE, GREEN, GREY = "#2a6fbb", "#d9722c", "#3f8f4f", "#8a8a8a"
LEGEND: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1, 0.97),
    "ncols": 2,
    "frameon": False,
}  # above the axes, off the data


def plot_dynamics(
    logs: Sequence[Log], summaries: Sequence[Summary], phases: Sequence[Phase], atoms: Atoms
) -> Figure:
    """Plot energies, temperature, conserved energy and volume against time, a column per phase."""
    n_rows = 4 if any(phase.barostat for phase in phases) else 3
    figure = Figure(figsize=(4 + 4 * len(logs), 2.7 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, len(logs), sharex="col", squeeze=False)
    figure.suptitle(atoms.get_chemical_formula())
    for column, log, summary, phase in zip(axes.T, logs, summaries, phases, strict=True):
        timestep_fs = 1000 * summary.time_ps / max(summary.steps, 1)
        column[0].set_title(
            f"{phase.title}, {summary.time_ps:g} ps at {timestep_fs:.3g} fs", pad=22
        )
        _draw_energies(column[0], log)
        _draw_temperature(column[1], log, summary, phase)
        _draw_conserved(column[2], log, summary, len(atoms))
        if phase.barostat:
            _draw_volume(column[3], log, summary)
        column[-1].set_xlabel("time (ps)")
    return figure


def _draw_energies(axes: Axes, log: Log) -> None:
    for column, label, colour in (
        ("potential_energy_eV", "potential", BLUE),
        ("total_energy_eV", "potential + kinetic", ORANGE),
    ):
        values = log.column(column)
        axes.plot(log.column("time_ps"), values - values[:1], color=colour, lw=0.8, label=label)
    _label(axes, "energy - start (eV)")
    axes.legend(**LEGEND)


def _draw_temperature(axes: Axes, log: Log, summary: Summary, phase: Phase) -> None:
    moment = log.column("time_ps")
    axes.plot(moment, log.column("temperature_K"), color=BLUE, lw=0.6)
    mean = f"mean {Mean(summary.temperature_K, summary.temperature_error_K)} K"
    axes.plot(
        [summary.temperature_from_ps, moment.max(initial=0)],
        [summary.temperature_K] * 2,
        color=ORANGE,
        lw=1.5,
        label=mean,
    )
    if phase.heats:
        axes.plot(
            moment,
            log.column("target_K"),
            color=GREY,
            lw=1,
            ls="--",
            label=f"thermostat {phase.start_K:g} to {phase.end_K:g} K",
        )
    elif phase.thermostat:
        axes.axhline(
            phase.start_K, color=GREY, lw=1, ls="--", label=f"thermostat {phase.start_K:g} K"
        )
    _label(axes, "temperature (K)")
    axes.legend(**LEGEND)


def _draw_conserved(axes: Axes, log: Log, summary: Summary, n_atoms: int) -> None:
    moment, values = log.column("time_ps"), log.column("conserved_energy_eV") * 1000 / n_atoms
    axes.plot(moment, values - values[:1], color=GREEN, lw=0.8)
    trend = summary.drift_meV_per_atom_per_ps
    if np.isfinite(trend):
        line = (values - values[:1]).mean() + trend * (moment - moment.mean())
        axes.plot(moment, line, color=ORANGE, lw=1.5, label=f"drift {trend:+.2g} meV/atom/ps")
        axes.legend(**LEGEND)
    _label(axes, "conserved - start (meV/atom)")


def _draw_volume(axes: Axes, log: Log, summary: Summary) -> None:
    moment = log.column("time_ps")
    axes.plot(moment, log.column("volume_A3"), color=BLUE, lw=0.8)
    mean = mean_of(summary.volume_A3, summary.volume_error_A3)
    axes.plot(
        [summary.temperature_from_ps, moment.max(initial=0)],
        [mean.value] * 2,
        color=ORANGE,
        lw=1.5,
        label=f"mean {mean} Å³",
    )
    _label(axes, "volume (Å³)")
    axes.legend(**LEGEND)


def plot_parity(energy: tuple[Array, Array], forces: tuple[Array, Array], title: str) -> Figure:
    """Plot predicted against reference energies per atom and force components, errors below.

    Energies are relative to the mean of the reference.

    Parameters
    ----------
    energy : (F,), (F,)   reference and predicted, eV per atom
    forces : (3N,), (3N,) reference and predicted, eV/Å; may be empty
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=(3, 1.3))
    figure.suptitle(title)
    _parity(
        axes[:, 0],
        energy[0] - energy[0].mean(),
        energy[1] - energy[0].mean(),
        "energy - mean (eV/atom)",
        "error (meV/atom)",
    )
    _parity(axes[:, 1], forces[0], forces[1], "force component (eV/Å)", "error (meV/Å)")
    return figure


def _parity(axes: Any, reference: Array, predicted: Array, quantity: str, error: str) -> None:
    upper, lower = axes
    if len(reference) == 0:
        upper.text(
            0.5, 0.5, "no reference forces", ha="center", va="center", transform=upper.transAxes
        )
        return
    ends = [min(reference.min(), predicted.min()), max(reference.max(), predicted.max())]
    upper.plot(ends, ends, color=GREY, lw=1)
    upper.plot(reference, predicted, ".", color=BLUE, ms=2, alpha=0.5, rasterized=True)
    upper.set_aspect("equal", adjustable="datalim")
    upper.set_xlabel(f"reference {quantity}")
    _label(upper, f"predicted {quantity}")
    lower.hist((predicted - reference) * 1000, bins=80, color=BLUE)
    lower.set_xlabel(error)
    lower.set_ylabel("count")
    lower.spines[["top", "right"]].set_visible(False)


def _label(axes: Axes, text: str) -> None:
    axes.set_ylabel(text)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
