"""Normal modes: known frequencies, rigid motions, and structures that are no minimum."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io import read
from ase.io.jsonio import read_json
from ase.thermochemistry import IdealGasThermo
from ase.vibrations import VibrationsData
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.structures.rigid import shape_of
from md_runs.surfaces.relax import relax
from md_runs.surfaces.vib import complaints
from md_runs.surfaces.vib_report import animate
from md_runs.surfaces.vibrations import Gas, Vibrations, analyse, thermochemistry
from polcalc import PolarizedCalculator
from tests.small import Springs, sprung, write_small_model


class Sprung(Springs):
    """Springs that know their second derivatives: of ½ k (d - d0)² between every two atoms."""

    def get_hessian(self, atoms: Atoms, moving: list[int]) -> np.ndarray:
        n = len(atoms)
        hessian = np.zeros((n, 3, n, 3))
        for i in range(n):
            for j in range(n):
                if i == j:
                    continue
                vector = atoms.positions[j] - atoms.positions[i]
                d = float(np.linalg.norm(vector))
                along = np.outer(vector, vector) / d**2
                block = (
                    0.5 * self.strength * (along + (1 - self.rest[i, j] / d) * (np.eye(3) - along))
                )
                hessian[i, :, i] += 2 * block
                hessian[i, :, j] -= 2 * block
        return hessian[np.ix_(moving, range(3), moving, range(3))]


def modes_of(atoms: Atoms, **options: Any) -> Vibrations:
    atoms.calc = Sprung(atoms)
    return analyse(atoms, atoms.calc, **options)


def polcalc(command: str) -> Result:
    return CliRunner().invoke(app, command.split())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model") / "m.pt")


def test_a_spring_has_the_frequency_of_the_textbook() -> None:
    atoms = Atoms("CO", [[0, 0, 0], [0.3, 0.5, 1.0]])
    found = modes_of(atoms)
    mass = 12.011 * 15.999 / (12.011 + 15.999)
    omega = np.sqrt(5.0 * units._e / 1e-20 / (mass * units._amu))  # 1/s
    assert [mode.per_cm for mode in found.modes] == pytest.approx(
        [omega / (2 * np.pi * units._c * 100)], rel=1e-9
    )
    assert found.zero_point_energy_eV == pytest.approx(
        0.5 * units._hbar * omega / units._e, rel=1e-9
    )
    assert found.geometry == "linear"
    assert found.modes[0].reduced_mass_u == pytest.approx(
        mass * (12.011 + 15.999) ** 2 / (12.011**2 + 15.999**2), rel=1e-9
    )


@pytest.mark.parametrize(
    ("atoms", "n_rigid"),
    [
        (molecule("CH3CH2OH"), 6),
        (molecule("CO2"), 5),
        (Atoms("O"), 3),
        (bulk("Cu", cubic=True), 3),
        (Atoms("OH", [[0, 0, 0], [0.6, 0.6, 0.5]]), 5),
    ],
)
def test_rigid_motions_are_left_out(atoms: Atoms, n_rigid: int) -> None:
    found = modes_of(atoms.copy())
    assert len(found.rigid_per_cm) == n_rigid
    assert len(found.modes) == 3 * len(atoms) - n_rigid


@pytest.mark.parametrize(
    ("name", "fixed", "n_rigid"),
    [("CH3OH", [0], 3), ("CH3OH", [0, 1], 1), ("CH3OH", [0, 1, 2], 0), ("CO2", [0], 2)],
)
def test_fixed_atoms_leave_what_they_allow(name: str, fixed: list[int], n_rigid: int) -> None:
    """A molecule turns about one fixed atom, and about the axis through two."""
    atoms = molecule(name)
    atoms.set_constraint(FixAtoms(fixed))
    found = modes_of(atoms)
    assert found.geometry is None
    assert len(found.rigid_per_cm) == n_rigid
    assert len(found.modes) == 3 * (len(atoms) - len(fixed)) - n_rigid
    assert all(not mode.vectors[fixed].any() for mode in found.modes)
    if name == "CH3OH":  # springs do not hinder what keeps distances, and resist all else
        assert np.abs(found.rigid_per_cm).max(initial=0.0) < 1e-3
        assert min(mode.per_cm for mode in found.modes) > 50


def test_modes_away_from_rest_do_not_mix_with_turning() -> None:
    """Where forces act, rotations have a curvature of their own.

    What is left of a mode neither turns nor drifts.
    """
    atoms = molecule("CH3OH")
    atoms.calc = Sprung(atoms)
    atoms.rattle(0.1, seed=1)
    found = analyse(atoms, atoms.calc)
    assert np.abs(found.rigid_per_cm).max() > 10
    masses, centred = atoms.get_masses(), atoms.positions - atoms.get_center_of_mass()
    for mode in found.modes:
        assert np.abs(masses @ mode.vectors).max() < 1e-8
        assert np.abs(np.cross(centred, masses[:, None] * mode.vectors).sum(0)).max() < 1e-8
    assert "relax first (--relax-first" in complaints(atoms, found)[0]
    relaxed = relax(atoms, steps=0)  # what is on already is no advice
    assert "though it was relaxed for 0 steps" in complaints(atoms, found, relaxed)[0]


def test_nearly_linear_is_linear() -> None:
    atoms = molecule("CO2")
    atoms.positions[1, 0] += 0.005
    assert shape_of(atoms) == "linear"
    atoms.positions[1, 0] += 0.3
    assert shape_of(atoms) == "nonlinear"
    assert len(modes_of(atoms, geometry="linear").modes) == 4


def test_a_saddle_point_is_named() -> None:
    """Linear, but bent at rest: the two bending modes are imaginary."""
    atoms = molecule("CO2")
    atoms.calc = Sprung(atoms)
    atoms.calc.rest *= np.where(atoms.calc.rest > 2, 0.9, 1.05)
    relaxed = relax(atoms, fmax_eV_per_A=1e-6, saddles="keep")
    assert relaxed.converged
    found = analyse(atoms, atoms.calc)
    assert found.geometry == "linear"
    assert len(found.imaginary) == 2
    (told,) = complaints(atoms, found)
    assert "not a minimum: imaginary modes at" in told
    assert len(thermochemistry(atoms, found, Gas())) == 5


def test_thermochemistry_is_that_of_ase() -> None:
    """All 3N energies in, ASE selects the vibrations itself; a triplet has k ln 3 more entropy."""
    atoms = sprung("H2O", strength=30.0)
    atoms.calc = Sprung(atoms, 30.0)
    found = analyse(atoms, atoms.calc)
    gas = Gas(temperature_K=400.0, pressure_bar=2.0, symmetry_number=2)
    mine = thermochemistry(atoms, found, gas)
    energies = found.data.get_energies()
    ase = IdealGasThermo(
        energies,
        "nonlinear",
        potentialenergy=0.0,
        atoms=atoms,
        symmetrynumber=2,
        spin=0,
        ignore_imag_modes=True,
    )
    assert mine["gibbs_energy_eV"] == pytest.approx(
        ase.get_gibbs_energy(400.0, 2e5, verbose=False), abs=1e-7
    )
    triplet = thermochemistry(atoms, found, Gas(400.0, 2.0, 2, multiplicity=3))
    assert triplet["entropy_eV_per_K"] - mine["entropy_eV_per_K"] == pytest.approx(
        units.kB * np.log(3)
    )


def test_an_animation_goes_to_and_fro() -> None:
    atoms = molecule("CH3OH")
    found = modes_of(atoms)
    frames = animate(atoms, found.modes[-1])
    moved = np.array([frame.positions - atoms.positions for frame in frames])
    assert np.linalg.norm(moved, axis=2).max() == pytest.approx(0.3, rel=1e-6)
    assert np.abs(moved.sum(0)).max() < 1e-9


def test_the_shell(model: Path, tmp_path: Path) -> None:
    molecule("CH3OH").write(tmp_path / "m.xyz")
    result = polcalc(
        f"vib {tmp_path}/m.xyz --model {model} --temperature-K 300 --multiplicity 3 --output"
        f" {tmp_path}/out"
    )
    assert result.exit_code == 0, result.output
    assert "not at a minimum" in result.stderr
    facts = json.loads((tmp_path / "out/vib.json").read_text())
    assert facts["thermochemistry"]["multiplicity"] == 3
    assert len(facts["frequencies_per_cm"]) == 12
    rows = list(csv.DictReader((tmp_path / "out/modes.csv").read_text().splitlines()))
    assert [float(row["frequency_per_cm"]) for row in rows] == pytest.approx(
        facts["frequencies_per_cm"], abs=1e-3
    )
    assert (
        len(read(tmp_path / "out/modes.extxyz", ":"))
        == len(list((tmp_path / "out/animations").iterdir()))
        == 12
    )
    stored = read_json(tmp_path / "out/hessian.json")
    assert isinstance(stored, VibrationsData)
    assert (tmp_path / "out/spectrum.png").stat().st_size > 1000
    again = polcalc(f"vib {tmp_path}/m.xyz --model {model} --output {tmp_path}/out")
    assert (again.exit_code, len(again.stderr.splitlines())) == (2, 1)


def test_the_point_group_gives_the_symmetry_number(model: Path, tmp_path: Path) -> None:
    """Formaldehyde turns onto itself in two ways: R ln 2 = 5.76 J/mol/K less entropy."""
    molecule("H2CO").write(tmp_path / "m.xyz")
    facts = []
    for options in ("", "--symmetry-number 1"):
        output = tmp_path / f"out{len(facts)}"
        result = polcalc(f"vib {tmp_path}/m.xyz --model {model} --output {output} {options}")
        assert result.exit_code == 0 and "point group C2v" in result.stdout, result.output
        facts.append(json.loads((output / "vib.json").read_text()))
    assert [f["thermochemistry"]["symmetry_number"] for f in facts] == [2, 1]
    own, none = (f["thermochemistry"]["entropy_eV_per_K"] for f in facts)
    assert (none - own) / units.kJ * units.mol * 1000 == pytest.approx(5.763, abs=1e-3)


def test_relaxing_first_ends_at_rest(model: Path) -> None:
    """Of the untrained model one finds the modes of a minimum, fixed atoms where they were."""
    atoms = molecule("CH3OH")
    atoms.calc = PolarizedCalculator(model, dtype="float64")
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    assert relax(atoms, fmax_eV_per_A=1e-5).converged
    found = analyse(atoms, atoms.calc)
    assert not found.imaginary
    assert not complaints(atoms, found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--temperature-K 0", "temperature-K"),
        ("--pressure-bar -1", "pressure-bar"),
        ("--geometry monatomic", "monatomic for one atom"),
        ("--multiplicity 2", "multiplicity"),
        ("--fix-atoms 0-5", "all are fixed"),
        ("--fix-atoms 0 --geometry linear", "must be auto"),
    ],
)
def test_impossible_options_are_refused(
    model: Path, tmp_path: Path, options: str, message: str
) -> None:
    molecule("CH3OH").write(tmp_path / "m.xyz")
    result = polcalc(f"vib {tmp_path}/m.xyz --model {model} --output {tmp_path}/out {options}")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
