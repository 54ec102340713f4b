"""Draw errors against the time of a step, from the results of the benchmark.

    python -m benchmarks.science.organic.figure --figure docs/images/organic.png

A dot is a development set, a line their geometric mean. Only sets that a method answers whole are
its own; proton affinities are left out, since GFN2-xTB has an energy of its own for a bare proton.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.measure import ROOT, command_line
from benchmarks.science.organic.contestants import GFN2, TEACHER
from benchmarks.science.organic.speed import TIME
from md_runs.records.figures import BLUE, GREEN, GREY, ORANGE

PANELS = {
    "complexes": ("S22", "A24", "HB49", "X40", "3B-69", "CT20"),
    "conformers, isomers": ("ACONF", "Pentane13", "BHROT27", "ISO34", "TAUT15", "INV23"),
    "barriers, reactions": ("BH28", "WCPT26", "DBH22", "BSR36", "ISOMERIZATION20", "BH76RC"),
    "radicals, ions": ("RSE43", "BDE99nonMR", "IP23", "G21IP", "G21EA", "SIE4x4"),
}
WIDTH = 1.25  # of a line, as a factor of time


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__, "--figure")
    results = ROOT / "benchmarks" / "results" / "organic.json"
    parser.add_argument("--results", type=Path, default=results, help="JSON of the benchmark")
    parser.set_defaults(figure=ROOT / "docs" / "images" / "organic.png")
    arguments = parser.parse_args(given)
    report = json.loads(arguments.results.read_text(encoding="utf-8"))
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    draw(report["contestants"], report["judged"]).savefig(arguments.figure, dpi=160)


def draw(found: Mapping[str, Any], judged: str) -> Figure:
    """Plot GFN2-xTB, the teacher and the model that was judged."""
    figure = Figure(figsize=(9.6, 3.3), layout="constrained", facecolor="white")
    axes = figure.subplots(1, len(PANELS), sharex=True, sharey=True)
    methods = {judged: (judged, BLUE), GFN2: (GFN2, ORANGE), TEACHER: (TEACHER, GREEN)}
    for panel, (title, sets) in zip(axes, PANELS.items(), strict=True):
        for name, (_, colour) in methods.items():
            _dots(panel, found, name, sets, colour)
        panel.set_title(title, fontsize=10)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlim(0.2, 30)
        panel.grid(True, which="major", color="#e6e6e6", lw=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    axes[-1].text(
        0.98,
        0.02,
        "AIMNet2 knows none",
        ha="right",
        va="bottom",
        fontsize=8,
        color=GREY,
        transform=axes[-1].transAxes,
    )
    for name, (label, colour) in methods.items():
        time = found[name]["speed"][TIME]
        label = f"{label}, {time:.2g} ms" + (" (one of 4 networks)" if name == TEACHER else "")
        axes[0].plot([], [], "o", color=colour, label=label)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    figure.supxlabel("energy and forces of 27 atoms on one thread (ms)", fontsize=10)
    figure.supylabel("mean absolute error (kcal/mol)", fontsize=10)
    return figure


def _dots(
    axes: Axes, found: Mapping[str, Any], name: str, sets: Sequence[str], colour: str
) -> None:
    """Draw the sets that a method answers whole, side by side, and their geometric mean."""
    time = found[name]["speed"][TIME]
    mine = found[name]["gscdb"]
    shown = [each["gscdb"] for each in found.values() if "gscdb" in each]
    most = {s: max((x[s]["n"] for x in shown if s in x), default=0) for s in sets}
    errors = [mine[s]["mae_kcal_per_mol"] for s in sets if s in mine and mine[s]["n"] == most[s]]
    if not errors:
        return
    spread = WIDTH ** np.linspace(-0.6, 0.6, len(errors))
    axes.plot(time * spread, sorted(errors), "o", color=colour, ms=4, alpha=0.55, mew=0)
    mean = float(np.exp(np.mean(np.log(errors))))
    axes.plot([time / WIDTH, time * WIDTH], [mean, mean], color=colour, lw=2.5)
    left = name == GFN2  # whose dots lie beside the teacher's
    axes.annotate(
        f"{mean:.2g}",
        (time / WIDTH if left else time * WIDTH, mean),
        (-3 if left else 3, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=9,
        color=colour,
    )


if __name__ == "__main__":
    main()
