"""Dipole and polarizability of a structure as chemists tell them."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from md_runs.records.structures import further_quantities
from potentials.quantities import DEBYE, VOLUME_A3


def dipole_of(atoms: Atoms, charge: float) -> NDArray[np.float64] | None:
    """Dipole about the centre of mass in e Å, (3,), after a calculation; None of other models."""
    dipole = further_quantities(atoms).get("dipole")
    return None if dipole is None else np.asarray(dipole - charge * atoms.get_center_of_mass())


def moments_of(atoms: Atoms, charge: float) -> dict[str, float]:
    """Size of the dipole in D and mean polarizability in Å^3, where the model has them.

    By the names of numbers in files. A periodic structure has neither.
    """
    if atoms.pbc.any():
        return {}
    dipole, tensor = dipole_of(atoms, charge), further_quantities(atoms).get("polarizability")
    moments = {} if dipole is None else {"dipole_D": float(np.linalg.norm(dipole)) / DEBYE}
    if tensor is not None:
        moments["polarizability_A3"] = VOLUME_A3 * float(np.trace(tensor)) / 3
    return moments
