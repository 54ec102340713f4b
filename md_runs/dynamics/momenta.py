"""Momenta at the start of a run, and how many degrees of freedom they move in.

A molecule that starts without drift and tumbling keeps so under energy-conserving dynamics and
under global thermostats; its temperature then belongs to 3N - 6 degrees of freedom, not 3N.
Counting all of them would heat ethanol at 300 K to 386 K. Every fixed bond takes one more away,
every fixed atom three; a structure with fixed atoms has no rigid motion of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.md.velocitydistribution import thermalize_momenta

from md_runs.dynamics.constraints import count_bonds, fixed_atoms
from md_runs.errors import InputError

Array = npt.NDArray[np.float64]

AT_REST_K = 1e-6  # a rigid motion colder than this, in K, is rounding


def start_thermal(
    atoms: Atoms, temperature_K: float, rng: np.random.Generator, settled: bool = True
) -> None:
    """Draw momenta at a temperature that obey constraints, without drift or (open space) tumbling.

    The rest is not rescaled: a Maxwell-Boltzmann sample without its rigid part is one of the
    remaining degrees of freedom.
    """
    thermalize_momenta(atoms, temperature_K, rng=rng)
    if settled:
        atoms.set_momenta(settled_momenta(atoms))


def settled_momenta(atoms: Atoms) -> Array:
    """Return the momenta (N, 3) without drift and, in open space, tumbling.

    With fixed atoms as they are.
    """
    if fixed_atoms(atoms).any():
        return np.asarray(atoms.get_momenta())
    rigid, root = _rigid_motions(atoms), np.sqrt(atoms.get_masses())[:, None]
    momenta = (atoms.get_momenta() / root).ravel()
    return np.asarray(atoms.get_momenta() - (rigid.T @ (rigid @ momenta)).reshape(-1, 3) * root)


def count_degrees_of_freedom(atoms: Atoms, rigid_moves: bool = False) -> int:
    """Count what can hold kinetic energy.

    ``rigid_moves`` says that noise sets drift and tumbling going; without it they stay zero if they
    are zero now.
    """
    fixed = fixed_atoms(atoms)
    free = 3 * int(np.sum(~fixed)) - count_bonds(atoms)
    if rigid_moves or fixed.any():
        return free
    rigid = _rigid_motions(atoms)  # (3 or 6, 3N)
    momenta = (atoms.get_momenta() / np.sqrt(atoms.get_masses())[:, None]).ravel()
    kinetic_K = (rigid @ momenta) ** 2 / units.kB
    return free - int(np.sum(kinetic_K < AT_REST_K))


def check_fixed_atoms_only(atoms: Atoms) -> None:
    """Refuse constraints other than fixed atoms.

    Raises
    ------
    InputError   there is one
    """
    if not all(isinstance(c, FixAtoms) for c in atoms.constraints):
        raise InputError("`STRUCTURE` must hold no constraints but fixed atoms. Remove the others.")


def kinetic_temperature(kinetic_energy: float, degrees_of_freedom: int) -> float:
    """Temperature in K of a kinetic energy in eV."""
    return 2 * kinetic_energy / (degrees_of_freedom * units.kB)


def _rigid_motions(atoms: Atoms) -> Array:
    """Return mass-weighted directions (3 to 6, 3N) of translation and, in open space, rotation.

    They are orthonormal.
    """
    root = np.sqrt(atoms.get_masses())[:, None]
    centred = atoms.get_positions() - atoms.get_center_of_mass()
    motions = [np.broadcast_to(axis, centred.shape) * root for axis in np.eye(3)]
    if not atoms.pbc.any():
        motions += [np.cross(axis, centred) * root for axis in np.eye(3)]
    _, sizes, directions = np.linalg.svd(
        np.array(motions).reshape(len(motions), -1), full_matrices=False
    )
    # a linear molecule has two rotations, an atom none
    return np.asarray(directions[sizes > 1e-6 * sizes[0]])
