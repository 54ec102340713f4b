"""Minima of molecules: relaxations in flight."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from md_runs.batch.rows import Ready, note, told
from md_runs.surfaces.flight import Landed, Search, flight, in_flight
from md_runs.surfaces.relax import Relaxation, relaxing, remarks
from polcalc import PolarizedCalculator


def work(
    ready: Sequence[Ready], calculator: PolarizedCalculator, options: Mapping[str, Any]
) -> None:
    """Relax molecules."""
    for landed in relaxations(ready, calculator, options):
        each = ready[landed.number]
        with told(each.row):
            note_minimum(each, landed, calculator)


def relaxations(
    ready: Sequence[Ready], calculator: PolarizedCalculator, options: Mapping[str, Any]
) -> Iterator[Landed[Relaxation]]:
    """Relax molecules in place, finished ones first; options are arguments of `relaxing`."""

    def searches() -> Iterator[Search[Relaxation]]:
        for each in ready:
            calculator.reset()
            yield relaxing(each.frame.atoms, **options)

    how = flight(calculator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of geometries on the way; that of the end is told
        yield from in_flight(searches(), how.evaluate, how.width)


def note_minimum(
    ready: Ready, landed: Landed[Relaxation], calculator: PolarizedCalculator
) -> Relaxation:
    """Put into a row where a relaxation ended.

    Raises
    ------
    Exception   what ended it
    """
    if landed.problem is not None:
        raise landed.problem
    result, row = landed.result, ready.row
    assert result is not None
    atoms = result.atoms
    calculator.check(atoms)  # which warns of the geometry at the end
    curvature = None if result.curvature is None else result.curvature.eV_per_A2
    steps = result.steps[-1].step
    atoms.info |= {"converged": result.converged, "relax_steps": steps}
    if curvature is not None:
        atoms.info["lowest_curvature_eV_per_A2"] = curvature
    note(ready, atoms, calculator.evaluate_many([atoms])[0])
    row["warnings"] += list(remarks(result))
    row |= {
        "energy_before_eV": result.steps[0].energy_eV,
        "steps": steps,
        "converged": result.converged,
        "on_saddle": result.on_saddle,
        "lowest_curvature_eV_per_A2": curvature,
    }
    return result
