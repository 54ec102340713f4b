"""Levels of theory: what is added by element and state is found, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.build import build
from potentials.finetuning.levels import fit_level, spec_on_level, to_level
from potentials.finetuning.rehearsal import labelled_by
from potentials.training.initial_weights import take_over
from tests.training import toy

SPEC = {
    **toy.SPEC,
    "terms": [
        {"name": "readout"},
        {"name": "reference_energies", "energies_eV": {"H": -1.0, "C": -2.0, "N": -3.0}},
        {"name": "state_energies", "energies_eV": [[1, 1, 4.0]]},
    ],
}
BY_ELEMENT = {1: 0.5, 6: -30.0, 7: 2.0, 8: -7.0}


def added(frames, by_element=BY_ELEMENT, to_cations=0.0):
    counts = np.add.reduceat(
        np.array([by_element[z] for z in frames.atomic_numbers]), frames.first[:-1]
    )
    return replace(frames, energy=frames.energy + counts + to_cations * frames.total_charge)


def test_a_model_on_the_level_of_labels_says_what_they_say():
    torch.manual_seed(0)
    base = build(SPEC)
    structures = toy.frames(
        [
            *toy.labelled("H2O", 2, 1),
            *toy.labelled("NH3", 2, 2),
            *toy.labelled("CH4", 2, 3),
            *toy.labelled("C2H4", 2, 3),
            *toy.labelled("CH3", 2, 3, charge=1),
        ]
    )
    said = labelled_by(base, structures)
    labels = added(said, to_cations=1.25)
    level = fit_level(labels, said.energy, {}, by_state=True)
    found = {"H": 0.5, "C": -30.0, "N": 2.0, "O": -7.0}
    assert level.per_element == pytest.approx(found) and level.per_state == {
        (1, 1): pytest.approx(1.25)
    }
    moved = build(spec_on_level(SPEC, level))
    take_over(moved, base)
    now = labelled_by(moved, structures)
    np.testing.assert_allclose(now.energy, labels.energy, atol=1e-5)
    np.testing.assert_allclose(now.forces, said.forces, atol=1e-6)
    np.testing.assert_allclose(to_level(said, level).energy, labels.energy, atol=1e-9)
    assert moved.spec["terms"][2]["energies_eV"] == [[1, 1, pytest.approx(5.25)]]


def test_free_atoms_decide_what_one_molecule_leaves_open():
    water = toy.waters(4)
    labels = added(water)
    atoms = {1: 0.5, 8: -7.0, 16: 3.0}
    level = fit_level(labels, water.energy, atoms, by_state=False)
    assert level.per_element == pytest.approx({"H": 0.5, "O": -7.0, "S": 3.0})
    # molecules have the last word, in all
    level = fit_level(labels, water.energy, {1: 1.0, 8: -7.0}, by_state=False)
    assert 2 * level.per_element["H"] + level.per_element["O"] == pytest.approx(-6.0)
    # half of what is needed is nothing
    alone = fit_level(labels, water.energy, {8: -7.0}, by_state=False)
    assert alone == fit_level(labels, water.energy, {}, by_state=False)


def test_a_spec_without_energies_of_elements_gets_them():
    spec = {"terms": [{"name": "readout"}]}
    level = fit_level(added(toy.waters(3)), toy.waters(3).energy, {1: 0.5, 8: -7.0}, by_state=False)
    terms = spec_on_level(spec, level)["terms"]
    assert terms[1]["energies_eV"] == pytest.approx({"H": 0.5, "O": -7.0})
    assert spec["terms"] == [{"name": "readout"}]
