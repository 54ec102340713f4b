"""What a calculator says of dipoles and fields, and what it refuses."""

from __future__ import annotations

import pickle
from io import StringIO
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces
from ase.io import read

from md_runs.records.structures import further_quantities, to_extxyz
from polcalc import PolarizedCalculator
from tests.polar import polar_model

FIELD = np.array([0.1, -0.2, 0.3])  # V/Å
STEP = 1e-4


def calculator(*without: str, **arguments: Any) -> PolarizedCalculator:
    return PolarizedCalculator(
        polar_model(*without), device="cpu", dtype="float64", engine="eager", **arguments
    )


def ethanol(**info: Any) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=3)
    atoms.translate((0.3, -0.7, 1.1))
    atoms.info.update(info)
    return atoms


def energy_in(field: np.ndarray, charge: int = 0) -> float:
    atoms = ethanol()
    atoms.calc = calculator(charge=charge, electric_field_V_per_A=field)
    return float(atoms.get_potential_energy())


@pytest.mark.parametrize("charge", [0, -1])
def test_the_energy_falls_with_the_dipole_and_the_polarizability(charge: int) -> None:
    """-dE/dF is the dipole in the field, -d²E/dF² the polarizability: central differences."""
    atoms = ethanol()
    atoms.calc = calculator(charge=charge, electric_field_V_per_A=FIELD)
    dipole, alpha = atoms.get_dipole_moment(), atoms.calc.polarizability
    axes = np.eye(3) * STEP
    slope = [(energy_in(FIELD + e, charge) - energy_in(FIELD - e, charge)) for e in axes]
    assert np.allclose(-np.array(slope) / (2 * STEP), dipole, atol=1e-7)
    still = ethanol()
    still.calc = calculator(charge=charge)
    assert np.allclose(dipole, still.get_dipole_moment() + alpha @ FIELD)
    assert np.allclose(alpha, still.calc.polarizability) and np.linalg.eigvalsh(alpha).min() > 0
    assert still.get_potential_energy() - atoms.get_potential_energy() == pytest.approx(
        still.get_dipole_moment() @ FIELD + 0.5 * FIELD @ alpha @ FIELD
    )


@pytest.mark.parametrize("without", [(), ("polarizability",)])
def test_forces_in_a_field_are_those_of_finite_differences(without: tuple[str, ...]) -> None:
    atoms = ethanol()
    calc = atoms.calc = calculator(*without, electric_field_V_per_A=FIELD)
    forces = atoms.get_forces()
    assert np.allclose(forces, calculate_numerical_forces(atoms, eps=STEP), atol=1e-6)
    calc.set(electric_field_V_per_A=None)
    assert not np.allclose(forces, calc.get_forces(atoms.copy()), atol=1e-3)


def test_an_ion_is_pulled_along_the_field() -> None:
    """The forces of a charge Q add up to Q·F."""
    atoms = ethanol(charge=-1)
    atoms.calc = calculator(electric_field_V_per_A=FIELD)
    assert np.allclose(atoms.get_forces().sum(0), -FIELD, atol=1e-9)
    proton = Atoms("H", [[1.0, 2.0, 3.0]], info={"charge": 1})
    proton.calc = calculator(electric_field_V_per_A=FIELD)
    assert np.allclose(proton.get_forces(), FIELD)


@pytest.mark.parametrize("charge", [0, -1])
def test_born_charges_are_derivatives_of_the_dipole_and_add_up(charge: int) -> None:
    atoms = ethanol(charge=charge)
    atoms.calc = calculator()
    assert "born_effective_charges" not in atoms.calc.results
    born = atoms.calc.get_property("born_effective_charges", atoms)
    assert born is not atoms.calc.results["born_effective_charges"]
    assert np.allclose(born, atoms.calc.results["born_effective_charges"])
    assert np.allclose(born.sum(0), charge * np.eye(3), atol=1e-9)
    moved = []
    for sign in (1, -1):
        other = atoms.copy()
        other.positions[2, 1] += sign * STEP
        other.calc = atoms.calc
        moved.append(other.get_dipole_moment())
    assert np.allclose((moved[0] - moved[1]) / (2 * STEP), born[2, :, 1], atol=1e-7)
    assert "born_effective_charges" not in atoms.calc.results  # of another structure


def test_a_derivative_of_the_polarizability() -> None:
    atoms = ethanol()
    atoms.calc = calculator()
    analytic = atoms.calc.get_derivative(atoms, "polarizability")
    assert analytic.shape == (9, 3, 3, 3)
    moved = []
    for sign in (1, -1):
        other = atoms.copy()
        other.positions[4, 0] += sign * STEP
        atoms.calc.calculate(other)
        moved.append(atoms.calc.polarizability)
    assert np.allclose((moved[0] - moved[1]) / (2 * STEP), analytic[4, 0], atol=1e-7)


def test_unpaired_electrons_are_magnetic_moments() -> None:
    atoms = ethanol(multiplicity=3)
    atoms.calc = calculator()
    assert atoms.get_magnetic_moments().sum() == pytest.approx(2.0)
    assert set(atoms.calc.quantities) >= {"unpaired_electrons", "polarizability", "dipole"}
    blind = ethanol()
    blind.calc = calculator("electrons", "polarizability", "split_charges", "shell_dipole")
    blind.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="of a model that predicts it"):
        _ = blind.calc.polarizability
    with pytest.raises(PropertyNotImplementedError, match="magmoms is not calculated"):
        blind.calc.get_property("magmoms", blind)


def test_what_a_model_does_not_predict_is_told_from_what_comes_later() -> None:
    atoms = ethanol()
    atoms.calc = calculator()
    with pytest.raises(PropertyNotImplementedError, match="known after a calculation"):
        _ = atoms.calc.polarizability
    atoms.calc = calculator("polarizability", "shells", "shell_dipole")
    atoms.get_potential_energy()
    for name in ("polarizability", "polarization_vectors", "virtual_points"):
        with pytest.raises(PropertyNotImplementedError, match=r"this one predicts .*charges"):
            getattr(atoms.calc, name)


def test_what_serves_other_parts_alone_is_not_written() -> None:
    """Excess charges are a number on the way to charges."""
    atoms = ethanol()
    atoms.calc = calculator()
    atoms.get_potential_energy()
    assert {"excess_charges", "unrounded_formal_charges"} <= atoms.calc.quantities.keys()
    written = read(StringIO(to_extxyz(atoms)), format="extxyz")
    assert "excess_charges" not in written.arrays and "shell_charges" in written.arrays
    said = further_quantities(atoms)
    assert "formal_charges" in said
    assert not {"excess_charges", "unrounded_formal_charges"} & said.keys()


def test_fields_of_the_structure_and_of_the_calculator() -> None:
    """The calculator's wins, a field of zero too; a change of either is noticed."""
    atoms = ethanol(electric_field_V_per_A=FIELD)
    atoms.calc = calculator()
    inside = atoms.get_potential_energy()
    assert inside == pytest.approx(energy_in(FIELD))
    atoms.calc.set(electric_field_V_per_A=(0, 0, 0))
    outside = atoms.get_potential_energy()
    assert outside == pytest.approx(energy_in(np.zeros(3))) and outside != inside
    twin = pickle.loads(pickle.dumps(atoms.calc))
    assert twin.parameters["electric_field_V_per_A"] == (0.0, 0.0, 0.0)
    atoms.calc.set(electric_field_V_per_A=None)
    atoms.info["electric_field_V_per_A"] = 2 * FIELD
    assert atoms.get_potential_energy() == pytest.approx(energy_in(2 * FIELD))


@pytest.mark.parametrize("name", ["external_field", "electric_field"])
def test_a_field_of_unknown_sign_is_refused(name: str) -> None:
    atoms = ethanol()
    atoms.calc = calculator()
    atoms.get_potential_energy()
    atoms.info[name] = [0, 0, 0.1]
    with pytest.raises(ValueError, match=f"`{name}` must be left out .* others as E \\+ μ·F"):
        atoms.get_potential_energy()


def test_fields_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="for a model that predicts no dipole"):
        calculator("shell_dipole", electric_field_V_per_A=FIELD)
    with pytest.raises(ValueError, match="three finite numbers in V/Å"):
        calculator(electric_field_V_per_A=(0, 0))
    with pytest.raises(ValueError, match="three finite numbers in V/Å"):
        calculator(electric_field_V_per_A=(0, 0, np.nan))
    atoms = ethanol()
    atoms.set_cell([9, 9, 9])
    atoms.pbc = True
    atoms.calc = calculator()
    atoms.get_potential_energy()
    atoms.calc.set(electric_field_V_per_A=FIELD)
    with pytest.raises(ValueError, match="for a periodic structure, whose dipole depends"):
        atoms.get_potential_energy()
