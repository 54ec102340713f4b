"""LAMMPS moves atoms by a potential: numbers of the calculator, pressure, a failure that stops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule

from polcalc import PolarizedCalculator
from polcalc.interfaces.lammps import attach
from tests.small import write_small_model

lammps = pytest.importorskip("lammps")
GPA_OF_BAR = 1e-4
ION = Atoms("OH", [[0, 0, 0.1], [0, 0.2, 1.07]], info={"charge": -1})


@pytest.fixture(scope="module")
def calculator(tmp_path_factory) -> PolarizedCalculator:
    path = write_small_model(tmp_path_factory.mktemp("model") / "m.pt")
    return PolarizedCalculator(path, dtype="float64")


@pytest.fixture
def instance() -> Iterator[Any]:
    try:
        opened = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
    except OSError as error:
        pytest.skip(f"LAMMPS does not load: {error}")
    yield opened
    opened.close()


def fill(instance: Any, atoms: Atoms, style: str = "metal") -> None:
    """Make the box and the atoms, each of its own type, in reverse order."""
    cell = atoms.cell.array if atoms.pbc.any() else np.eye(3) * 50
    low = 0.0 if atoms.pbc.any() else -25.0
    lx, ly, lz = np.diag(cell)
    tilt = f"{cell[1, 0]} {cell[2, 0]} {cell[2, 1]}"
    box = " ".join(f"{low} {low + length}" for length in (lx, ly, lz))
    numbers = sorted(set(atoms.numbers.tolist()))
    lines = [
        f"units {style}",
        f"boundary {'p p p' if atoms.pbc.any() else 'f f f'}",
        "atom_modify map array",
        f"region box prism {box} {tilt}",
        f"create_box {len(numbers)} box",
        *(
            f"create_atoms {numbers.index(z) + 1} single {x:.15f} {y:.15f} {w:.15f}"
            for z, (x, y, w) in zip(atoms.numbers, atoms.positions, strict=True)
        ),
        *(f"mass {i + 1} {Atoms([z]).get_masses()[0]}" for i, z in enumerate(numbers)),
        "pair_style zero 3.0",
        "pair_coeff * *",
        "fix move all nve",
        f"timestep {0.0005 if style == 'metal' else 0.5}",
    ]
    for line in lines:
        instance.command(line)


@pytest.mark.parametrize("style", ["metal", "real"])
def test_energy_and_forces_are_those_of_the_calculator(instance, calculator, style):
    fill(instance, ION, style)
    attach(instance, ION, calculator)
    instance.command("run 0")
    unit = 1.0 if style == "metal" else units.kcal / units.mol
    right = calculator.calculate_many([ION])[0]
    assert instance.get_thermo("pe") * unit == pytest.approx(right["energy"], abs=1e-8)
    tags = np.asarray(instance.numpy.extract_atom("id")) - 1
    assert np.allclose(instance.numpy.extract_atom("f") * unit, right["forces"][tags], atol=1e-8)


def test_a_sheared_crystal_has_its_pressure(instance, calculator):
    crystal = bulk("C", cubic=True)
    crystal.set_cell([[3.6, 0, 0], [0.2, 3.5, 0], [0.1, 0.3, 3.7]], scale_atoms=True)
    crystal.rattle(0.02, seed=1)
    crystal.wrap()
    fill(instance, crystal)
    attach(instance, crystal, calculator)
    instance.command("run 0")
    stress = calculator.calculate_many([crystal])[0]["stress"] / units.GPa
    names = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")
    told = np.array([instance.get_thermo(name) for name in names]) * GPA_OF_BAR
    assert np.abs(stress).max() > 0.1
    assert np.allclose(told, -stress, rtol=1e-5, atol=1e-4)


def test_a_molecule_keeps_its_energy(instance):
    atoms = molecule("CH3CH2OH")
    fill(instance, atoms)
    attach(instance, atoms, PolarizedCalculator("organic", dtype="float64", charge=0))
    instance.command("velocity all create 300 7 mom yes rot yes")
    energies = []
    for _ in range(20):
        instance.command("run 10")
        energies.append(instance.get_thermo("etotal"))
    assert np.std(energies) < 9 * 0.01 * 300 * units.kB
    assert np.ptp(np.asarray(instance.numpy.extract_atom("x"))) > 0


def test_what_fails_within_a_run_ends_it(instance, calculator, monkeypatch, capfd):
    fill(instance, ION)
    attached = attach(instance, ION, calculator)
    instance.command("run 2")

    def fail(*arguments: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(calculator, "calculate", fail)
    instance.command("run 1000")
    assert str(attached.failure) == "broken" and "polcalc: broken" in capfd.readouterr().err
    assert instance.extract_global("ntimestep") < 20


def test_what_does_not_fit_is_refused(instance, calculator):
    fill(instance, ION)
    with pytest.raises(ValueError, match="must have 3 atoms"):
        attach(instance, molecule("H2O"), calculator)
    periodic = ION.copy()
    periodic.set_cell(np.eye(3) * 50)
    periodic.pbc = True
    with pytest.raises(ValueError, match="`boundary`"):
        attach(instance, periodic, calculator)
    wrong = ION.copy()
    wrong.info["multiplicity"] = 2
    with pytest.raises(ValueError, match="`multiplicity`"):
        attach(instance, wrong, calculator)


def test_other_units_are_refused(instance, calculator):
    instance.command("units lj")
    with pytest.raises(ValueError, match="metal or real; got lj"):
        attach(instance, ION, calculator)
