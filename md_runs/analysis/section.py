"""What a section of the report holds, and what all figures look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from md_runs.analysis.series import Curve

Row = Sequence[str | float | int]

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#5b4a8a",
    "#7a7a7a",
)  # told apart by the colour-blind too
GREY = "#8a8a8a"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.06,
}
WIDTH = 7.2  # inches
PANELS_ACROSS = 3
SMALL = 1e-3  # numbers below are written as powers of ten


class Table(NamedTuple):
    """Numbers as they stand in the report."""

    header: Row
    rows: Sequence[Row]


class Section(NamedTuple):
    """One question and its answer.

    Figure, numbers, and everything behind the figure for a CSV file.
    """

    key: str  # of the files: KEY.png, KEY.csv
    title: str
    text: str
    figure: Figure
    table: Table
    data: Table
    warnings: Sequence[str] = ()


class Panels(NamedTuple):
    """A figure and its axes, row by row."""

    figure: Figure
    axes: list[Axes]


def panels(count: int, height: float = 2.2) -> Panels:
    """Make a figure of equal panels, at most three in a row."""
    across = min(count, PANELS_ACROSS)
    down = -(-count // across)
    figure = Figure(figsize=(WIDTH, height * down + 0.3))
    axes = list(figure.subplots(down, across, squeeze=False).ravel())
    for unused in axes[count:]:
        unused.set_axis_off()
    return Panels(figure, axes[:count])


def colour(number: int) -> str:
    """Colour of a run."""
    return COLOURS[number % len(COLOURS)]


def draw(axes: Axes, curve: Curve, number: int, label: str | None = None) -> None:
    """Draw a curve with two standard errors as a band."""
    axes.plot(curve.x, curve.mean, color=colour(number), lw=1.1, label=label)
    axes.fill_between(
        curve.x,
        curve.mean - 2 * curve.error,
        curve.mean + 2 * curve.error,
        color=colour(number),
        alpha=0.25,
        lw=0,
    )


def add_legend(made: Panels, n_runs: int) -> None:
    """Name the runs once, above all panels; a single run needs no name."""
    if n_runs > 1:
        handles, labels = made.axes[0].get_legend_handles_labels()
        made.figure.legend(
            handles[:n_runs], labels[:n_runs], loc="outside upper center", ncols=min(n_runs, 4)
        )


def curve_rows(run: str, group: str, curve: Curve) -> list[Row]:
    """Rows for a CSV file: run, group, x, value, standard error."""
    return [
        (run, group, float(x), float(y), float(e))
        for x, y, e in zip(*curve, strict=True)
        if np.isfinite(y)
    ]


def shown(value: float, form: str) -> str:
    """Write a number in a form of floats; a dash where it is not known."""
    return f"{value:{form}}" if np.isfinite(value) else "–"


def with_error(value: float, error: float) -> str:
    """Write a number with its standard error, whose first two digits decide how many are shown."""
    if not np.isfinite(value):
        return "–"
    if not (np.isfinite(error) and error > 1e-9 * abs(value)):
        return f"{value:.6g}"
    largest = max(abs(value), error)
    if largest < SMALL:
        exponent = int(np.floor(np.log10(largest)))
        return f"({with_error(value / 10.0**exponent, error / 10.0**exponent)})·10^{exponent}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f}\u00a0±\u00a0{error:.{digits}f}"  # no line break within
