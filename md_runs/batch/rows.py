"""A row for each molecule of a batch: what is known of it, its warnings, what went wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from md_runs.records.structures import to_extxyz
from md_runs.session import Frame
from md_runs.surfaces.energy import Point, all_results, numbers_of, with_results
from polcalc import PolarizedCalculator
from polcalc.calculator.electrons import ElectronicState
from potentials.quantities import Evaluation

STRUCTURE = "structure"  # of a row: frames in extxyz, not in the table

Row = dict[str, Any]


class Ready(NamedTuple):
    """A molecule that can be computed, and its row."""

    frame: Frame
    state: ElectronicState
    row: Row


Work = Callable[[Sequence[Ready], PolarizedCalculator, Mapping[str, Any]], None]


@contextmanager
def told(row: Row) -> Iterator[None]:
    """Note in a row what is wrong with a molecule, and what it was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except Exception as error:  # whatever a library raises costs this molecule, no other
            row["problem"] = " ".join(str(error).split()) or type(error).__name__
    row["warnings"] += [" ".join(str(warning.message).split()) for warning in caught]


def note(ready: Ready, atoms: Atoms, said: Evaluation) -> None:
    """Put into a row what the model says of a geometry of its molecule, and the geometry.

    Raises
    ------
    ValueError   the energy is not finite
    """
    point = Point(Frame(ready.frame.name, atoms), ready.state, all_results(said))
    if not np.isfinite(point.results["energy"]):
        raise ValueError("its energy is not a finite number")
    ready.row.update(numbers_of(point))
    ready.row[STRUCTURE] = to_extxyz(with_results(point))
