"""Intensities of modes against ASE's finite differences, closed forms and whole spectra."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write
from ase.vibrations.infrared import Infrared
from ase.vibrations.placzek import PlaczekStatic
from ase.vibrations.raman import StaticRamanCalculator
from matplotlib.image import imread

from md_runs.spectra.intensities import (
    KM_PER_MOL,
    anisotropy_square,
    infrared_intensities,
    raman_activities,
)
from md_runs.spectra.lines import Lines, broadened
from md_runs.spectra.vibrational import INFRARED, RAMAN
from md_runs.surfaces.vibrations import Mode, analyse
from polcalc import PolarizedCalculator
from potentials.quantities import DEBYE, VOLUME_A3
from tests.polar import polar_model, write_polar_model
from tests.small import write_small_model
from tests.surfaces.test_vib import Sprung, polcalc

CHARGES = np.array([-0.8, 0.4, 0.4])  # e


class ChargedSprings(Sprung):
    """Springs whose atoms carry fixed charges, and a polarizability that follows the bonds."""

    implemented_properties: ClassVar = ["energy", "free_energy", "forces", "dipole"]

    def calculate(self, atoms: Any = None, *arguments: Any, **more: Any) -> None:
        super().calculate(atoms, *arguments, **more)
        self.results["dipole"] = CHARGES @ atoms.positions

    def polarizability(self, atoms: Atoms) -> np.ndarray:
        bonds = atoms.positions[1:] - atoms.positions[0]
        return np.asarray(0.1 * np.einsum("na,nb->ab", bonds, bonds))

    def get_derivative(self, atoms: Atoms, quantity: str) -> np.ndarray:
        if quantity == "dipole":
            return np.asarray(CHARGES[:, None, None] * np.eye(3))
        moved = np.zeros((3, 3, 3, 3))
        for atom, axis in np.ndindex(3, 3):
            for sign in (1, -1):
                other = atoms.copy()
                other.positions[atom, axis] += sign * 1e-4
                moved[atom, axis] += sign * self.polarizability(other) / 2e-4
        return moved


def springs() -> Atoms:
    atoms = molecule("H2O")
    atoms.rotate(33, (1, 2, 3))
    atoms.calc = ChargedSprings(atoms)
    return atoms


def test_the_unit_is_that_of_the_textbook() -> None:
    """42.2561 km/mol of one (D/Å)²/u; two charges ±q on a spring of reduced mass m: q²/m."""
    assert pytest.approx(42.2561, rel=1e-5) == KM_PER_MOL * DEBYE**2
    mode = Mode(0.1 + 0j, np.array([[1, 0, 0], [-2, 0, 0]]) / np.sqrt(6.0))  # masses 2 and 1 u
    derivative = np.array([0.5, -0.5])[:, None, None] * np.eye(3)
    reduced = 2.0 / 3.0
    assert infrared_intensities([mode], derivative) == pytest.approx(
        [974.8802 * 0.25 / reduced], rel=1e-5
    )


def test_infrared_intensities_are_those_of_finite_differences(tmp_path: Path) -> None:
    """Of frequencies, forces and dipoles that ASE takes at displaced atoms."""
    atoms = springs()
    modes = analyse(atoms, atoms.calc).modes
    mine = infrared_intensities(modes, atoms.calc.get_derivative(atoms, "dipole"))
    theirs = Infrared(atoms, name=str(tmp_path / "ir"), delta=1e-3)
    theirs.run()
    theirs.read()
    assert np.allclose(mine, 42.255 * theirs.intensities[-3:], rtol=1e-4)
    assert mine.min() > 1 and np.ptp(mine) > 1


def test_raman_activities_are_those_of_finite_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    atoms = springs()
    modes = analyse(atoms, atoms.calc).modes
    mine = raman_activities(modes, atoms.calc.get_derivative(atoms, "polarizability"))
    calc = atoms.calc
    StaticRamanCalculator(atoms, lambda: calc.polarizability, name="raman", delta=1e-3).run()
    theirs = PlaczekStatic(atoms, name="raman", delta=1e-3)
    assert np.allclose(mine.activity, theirs.get_absolute_intensities()[-3:], rtol=1e-3)
    assert mine.activity.min() > 0.01
    ratios = np.sort(mine.depolarization)  # two modes keep the symmetry, one breaks it
    assert ratios[2] == pytest.approx(0.75) and ratios[1] < 0.7


def test_anisotropy_is_that_of_the_textbook() -> None:
    tensor = np.random.default_rng(0).normal(size=(3, 3))
    tensor += tensor.T
    xx, yy, zz, xy, yz, zx = tensor[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]]
    expected = 0.5 * ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2)
    expected += 3 * (xy**2 + yz**2 + zx**2)
    assert anisotropy_square(tensor) == pytest.approx(expected)


def test_a_model_gives_what_finite_differences_of_it_give(tmp_path: Path) -> None:
    """Hessian, modes and dipole derivatives, all analytic, against ASE at displaced atoms."""
    atoms = molecule("CH3OH")
    atoms.calc = PolarizedCalculator(polar_model(), dtype="float64", engine="eager", device="cpu")
    theirs = Infrared(atoms, name=str(tmp_path / "ir"), delta=1e-3)
    theirs.run()
    theirs.read()
    energies, vectors = theirs.get_vibrations().get_energies_and_modes(all_atoms=True)
    modes = [Mode(complex(e), v) for e, v in zip(energies, vectors, strict=True)]
    mine = infrared_intensities(modes, atoms.calc.get_derivative(atoms, "dipole"))
    assert np.allclose(mine, 42.2561 * theirs.intensities, rtol=1e-3, atol=1e-3 * mine.max())


def test_raman_activities_of_a_model_are_those_of_finite_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the route of ase.vibrations, as documented."""
    monkeypatch.chdir(tmp_path)
    atoms = molecule("H2O")
    calc = atoms.calc = PolarizedCalculator(
        polar_model(), dtype="float64", engine="eager", device="cpu"
    )
    StaticRamanCalculator(atoms, lambda: calc.get_polarizability, name="raman", delta=1e-3).run()
    theirs = PlaczekStatic(atoms, name="raman", delta=1e-3)
    expected = theirs.get_absolute_intensities()
    energies, vectors = theirs.vibrations.get_vibrations().get_energies_and_modes(all_atoms=True)
    modes = [Mode(complex(e), v) for e, v in zip(energies, vectors, strict=True)]
    mine = raman_activities(modes, calc.get_derivative(atoms, "polarizability")).activity
    assert np.allclose(mine, expected, rtol=1e-3, atol=1e-4 * mine.max())


def test_a_broadened_spectrum_has_the_areas_of_its_lines() -> None:
    per_cm, areas = np.array([800.0, 3600.0]), np.array([10.0, 30.0])
    grid, heights = broadened(Lines("infrared", "", "", "km_per_mol", per_cm, areas))
    assert np.trapezoid(heights[grid < 2000], grid[grid < 2000]) == pytest.approx(10, rel=0.02)
    assert np.trapezoid(heights, grid) == pytest.approx(40, rel=0.03)
    assert grid[heights.argmax()] == 3600


def test_the_command_writes_spectra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_polar_model(tmp_path / "m.pt")
    write("methanol.xyz", molecule("CH3OH"))
    done = polcalc("vib methanol.xyz --model m.pt --infrared --raman --output out")
    assert done.exit_code == 0, done.output
    assert "dipole" in done.output and " D" in done.output
    assert "(km/mol)" in done.output and "Raman (Å⁴/u)" in done.output
    rows = list(csv.DictReader((tmp_path / "out/modes.csv").read_text().splitlines()))
    facts = json.loads((tmp_path / "out/vib.json").read_text())
    atoms = molecule("CH3OH")
    atoms.calc = PolarizedCalculator("m.pt", dtype="float64")
    size = float(np.linalg.norm(atoms.get_dipole_moment())) / DEBYE
    assert facts["dipole_D"] == pytest.approx(size, rel=1e-6)
    alpha = np.trace(atoms.calc.polarizability) / 3 * VOLUME_A3
    assert facts["polarizability_A3"] == pytest.approx(alpha, rel=1e-6)
    for kind in (INFRARED, RAMAN):
        listed = [float(row[kind.area]) for row in rows]
        assert np.allclose(listed, facts[kind.area], rtol=1e-5) and max(listed) > 0
        spectrum = np.genfromtxt(tmp_path / f"out/{kind.name}.csv", delimiter=",", names=True)
        real = np.array(listed)[[float(row["frequency_per_cm"]) > 0 for row in rows]]
        area = np.trapezoid(spectrum[f"{kind.area}_cm"], spectrum["wavenumber_per_cm"])
        assert area == pytest.approx(real.sum(), rel=0.15)  # tails of soft modes lie below zero
        assert imread(tmp_path / f"out/{kind.name}.png").shape[2] == 4


def test_a_model_without_a_dipole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    write("water.xyz", molecule("H2O"))
    done = polcalc("vib water.xyz --model m.pt --infrared --output out")
    assert done.exit_code == 2
    assert "`--infrared` must be asked of a model that predicts the dipole" in done.stderr
    assert not (tmp_path / "out").exists()
