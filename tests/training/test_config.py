"""A configuration says everything or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from potentials.build import build
from potentials.training import override, read_config
from potentials.training.config import from_dict
from potentials.training.preparation import _complete
from tests.training import toy

TRAINED = Path(__file__).resolve().parents[2] / "potentials" / "trained"
SHIPPED = sorted(TRAINED.glob("*/recipe/*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(TRAINED)))
def test_shipped_configurations_describe_potentials(path):
    config = read_config(path)
    elements = {1: -13.0, 6: -1000.0, 8: -2000.0}
    constants = {"state_energies": {"energies_eV": [[1, 2, 10.0]]}}
    build(_complete(config.potential, 1.0, elements, constants, toy.waters(2)))


def test_every_shipped_model_has_a_recipe_of_its_name():
    names = {path.parents[1].name: set() for path in SHIPPED}
    for path in SHIPPED:
        names[path.parents[1].name].add(read_config(path).name)
    assert set(names) == {path.parent.name for path in TRAINED.glob("*/model.pt")}
    assert all(model in found for model, found in names.items())


def test_plain_values_and_back():
    config = toy.config(optimizer={"name": "soap", "options": {"refresh_every": 4}})
    assert from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sedd": 1}, "sedd"),
        ({"training": {"batchsize": 4}}, "training.*batchsize"),
        ({"training": {"batch_size": "four"}}, "training.batch_size.*int.*'four'"),
        ({"training": {"batch_size": 0}}, "batch_size.*at least 1"),
        ({"training": {"batch_size": True}}, "batch_size.*int.*True"),
        ({"training": {"ema_decay": 1.0}}, "ema_decay"),
        ({"training": {"dtype": "float16"}}, "float32, float64"),
        ({"schedule": {"max_epochs": None}}, "max_epochs or time_budget_min"),
        ({"schedule": {"time_budget_min": -1}}, "positive"),
        ({"loss": 3}, "loss.*table"),
    ],
)
def test_a_wrong_entry_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        toy.config(**changes)


def test_a_missing_entry_is_named():
    with pytest.raises(ValueError, match=r"`data` must have .*n_validation \(int or float\)"):
        from_dict({"name": "x", "data": {"train": "y", "n_train": 3}, "potential": {}})


def test_a_whole_number_is_a_number():
    assert toy.config(schedule={"time_budget_min": 5}).schedule.time_budget_min == 5.0


def test_a_length_in_the_shell_replaces_both_of_the_file():
    config = toy.config(schedule={"max_epochs": 7, "time_budget_min": 3.0})
    assert override(config, max_epochs=2).schedule.time_budget_min is None
    assert override(config, time_budget_min=1.0).schedule.max_epochs is None
    assert override(config, seed=5).schedule == config.schedule


@pytest.mark.parametrize("text", ["name = ", "name = 'x'\nname = 'y'"])
def test_not_toml(tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ValueError, match="TOML"):
        read_config(tmp_path / "c.toml")
