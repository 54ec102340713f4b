"""``polcalc encodings``: what models learned of distances and angles, and how similar they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from md_runs.errors import InputError, as_input_error
from md_runs.models.encodings_report import (
    draw_grams,
    draw_similarity,
    draw_tables,
    similarity_csv,
    similarity_table,
    summary_lines,
)
from md_runs.models.similarity import (
    KINDS,
    Array,
    Encoding,
    compare,
    encodings_of,
    related,
    task_of,
)
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, claim, to_json, write_figure
from md_runs.screen import screen
from potentials.checkpoint import Model, load
from potentials.files import write_text

SAMPLES = 200  # of a table
NEAREST_A = (
    0.8  # distances are compared from here on where no card tells the closest one seen in training
)


def encodings(
    models: list[str],
    from_A: float | None = None,
    to_A: float | None = None,
    output: Path = Path("polcalc-encodings"),
) -> None:
    """Show and compare the encodings of distances and angles that models learned.

    Writes, for each kind of table, figures of the tables, of their Gram matrices and of the
    similarity between models, similarity.csv and encodings.json. Hand-made encodings are drawn too;
    what they were before training is what they are.
    """
    check_free(output)
    names = unique_names(models)
    with as_input_error():
        opened = {
            name: load(model, dtype=torch.float64)
            for name, model in zip(names, models, strict=True)
        }
    nearest = closest_A(list(opened.values())) if from_A is None else from_A
    cutoff = min(model.potential.cutoff for model in opened.values())
    farthest = cutoff if to_A is None else to_A
    if not 0 <= nearest < farthest <= cutoff:
        raise InputError(
            "`--from-A` and `--to-A` must lie in this order between 0 and the shortest cutoff,"
            f" {cutoff} Å; got {nearest} and {farthest} Å."
        )
    grids = {
        "distance": np.linspace(nearest, farthest, SAMPLES),
        "angle": np.linspace(-1.0, 1.0, SAMPLES),
    }
    grids["angular distance"] = grids["distance"]
    encodings = [
        found
        for name, model in opened.items()
        for found in encodings_of(name, model.potential, grids)
    ]
    relations = related(opened)
    by_kind = {kind: [e for e in encodings if e.kind == kind] for kind in KINDS}
    report = {kind: compare(chosen, relations) for kind, chosen in by_kind.items() if chosen}
    about = {
        name: {"path": str(m.path), "sha256": m.sha256, "data": task_of(m), "seed": m.card.seed}
        for name, m in opened.items()
    }
    claim(
        output,
        make_manifest(
            "encodings",
            {"models": models, "from_A": nearest, "to_A": farthest},
            models=about,
            status="finished",
        ),
    )
    write(output, encodings, grids, report, about)
    for kind, found in report.items():
        screen.print(similarity_table(kind, found))
        for line in summary_lines(found):
            screen.print(line)
    screen.print(f"Results in {output}")


def closest_A(models: Sequence[Model]) -> float:
    """Find the shortest distance that all models have seen, by their cards.

    What a table says below it is not learned.
    """
    told = [
        min(model.card.closest_distances_A.values())
        for model in models
        if model.card.closest_distances_A
    ]
    return max(told, default=NEAREST_A)


def unique_names(models: Sequence[str]) -> list[str]:
    """Give each model a short name that no other has.

    Raises
    ------
    InputError   a model twice
    """
    if len(set(models)) < len(models):
        raise InputError(
            "`MODEL` must be given once each; got"
            f" {', '.join(sorted({m for m in models if models.count(m) > 1}))} twice."
        )
    short = [
        (
            Path(m).parent.name
            if Path(m).name == "model.pt"
            else Path(m).stem
            if m.endswith(".pt")
            else m
        )
        for m in models
    ]
    return [
        name if short.count(name) == 1 else model for name, model in zip(short, models, strict=True)
    ]


def write(
    output: Path,
    encodings: Sequence[Encoding],
    grids: Mapping[str, Array],
    report: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Write every file of a result."""
    write_text(output / "encodings.json", to_json({"models": about, "tables": report}))
    write_text(output / "similarity.csv", similarity_csv(report))
    for kind, found in report.items():
        chosen, name = [e for e in encodings if e.kind == kind], kind.replace(" ", "-")
        write_figure(output / f"tables-{name}.png", draw_tables(chosen, grids[kind]))
        write_figure(output / f"gram-{name}.png", draw_grams(chosen, grids[kind]))
        write_figure(output / f"similarity-{name}.png", draw_similarity(found, kind))
