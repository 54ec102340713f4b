"""What `polcalc encodings` shows.

Figures of tables, Gram matrices and similarities, and the same as tables of text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from md_runs.models.similarity import Array, Encoding, gram
from md_runs.records.figures import GREY

# what each kind of table depends on
ARGUMENTS = {"distance": "distance (Å)", "angle": "cos θ", "angular distance": "distance (Å)"}
DRAWN = 64  # curves of a table at most


def similarity_csv(report: Mapping[str, Any]) -> str:
    """List every two models: kind of table, similarity, and that of the change."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", "model", "other", "cka", "cka_of_change"])
    for kind, found in report.items():
        names = found["models"]
        for i, a in enumerate(names):
            writer.writerow(
                [kind, a, f"{a} before training", f"{found['similarity_to_start'][i]:.6f}", ""]
            )
            for j in range(i + 1, len(names)):
                change = found["similarity_of_change"][i][j]
                writer.writerow(
                    [
                        kind,
                        a,
                        names[j],
                        f"{found['similarity'][i][j]:.6f}",
                        "" if np.isnan(change) else f"{change:.6f}",
                    ]
                )
    return text.getvalue()


def draw_tables(encodings: Sequence[Encoding], grid: Array) -> Figure:
    """Curves of each table, those before training dotted below."""
    figure, panels = _panels(len(encodings), 4.6, 3.4)
    for panel, encoding in zip(panels, encodings, strict=False):
        shown = np.unique(
            np.linspace(
                0, encoding.values.shape[1] - 1, min(DRAWN, encoding.values.shape[1])
            ).astype(int)
        )
        for rank, column in enumerate(shown):
            if encoding.learned:
                panel.plot(grid, encoding.start[:, column], color=GREY, lw=0.6, ls=":")
            panel.plot(
                grid, encoding.values[:, column], color=_colour(rank / max(len(shown) - 1, 1)), lw=1
            )
        told = (
            f"learned, moved by {100 * encoding.moved:.1f} %" if encoding.learned else "hand-made"
        )
        panel.set_title(f"{encoding.model}\n{told}", fontsize=9)
        panel.set_xlabel(ARGUMENTS[encoding.kind])
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0)
    figure.suptitle(
        f"encoding of the {encodings[0].kind}; dotted: before training"
        if any(e.learned for e in encodings)
        else "encoding"
    )
    return figure


def draw_grams(encodings: Sequence[Encoding], grid: Array) -> Figure:
    """How alike every two distances or angles are to each model."""
    figure, panels = _panels(len(encodings), 3.9, 3.6)
    image = None
    for panel, encoding in zip(panels, encodings, strict=False):
        ends = (grid[0], grid[-1], grid[0], grid[-1])
        image = panel.imshow(
            gram(encoding.values),
            origin="lower",
            extent=ends,
            vmin=-1,
            vmax=1,
            cmap="RdBu_r",
            aspect="auto",
        )
        panel.set_title(encoding.model, fontsize=9)
        panel.set_xlabel(ARGUMENTS[encoding.kind])
        panel.set_ylabel(ARGUMENTS[encoding.kind])
    assert image is not None
    figure.colorbar(image, ax=panels, label="cosine of centred encodings")
    figure.suptitle(f"Gram matrices, {encodings[0].kind}")
    return figure


def draw_similarity(found: Mapping[str, Any], kind: str) -> Figure:
    """Model × model, as they are and what training changed."""
    names = found["models"]
    side = 2.9 + 0.55 * len(names)
    figure = Figure(figsize=(2 * side + 1.2, side), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, key, title in zip(
        panels,
        ("similarity", "similarity_of_change"),
        ("tables", "change by training"),
        strict=True,
    ):
        matrix = np.array(found[key], dtype=float)
        image = panel.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
        panel.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
        panel.set_yticks(range(len(names)), names, fontsize=8)
        for (row, column), value in np.ndenumerate(matrix):
            text, colour = (
                ("–", "black")
                if np.isnan(value)
                else (f"{value:.2f}", "white" if value < 0.6 else "black")
            )
            panel.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        panel.set_title(title, fontsize=10)
    figure.colorbar(image, ax=panels, label="linear CKA")
    figure.suptitle("\n".join([f"similarity, {kind}", *summary_lines(found)]), fontsize=9)
    return figure


def similarity_table(kind: str, found: Mapping[str, Any]) -> Table:
    """Lay out the similarity of the models of one kind of table."""
    made = Table(title=f"Linear CKA, {kind}", title_justify="left")
    made.add_column("model")
    for name in ("moved (%)", "roughness", "to its start", *found["models"]):
        made.add_column(name, justify="right")
    for n, name in enumerate(found["models"]):
        rough = "–" if found["roughness"][n] is None else f"{found['roughness'][n]:.2g}"
        row = [
            f"{100 * found['moved'][n]:.1f}" if found["learned"][n] else "–",
            rough,
            f"{found['similarity_to_start'][n]:.3f}",
        ]
        made.add_row(name, *row, *(f"{value:.3f}" for value in found["similarity"][n]))
    return made


def summary_lines(found: Mapping[str, Any]) -> list[str]:
    """Say ceiling, tasks and floor, where there are models to tell them."""
    named = {
        "seed to seed (ceiling)": "seed_to_seed",
        "task to task": "task_to_task",
        "to the untrained table (floor)": "untrained",
    }
    lines = []
    for text, key in named.items():
        part = found[key]
        if part["mean"] is not None:
            change = part.get("of_change")
            lines.append(
                f"{text} {part['mean']:.3f}"
                + ("" if change is None else f", of the change {change:.3f}")
            )
    return lines


def _panels(number: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(number, 4)
    rows = -(-number // columns)
    figure = Figure(figsize=(width * columns + 0.6, height * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for empty in panels[number:]:
        empty.set_visible(False)
    return figure, list(panels[:number])


def _colour(place: float) -> tuple[float, float, float]:
    """From blue over grey-green to orange."""
    low, high = np.array([0.16, 0.44, 0.73]), np.array([0.85, 0.45, 0.17])
    red, green, blue = (low + place * (high - low)).tolist()
    return red, green, blue
