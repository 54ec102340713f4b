"""References, explorations, processes that label, and which frames are chosen."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from md_runs.errors import InputError
from md_runs.learning.exploration import Exploration, exploration_of
from md_runs.learning.references import reference_of
from md_runs.learning.selection import most_different, rattled, sensible
from md_runs.learning.workers import labelled


def test_an_exploration_is_read_as_it_is_said():
    assert exploration_of("md 500 K, 20 ps") == Exploration(500.0, 20.0)
    said = exploration_of("md 300K, 1.5ps, 0.25 fs, bonds free")
    assert said == Exploration(300.0, 1.5, 0.25, "free")
    assert said.options(0, None).steps == 6000


@pytest.mark.parametrize("words", ["md 500", "mc 500 K", "md 0 K, 2 ps", "md 500 K; 2 ps"])
def test_other_words_are_refused(words):
    with pytest.raises(InputError, match="--explore"):
        exploration_of(words)


def test_any_calculator_of_ase_is_a_reference():
    atoms = molecule("H2O", info={"charge": 0, "multiplicity": 1})
    label = reference_of("ase:EMT")(atoms)
    assert label == (pytest.approx(label[0]), pytest.approx(label[1]))
    assert label.energy_eV == reference_of("ase:ase.calculators.emt.EMT")(atoms).energy_eV
    assert label.forces_eV_per_A.shape == (3, 3)


@pytest.mark.parametrize("name", ["mopac", "pyscf:b3lyp", "python:tests.learning.fakes:none"])
def test_an_unknown_reference_is_refused(name):
    with pytest.raises(ValueError, match="`reference` must"):
        reference_of(name)


def test_xtb_sees_charge_and_multiplicity():
    pytest.importorskip("tblite")
    energies = []
    for charge, multiplicity in ((0, 1), (1, 2), (0, 3)):
        atoms = molecule("H2O", info={"charge": charge, "multiplicity": multiplicity})
        energies.append(reference_of("xtb")(atoms).energy_eV)
    assert energies[1] - energies[0] > 8 and energies[2] - energies[0] > 4  # eV


def test_what_goes_wrong_costs_its_own_label():
    """Raising, taking too long, ending the process, no number: each has its reason."""
    asked = {}
    for n in range(6):
        atoms = molecule("H2O")
        atoms.positions[0, 0] = n if n < 5 else 0
        asked[n] = atoms
    found = dict(labelled(asked, "python:tests.learning.fakes:odd", 2, 1.0))
    assert found[0].energy_eV == found[5].energy_eV == 1.0
    assert found[1] == "no convergence" and found[2] == "it took longer than 1 s"
    assert found[3] == "its process ended by itself" and np.isnan(found[4].energy_eV)


def test_frames_that_differ_are_chosen_and_copies_are_not():
    near = molecule("H2O")
    turned, far = near.copy(), near.copy()
    turned.rotate(40, "x")
    turned = turned[[0, 2, 1]]
    far.positions[1, 2] += 0.3
    farther = far.copy()
    farther.positions[1, 2] += 0.5
    assert most_different([near, turned, far, farther], [near], 4) == [3, 2]
    assert len(most_different([near, turned], [], 2)) == 1
    assert most_different([], [], 3) == []


def test_rattled_copies_are_no_collapse():
    made = rattled(molecule("CH3CH2OH"), 5, np.random.default_rng(0))
    assert len(made) >= 8 and all(map(sensible, made))
    assert not sensible(Atoms("H2", [[0, 0, 0], [0, 0, 0.2]]))
