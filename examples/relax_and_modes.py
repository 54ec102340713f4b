"""A minimum of water, its modes and zero-point energy, from the analytic Hessian."""

import numpy as np
from ase import units
from ase.build import molecule
from ase.optimize import BFGS

from polcalc import PolarizedCalculator

atoms = molecule("H2O")
atoms.calc = PolarizedCalculator(dtype="float64")
BFGS(atoms, logfile=None).run(fmax=1e-4)

mass = np.repeat(atoms.get_masses(), 3)  # u
hessian = atoms.calc.get_hessian(atoms).reshape(9, 9)  # eV/Å^2
squares = np.linalg.eigvalsh(hessian / np.sqrt(np.outer(mass, mass)))[-3:]
quanta = units._hbar * 1e10 / np.sqrt(units._e * units._amu) * np.sqrt(squares)  # eV
print("wave numbers", (quanta / units.invcm).round(0), "1/cm (measured, harmonic: 1649 3832 3943)")
print(f"zero-point energy {quanta.sum() / 2:.4f} eV")
