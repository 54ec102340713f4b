"""Conformers of molecules, one molecule after the other, its geometries in flight."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from md_runs.batch.rows import STRUCTURE, Ready, note, told
from md_runs.conformers.report import structures
from md_runs.conformers.search import Settings, search, starts
from md_runs.conformers.topology import of_smiles, of_structure
from md_runs.records.structures import set_state, to_extxyz
from md_runs.surfaces.flight import flight
from polcalc import PolarizedCalculator


def work(
    ready: Sequence[Ready], calculator: PolarizedCalculator, options: Mapping[str, Any]
) -> None:
    """Search conformers; ``options`` are the fields of `Settings`."""
    for each in ready:
        with told(each.row):
            _search(each, calculator, Settings(**options))


def _search(ready: Ready, calculator: PolarizedCalculator, settings: Settings) -> None:
    row, state = ready.row, ready.state
    if smiles := row["smiles"]:
        topology = of_smiles(smiles, settings.seed)
        set_state(topology.template, state.charge, state.multiplicity)
    else:
        topology = of_structure(ready.frame.atoms, state.charge, state.multiplicity)
    calculator.reset()
    frames = starts(topology, settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of geometries on the way
        found = search(topology, frames, flight(calculator), settings)
    if topology.n_open:
        row["warnings"].append(f"{topology.n_open} open stereocentres or double bonds were chosen")
    if left_out := found.left_out():
        row["warnings"].append(f"of {found.embedded} geometries {left_out}")
    if not found.kept:
        raise ValueError("no conformer was found")
    lowest = found.kept[0]
    note(ready, lowest.atoms, calculator.evaluate_many([lowest.atoms])[0])
    row |= {"conformers": len(found.kept), "weight_of_lowest": lowest.weight}
    placed = structures(found.kept, calculator, state, ready.frame.name)
    row[STRUCTURE] = "".join(map(to_extxyz, placed))
