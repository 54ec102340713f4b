"""Normal modes and thermochemistry of molecules, each at its minimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from md_runs.batch.rows import STRUCTURE, Ready, told
from md_runs.batch.work.minima import note_minimum, relaxations
from md_runs.electrons.moments import moments_of
from md_runs.structures.symmetry import find_symmetry
from md_runs.surfaces.vib import complaints, summary
from md_runs.surfaces.vibrations import Gas, analyse
from polcalc import PolarizedCalculator


def work(
    ready: Sequence[Ready], calculator: PolarizedCalculator, options: Mapping[str, Any]
) -> None:
    """Relax molecules and find their modes.

    ``options`` holds those of the search under "search", and temperature_K and pressure_bar.
    """
    for landed in relaxations(ready, calculator, options["search"]):
        each = ready[landed.number]
        with told(each.row):
            result = note_minimum(each, landed, calculator)
            gas = options["temperature_K"], options["pressure_bar"]
            each.row.update(_modes(each, result.atoms, calculator, gas))
    for each in ready:
        if each.row["problem"]:
            each.row.pop(STRUCTURE, None)


def _modes(
    ready: Ready, atoms: Any, calculator: PolarizedCalculator, gas: tuple[float, float]
) -> dict[str, Any]:
    atoms.calc = calculator
    found = analyse(atoms, calculator)
    symmetry = find_symmetry(atoms)
    facts = summary(
        atoms, found, Gas(*gas, symmetry.symmetry_number, ready.state.multiplicity)
    ) | moments_of(atoms, ready.state.charge)
    ready.row["warnings"] += complaints(atoms, found)
    thermal = facts["thermochemistry"]
    kept = ("enthalpy_eV", "entropy_eV_per_K", "gibbs_energy_eV", "internal_energy_eV")
    return {
        "point_group": symmetry.point_group if found.geometry else "",
        "symmetry_number": symmetry.symmetry_number,
        "imaginary_modes": facts["n_imaginary"],
        "zero_point_energy_eV": facts["zero_point_energy_eV"],
        **{name: thermal[name] for name in kept if name in thermal},
        "temperature_K": gas[0],
        "pressure_bar": gas[1],
        "frequencies_per_cm": " ".join(f"{mode.per_cm:.2f}" for mode in found.modes),
    }
