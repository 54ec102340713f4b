"""``polcalc vib``: compute normal modes, zero-point energy and thermochemistry of a structure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.io.jsonio import encode
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from md_runs import session
from md_runs.dynamics.constraints import constrain
from md_runs.errors import InputError, NotConverged
from md_runs.records.figures import BLUE, GREY, LEGEND, ORANGE
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded, to_json, write_figure
from md_runs.records.structures import set_state, write_structures
from md_runs.screen import errors, screen
from md_runs.session import ModelOptions
from md_runs.structures.symmetry import find_symmetry
from md_runs.surfaces.relax import relax, remarks
from md_runs.surfaces.vibrations import (
    MONATOMIC,
    Gas,
    Geometry,
    Mode,
    Vibrations,
    analyse,
    free_atoms,
    largest_force,
    shape_of,
    thermochemistry,
)
from potentials.files import write_text
from potentials.shipped import DEFAULT

AT_REST_EV_PER_A = 0.01  # a larger force belongs to no minimum
SOFT_PER_CM = (
    100.0  # below it a mode is no harmonic vibration, and thermochemistry depends on it most
)
AMPLITUDE_A = 0.3  # of the atom that moves most in an animation
FRAMES = 24  # of an animation
WIDTH_PER_CM = 10.0  # of the lines in the density of modes
SHOWN = 30  # modes listed one by one at most


def vib(
    structure: Path,
    model: str | None = None,
    frame: int | None = None,
    temperature_K: float = 298.15,
    pressure_bar: float = 1.0,
    symmetry_number: int | None = None,
    geometry: Geometry | Literal["auto"] = "auto",
    relax_first: bool = False,
    fmax_eV_per_A: float = 0.0001,
    fix_atoms: str | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    partial_charges: str | None = None,
    fragments: Path | None = None,
    electric_field_V_per_A: tuple[float, float, float] | None = None,
    device: str = "auto",
    dtype: str = "float64",
    output: Path = Path("polcalc-vib"),
) -> None:
    """Find normal modes, zero-point energy and thermochemistry.

    Writes modes.csv, modes.extxyz (vectors), animations/, spectrum.png, hessian.json (for ASE's
    VibrationsData) and vib.json. A structure that is not at a minimum is announced, not refused.
    Fixed atoms of the structure file stay fixed, too.
    """
    charges, groups = (
        session.read_partial_charges(partial_charges),
        session.read_fragments(fragments),
    )
    chosen = ModelOptions(
        model,
        device,
        dtype,
        "auto",
        charge,
        multiplicity,
        charges,
        groups,
        electric_field_V_per_A,
    )
    check_positive(
        temperature_K=temperature_K, pressure_bar=pressure_bar, fmax_eV_per_A=fmax_eV_per_A
    )
    check_free(output)
    atoms = session.read_structure(structure, frame)
    shape = None if geometry == "auto" else geometry
    constrain(atoms, fix_atoms, None)
    check_structure(atoms, shape)
    calculator = session.make_calculator(chosen)
    atoms.calc = calculator
    session.evaluate_first(atoms)
    asked = {
        "temperature_K": temperature_K,
        "pressure_bar": pressure_bar,
        "symmetry_number": symmetry_number,
        "geometry": geometry,
        "fix_atoms": fix_atoms,
        "relax_first": relax_first,
        "fmax_eV_per_A": fmax_eV_per_A,
        "electric_field_V_per_A": electric_field_V_per_A,
    }
    manifest = make_manifest(
        "vib", asked, structures=[session.fingerprint(structure)], **session.describe(calculator)
    )
    state = calculator.state
    assert state is not None
    with recorded(output, manifest):
        screen.print(f"{atoms.get_chemical_formula()}, {state}")
        relaxed = relax(atoms, fmax_eV_per_A=fmax_eV_per_A) if relax_first else None
        found = analyse(atoms, calculator, shape)
        told = [*(remarks(relaxed) if relaxed else ()), *complaints(atoms, found)]
        symmetry = find_symmetry(atoms)
        turns = symmetry_number or symmetry.symmetry_number
        gas = Gas(temperature_K, pressure_bar, turns, state.multiplicity)
        facts = summary(atoms, found, gas) | {
            "point_group": symmetry.point_group if found.geometry else None,
            "warnings": told,
        }
        set_state(atoms, state.charge, state.multiplicity)
        write(output, atoms, found, facts, f"{atoms.get_chemical_formula()}, {model or DEFAULT}")
    screen.print(modes_table(found.modes))
    screen.print(facts_table(facts))
    for text in told:
        errors.print(f"warning: {text}")
    screen.print(f"Results in {output}")
    if relaxed and not relaxed.converged:
        raise NotConverged(
            f"the structure did not reach {fmax_eV_per_A} eV/Å; its modes are those of where it"
            " got to."
        )


def check_positive(**values: float) -> None:
    """Refuse options that are not above zero.

    Raises
    ------
    InputError
    """
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise InputError(
                f"`--{name.replace('_', '-')}` must be positive; got {value}. Correct it."
            )


def check_structure(atoms: Atoms, geometry: Geometry | None) -> None:
    """Refuse constraints that modes do not know, and a shape that the structure cannot have.

    Raises
    ------
    InputError
    """
    if not all(isinstance(constraint, FixAtoms) for constraint in atoms.constraints):
        raise InputError("`STRUCTURE` must hold no constraints but fixed atoms. Remove the others.")
    if not free_atoms(atoms):
        raise InputError(
            "`STRUCTURE` must hold an atom that is free to move; all are fixed. Release some."
        )
    if geometry is not None and shape_of(atoms) is None:
        raise InputError(
            "`--geometry` must be auto where the structure is periodic or has fixed atoms: nothing"
            " rotates. Drop it."
        )
    if geometry is not None and (geometry == MONATOMIC) != (len(atoms) == 1):
        raise InputError(
            f"`--geometry` must be monatomic for one atom, and only then; got {geometry} for"
            f" {len(atoms)} atoms. Drop it."
        )


def complaints(atoms: Atoms, found: Vibrations) -> list[str]:
    """Say what keeps the structure from being a minimum."""
    told = []
    fmax = largest_force(atoms)
    at_rest = fmax <= AT_REST_EV_PER_A
    if not at_rest:
        told.append(
            f"not at a minimum: the largest force is {fmax:.3g} eV/Å. Modes and thermochemistry"
            " mean little here; relax first (--relax-first, or polcalc relax)."
        )
    if found.imaginary:
        listed = ", ".join(f"{abs(mode.per_cm):.0f}i" for mode in found.imaginary)
        kind = (
            "a saddle point, not a minimum"
            if at_rest and len(found.imaginary) == 1
            else "not a minimum"
        )
        told.append(
            f"{kind}: imaginary modes at {listed} 1/cm. They are left out of zero-point energy and"
            " thermochemistry."
        )
    return told


def summary(atoms: Atoms, found: Vibrations, gas: Gas) -> dict[str, Any]:
    """Collect the numbers as plain values."""
    thermal = thermochemistry(atoms, found, gas)
    return {
        "potential_energy_eV": float(atoms.get_potential_energy()),
        "largest_force_eV_per_A": largest_force(atoms),
        "geometry": found.geometry,
        "n_rigid_motions": len(found.rigid_per_cm),
        "rigid_motions_per_cm": found.rigid_per_cm,
        "frequencies_per_cm": [mode.per_cm for mode in found.modes],
        "n_imaginary": len(found.imaginary),
        "zero_point_energy_eV": found.zero_point_energy_eV,
        "thermochemistry": asdict(gas) | thermal,
    }


def write(output: Path, atoms: Atoms, found: Vibrations, facts: dict[str, Any], title: str) -> None:
    """Write every file of a result."""
    write_text(output / "vib.json", to_json(facts))
    write_text(output / "hessian.json", encode(found.data))
    write_text(output / "modes.csv", modes_csv(found.modes))
    write_structures(
        output / "modes.extxyz",
        [with_vectors(atoms, number, mode) for number, mode in enumerate(found.modes, start=1)],
    )
    write_figure(output / "spectrum.png", plot_modes(found.modes, title))
    animations = output / "animations"
    animations.mkdir(exist_ok=True)
    for number, mode in enumerate(found.modes, start=1):
        write_structures(animations / f"mode-{number:03d}.extxyz", animate(atoms, mode))


def modes_csv(modes: Sequence[Mode]) -> str:
    """List the modes; an imaginary one is negative."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["mode", "frequency_per_cm", "energy_meV", "reduced_mass_u", "imaginary"])
    for number, mode in enumerate(modes, start=1):
        energy = 1000 * mode.per_cm * units.invcm
        writer.writerow(
            [
                number,
                f"{mode.per_cm:.4f}",
                f"{energy:.6f}",
                f"{mode.reduced_mass_u:.6f}",
                int(mode.energy.imag > 0),
            ]
        )
    return text.getvalue()


def with_vectors(atoms: Atoms, number: int, mode: Mode) -> Atoms:
    """Copy a structure with one mode as vectors, in Å for a mass-weighted amplitude of one."""
    frame: Atoms = atoms.copy()
    frame.info |= {"mode": number, "frequency_per_cm": mode.per_cm}
    frame.set_array("mode_vectors", mode.vectors)
    return frame


def animate(atoms: Atoms, mode: Mode) -> list[Atoms]:
    """Animate one period of a mode; the atom that moves most moves by the same in every mode."""
    step = mode.vectors * AMPLITUDE_A / np.linalg.norm(mode.vectors, axis=1).max()
    frames = []
    for phase in np.linspace(0, 2 * np.pi, FRAMES, endpoint=False):
        frames.append(atoms.copy())
        frames[-1].set_constraint()
        frames[-1].positions += np.sin(phase) * step
        frames[-1].info["frequency_per_cm"] = mode.per_cm
    return frames


def plot_modes(modes: Sequence[Mode], title: str) -> Figure:
    """Sticks of equal height and the density of modes.

    Without dipoles there are no infrared intensities.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", pad=14)
    places = np.array([mode.per_cm for mode in modes])
    for chosen, colour, name in (
        (places >= 0, BLUE, "modes"),
        (places < 0, ORANGE, "imaginary modes"),
    ):
        if chosen.any():
            axes.vlines(places[chosen], 0, 1, color=colour, lw=1.2, label=name)
    if len(modes):
        grid = np.arange(min(0.0, places.min() - 100), places.max() + 200, 1.0)
        density = np.sum(
            WIDTH_PER_CM**2 / ((grid[:, None] - places) ** 2 + WIDTH_PER_CM**2), axis=1
        )
        axes.plot(
            grid,
            density,
            color=GREY,
            lw=0.9,
            label=f"density of modes, half width {WIDTH_PER_CM:g} cm$^{{-1}}$",
        )
        axes.set_xlim(grid[0], grid[-1])
        axes.legend(**LEGEND)
    else:
        axes.text(0.5, 0.5, "no vibrations", ha="center", va="center", transform=axes.transAxes)
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("wave number (cm$^{-1}$); heights are no intensities, these would need dipoles")
    axes.set_ylabel("number of modes")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def modes_table(modes: Sequence[Mode]) -> Table:
    """List the modes for people."""
    table = Table(box=None, pad_edge=False)
    for name in ("mode", "1/cm", "meV", "reduced mass (u)"):
        table.add_column(name, justify="right")
    for number, mode in enumerate(modes[:SHOWN], start=1):
        size = f"{abs(mode.per_cm):.1f}" + ("i" if mode.energy.imag > 0 else "")
        table.add_row(
            str(number), size, f"{1000 * abs(mode.energy):.2f}", f"{mode.reduced_mass_u:.3f}"
        )
    if len(modes) > SHOWN:
        table.add_row("…", f"{len(modes) - SHOWN} more in modes.csv")
    return table


def facts_table(facts: dict[str, Any]) -> Table:
    """Lay out what is not a list."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    thermal = facts["thermochemistry"]
    rigid = ", ".join(f"{x:.1f}" for x in facts["rigid_motions_per_cm"])
    rows = {
        "potential energy": f"{facts['potential_energy_eV']:.6f} eV",
        "largest force": f"{facts['largest_force_eV_per_A']:.2g} eV/Å",
        "rigid motions": (
            f"{facts['n_rigid_motions']} projected out (before: {rigid} 1/cm)" if rigid else "none"
        ),
        "zero-point energy": f"{facts['zero_point_energy_eV']:.4f} eV",
        "thermochemistry": f"{thermal['model']}, {thermal['temperature_K']:g} K",
    }
    if facts["geometry"]:
        rows["thermochemistry"] += (
            f", {thermal['pressure_bar']:g} bar, {facts['geometry']}, point group"
            f" {facts['point_group']}, symmetry number {thermal['symmetry_number']}"
            f", electronic degeneracy {thermal['multiplicity']}"
        )
    for key, name in ENERGIES.items():
        if key in thermal:
            rows[name] = (
                f"{thermal[key]:.4f} eV ({thermal[key] - facts['potential_energy_eV']:+.4f} over"
                " the potential energy)"
            )
    entropy = thermal["entropy_eV_per_K"]
    rows["entropy S"] = (
        f"{1000 * entropy:.4f} meV/K ({1000 * entropy / units.kJ * units.mol:.1f} J/mol/K)"
    )
    soft = [f"{x:.0f}" for x in facts["frequencies_per_cm"] if 0 <= x < SOFT_PER_CM]
    if soft:
        rows["soft modes"] = (
            f"{', '.join(soft)} 1/cm: not harmonic, and the entropy depends on them most"
        )
    for name, text in rows.items():
        table.add_row(name, text)
    return table


ENERGIES = {
    "internal_energy_eV": "internal energy U",
    "enthalpy_eV": "enthalpy H",
    "helmholtz_energy_eV": "Helmholtz energy F",
    "gibbs_energy_eV": "Gibbs energy G",
}
