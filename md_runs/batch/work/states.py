"""Electronic states of molecules: energies, gaps, ionisation energies and affinities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ase.calculators.singlepoint import SinglePointCalculator

from md_runs.batch.rows import STRUCTURE, Ready, told
from md_runs.records.structures import to_extxyz
from md_runs.surfaces import levels as lv
from md_runs.surfaces.states_report import refusal
from polcalc import PolarizedCalculator


def work(
    ready: Sequence[Ready], calculator: PolarizedCalculator, options: Mapping[str, Any]
) -> None:
    """Compare the states of molecules, one after the other, all states of one in a batch."""
    for each in ready:
        with told(each.row):
            _compare(each, calculator, **options)


def _compare(
    ready: Ready,
    calculator: PolarizedCalculator,
    charges: Sequence[int] | None,
    multiplicities: Sequence[int] | None,
    relax: bool,
    fmax_eV_per_A: float,
    steps: int,
) -> None:
    row = ready.row
    for name in ("charge", "charge_from", "multiplicity", "multiplicity_from"):
        row.pop(name)  # of the file, which is one of many here
    found = lv.choose(ready.frame.atoms, calculator.model.card, charges, multiplicities)
    row["warnings"] += [refusal(refused) for refused in found.refused]
    if not found.states:
        raise ValueError("no state that the model covers is left")
    lv.evaluate(calculator, [found])
    frames = [lv.in_state(found.atoms, *state) for state in found.states]
    for atoms, state in zip(frames, found.states, strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=found.energies_eV[state])
    if relax:
        lv.relax(calculator, [found], fmax_eV_per_A, steps)
        frames = [found.minima[state] for state in found.states]
        row["converged"] = all(found.converged.values())
        row["on_saddle"] = any(found.on_saddle(state) for state in found.states)
    row["states"] = len(found.states)
    for charge, multiplicity in found.states:
        state = charge, multiplicity
        name = f"charge{charge:+d}_multiplicity{multiplicity}"
        row[f"energy_{name}_eV"] = float(found.energies_eV[state])
        if relax:
            row[f"relaxed_energy_{name}_eV"] = found.relaxed_eV(state)
            if changes := str(found.bond_changes(state)):
                row["warnings"].append(f"{charge:+d}/{multiplicity}: bonds {changes}")
    for kind, differences in (("gap", found.gaps()), ("ionisation", found.ionisations())):
        for one in differences:
            name = f"{kind}_{_difference(one)}"
            row[f"vertical_{name}_eV"] = float(one["vertical_eV"])
            if one["adiabatic_eV"] is not None:
                row[f"adiabatic_{name}_eV"] = float(one["adiabatic_eV"])
    for atoms in frames:
        atoms.info["name"] = ready.frame.name
    row[STRUCTURE] = "".join(to_extxyz(atoms) for atoms in frames)


def _difference(one: Mapping[str, Any]) -> str:
    if "charge" in one:
        low, high = one["multiplicities"]
        return f"charge{one['charge']:+d}_multiplicity{low}_to_{high}"
    return f"charge{one['from'][0]:+d}_to_{one['to'][0]:+d}"
