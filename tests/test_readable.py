"""Results are read at a prompt: a line that fits a screen, a table in a notebook."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from md_runs.surfaces.band import Band
from md_runs.surfaces.crossing import Crossing
from md_runs.surfaces.levels import Levels, Refused
from md_runs.surfaces.relax import Relaxation, relax
from md_runs.surfaces.vibrations import analyse
from polcalc import PolarizedCalculator
from tests.small import write_small_model


def energetic(energy: float) -> Atoms:
    atoms = molecule("CH3OH")
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((6, 3)))
    return atoms


def relaxed() -> Relaxation:
    atoms = molecule("H2O")
    atoms.calc = EMT()
    return relax(atoms, fmax_eV_per_A=0.01)


LEVELS = Levels(
    molecule("CH2_s1A1d"),
    [(0, 1), (0, 3)],
    [Refused(2, None, "never seen")],
    {(0, 1): -80.77471, (0, 3): -81.02333},
)
BAND = Band([energetic(e) for e in (-3.0, -2.5, -2.9)], True, [], np.array([0, 0.0123, 0]))
CROSSING = Crossing(molecule("CH2_s1A1d"), np.array([-1.0, -1.0004]), True)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (LEVELS, ["CH2", "+0/1 -80.7747 eV", "+0/3 -81.0233 eV", "refused +2/any"]),
        (BAND, ["barrier 0.5000 eV", "end +0.1000 eV", "search converged", "0.0123 eV/Å"]),
        (CROSSING, ["CH2", "energy -1.0002 eV", "apart 0.0004 eV"]),
    ],
)
def test_a_line_and_a_table(result, words):
    line = repr(result)
    assert all(word in line for word in words), line
    assert len(line) < 160 and "\n" not in line and "array" not in line
    assert result._repr_html_().startswith("<table><tr><th>formula</th><td>")


def test_a_relaxation_says_where_it_ended():
    result = relaxed()
    assert repr(result).startswith("Relaxation(H2O, energy ") and "ended in a minimum" in str(
        result
    )
    assert repr(result.curvature).startswith("Curvature(") and "of a minimum" in repr(
        result.curvature
    )
    assert "before it converged" in repr(result._replace(converged=False))


def test_vibrations(tmp_path):
    calculator = PolarizedCalculator(write_small_model(tmp_path / "m.pt"), dtype="float64")
    found = analyse(molecule("H2O"), calculator)
    assert repr(found).startswith("Vibrations(H2O, modes 3, from ") and len(repr(found)) < 160
