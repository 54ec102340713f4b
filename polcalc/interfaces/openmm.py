"""A force of OpenMM that a potential computes: of all particles of a system, or of some.

For a part of a larger system whose rest has a force field of its own use OpenMM-ML, which takes out
what the force field says within the part: ``MLPotential("ase")`` with the calculator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import openmm
from ase import Atoms, units
from openmm.unit import angstrom

from polcalc.calculator.calculator import PolarizedCalculator
from polcalc.engines.base import Floats

KILOJOULE_PER_MOL = units.kJ / units.mol  # eV
NANOMETRE = units.nm  # Å


class Computation:
    """Energy (kJ/mol) and forces (kJ/mol/nm) of a state of OpenMM.

    Parameters
    ----------
    atoms : Atoms   elements, charge, multiplicity and periodicity; copied
    """

    def __init__(self, atoms: Atoms, calculator: PolarizedCalculator) -> None:
        self.atoms = atoms.copy()
        self.atoms.calc = calculator

    def __call__(self, state: openmm.State) -> tuple[float, Floats]:
        """Compute energy and forces."""
        self.atoms.positions = state.getPositions(asNumpy=True).value_in_unit(angstrom)
        if self.atoms.pbc.any():
            self.atoms.cell[:] = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(angstrom)
        energy = self.atoms.get_potential_energy() / KILOJOULE_PER_MOL
        forces: Floats = self.atoms.get_forces() * NANOMETRE / KILOJOULE_PER_MOL
        return float(energy), forces


def make_force(
    atoms: Atoms, calculator: PolarizedCalculator, particles: Sequence[int] = ()
) -> openmm.PythonForce:
    """Make a force for a system of OpenMM.

    Parameters
    ----------
    atoms : Atoms          elements, state and periodicity of the particles, in their order
    particles : sequence   indices in the system; empty: all of them

    Raises
    ------
    ValueError             another number of particles than atoms; periodic along some vectors
                           alone; what the calculator refuses of these atoms
    """
    if particles and len(particles) != len(atoms):
        raise ValueError(
            f"`particles` must be {len(atoms)}, one for each atom; got {len(particles)}. Correct"
            " them."
        )
    if atoms.pbc.any() and not atoms.pbc.all():
        raise ValueError(
            f"`atoms` must be periodic along all lattice vectors or none; got {atoms.pbc.tolist()}."
            " Set atoms.pbc."
        )
    calculator.check(atoms)
    force = openmm.PythonForce(Computation(atoms, calculator))
    force.setUsesPeriodicBoundaryConditions(bool(atoms.pbc.any()))
    if particles:
        force.setParticles(list(particles))
    return force


def make_system(atoms: Atoms, calculator: PolarizedCalculator) -> openmm.System:
    """Make a system of the atoms and this force alone: their masses, and their box if periodic.

    Raises
    ------
    ValueError   as `make_force`
    """
    system: Any = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    if atoms.pbc.all():
        system.setDefaultPeriodicBoxVectors(*(atoms.cell.array / NANOMETRE))
    system.addForce(make_force(atoms, calculator))
    return system
