"""The open shells of the test are new, and their labels are whole."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rdkit", reason="needs RDKit")
from benchmarks.science.new_open_shells import FILE, LEARNT, new_species
from potentials.datasets import load_frames


def test_species_are_new_and_every_second_one_is_a_radical():
    learnt = load_frames(LEARNT)
    chosen = new_species(20)
    assert not {s.number for s in chosen} & set(learnt.group.tolist())
    assert [s.electrons % 2 for s in chosen] == 10 * [1, 0]
    assert all(len(s.states) > 1 for s in chosen)


def test_labels_are_of_several_states_at_one_geometry():
    frames, learnt = load_frames(FILE.stem), load_frames(LEARNT)
    assert not set(frames.group.tolist()) & set(learnt.group.tolist())
    for group in np.unique(frames.group):
        same = frames.select(np.flatnonzero(frames.group == group))
        assert len(same) > 1
        assert len({a.positions.tobytes() for a in same}) == 1
        states = list(zip(same.total_charge.tolist(), same.multiplicity.tolist(), strict=True))
        assert len(set(states)) == len(states)
    spin = (frames.multiplicity - 1) / 2
    assert np.abs(frames.spin_squared - spin * (spin + 1)).max() < 0.11
    assert (
        np.abs(
            np.add.reduceat(frames.partial_charges, frames.first[:-1]) - frames.total_charge
        ).max()
        < 1e-3
    )
    assert (frames.multiplicity > 1).sum() > len(frames) / 2
