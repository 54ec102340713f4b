"""What is drawn from one set: training, validation, and the rest as the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potentials.datasets.formats.hdf5 import write_hdf5
from potentials.datasets.splits import same_geometry
from potentials.training.config import Config, from_dict
from potentials.training.preparation import prepare
from tests.training import toy


def drawn_from(path: Path, **data: Any) -> Config:
    data = {"train": str(path), "n_train": 12, "n_validation": 4, "test": "rest", **data}
    return from_dict(
        {"name": "toy", "data": data, "potential": toy.SPEC, "schedule": {"max_epochs": 1}}
    )


def two_states(path: Path) -> Path:
    """Twelve geometries, each neutral and as a cation: 24 labels."""
    write_hdf5(
        path, toy.frames([*toy.labelled("H2O", 12, 0), *toy.labelled("H2O", 12, 0, charge=1)])
    )
    return path


def test_the_rest_is_the_test_and_states_of_a_geometry_stay_together(tmp_path):
    found = prepare(drawn_from(two_states(tmp_path / "waters.h5"), split="geometry"))
    assert found.test is not None
    parts = (found.train, found.validation, found.test)
    assert [len(part) for part in parts] == [12, 4, 8]
    assert [len(set(same_geometry(part))) for part in parts] == [6, 2, 4]
    assert len({energy for part in parts for energy in part.energy.tolist()}) == 24


def test_what_is_rehearsed_is_trained_on_but_neither_counted_nor_validated(tmp_path):
    path = two_states(tmp_path / "waters.h5")
    write_hdf5(
        tmp_path / "said.h5",
        toy.frames([*toy.labelled("H2O", 5, 1), *toy.labelled("H2O", 3, 2, charge=1)]),
    )
    plain, found = (
        prepare(drawn_from(path, **more)) for more in ({}, {"rehearsal": str(tmp_path / "said.h5")})
    )
    assert (plain.n_rehearsed, found.n_rehearsed) == (0, 8) and len(found.train) == len(
        plain.train
    ) + 8
    assert found.train.energy.tolist()[:12] == plain.train.energy.tolist()
    assert found.references == plain.references and found.scale == plain.scale
    assert found.validation.energy.tolist() == plain.validation.energy.tolist()
    of_cation = prepare(
        drawn_from(
            path,
            rehearsal=str(tmp_path / "said.h5"),
            states=[[1, 1]],
            n_train=16,
            split="geometry",
            test="",
        )
    )
    assert of_cation.n_rehearsed == 3 and set(of_cation.train.total_charge.tolist()) == {1.0}


def test_a_rest_of_nothing_is_refused(tmp_path):
    path = two_states(tmp_path / "waters.h5")
    with pytest.raises(
        ValueError, match=r"must leave structures of .*waters.h5 to test; got none left"
    ):
        prepare(drawn_from(path, n_train=20))
    assert prepare(drawn_from(path, n_train=20, test="")).test is None
