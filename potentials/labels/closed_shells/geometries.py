"""Geometries of closed shells to be labelled by the teacher, and the arrays that a job stores.

A job's file holds, structures one after the other: ``n_atoms atomic_numbers positions energy
forces partial_charges total_charge multiplicity group`` as in `Frames`, and ``formal_charges`` (N,)
e, ``energy_std`` (S,) eV, ``forces_std`` (S,) eV/Å, root mean square of the structure, and
``scene`` (S,).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from potentials.labels.method import Failed, Floats, Integers
from potentials.labels.teacher import Labels, Structures, Teacher, pad

MOST_FORCE = 30.0  # eV/Å, any component
ENERGY_RANGE = (-8.0, 25.0)  # eV, of any label above the first of the same atoms in a job
BATCH_ATOMS = 800  # of one call


class Geometry(NamedTuple):
    """One structure in its closed shell."""

    atomic_numbers: Integers  # (N,)
    positions: Floats  # (N, 3) Å
    total_charge: int
    formal_charges: NDArray[np.int8]  # (N,) e
    group: int
    scene: str


def batches(sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    """Share structures out over calls, those of one size together."""
    order = np.argsort(sizes, kind="stable")
    found, first = [], 0
    while first < len(order):
        last = first + 1
        while last < len(order) and sizes[order[last]] * (last + 1 - first) <= BATCH_ATOMS:
            last += 1
        found.append(order[first:last])
        first = last
    return found


def batch(geometries: Sequence[Geometry]) -> Structures:
    """Put geometries into one call."""
    return pad(
        [g.atomic_numbers for g in geometries],
        [g.positions for g in geometries],
        [g.total_charge for g in geometries],
    )


def label(
    geometries: Sequence[Geometry], teacher: Teacher, left_out: Counter[str]
) -> dict[str, Any]:
    """Label geometries; those with an absurd force or energy are left out.

    Raises
    ------
    Failed   none is left
    """
    stored = [
        g._replace(positions=(g.positions - g.positions.mean(0)).astype(np.float32))
        for g in geometries
    ]
    rows: dict[int, dict[str, Any]] = {}
    for chosen in batches([len(g.atomic_numbers) for g in stored]):
        labels = teacher.label(batch([stored[n] for n in chosen]))
        for row, n in enumerate(chosen):
            rows[int(n)] = _row(stored[n], labels, row)
    kept, floor = [], dict[tuple[int, ...], float]()
    for n in range(len(stored)):
        kind = tuple(np.sort(stored[n].atomic_numbers).tolist())
        if reason := _absurd(rows[n], floor.get(kind)):
            left_out[reason] += 1
            continue
        floor.setdefault(kind, rows[n]["energy"])
        kept.append(rows[n])
    if not kept:
        raise Failed(f"no label is left: {dict(left_out)}")
    return {name: _joined([row[name] for row in kept]) for name in kept[0]}


def _row(geometry: Geometry, labels: Labels, row: int) -> dict[str, Any]:
    n_atoms = len(geometry.atomic_numbers)
    return {
        "n_atoms": n_atoms,
        "atomic_numbers": geometry.atomic_numbers.astype(np.uint8),
        "positions": geometry.positions.astype(np.float32),
        "energy": float(labels.energy[row]),
        "forces": labels.forces[row, :n_atoms].astype(np.float32),
        "partial_charges": labels.charges[row, :n_atoms].astype(np.float32),
        "total_charge": geometry.total_charge,
        "multiplicity": 1,
        "group": geometry.group,
        "formal_charges": geometry.formal_charges,
        "energy_std": float(labels.energy_std[row]),
        "forces_std": float(np.sqrt((labels.forces_std[row, :n_atoms] ** 2).mean())),
        "scene": geometry.scene,
    }


def _absurd(row: dict[str, Any], floor: float | None) -> str:
    if not np.isfinite(row["energy"]) or not np.isfinite(row["forces"]).all():
        return "not finite"
    if np.abs(row["forces"]).max() > MOST_FORCE:
        return f"a force beyond {MOST_FORCE:g} eV/Å"
    if floor is not None and not ENERGY_RANGE[0] <= row["energy"] - floor <= ENERGY_RANGE[1]:
        return "an energy out of range"
    return ""


def _joined(values: list[Any]) -> NDArray[Any]:
    return np.concatenate(values) if isinstance(values[0], np.ndarray) else np.array(values)
