"""Two hundred geometries in batches, and one after the other: the same numbers."""

import numpy as np
from ase.build import molecule

from polcalc import PolarizedCalculator

structures = []
for seed in range(200):
    atoms = molecule(("CH3CH2OH", "C6H6", "H2O")[seed % 3])
    atoms.rattle(0.05, seed=seed)
    structures.append(atoms)

calculator = PolarizedCalculator()
together = np.array([result["energy"] for result in calculator.calculate_many(structures)])
one_by_one = []
for atoms in structures:
    atoms.calc = calculator
    one_by_one.append(atoms.get_potential_energy())
print(f"largest difference {abs(together - one_by_one).max():.1e} eV")
