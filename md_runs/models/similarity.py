"""Encodings of distances and angles as numbers: tables sampled on a grid, and how alike they are.

A table gives R numbers for a distance, or for the cosine of an angle. Two tables that differ by a
rotation of these R numbers are the same to the network behind them, so tables are compared by
linear CKA, which does not see rotations, and never number by number. Tables start at a hand-made
encoding. What stayed as it was is alike in all models for no reason: the change since the start is
compared, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from potentials.build import build
from potentials.checkpoint import Model
from potentials.parts.angular import LearnedAngular, SphericalBessel
from potentials.parts.radial import LearnedEncoding
from potentials.potential import Potential

Array = NDArray[np.float64]

KINDS = ("distance", "angle", "angular distance")  # tables that a model can have


@dataclass(frozen=True)
class Encoding:
    """One table of one model, sampled."""

    model: str
    kind: str  # one of `KINDS`
    learned: bool
    values: Array  # (n, R)
    start: Array  # (n, R), before training
    roughness: float | None  # ‖Δ²T‖² / ‖T‖² of the control points

    @property
    def change(self) -> Array:
        """What training did."""
        return self.values - self.start

    @property
    def moved(self) -> float:
        """Size of the change over that of the start."""
        return float(np.linalg.norm(self.change) / np.linalg.norm(self.start))


def linear_cka(first: Array, second: Array) -> float:
    """Compare two tables: ‖Y ᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of the columns with their means taken away.

    Parameters
    ----------
    first, second : (n, R), (n, R')   rows belong together

    Returns
    -------
    float   1 for tables equal but for a rotation and a factor, near 0 for unrelated ones; nan where
            one is constant

    Source: arXiv 1905.00414, equation 5.
    """
    x, y = first - first.mean(0), second - second.mean(0)
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / scale) if scale > 0 else float("nan")


def gram(values: Array) -> Array:
    """Return cosines (n, n) between the encodings of two distances or angles, less their mean."""
    centred = values - values.mean(0)
    lengths = np.linalg.norm(centred, axis=1)
    unit = centred / np.where(lengths > 0, lengths, 1.0)[:, None]
    found: Array = unit @ unit.T
    return found


def encodings_of(name: str, potential: Potential, grids: Mapping[str, Array]) -> list[Encoding]:
    """Sample every table of a model, and the same table before training.

    A potential of the same spec, built anew.
    """
    now, before = tables_of(potential), tables_of(build(potential.spec).double())
    return [
        Encoding(
            name,
            kind,
            is_learned(module),
            sampled(module, grids[kind]),
            sampled(before[kind], grids[kind]),
            roughness(module),
        )
        for kind, module in now.items()
    ]


def tables_of(potential: Potential) -> dict[str, Any]:
    """Name the encodings of a potential: functions of a distance or of the cosine of an angle."""
    trunk = potential.trunk
    found: dict[str, Any] = {"distance": trunk.radial}
    if isinstance(trunk.angular, LearnedAngular | SphericalBessel):
        found |= {"angle": trunk.angular.angle, "angular distance": trunk.angular.distance}
    return found


def is_learned(table: Any) -> bool:
    """Whether training changes a table."""
    return isinstance(table, nn.Module) and any(p.requires_grad for p in table.parameters())


@torch.no_grad()
def sampled(table: Any, grid: Array) -> Array:
    """Evaluate a table on a grid: (n, R)."""
    values: Array = table(torch.from_numpy(grid)).flatten(1).double().numpy()
    return values


@torch.no_grad()
def roughness(table: Any) -> float | None:
    """‖Δ²T‖² / ‖T‖² of the control points of a learned table, each a mean over them.

    None for one that has none.
    """
    splines = table.splines if isinstance(table, LearnedEncoding) else table
    if not hasattr(splines, "table"):
        return None
    points = splines.table.double()
    return float(points.diff(n=2, dim=0).square().sum(1).mean() / points.square().sum(1).mean())


def related(models: Mapping[str, Model]) -> dict[tuple[str, str], str]:
    """Say of every two models whether they differ by the seed alone, by the task, or otherwise."""
    found = {}
    names = list(models)
    for n, a in enumerate(names):
        for b in names[n + 1 :]:
            first, second = models[a], models[b]
            same_design, tasks = (
                design_of(first) == design_of(second),
                (task_of(first), task_of(second)),
            )
            if not all(tasks) or not same_design:
                found[a, b] = "other"
            else:
                found[a, b] = "seeds" if tasks[0] == tasks[1] else "tasks"
    return found


def task_of(model: Model) -> str:
    """Name what a model was trained on; empty where its card does not tell."""
    return str(model.card.dataset.get("name", ""))


def design_of(model: Model) -> str:
    """Everything of a spec but what came from the data."""
    return json.dumps(
        {key: value for key, value in model.potential.spec.items() if key != "terms"},
        sort_keys=True,
    )


def compare(
    encodings: Sequence[Encoding], relations: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """Compare the tables of one kind.

    Similarity of every two models as they are, and of what training changed.

    Returns
    -------
    dict   ``models``; ``similarity`` and ``similarity_of_change`` (M, M); ``similarity_to_start``,
                  ``moved``, ``roughness`` (M); ``seed_to_seed`` (the ceiling), ``task_to_task`` and
                  ``untrained`` (the floor), each with the mean over its pairs
    """
    names = [e.model for e in encodings]
    whole = np.array([[linear_cka(a.values, b.values) for b in encodings] for a in encodings])
    change = np.array(
        [
            [
                linear_cka(a.change, b.change) if a.learned and b.learned else np.nan
                for b in encodings
            ]
            for a in encodings
        ]
    )
    to_start = [linear_cka(e.values, e.start) for e in encodings]
    trained = [
        value for value, e in zip(to_start, encodings, strict=True) if e.learned and e.moved > 0
    ]

    def over(relation: str) -> dict[str, Any]:
        pairs = [
            (names.index(a), names.index(b))
            for (a, b), r in relations.items()
            if r == relation and {a, b} <= set(names)
        ]
        return {
            "mean": _mean([whole[p] for p in pairs]),
            "of_change": _mean([change[p] for p in pairs]),
            "n_pairs": len(pairs),
        }

    return {
        "models": names,
        "learned": [e.learned for e in encodings],
        "similarity": whole.tolist(),
        "similarity_of_change": change.tolist(),
        "similarity_to_start": to_start,
        "moved": [e.moved for e in encodings],
        "roughness": [e.roughness for e in encodings],
        "seed_to_seed": over("seeds"),
        "task_to_task": over("tasks"),
        "untrained": {"mean": _mean(trained), "n_pairs": len(trained)},
    }


def _mean(values: Sequence[float]) -> float | None:
    known = [float(value) for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None
