"""Two picoseconds of ethanol at constant energy by ASE: how well it is conserved."""

import numpy as np
from ase import units
from ase.build import molecule
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from polcalc import PolarizedCalculator

atoms = molecule("CH3CH2OH")
atoms.calc = PolarizedCalculator()
thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
run = VelocityVerlet(atoms, timestep=0.5 * units.fs)
energies = []
run.attach(lambda: energies.append(atoms.get_total_energy()), interval=10)
run.run(4000)
spread = 1000 * np.std(energies) / len(atoms)
print(f"total energy {np.mean(energies):.4f} eV, fluctuates by {spread:.3f} meV/atom")
