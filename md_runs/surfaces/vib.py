"""``polcalc vib``: compute normal modes, zero-point energy and thermochemistry of a structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from ase.constraints import FixAtoms
from ase.io.jsonio import encode

from md_runs import session
from md_runs.dynamics.constraints import constrain
from md_runs.electrons.moments import moments_of
from md_runs.errors import InputError, NotConverged
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded, to_json, write_figure
from md_runs.records.structures import set_state, write_structures
from md_runs.screen import errors, screen
from md_runs.session import ModelOptions
from md_runs.spectra.vibrational import (
    INFRARED,
    RAMAN,
    check_predicted,
    write_spectrum,
)
from md_runs.structures.rigid import MONATOMIC, Geometry, free_atoms, shape_of
from md_runs.structures.symmetry import find_symmetry
from md_runs.surfaces.relax import Relaxation, relax, remarks
from md_runs.surfaces.vib_report import (
    animate,
    facts_table,
    modes_csv,
    modes_table,
    plot_modes,
    with_vectors,
)
from md_runs.surfaces.vibrations import (
    Array,
    Gas,
    Vibrations,
    analyse,
    largest_force,
    thermochemistry,
)
from potentials.files import write_text
from potentials.shipped import DEFAULT

AT_REST_EV_PER_A = 0.01  # a larger force belongs to no minimum


def vib(
    structure: Path,
    model: str | None = None,
    frame: int | None = None,
    temperature_K: float = 298.15,
    pressure_bar: float = 1.0,
    symmetry_number: int | None = None,
    geometry: Geometry | Literal["auto"] = "auto",
    relax_first: bool = False,
    infrared: bool = False,
    raman: bool = False,
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
    VibrationsData) and vib.json; with ``infrared`` and ``raman`` also infrared and raman.csv and
    .png. A structure that is not at a minimum is announced, not refused.
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
    kinds = [kind for kind, wanted in ((INFRARED, infrared), (RAMAN, raman)) if wanted]
    check_predicted(calculator, kinds)
    atoms.calc = calculator
    session.evaluate_first(atoms)
    asked = {
        "temperature_K": temperature_K,
        "pressure_bar": pressure_bar,
        "symmetry_number": symmetry_number,
        "geometry": geometry,
        "fix_atoms": fix_atoms,
        "relax_first": relax_first,
        "infrared": infrared,
        "raman": raman,
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
        told = [*(remarks(relaxed) if relaxed else ()), *complaints(atoms, found, relaxed)]
        symmetry = find_symmetry(atoms)
        turns = symmetry_number or symmetry.symmetry_number
        gas = Gas(temperature_K, pressure_bar, turns, state.multiplicity)
        intensities = {
            name: column
            for kind in kinds
            for name, column in kind.columns(atoms, calculator, found.modes).items()
        }
        facts = summary(atoms, found, gas) | {
            **moments_of(atoms, state.charge),
            **{name: column.tolist() for name, column in intensities.items()},
            "point_group": symmetry.point_group if found.geometry else None,
            "warnings": told,
        }
        set_state(atoms, state.charge, state.multiplicity)
        title = f"{atoms.get_chemical_formula()}, {model or DEFAULT}"
        write(output, atoms, found, intensities, facts, title)
        for kind in kinds:
            write_spectrum(output, kind.lines(found.modes, intensities), title)
    screen.print(modes_table(found.modes, intensities))
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


def complaints(atoms: Atoms, found: Vibrations, relaxed: Relaxation | None = None) -> list[str]:
    """Say what keeps the structure, which was perhaps relaxed before, from being a minimum."""
    told = []
    fmax = largest_force(atoms)
    at_rest = fmax <= AT_REST_EV_PER_A
    if not at_rest:
        told.append(
            f"not at a minimum: the largest force is {fmax:.3g} eV/Å. Modes and thermochemistry"
            " mean little here"
            + (
                "; relax first (--relax-first, or polcalc relax)."
                if relaxed is None
                else f", though it was relaxed for {relaxed.steps[-1].step} steps."
            )
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


def write(
    output: Path,
    atoms: Atoms,
    found: Vibrations,
    intensities: Mapping[str, Array],
    facts: dict[str, Any],
    title: str,
) -> None:
    """Write every file of a result."""
    write_text(output / "vib.json", to_json(facts))
    write_text(output / "hessian.json", encode(found.data))
    write_text(output / "modes.csv", modes_csv(found.modes, intensities))
    write_structures(
        output / "modes.extxyz",
        [with_vectors(atoms, number, mode) for number, mode in enumerate(found.modes, start=1)],
    )
    write_figure(output / "spectrum.png", plot_modes(found.modes, title))
    animations = output / "animations"
    animations.mkdir(exist_ok=True)
    for number, mode in enumerate(found.modes, start=1):
        write_structures(animations / f"mode-{number:03d}.extxyz", animate(atoms, mode))
