"""A force of OpenMM: the numbers of the calculator, an energy that stays, a part of a system."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule

from polcalc import PolarizedCalculator
from tests.small import write_small_model

openmm = pytest.importorskip("openmm", minversion="8.6")
from openmm import unit  # noqa: E402

from polcalc.interfaces.openmm import KILOJOULE_PER_MOL, make_force, make_system  # noqa: E402

HYDROXIDE = Atoms("OH", [[0, 0, 0.1], [0, 0.2, 1.07]], info={"charge": -1})


@pytest.fixture(scope="module")
def calculator(tmp_path_factory) -> PolarizedCalculator:
    path = write_small_model(tmp_path_factory.mktemp("model") / "m.pt")
    return PolarizedCalculator(path, dtype="float64")


def context_of(system, positions_A: np.ndarray, timestep_fs: float = 0.5):  # type: ignore[no-untyped-def]
    integrator = openmm.VerletIntegrator(timestep_fs * unit.femtosecond)
    platform = openmm.Platform.getPlatformByName("Reference")  # in double precision
    context = openmm.Context(system, integrator, platform)
    context.setPositions(positions_A / 10)
    return context


def results_of(context) -> tuple[float, np.ndarray]:  # type: ignore[no-untyped-def]
    """Energy in eV, forces in eV/Å."""
    state = context.getState(energy=True, forces=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom)
    return energy * KILOJOULE_PER_MOL, forces * KILOJOULE_PER_MOL


@pytest.mark.parametrize(
    "atoms",
    [HYDROXIDE, molecule("CH3CH2OH"), bulk("C", cubic=True)],
    ids=["ion", "open", "crystal"],
)
def test_energy_and_forces_are_those_of_the_calculator(calculator, atoms):
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=1)
    right = calculator.calculate_many([atoms])[0]
    energy, forces = results_of(context_of(make_system(atoms, calculator), atoms.positions))
    assert energy == pytest.approx(right["energy"], abs=1e-8)
    assert np.allclose(forces, right["forces"], atol=1e-8)


def test_a_part_of_a_system_is_moved_alone(calculator):
    system = openmm.System()
    for mass in (39.9, 1.0, 16.0):
        system.addParticle(mass)
    system.addForce(make_force(HYDROXIDE, calculator, [2, 1]))
    positions = np.array([[5.0, 5.0, 5.0], HYDROXIDE.positions[1], HYDROXIDE.positions[0]])
    _, forces = results_of(context_of(system, positions))
    right = calculator.calculate_many([HYDROXIDE])[0]["forces"]
    assert np.allclose(forces, [[0, 0, 0], right[1], right[0]], atol=1e-8)


def test_what_cannot_be_calculated_is_refused_before_it_runs(calculator):
    with pytest.raises(ValueError, match="`particles` must be 2"):
        make_force(HYDROXIDE, calculator, [0])
    with pytest.raises(ValueError, match="`multiplicity`"):
        make_system(Atoms("OH", [[0, 0, 0], [0, 0, 1]], info={"multiplicity": 1}), calculator)
    slab = bulk("C", cubic=True)
    slab.pbc = (True, True, False)
    with pytest.raises(ValueError, match="all lattice vectors or none"):
        make_force(slab, calculator)


def test_a_system_is_kept_in_xml(calculator):
    """With the model: OpenMM pickles the function."""
    text = openmm.XmlSerializer.serialize(make_system(HYDROXIDE, calculator))
    again = openmm.XmlSerializer.deserialize(text)
    right = calculator.calculate_many([HYDROXIDE])[0]["energy"]
    assert results_of(context_of(again, HYDROXIDE.positions))[0] == pytest.approx(right, abs=1e-8)


def total_energies(timestep_fs: float, time_fs: float) -> np.ndarray:
    """Total energy (eV) of ethanol at constant energy, from 300 K, every 5 fs.

    Velocities of OpenMM's leapfrog lie half a step behind; getState brings them to the positions.
    """
    atoms = molecule("CH3CH2OH")
    calculator = PolarizedCalculator("organic", dtype="float64", charge=0, multiplicity=1)
    context = context_of(make_system(atoms, calculator), atoms.positions, timestep_fs)
    context.setVelocitiesToTemperature(300, 1)
    energies = []
    for _ in range(round(time_fs / 5)):
        context.getIntegrator().step(round(5 / timestep_fs))
        state = context.getState(energy=True)
        total = state.getPotentialEnergy() + state.getKineticEnergy()
        energies.append(total.value_in_unit(unit.kilojoule_per_mole) * KILOJOULE_PER_MOL)
    return np.array(energies)


def test_a_molecule_in_vacuum_keeps_its_energy():
    """It wobbles by less than a hundredth of kT an atom, and by a quarter at half the step."""
    coarse, fine = (np.std(total_energies(step, 100)) for step in (0.5, 0.25))
    assert coarse < 9 * 0.01 * 300 * units.kB
    assert 0.1 < fine / coarse < 0.5


def test_openmm_ml_mixes_the_potential_with_a_force_field(calculator):
    """Through its door for ASE, without anything of ours: an ion beside an argon atom."""
    openmmml = pytest.importorskip("openmmml")
    topology = openmm.app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for symbol in ("O", "H", "Ar"):
        element = openmm.app.Element.getBySymbol(symbol)
        topology.addAtom(symbol, element, residue)
    field, nonbonded = openmm.System(), openmm.NonbondedForce()
    for mass, charge in ((16.0, -1.3), (1.0, 0.3), (39.9, 0.0)):
        field.addParticle(mass)
        nonbonded.addParticle(charge, 0.3, 0.5)
    field.addForce(nonbonded)
    mixed = openmmml.MLPotential("ase").createMixedSystem(
        topology, field, [0, 1], calculator=calculator, info={"charge": -1}
    )
    far = np.vstack([HYDROXIDE.positions, [0, 0, 1000]])
    energy, forces = results_of(context_of(mixed, far))
    right = calculator.calculate_many([HYDROXIDE])[0]
    assert energy == pytest.approx(right["energy"], abs=1e-6)
    assert np.allclose(forces[:2], right["forces"], atol=1e-6)
    near = np.vstack([HYDROXIDE.positions, [0, 0, 4]])
    distances = np.linalg.norm(near[2] - near[:2], axis=1)
    powers = (3.0 / distances) ** 6
    lennard_jones = 4 * 0.5 * np.sum(powers**2 - powers) * KILOJOULE_PER_MOL
    assert results_of(context_of(mixed, near))[0] - energy == pytest.approx(lennard_jones, abs=1e-6)
