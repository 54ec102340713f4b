"""Searches in flight: the same results as alone, in batches that stay full, failures apart."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from ase.build import molecule

from md_runs.surfaces.flight import Answer, alone, in_flight, one_by_one, together
from md_runs.surfaces.relax import relax, relaxing
from polcalc import PolarizedCalculator
from tests.small import Springs, write_small_model

NAMES = ("CH3CH2OH", "H2O", "CH3OH", "CH4", "C2H6", "NH3", "C6H6")
RESTS = {molecule(name).get_chemical_formula(): Springs(molecule(name)) for name in NAMES}


def rattled(name: str, seed: int = 0):
    atoms = molecule(name)
    atoms.rattle(0.1, seed=seed)
    return atoms


def springs(frames):
    return [
        answer
        for atoms in frames
        for answer in one_by_one(RESTS[atoms.get_chemical_formula()], [atoms])
    ]


def test_many_end_where_each_ends_alone_and_the_batch_stays_full():
    sizes = []

    def evaluate(frames):
        sizes.append(len({id(atoms) for atoms in frames}))
        return springs(frames)

    searches = (relaxing(rattled(name), saddles="ignore") for name in NAMES)
    landed = {one.number: one.result for one in in_flight(searches, evaluate, 3)}
    assert sorted(landed) == list(range(len(NAMES)))
    for number, name in enumerate(NAMES):
        atoms = rattled(name)
        atoms.calc = RESTS[atoms.get_chemical_formula()]
        result = relax(atoms, saddles="ignore")
        assert result.steps == landed[number].steps and result.converged
        np.testing.assert_array_equal(result.atoms.positions, landed[number].atoms.positions)
    assert max(sizes) == 3 and sizes == sorted(sizes, reverse=True)


def test_what_raises_ends_its_own_search():
    def evaluate(frames):
        if any(len(atoms) == 3 for atoms in frames):
            raise ValueError("no water")
        return springs(frames)

    searches = (relaxing(rattled(name), saddles="ignore") for name in NAMES)
    landed = {one.number: one for one in in_flight(searches, evaluate, 4)}
    assert sorted(landed) == list(range(len(NAMES)))
    assert [n for n, one in landed.items() if one.problem] == [NAMES.index("H2O")]
    assert str(landed[1].problem) == "no water"


def test_a_search_that_asks_nothing_makes_room():
    def silent():
        return 7
        yield

    landed = list(in_flight((silent() for _ in range(5)), springs, 2))
    assert [(one.number, one.result) for one in landed] == [(n, 7) for n in range(5)]


@pytest.mark.filterwarnings("ignore:The model never saw")
def test_batches_are_answered_like_single_structures(tmp_path):
    calculator = PolarizedCalculator(write_small_model(tmp_path / "m.pt"), dtype="float64")
    frames = [rattled(name) for name in ("CH3OH", "H2O")]
    pairs = zip(one_by_one(calculator, frames), together(calculator, frames), strict=True)
    for one, other in pairs:
        assert isinstance(one, Answer)
        assert one.energy_eV == pytest.approx(other.energy_eV, abs=1e-8)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-7)


def test_alone_needs_no_batch():
    atoms = rattled("CH4")
    result = alone(relaxing(atoms, saddles="ignore"), partial(one_by_one, RESTS["CH4"]))
    assert result.converged and result.energy_eV < 1e-4
