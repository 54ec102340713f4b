"""polcalc: potentials that know charge and spin, as ASE calculators."""

from polcalc.calculator.calculator import PolarizedCalculator

__all__ = ["PolarizedCalculator"]
