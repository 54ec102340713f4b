"""Relaxations end where they should, and say so when they do not."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read

from md_runs.errors import InputError
from md_runs.surfaces.relax import OPTIMIZERS, check_relaxable, relax, relax_all
from tests.small import sprung


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_finds_the_minimum(optimizer):
    atoms = sprung()
    rest = atoms.get_all_distances()
    atoms.rattle(0.1, seed=2)
    result = relax(atoms, optimizer=optimizer, fmax_eV_per_A=1e-4)
    assert result.converged
    assert result.fmax_eV_per_A < 1e-4
    assert np.abs(atoms.get_all_distances() - rest).max() < 1e-3
    assert result.steps[0].energy_eV > result.energy_eV
    assert [s.step for s in result.steps] == list(range(len(result.steps)))
    assert result.steps[-1].fmax_eV_per_A == pytest.approx(
        np.linalg.norm(atoms.get_forces(), axis=1).max()
    )


def test_too_few_steps_do_not_converge():
    atoms = sprung()
    atoms.rattle(0.1, seed=2)
    result = relax(atoms, fmax_eV_per_A=1e-6, steps=2)
    assert not result.converged
    assert len(result.steps) == 3


def test_energies_that_are_not_finite_do_not_converge():
    atoms = sprung()
    atoms.calc.strength = np.nan
    assert not relax(atoms, steps=3).converged


def test_the_cell_relaxes_too():
    """EMT copper: its lattice constant is 3.59 Å."""
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.rattle(0.03, seed=1)
    atoms.calc = EMT()
    result = relax(atoms, cell=True, fmax_eV_per_A=1e-3)
    assert result.converged
    assert atoms.cell.lengths() == pytest.approx(3.59, abs=0.005)
    assert np.abs(atoms.get_stress()).max() < 1e-3


def test_what_cannot_be_relaxed():
    with pytest.raises(InputError, match="periodic in three directions"):
        check_relaxable(molecule("H2O"), 0.01, cell=True)
    with pytest.raises(InputError, match="must be positive"):
        check_relaxable(molecule("H2O"), 0.0, cell=False)


def test_many_frames_go_into_one_file_and_one_table(tmp_path):
    frames = [sprung(), sprung("H2O")]
    for atoms in frames:
        atoms.rattle(0.05, seed=1)
    results = relax_all(frames, tmp_path, fmax_eV_per_A=0.001)
    back = read(tmp_path / "relaxed.extxyz", ":")
    assert [str(a.symbols) for a in back] == [str(a.symbols) for a in frames]
    assert all(a.info["converged"] for a in back)
    assert back[1].get_potential_energy() == pytest.approx(results[1].energy_eV, abs=1e-7)
    rows = list(csv.DictReader((tmp_path / "relax.csv").read_text().splitlines()))
    assert len(rows) == sum(len(r.steps) for r in results)
    assert list(rows[0]) == ["frame", "step", "energy_eV", "fmax_eV_per_A"]
    assert float(rows[-1]["fmax_eV_per_A"]) < 0.001
