"""Ammonium and a water far away: fragments that know their own charge alone add up."""

from ase.build import molecule

from md_runs.structures.smiles import build
from polcalc import PolarizedCalculator

ion, water = build("[NH4+]").frames[0], molecule("H2O")
ion.calc = PolarizedCalculator()
water.calc = PolarizedCalculator()
apart = ion.get_potential_energy() + water.get_potential_energy()

both = ion.copy() + water
both.positions[5:] += [30, 0, 0]
both.info.update(charge=1, multiplicity=1)
both.calc = PolarizedCalculator()
whole = both.get_potential_energy() - apart
both.calc = PolarizedCalculator(fragments=[{"atoms": [0, 1, 2, 3, 4], "charge": 1}])
fragments = both.get_potential_energy() - apart
print(f"from the sum of both: {whole:+.4f} eV as one system, {fragments:+.4f} eV as fragments")
