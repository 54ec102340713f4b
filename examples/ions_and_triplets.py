"""One geometry of formaldehyde, four questions: neutral, cation, anion, triplet."""

from ase.build import molecule

from polcalc import PolarizedCalculator

calculator = PolarizedCalculator()
energies = {}
for charge, multiplicity in ((0, 1), (1, 2), (-1, 2), (0, 3)):
    atoms = molecule("H2CO")
    atoms.info.update(charge=charge, multiplicity=multiplicity)
    atoms.calc = calculator
    energies[charge, multiplicity] = atoms.get_potential_energy()

neutral = energies[0, 1]
print(f"vertical ionisation energy {energies[1, 2] - neutral:6.2f} eV (measured 10.9)")
print(f"vertical electron affinity {neutral - energies[-1, 2]:6.2f} eV")
print(f"vertical triplet gap       {energies[0, 3] - neutral:6.2f} eV (measured 3.5)")
