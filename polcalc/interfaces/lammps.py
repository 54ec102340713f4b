"""Let LAMMPS move what a potential computes: its fix ``external``, called from Python.

LAMMPS keeps its own thermostats, barostats, constraints and output, and may add force fields of its
own. One process alone: the potential sees all atoms.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from polcalc.calculator.calculator import PolarizedCalculator
from polcalc.engines.base import Floats

ENERGY_UNITS = {"metal": 1.0, "real": units.kcal / units.mol}  # eV; both have lengths in Å
VOIGT_OF_LAMMPS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


class Attached:
    """A potential at work in an instance of LAMMPS; `failure` tells why a run was stopped."""

    def __init__(self, instance: Any, name: str, atoms: Atoms, energy_unit: float) -> None:
        self.failure: Exception | None = None
        self._instance, self._name, self._atoms = instance, name, atoms
        self._energy_unit = energy_unit

    def __call__(
        self,
        caller: Any,
        step: int,
        n_local: int,
        tags: NDArray[Any],
        positions: Floats,
        forces: Floats,
    ) -> None:
        """Compute forces, as LAMMPS calls it at every step.

        LAMMPS goes on whatever is raised here: what cannot be computed is not a number, and the run
        is told to end.
        """
        try:
            self._compute(n_local, tags, positions, forces)
        except Exception as failure:
            self.failure = failure
            forces[:] = np.nan
            self._instance.force_timeout()
            print(f"polcalc: {failure}", file=sys.stderr)

    def _compute(self, n_local: int, tags: NDArray[Any], positions: Floats, forces: Floats) -> None:
        atoms, order = self._atoms, np.asarray(tags).ravel()[:n_local] - 1
        if n_local != len(atoms):
            raise ValueError(f"LAMMPS must run in one process; it has {n_local} atoms here.")
        if atoms.pbc.any():
            atoms.cell[:] = cell_of(self._instance)
        atoms.positions[order] = positions
        energy = atoms.get_potential_energy() / self._energy_unit
        forces[:] = atoms.get_forces()[order] / self._energy_unit
        self._instance.fix_external_set_energy_global(self._name, energy)
        if atoms.pbc.any():
            virial = -atoms.get_volume() * atoms.get_stress(voigt=False) / self._energy_unit
            voigt = [float(virial[i, j]) for i, j in VOIGT_OF_LAMMPS]
            self._instance.fix_external_set_virial_global(self._name, voigt)


def attach(
    instance: Any, atoms: Atoms, calculator: PolarizedCalculator, name: str = "polcalc"
) -> Attached:
    """Add the potential to an instance of LAMMPS whose box and atoms are made.

    Parameters
    ----------
    instance : lammps.lammps
    atoms : Atoms   elements and state; atom i has the ID i + 1 in LAMMPS
    name : str      of the fix

    Raises
    ------
    ValueError      units other than metal or real, another number of atoms, other boundaries, what
                    the calculator refuses of these atoms
    """
    style = instance.extract_global("units")
    if style not in ENERGY_UNITS:
        raise ValueError(
            f"`units` of LAMMPS must be {' or '.join(ENERGY_UNITS)}; got {style}. Change them."
        )
    if instance.get_natoms() != len(atoms):
        raise ValueError(
            f"LAMMPS must have {len(atoms)} atoms, as the structure; it has"
            f" {instance.get_natoms()}. Give both the same."
        )
    periodic = [bool(along) for along in instance.extract_box()[5]]
    if periodic != atoms.pbc.tolist():
        raise ValueError(
            f"`boundary` of LAMMPS must be periodic as atoms.pbc, {atoms.pbc.tolist()}; it is"
            f" {periodic}. Change one of them."
        )
    calculator.check(atoms)
    copied = atoms.copy()
    copied.calc = calculator
    attached = Attached(instance, name, copied, ENERGY_UNITS[style])
    instance.command(f"fix {name} all external pf/callback 1 1")
    instance.command(f"fix_modify {name} energy yes virial yes")
    instance.set_fix_external_callback(name, attached, None)
    return attached


def cell_of(instance: Any) -> Floats:
    """Return the box of LAMMPS in Å, (3, 3), rows are lattice vectors."""
    low, high, xy, yz, xz = instance.extract_box()[:5]
    cell = np.diag(np.subtract(high, low))
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    return cell
