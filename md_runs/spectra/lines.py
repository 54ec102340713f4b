"""Spectra as lines of modes broadened to Lorentzians: numbers and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from md_runs.records.figures import BLUE, GREY

Array = npt.NDArray[np.float64]

HALF_WIDTH_PER_CM = 10.0  # of a line, at half its height
SPACING_PER_CM = 1.0
MARGIN_PER_CM = 200.0  # shown above the highest line
NAMED = 8  # lines with their wave number in the picture at most


class Lines(NamedTuple):
    """A spectrum of sharp lines, and what it is called."""

    kind: str  # infrared or raman
    quantity: str  # that the heights are of, for people
    unit: str  # of the area of a line, for people
    key: str  # of the area of a line, in names of columns
    per_cm: Array  # (M,) wave numbers
    areas: Array  # (M,)


def broadened(lines: Lines) -> tuple[Array, Array]:
    """Return wave numbers (K,) 1/cm and the sum of the Lorentzians, in the unit of areas times cm.

    Each has the area of its line.
    """
    top = lines.per_cm.max(initial=0.0) + MARGIN_PER_CM
    grid = np.arange(0.0, top + SPACING_PER_CM, SPACING_PER_CM)
    distance = grid[:, None] - lines.per_cm
    shape = HALF_WIDTH_PER_CM / np.pi / (distance**2 + HALF_WIDTH_PER_CM**2)
    return grid, np.asarray(shape @ lines.areas)


def to_csv(lines: Lines) -> str:
    """List the broadened spectrum."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["wavenumber_per_cm", f"{lines.kind}_{lines.key}_cm"])
    writer.writerows([f"{x:g}", f"{y:.6g}"] for x, y in zip(*broadened(lines), strict=True))
    return text.getvalue()


def plot(lines: Lines, title: str) -> Figure:
    """Draw the broadened spectrum over the lines that it is made of."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    grid, heights = broadened(lines)
    axes.plot(grid, heights, color=BLUE, lw=1.2)
    axes.fill_between(grid, heights, color=BLUE, alpha=0.15, lw=0)
    axes.set_xlabel(f"wave number (cm$^{{-1}}$); half width {HALF_WIDTH_PER_CM:g} cm$^{{-1}}$")
    axes.set_ylabel(f"{lines.quantity} ({lines.unit} cm)")
    sticks = axes.twinx()
    sticks.vlines(lines.per_cm, 0, lines.areas, color=GREY, lw=1.0)
    sticks.set_ylabel(f"of a line ({lines.unit})", color=GREY)
    sticks.tick_params(colors=GREY)
    for n in _strongest(lines):
        sticks.annotate(
            f"{lines.per_cm[n]:.0f}",
            (lines.per_cm[n], lines.areas[n]),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color="#404040",
        )
    for each, most in ((axes, heights), (sticks, lines.areas)):
        each.set_ylim(0, 1.12 * most.max(initial=0.0) or 1.0)
        each.spines["top"].set_visible(False)
    axes.set_xlim(grid[0], grid[-1])
    return figure


def _strongest(lines: Lines) -> Sequence[int]:
    """Choose the lines to name: the strongest, none beside a stronger one."""
    chosen: list[int] = []
    apart = 0.03 * (lines.per_cm.max(initial=0.0) + MARGIN_PER_CM)
    for n in np.argsort(-lines.areas, kind="stable"):
        free = all(abs(lines.per_cm[n] - lines.per_cm[m]) > apart for m in chosen)
        if free and lines.areas[n] > 0.01 * lines.areas.max() and len(chosen) < NAMED:
            chosen.append(int(n))
    return chosen
