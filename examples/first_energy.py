"""Energy, forces and state of a molecule, from ASE."""

from ase.build import molecule

from polcalc import PolarizedCalculator

atoms = molecule("CH3CH2OH")
atoms.calc = PolarizedCalculator()
print(f"energy {atoms.get_potential_energy():.4f} eV")
print(f"largest force component {abs(atoms.get_forces()).max():.3f} eV/Å")
print(atoms.calc.state)
print("it predicts", ", ".join(atoms.calc.quantities))
