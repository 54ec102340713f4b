"""Vertical gaps: which structures belong together, and errors against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from potentials.datasets.gaps import gap_errors, geometry_key


def test_errors_of_gaps():
    """Two geometries with singlet and triplet, one singlet alone, an anion at one of them."""
    geometries, charges, multiplicities = (
        [b"a", b"a", b"b", b"b", b"c", b"a"],
        [0, 0, 0, 0, 0, -1],
        [1, 3, 3, 1, 1, 1],
    )
    reference = np.array([0.0, 0.5, -0.3, 0.0, 7.0, 9.0])  # gaps 0.5 and -0.3
    predicted = np.array([0.01, 0.5, -0.3, -0.03, 7.5, 0.0])  # gaps 0.49 and -0.27
    [found] = gap_errors(geometries, charges, multiplicities, reference, predicted)
    assert (found["charge"], found["multiplicities"], found["n_geometries"]) == (0, [1, 3], 2)
    assert found["gap_mae_meV"] == pytest.approx(20)
    assert found["gap_rmse_meV"] == pytest.approx(np.sqrt((10**2 + 30**2) / 2))
    assert found["gap_max_meV"] == pytest.approx(30)
    assert found["blind_floor_meV"] == pytest.approx(200)
    mean = np.array([0.25, 0.25, -0.15, -0.15])  # what a blind potential predicts at best
    assert np.abs(mean - reference[:4]).mean() * 1000 == pytest.approx(found["blind_floor_meV"])
    assert gap_errors([], [], [], np.zeros(0), np.zeros(0)) == []


def test_three_multiplicities_have_three_gaps():
    found = gap_errors([b"a"] * 3, [0] * 3, [1, 3, 5], np.array([0.0, 1, 3]), np.array([0.0, 1, 3]))
    assert [g["multiplicities"] for g in found] == [[1, 3], [1, 5], [3, 5]]


def test_geometries_are_told_apart():
    atoms = molecule("H2O")
    key = geometry_key(atoms.numbers, atoms.positions, atoms.cell.array)
    assert key == geometry_key(atoms.numbers.copy(), atoms.positions + 1e-8, atoms.cell.array)
    moved = atoms.positions.copy()
    moved[1, 2] += 1e-3
    assert key != geometry_key(atoms.numbers, moved, atoms.cell.array)
    assert key != geometry_key(atoms.numbers, atoms.positions, np.eye(3))
    assert key != geometry_key(np.array([1, 8, 1]), atoms.positions, atoms.cell.array)
