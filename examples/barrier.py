"""How hard it is to turn ethane about its C-C bond: the eclipsed saddle above the minimum."""

import numpy as np
from ase.build import molecule
from ase.optimize import BFGS

from polcalc import PolarizedCalculator

calculator = PolarizedCalculator(dtype="float64")
energies = {}
for name, turn in (("staggered", 0), ("eclipsed", 60)):
    atoms = molecule("C2H6", calculator=calculator)  # C-C along z, staggered
    upper = atoms.positions[:, 2] > atoms.positions[:, 2].mean()
    half = atoms[upper]
    half.rotate(turn, "z", center=(0, 0, 0))
    atoms.positions[upper] = half.positions
    BFGS(atoms, logfile=None).run(fmax=1e-3)  # which keeps the symmetry
    energies[name] = atoms.get_potential_energy()
    print(name, np.round(atoms.get_distance(0, 1), 3), "Å")
barrier = energies["eclipsed"] - energies["staggered"]
print(f"barrier {barrier * 23.06:.2f} kcal/mol (measured 2.9)")
