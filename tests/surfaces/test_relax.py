"""Relaxations end where they should, and say so when they do not."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from md_runs.errors import InputError, NotConverged
from md_runs.structures.bonds import changed_bonds
from md_runs.surfaces.curvature import lowest_curvature
from md_runs.surfaces.relax import (
    OPTIMIZERS,
    check_minima,
    check_relaxable,
    choose_optimizer,
    relax,
    remarks,
)
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


def test_every_step_is_told_as_it_is_made():
    atoms, told = sprung(), []
    atoms.rattle(0.1, seed=2)
    result = relax(atoms, fmax_eV_per_A=1e-4, watch=told.append)
    assert tuple(told) == result.steps


def test_energies_that_are_not_finite_do_not_converge():
    atoms = sprung()
    atoms.calc.strength = np.nan
    result = relax(atoms, steps=30)
    assert not result.converged and "not finite" in result.hopeless
    with pytest.raises(NotConverged, match="1 of 1 structures were given up, the first because"):
        check_minima([result], 0.01, 500, "leave")
    assert len(result.steps) == 1


class Bent(Calculator):
    """A molecule ABA that is bent: springs along its bonds, and its ends keep their distance."""

    implemented_properties: ClassVar = ["energy", "forces"]
    apart_A = 1.7

    def get_property(self, name, atoms=None, allow_calculation=True):
        x = atoms.positions
        forces, energy = np.zeros((3, 3)), 0.0
        for a, b, rest, strength in ((0, 1, 1.1, 30.0), (0, 2, 1.1, 30.0), (1, 2, 1.7, 3.0)):
            vector = x[b] - x[a]
            length = np.linalg.norm(vector)
            energy += 0.5 * strength * (length - rest) ** 2
            forces[a] += strength * (length - rest) * vector / length
            forces[b] -= strength * (length - rest) * vector / length
        return {"energy": energy, "free_energy": energy, "forces": forces}[name]


def linear():
    return Atoms("CH2", [[0, 0, 0], [0, 0, 1.0], [0, 0, -1.0]], calculator=Bent())


def test_a_straight_start_ends_in_the_bent_minimum():
    atoms = linear()
    result = relax(atoms, fmax_eV_per_A=1e-4)
    assert result.converged and not result.on_saddle
    angle = 2 * np.degrees(np.arcsin(0.85 / 1.1))  # both springs at rest
    assert atoms.get_angle(1, 0, 2) == pytest.approx(angle, abs=0.1)
    check_minima([result], 1e-4, 500, "leave")


def test_a_saddle_may_be_kept_and_is_named():
    atoms = linear()
    result = relax(atoms, fmax_eV_per_A=1e-4, saddles="keep")
    assert result.on_saddle and atoms.get_angle(1, 0, 2) == pytest.approx(180)
    [said] = remarks(result)
    assert "a saddle, no minimum" in said
    check_minima([result], 1e-4, 500, "keep")
    with pytest.raises(NotConverged, match="1 of 1 structures came to rest on a saddle"):
        check_minima([result], 1e-4, 500, "leave")


def test_the_lowest_curvature_is_that_of_the_hessian():
    atoms = linear()
    relax(atoms, fmax_eV_per_A=1e-8, saddles="keep")

    def forces(frames):
        return [Bent().get_property("forces", frame) for frame in frames]

    steps = 1e-4 * np.eye(9).reshape(9, 3, 3)
    moved = [[Atoms(atoms, positions=atoms.positions + s * d) for d in steps] for s in (1, -1)]
    hessian = (np.array(forces(moved[1])) - np.array(forces(moved[0]))).reshape(9, 9) / 2e-4
    found = lowest_curvature(atoms, forces)
    assert found.eV_per_A2 == pytest.approx(np.linalg.eigvalsh(hessian)[0], rel=5e-3)
    assert np.abs(found.direction[:, 2]).max() < 1e-3  # the bend goes off the line


def test_bonds_made_and_broken_are_named():
    before = Atoms("OHHOHH", [[0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 0, 0], [4, 0, 0], [3, 1, 0]])
    after = before.copy()
    assert not str(changed_bonds(before, after))
    after.positions[1, 0] = 2.0  # a proton goes over
    assert str(changed_bonds(before, after)) == "broken O0–H1; made H1–O3"
    after.positions[1, 0] = 1.25  # a stretched bond is not broken
    assert not str(changed_bonds(before, after))


def test_a_cell_that_nothing_holds_is_given_up_early():
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.calc = EMT()
    atoms.set_cell(atoms.cell * 0.55, scale_atoms=True)
    result = relax(atoms, cell=True, steps=500)
    assert not result.converged and len(result.steps) < 100
    assert "times its volume" in result.hopeless or "eV per atom" in result.hopeless


def test_the_optimizer_fits_the_number_of_atoms():
    assert choose_optimizer("auto", 20) == "bfgs"
    assert choose_optimizer("auto", 1536) == "lbfgs"
    with pytest.raises(InputError, match=r"\(3N\)²"):
        choose_optimizer("bfgs", 5184)


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
