"""The lowest crossing of two surfaces.

Closed forms, a scan, and the surfaces of a built potential.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from ase import Atoms
from scipy.optimize import brentq

from md_runs.surfaces.crossing import Surfaces, find_crossings, split
from tests.small import Springs


def bowls(a: np.ndarray, b: np.ndarray, stiffness: tuple[float, float], offset: float):
    """Two isotropic harmonic surfaces of all Cartesian coordinates."""

    def surfaces(frames: Sequence[Atoms]) -> list[Surfaces]:
        found = []
        for atoms in frames:
            da, db = atoms.positions - a, atoms.positions - b
            energies = np.array(
                [stiffness[0] / 2 * (da**2).sum(), stiffness[1] / 2 * (db**2).sum() + offset]
            )
            found.append(Surfaces(energies, np.stack([-stiffness[0] * da, -stiffness[1] * db])))
        return found

    return surfaces


@pytest.mark.parametrize(
    ("stiffness", "offset"), [((8.0, 8.0), 0.0), ((8.0, 5.0), 0.3), ((6.0, 9.0), -0.2)]
)
def test_two_bowls(stiffness, offset):
    """The lowest crossing lies between the two minima, where a quadratic equation says.

    The start is turned and moved away from it.
    """
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 3))
    step = rng.normal(scale=0.25, size=(4, 3))
    length = np.linalg.norm(step)
    at = brentq(
        lambda t: (
            stiffness[0] / 2 * (t * length) ** 2
            - stiffness[1] / 2 * ((1 - t) * length) ** 2
            - offset
        ),
        0,
        1,
    )
    lowest = stiffness[0] / 2 * (at * length) ** 2
    start = Atoms("H4", a + rng.normal(scale=0.3, size=(4, 3)))
    [found] = find_crossings(
        [(start, start.copy())], bowls(a, a + step, stiffness, offset), 1e-4, 200
    )
    assert found.converged
    assert found.energies[0] == pytest.approx(lowest, abs=1e-3) and found.energies[
        1
    ] == pytest.approx(lowest, abs=1e-3)
    np.testing.assert_allclose(found.atoms.positions, a + at * step, atol=2e-3)


def bent(length: float, angle: float) -> Atoms:
    """A symmetric methylene (Å, degrees)."""
    half = np.radians(angle) / 2
    return Atoms(
        "CH2",
        [
            [0, 0, 0],
            [length * np.sin(half), 0, length * np.cos(half)],
            [-length * np.sin(half), 0, length * np.cos(half)],
        ],
    )


SINGLET, TRIPLET = bent(1.11, 102.0), bent(1.08, 134.0)


def methylene(frames: Sequence[Atoms]) -> list[Surfaces]:
    """Two sets of springs, at rest in a bent and in an open molecule, the bent one 0.4 eV above."""
    found = []
    for atoms in frames:
        results = []
        for rest, above in ((SINGLET, 0.4), (TRIPLET, 0.0)):
            springs = Springs(rest, strength=12.0)
            springs.calculate(atoms)
            results.append((springs.results["energy"] + above, springs.results["forces"]))
        found.append(Surfaces(np.array([e for e, _ in results]), np.stack([f for _, f in results])))
    return found


def scan(angles: np.ndarray) -> tuple[float, float, float]:
    """Lowest crossing on a line of angles: for each angle the length where the gap vanishes.

    Energy, length, angle.
    """
    best = (np.inf, 0.0, 0.0)
    for angle in angles:
        lengths = np.linspace(0.8, 1.6, 9)
        gaps = [at.gap for at in methylene([bent(length, angle) for length in lengths])]
        for n in np.nonzero(np.diff(np.sign(gaps)))[0]:
            length = brentq(
                lambda x, angle=angle: methylene([bent(x, angle)])[0].gap,
                lengths[n],
                lengths[n + 1],
                xtol=1e-6,
            )
            energy = float(methylene([bent(length, angle)])[0].energies[0])
            best = min(best, (energy, length, angle))
    return best


def test_methylene_of_springs_against_a_scan():
    rough = scan(np.arange(60.0, 150.0, 3.0))[2]
    energy, length, angle = scan(np.arange(rough - 3, rough + 3, 0.1))
    [found] = find_crossings([(SINGLET, TRIPLET)], methylene, 1e-3, 200)
    assert found.converged
    assert abs(found.energies[0] - found.energies[1]) < 1e-3
    assert found.energies.mean() == pytest.approx(energy, abs=1e-3)
    assert found.atoms.get_distance(0, 1) == pytest.approx(length, abs=2e-3)
    assert found.atoms.get_angle(1, 0, 2) == pytest.approx(angle, abs=0.3)
    assert found.energies.mean() > 0.4  # above both minima


def test_the_force_along_the_seam_has_no_part_across_it():
    rng = np.random.default_rng(1)
    found = Surfaces(np.array([-1.0, -1.3]), rng.normal(size=(2, 5, 3)))
    along, across = split(found)
    slope = found.forces[1] - found.forces[0]
    assert abs((along * slope).sum()) < 1e-12
    # a whole step of Newton's method
    assert found.gap + (slope * across).sum() == pytest.approx(0, abs=1e-12)


def test_surfaces_that_do_not_cross():
    [found] = find_crossings(
        [(SINGLET, SINGLET.copy())], lambda frames: [_apart(atoms) for atoms in frames], 1e-3, 20
    )
    assert not found.converged


def _apart(atoms: Atoms) -> Surfaces:
    [at] = methylene([atoms])
    return Surfaces(np.array([at.energies[0], at.energies[0] + 1]), np.stack([at.forces[0]] * 2))
