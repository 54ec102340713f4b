"""Energies of molecules as they are, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from md_runs.batch.rows import Ready, note, told
from polcalc import PolarizedCalculator
from potentials.quantities import Evaluation


def work(
    ready: Sequence[Ready], calculator: PolarizedCalculator, options: Mapping[str, Any]
) -> None:
    """Evaluate molecules together; one by one where that fails."""
    together: list[Evaluation] = []
    if len(ready) > 1:
        with suppress(Exception):  # of one of them, which will say it again
            together = calculator.evaluate_many([each.frame.atoms for each in ready])
    for number, each in enumerate(ready):
        with told(each.row):
            atoms = each.frame.atoms
            note(
                each, atoms, together[number] if together else calculator.evaluate_many([atoms])[0]
            )
