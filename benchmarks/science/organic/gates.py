"""What the default model must be: numbers of the report, with a goal and what they are at worst."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from benchmarks.science.organic.settings import KCAL_PER_MOL


class Gate(NamedTuple):
    """A number of the report and what it must be."""

    name: str
    where: tuple[str, ...]  # part and keys
    limit: float  # infinite where it is only reported
    goal: float
    unit: float = 1.0  # the number is divided by it
    at_least: bool = False


def _set(name: str, limit: float, goal: float) -> Gate:
    return Gate(f"{name}, kcal/mol", ("gscdb", name, "mae_kcal_per_mol"), limit, goal)


def _ions(name: str) -> Gate:
    key = "gscdb", name, "mae_kcal_per_mol"
    return Gate(f"{name}, eV", key, 0.5, 0.25, unit=1 / KCAL_PER_MOL)


def _faster(than: str, limit: float, goal: float) -> Gate:
    where = "faster", than
    return Gate(f"time of a step, {than} over ours", where, limit, goal, at_least=True)


COMPLEXES = (("S22", 1.0, 0.7), ("A24", 0.8, 0.6), ("HB49", 1.5, 0.9), ("X40", 1.2, 0.8))
CONFORMERS = (("ACONF", 0.4, 0.2), ("Pentane13", 0.7, 0.35), ("BHROT27", 1.5, 0.9))
ISOMERS = (("ISO34", 2.5, 1.0), ("TAUT15", 1.5, 0.8), ("ISOMERIZATION20", 7, 3))
REACTIONS = (("PA26", 7, 3.5), ("BH28", 12, 7), ("DBH22", 14, 8), ("WCPT26", 9, 4))
RADICALS = (("RSE43", 4, 2), ("BDE99nonMR", 14, 6))
GATES = [
    Gate("forces of new neutral molecules, meV/Å", ("labels", "forces_meV_per_A_neutral"), 32, 18),
    Gate("forces of new ions, meV/Å", ("labels", "forces_meV_per_A_ions"), 45, 25),
    Gate("energies of new molecules, meV/atom", ("labels", "energy_meV_per_atom_all"), 2, 0.8),
    Gate("forces of new open shells, meV/Å", ("open-shells", "forces_meV_per_A_open"), 120, 70),
    Gate("vertical gaps, eV", ("open-shells", "gap_mae_eV"), 0.25, 0.10),
    Gate("vertical ionisation, eV", ("open-shells", "ip_mae_eV"), 0.3, 0.12),
    Gate("vertical attachment, eV", ("open-shells", "ea_mae_eV"), 0.3, 0.12),
    *(_set(*x) for x in (*COMPLEXES, *CONFORMERS, *ISOMERS, *REACTIONS)),
    *(_ions(name) for name in ("IP23", "G21IP", "G21EA")),
    *(_set(*x) for x in RADICALS),
    Gate("development sets better than GFN2-xTB", ("better", "n_sets"), 18, 22, at_least=True),
    Gate("dipole, neutral, against the teacher, D", ("charges", "dipole_D_neutral"), 0.12, 0.06),
    Gate("dipole, neutral, against DFT, D", ("charges", "dft_dipole_D_neutral"), 0.12, 0.06),
    Gate("median RMSD of relaxed molecules, Å", ("relaxed", "median_rmsd_A"), 0.08, 0.03),
    Gate("of them converged, %", ("relaxed", "converged_percent"), 100, 100, at_least=True),
    Gate("stable at 300 K, %", ("stable", "percent_300K"), 97, 100, at_least=True),
    Gate("stable at 500 K, %", ("stable", "percent_500K"), 85, 95, at_least=True),
    Gate("water: density from 1 g/cm³", ("water", "density_off_g_per_cm3"), inf, 0.1),
    Gate("water: first O–O peak from 2.8 Å", ("water", "first_peak_off_A"), inf, 0.1),
    Gate("water: drift, meV/atom/ps", ("water", "drift_meV_per_atom_per_ps"), inf, 0.01),
    Gate("crystals: worst relaxed volume, %", ("crystals", "worst_percent"), inf, 5),
    _faster("GFN2-xTB", 8, 12),
    _faster("AIMNet2", 8, 15),
]


def number(numbers: Mapping[str, Any], gate: Gate) -> float | None:
    """Read the number of a gate from what was found of one contestant."""
    value: Any = numbers
    for key in gate.where:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None else float(value) / gate.unit


def verdict(value: float | None, gate: Gate) -> str:
    """Say whether a number is what it must be."""
    if value is None:
        return "not measured"
    sign = -1 if gate.at_least else 1
    if sign * value <= sign * gate.goal:
        return "goal"
    if gate.limit == inf:
        return "beyond the goal"
    if sign * value <= sign * gate.limit:
        return "within"
    return f"missed by {100 * abs(value / gate.limit - 1):.0f} %"
