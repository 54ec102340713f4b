"""A calculator says what its model cannot see, and where the training data end."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.card import joint_domain
from potentials.checkpoint import Card, load, save
from potentials.datasets.checks.pair_distances import longest_bonds_of_states
from potentials.datasets.frames import Frames, join, make_frames
from tests.datasets.structures import waters
from tests.small import SPEC


def told(tmp_path, card: Card, attributes: list[str], **state: Any) -> list[str]:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    spec = {**SPEC, "state_factor": {"attributes": attributes}}
    save(tmp_path / "m.pt", build(spec), card)
    water = molecule("H2O")
    water.calc = PolarizedCalculator(load(tmp_path / "m.pt"), dtype="float64", **state)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        water.get_potential_energy()
        water.rattle(0.001)
        water.get_potential_energy()
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(
    ("attributes", "charge", "alike"),
    [
        ([], 0, "+0/1, +0/3, +1/2"),
        ([], 1, "+0/1, +0/3, +1/2"),
        (["total_charge"], 0, "+0/1, +0/3"),
        (["total_charge"], 1, None),
        (["total_charge", "unpaired_electrons"], 0, None),
    ],
)
def test_states_that_the_model_takes_for_one(tmp_path, attributes, charge, alike) -> None:  # type: ignore[no-untyped-def]
    card = Card(elements=[1, 8], states=[[0, 1, 9], [1, 2, 9], [0, 3, 9]])
    messages = told(tmp_path, card, attributes, charge=charge)
    found = [message for message in messages if "gives the same energy" in message]
    assert len(found) == (alike is not None)
    assert alike is None or alike in found[0]


def test_bonds_that_are_longer_than_any_seen(tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    card = Card(elements=[1, 8], states=[[0, 1, 9]], longest_bonds_A={"H-H": 1.0, "H-O": 1.3})
    save(tmp_path / "m.pt", build(SPEC), card)
    calc = PolarizedCalculator(tmp_path / "m.pt", dtype="float64", charge=0, multiplicity=1)

    def said(atoms: Atoms) -> list[str]:
        calc.reset()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            calc.get_potential_energy(atoms)
        return [str(w.message) for w in caught if "nothing nearer" in str(w.message)]

    assert not said(Atoms("H2", [[0, 0, 0], [0, 0, 1.04]]))
    assert not said(molecule("H2O"))  # its hydrogens are nearer to oxygen than to each other
    assert not said(Atoms("H2", [[0, 0, 0], [0, 0, 6.0]]))  # two pieces
    (text,) = said(Atoms("H2", [[0, 0, 0], [0, 0, 1.6]]))
    assert "Atoms 0 and 1 (H-H) are 1.60 Å apart" in text and "reach 1.00 Å" in text


def test_a_charge_beside_elements_that_no_ion_of_it_had(tmp_path) -> None:  # type: ignore[no-untyped-def]
    card = Card(elements=[1, 8], states=[[0, 1, 9], [1, 2, 9]], elements_of_ions={"+1": [1]})
    said = "structures of charge +1 held H alone; here there is O, too"
    assert len([m for m in told(tmp_path, card, ["total_charge"], charge=1) if said in m]) == 1
    assert not [m for m in told(tmp_path, card, ["total_charge"], charge=0) if "held" in m]


def test_elements_of_ions_of_several_cards() -> None:
    neutral, cations = Card(states=[[0, 1, 3]]), Card(elements_of_ions={"+1": [1, 6]})
    anions, silent = Card(elements_of_ions={"-1": [8], "+1": [7]}), Card(states=[[1, 2, 4]])
    assert joint_domain([neutral, cations, anions])["elements_of_ions"] == {
        "+1": [1, 6, 7],
        "-1": [8],
    }
    assert joint_domain([cations, silent])["elements_of_ions"] == {}


def test_species_that_training_left_wrong(tmp_path) -> None:  # type: ignore[no-untyped-def]
    card = Card(elements=[1, 8], states=[[0, 1, 9]], training_errors=[["H2O", 0, 1, 0.8]])
    messages = told(tmp_path, card, ["total_charge"], charge=0)
    assert len([m for m in messages if "errs by 0.80 eV on average for H2O" in m]) == 1


def test_how_far_nearest_neighbours_were() -> None:
    frames = waters(30)
    found = longest_bonds_of_states(frames)
    lengths = [a.get_distances(0, [1, 2]).max() for a in frames]
    assert found == {"+0/1": {"H-O": pytest.approx(max(lengths))}}


def test_each_state_has_its_longest_bonds_and_two_atoms_have_theirs() -> None:
    def oxygens(distance: float, charge: int, multiplicity: int) -> Frames:
        positions = np.array([[0, 0, 0], [0, 0, distance]])
        state = {"total_charge": [charge], "multiplicity": [multiplicity]}
        return make_frames([2], [8, 8], positions, [0.0], forces=np.zeros((2, 3)), **state)

    ozone = make_frames(
        [3], [8, 8, 8], np.diag([0.0, 1.2, 1.3]), [0.0], forces=np.zeros((3, 3)), multiplicity=[3]
    )
    frames = join([oxygens(2.5, 0, 3), oxygens(1.3, 0, 3), oxygens(1.4, -1, 2), ozone])
    assert longest_bonds_of_states(frames) == {
        "+0/3": {"O-O": pytest.approx(1.3)},
        "+0/3 of two": {"O-O": pytest.approx(2.5)},
        "-1/2 of two": {"O-O": pytest.approx(1.4)},
    }


def test_bonds_are_too_long_for_their_state(tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    card = Card(
        elements=[1, 8],
        states=[[0, 1, 9], [0, 3, 9]],
        longest_bonds_A={"H-H": 3.0, "H-O": 3.0, "O-O": 3.0},
        longest_bonds_of_states_A={
            "+0/1": {"H-O": 1.3},
            "+0/1 of two": {"H-H": 3.0, "O-O": 3.0},
            "+0/3 of two": {"O-O": 1.4},
        },
    )
    save(tmp_path / "m.pt", build(SPEC), card)

    def said(atoms: Atoms, multiplicity: int) -> str:
        calc = PolarizedCalculator(tmp_path / "m.pt", dtype="float64", charge=0)
        calc.set(multiplicity=multiplicity)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            calc.get_potential_energy(atoms)
        return " ".join(str(w.message) for w in caught if "nothing nearer" in str(w.message))

    oxygens, hydrogens = Atoms("O2", [[0, 0, 0], [0, 0, 2]]), Atoms("H2", [[0, 0, 0], [0, 0, 2]])
    water = Atoms("OH2", [[0, 0, 0], [0, 0, 1], [1.8, 0, 0]])
    assert not said(oxygens, 1) and not said(hydrogens, 1)
    assert "reach 1.40 Å in structures of two atoms alone with charge +0 and multiplicity 3" in (
        said(oxygens, 3)
    )
    assert "not nearest neighbours in structures of two atoms alone with charge +0 and" in (
        said(hydrogens, 3)
    )
    assert "H-O) are 1.80 Å" in said(water, 1) and "with charge +0 and multiplicity 1" in (
        said(water, 1)
    )
    assert "H-O) are 1.80 Å" in (text := said(water, 3)) and "multiplicity" not in text


def test_longest_bonds_of_several_cards() -> None:
    one = Card(longest_bonds_of_states_A={"+0/1": {"H-O": 1.0}, "+0/3": {"O-O": 1.2}})
    other = Card(longest_bonds_of_states_A={"+0/1": {"C-O": 2.0, "H-O": 1.1}})
    assert joint_domain([one, other])["longest_bonds_of_states_A"] == {
        "+0/1": {"C-O": 2.0, "H-O": 1.1},
        "+0/3": {"O-O": 1.2},
    }
    assert joint_domain([one, Card()])["longest_bonds_of_states_A"] == {}
