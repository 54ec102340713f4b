"""The runner of the experiments.

What a table means, that budgets are not mixed, that stopping leaves no trace, and floors and gaps.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.io import write

from benchmarks.measure import ROOT
from benchmarks.science import ablation
from benchmarks.science.comparison import check_budgets, measures, summarise, table
from benchmarks.science.degeneracy import blind_floor, gap_mae_meV
from benchmarks.science.experiment import from_table, merge, read_experiment
from potentials.build import ARCHITECTURES, build
from potentials.datasets import graphs, load_frames, make_frames, split
from potentials.datasets.splits import same_geometry
from potentials.potential import predict
from potentials.training.preparation import _complete
from tests.training import toy

EXPERIMENTS = ROOT / ablation.TABLES
TABLES = sorted(EXPERIMENTS.glob("*.toml"))
CHARGE = {"potential": {"embeddings": [{"name": "species"}, {"name": "total_charge"}]}}


def two_states(folder: Path, count: int = 12) -> Path:
    """Water at charge 0 and +1, both at every geometry, 1 eV apart."""
    path = folder / "waters.extxyz"
    write(path, [*toy.labelled("H2O", count, 0), *toy.labelled("H2O", count, 0, charge=1)])
    return path


def described(source: Path, **changes: Any) -> dict[str, Any]:
    """A table of four runs of seconds."""
    base: dict[str, Any] = {
        "title": "springs",
        "seeds": [0, 1],
        "columns": ["energy_mae_meV", "blind_energy_meV", "gap_mae_meV"],
        "budget": {"epochs": 3},
        "data": {
            "water": {
                "train": str(source),
                "n_train": 12,
                "n_validation": 4,
                "split": "geometry",
                "split_seed": 0,
            }
        },
        "common": {
            "potential": {k: v for k, v in toy.SPEC.items() if k != "state_factor"},
            "training": {
                "batch_size": 4,
                "checkpoint_every_min": 0.0,
                "validate_every_epochs": 1,
                "ema_decay": 0.9,
            },
            "schedule": {"warm_up_steps": 2},
            "optimizer": {"learning_rate": 0.01},
        },
        "comparison": {"tensornet": {"plugin": {"blind": {}, "charge": CHARGE}}},
    }
    return merge(base, changes)


def result(
    plugin: str, seed: int, energy: float, budget: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a run leaves, as far as the summary reads it."""
    state = {"charge": 0, "multiplicity": 3, "energy_mae_meV": 2 * energy}
    return {
        "comparison": "c",
        "data": "d",
        "plugin": plugin,
        "seed": seed,
        "budget": budget or {"epochs": 3, "n_train": 12, "batch_size": 4},
        "errors": {
            "test": {"energy_mae_meV": energy, "forces_mae_meV_per_A": None, "by_state": [state]}
        },
        "blind_floor": {"energy_meV": 500.0, "forces_meV_per_A": None},
        "gap_mae_meV": 7.0,
        "training": {"ms_per_step": 1.0, "n_parameters": 10},
        "history": [],
    }


def degenerate(energies: list[float], forces: list[float]) -> Any:
    """One H2 at two geometries, each with a singlet and a triplet."""
    positions = np.array(
        [
            [0, 0, 0],
            [0, 0, 0.7],
            [0, 0, 0],
            [0, 0, 0.7],
            [0, 0, 0],
            [0, 0, 1.0],
            [0, 0, 0],
            [0, 0, 1.0],
        ],
        dtype=float,
    )
    return make_frames(
        n_atoms=np.full(4, 2),
        atomic_numbers=np.ones(8),
        positions=positions,
        energy=np.array(energies),
        forces=np.repeat(forces, 6).reshape(8, 3),
        multiplicity=np.array([1, 3, 1, 3]),
    )


def test_a_table_is_the_product_of_its_parts(tmp_path):
    runs = from_table("t", described(tmp_path / "x", seeds=[0, 1, 2])).runs
    assert len({run.key for run in runs}) == len(runs) == 6
    # the first seed of everything comes first
    assert [run.plugin for run in runs[:2]] == ["blind", "charge"]
    blind, charge = runs[2:4]
    assert (
        charge.config.seed,
        charge.config.data.split_seed,
        charge.config.schedule.max_epochs,
    ) == (1, 0, 3)
    assert charge.config.potential == blind.config.potential | CHARGE["potential"]


def test_the_split_follows_the_seed_where_the_table_names_none(tmp_path):
    described_without = described(tmp_path / "x")
    del described_without["data"]["water"]["split_seed"]
    assert [run.config.data.split_seed for run in from_table("t", described_without).runs] == [
        0,
        0,
        1,
        1,
    ]


def test_tables_are_merged_in_depth_and_left_alone():
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merge(below, {"a": {"c": [3]}, "e": 2}) == {"a": {"b": 1, "c": [3]}, "d": 1, "e": 2}
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"seconds": 60}}, "one of epochs, steps, seconds"),  # beside the epochs
        ({"budget": {"epochs": 0}}, "positive"),
        ({"comparison": {"tensornet": {"budget": {"steps": 10}}}}, "whole epochs of 3 steps"),
        ({"colour": 1}, "got colour"),
        ({"data": {"water": {"split": "odd"}}}, "`split` must be one of group, geometry, label"),
        ({"data": {"a/b": {}}}, "rename it"),
        ({"common": {"trainnig": {}}}, "got trainnig"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        from_table("t", described(tmp_path / "x", **changes))


@pytest.mark.parametrize(
    ("budget", "schedule"),
    [({"steps": 9}, (3, None)), ({"seconds": 90}, (None, 1.5)), ({"epochs": 2}, (2, None))],
)
def test_a_comparison_may_have_its_own_budget(tmp_path, budget, schedule):
    [run, *_] = from_table(
        "t", described(tmp_path / "x", comparison={"tensornet": {"budget": budget}})
    ).runs
    assert (run.config.schedule.max_epochs, run.config.schedule.time_budget_min) == schedule


CONSTANTS = {"state_energies": {"energies_eV": [[0, 1, 0.5]]}}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_the_committed_tables_describe_potentials_that_can_be_built(path):
    experiment = read_experiment(path)
    assert experiment.runs and len({run.key for run in experiment.runs}) == len(experiment.runs)
    table("", [], experiment.columns)
    specs = {json.dumps(run.config.potential): run.config.potential for run in experiment.runs}
    missing = set() if find_spec("e3nn") else {"equiformer"}
    for spec in specs.values():
        if spec["architecture"]["name"] in set(ARCHITECTURES) - missing:
            build(_complete(spec, 1.0, {8: -2000.0}, CONSTANTS, toy.waters(2)))


def test_the_experiments_are_found():
    assert {"toy-charge-A", "toy-charge-B", "carbon-chain"} <= {path.stem for path in TABLES}


def test_runs_are_measured_and_summed_up(tmp_path, capsys):
    """The blind sits at half the gap of 1 eV, and no further; the other saw the charge."""
    (tmp_path / "t.toml").write_text(toml(described(two_states(tmp_path))))
    arguments = [
        str(tmp_path / "t.toml"),
        "--work",
        str(tmp_path / "work"),
        "--results",
        str(tmp_path / "results"),
    ]
    ablation.main([*arguments, "--only", "blind--seed0"])
    assert "3 of 4 runs are not there yet" in capsys.readouterr().out
    ablation.main([*arguments, "--only", "seed0"])
    table_of_runs = json.loads((tmp_path / "results" / "t.json").read_text())
    found = table_of_runs["runs"][0]
    assert (found["plugin"], found["seed"], len(table_of_runs["runs"])) == ("blind", 0, 2)
    assert found["blind_floor"] == {
        "over": "geometry",
        "energy_meV": pytest.approx(500),
        "forces_meV_per_A": pytest.approx(0),
    }
    assert found["errors"]["test"]["energy_mae_meV"] >= 499 and found[
        "gap_mae_meV"
    ] == pytest.approx(1000)
    assert found["errors"]["test"]["n_frames"] == 8 and found["training"]["steps"] == 9
    assert found["budget"] == {"epochs": 3, "n_train": 12, "batch_size": 4}
    rows = table_of_runs["rows"]
    assert [(row["plugin"], row["seeds"]) for row in rows] == [("blind", [0]), ("charge", [0])]
    assert abs(rows[1]["mean"]["gap_mae_meV"] - 1000) > 0.1
    assert (tmp_path / "results" / "t.png").stat().st_size > 1000
    assert str(tmp_path) not in (tmp_path / "results" / "t.md").read_text()


def test_a_finished_run_is_not_run_again(tmp_path, monkeypatch):
    experiment = from_table("t", described(two_states(tmp_path)))
    first = ablation.run_one(
        experiment, experiment.runs[0], tmp_path / "work", tmp_path / "results"
    )
    monkeypatch.setattr(ablation, "Training", None)
    assert ablation.run_one(
        experiment, experiment.runs[0], tmp_path / "work", tmp_path / "results"
    ) == json.loads(json.dumps(first))


class Stop(Exception):
    """A plug that is pulled."""


def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    experiment = from_table("t", described(two_states(tmp_path)))
    run = experiment.runs[1]
    whole = ablation.run_one(experiment, run, tmp_path / "whole", tmp_path / "a")

    def cut(run: Any, row: dict[str, Any]) -> None:
        if row["step"] == 6:
            raise Stop

    monkeypatch.setattr(ablation, "_say", cut)
    with pytest.raises(Stop):
        ablation.run_one(experiment, run, tmp_path / "work", tmp_path / "b")
    assert not (tmp_path / "b").exists()
    steps: list[int] = []
    monkeypatch.setattr(ablation, "_say", lambda run, row: steps.append(row["step"]))
    resumed = ablation.run_one(experiment, run, tmp_path / "work", tmp_path / "b")
    # the second epoch ended again, from the checkpoint of its last step but one
    assert steps[0] == 6 and len(steps) == 2
    assert resumed["errors"] == whole["errors"]


def test_a_finished_run_with_another_budget_is_refused(tmp_path, capsys):
    source = two_states(tmp_path)
    (tmp_path / "t.toml").write_text(toml(described(source)))
    arguments = [
        str(tmp_path / "t.toml"),
        "--work",
        str(tmp_path / "work"),
        "--results",
        str(tmp_path / "results"),
    ]
    ablation.main([*arguments, "--only", "blind--seed0"])
    (tmp_path / "t.toml").write_text(toml(described(source, budget={"epochs": 4})))
    with pytest.raises(SystemExit) as stopped:
        ablation.main(arguments)
    assert stopped.value.code == 2 and "`schedule` must be as in the run" in capsys.readouterr().err


def test_a_setting_that_came_later_does_not_outdate_a_result(tmp_path):
    """A result of an older version lacks it, and stands for its default."""
    [run, *_] = from_table("t", described(tmp_path / "x")).runs
    older = json.loads(json.dumps(run.config.to_dict()))
    del older["training"]["dtype"]
    ablation._check_same(older, run, "older.json")
    older["training"]["dtype"] = "float64"
    with pytest.raises(ValueError, match="`training` must be as in the run that"):
        ablation._check_same(older, run, "older.json")


def test_an_interrupted_run_does_not_go_on_with_another_length(tmp_path):
    source = two_states(tmp_path)
    short, long = (from_table("t", described(source, budget={"epochs": n})) for n in (1, 2))
    ablation.run_one(short, short.runs[0], tmp_path / "work", tmp_path / "a")
    with pytest.raises(ValueError, match="`schedule` must be as in the run"):
        ablation.run_one(long, long.runs[0], tmp_path / "work", tmp_path / "b")


def test_budgets_are_not_mixed_in_one_comparison():
    other = {"epochs": 30, "n_train": 12, "batch_size": 4}
    mixed = [result("blind", 0, 1.0), result("charge", 0, 1.0, other)]
    with pytest.raises(
        ValueError,
        match=r"one in the comparison c / d; got epochs: 3.*for blind.*epochs: 30.*for charge",
    ):
        summarise(mixed)
    check_budgets([mixed[0], mixed[1] | {"comparison": "another"}])


def test_the_machine_belongs_to_a_budget_of_time(tmp_path):
    timed, counted = (
        ablation.budget(
            from_table(
                "t", described(tmp_path / "x", comparison={"tensornet": {"budget": b}})
            ).runs[0]
        )
        for b in ({"seconds": 60}, {"epochs": 2})
    )
    assert {"device", "processor"} <= set(timed) and not {"device", "processor"} & set(counted)


def test_the_summary_is_mean_and_spread():
    rows = summarise([result("blind", 0, 1.0), result("blind", 1, 3.0), result("charge", 0, 0.5)])
    assert rows[0]["mean"]["energy_mae_meV"] == 2 and rows[0]["spread"][
        "energy_mae_meV"
    ] == pytest.approx(2**0.5)
    text = table(
        "T",
        rows,
        ["energy_mae_meV", "forces_mae_meV_per_A"],
        [{"name": "Other", "source": "S", "energy_mae_meV": 0.3}],
    )
    assert (
        "| blind | 2 | 2 ± 1.41 | – |" in text
        and "| charge | 1 | 0.5 | – |" in text
        and "| *Other, S* | | 0.3 | – |" in text
    )
    assert "Budget of every run: epochs: 3, n train: 12, batch size: 4." in text
    assert measures(result("blind", 0, 1.0))["triplet_energy_mae_meV"] == 2


def test_the_floor_of_the_blind_is_half_the_mean_gap():
    frames = degenerate([0.0, 1.0, 0.0, 3.0], forces=[0.0, 0.2, 0.0, 0.4])
    assert blind_floor(frames) == {
        "over": "geometry",
        "energy_meV": pytest.approx(1000),
        "forces_meV_per_A": pytest.approx(150),
    }


def test_without_shared_geometries_the_floor_is_of_compositions():
    frames = degenerate([0.0, 1.0, 0.2, 3.0], forces=[0.0] * 4)
    frames.positions[:, 2] += 0.01 * np.arange(8)
    floor = blind_floor(frames)
    assert floor == {
        "over": "composition",
        "energy_meV": pytest.approx(950),
        "forces_meV_per_A": None,
    }


def test_errors_of_the_gap_take_the_sign_of_both_states():
    frames = degenerate([0.0, 1.0, 0.0, 3.0], forces=[0.0] * 4)
    assert gap_mae_meV(frames, np.array([0.1, 1.1, 5.0, 8.0])) == pytest.approx(0)
    assert gap_mae_meV(frames, np.array([0.1, 0.9, 0.0, 3.0])) == pytest.approx(100)
    assert gap_mae_meV(frames.select([0, 2]), np.array([0.0, 0.0])) is None


def test_what_a_split_keeps_together(tmp_path):
    frames = load_frames(two_states(tmp_path))
    assert same_geometry(frames).tolist() == [*range(12), *range(12)]
    for kind, kept in (("geometry", True), ("label", False)):
        drawn = split(frames, 12, 4, 0, kind)
        ids = [set(part.positions[0::3, 0].tolist()) for part in drawn]
        assert (not ids[0] & ids[1] and not ids[0] & ids[2]) == kept


def test_frozen_points_stay_at_their_nuclei():
    """The control of the moving points: as many parameters, and nothing moves."""
    runs = read_experiment(EXPERIMENTS / "moving-points.toml").runs
    frozen = next(run.config.potential for run in runs if run.plugin.startswith("frozen"))
    moving = merge(frozen, {"points": {"max_displacement": 0.5}})
    [graph] = graphs(toy.waters(1), frozen["cutoff"])
    shifts = []
    for spec in (frozen, moving):
        torch.manual_seed(0)
        potential = build(spec)
        potential.trunk.points.weights.data.fill_(1.0)
        found = predict(potential, graph).polarization
        assert found is not None
        shifts.append(float(found.abs().max()))
    assert shifts[0] <= 1e-4 and shifts[1] > 1e-3


def toml(values: dict[str, Any]) -> str:
    """Write a table as TOML: JSON values are TOML values, but for tables."""
    lines = [f"{name} = {_value(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{json.dumps(name)} = {_value(v)}" for name, v in value.items())
            + " }"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value)
