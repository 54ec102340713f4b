"""The loop: what it learns, and that stopping leaves no trace."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.build import build
from potentials.checkpoint import load
from potentials.datasets.frames import join
from potentials.potential import predict
from potentials.training import Training, write_model
from potentials.training.average import Average
from potentials.training.data import StructureSet
from potentials.training.evaluate import errors, wrong_species
from potentials.training.logs import by_state
from potentials.training.progress import CHECKPOINT, Progress, load_progress, save_progress
from tests.training import toy


class Stop(Exception):
    """A plug that is pulled."""


def train(folder, chosen=None, structures=None, *, resume=False, stop_after=None):
    """Run a training, or pull the plug in the middle of a step."""
    folder.mkdir(exist_ok=True)
    training = Training(
        toy.task(chosen or toy.config(), structures), folder, device="cpu", resume=resume
    )
    if stop_after is not None:
        step, count = training.optimizer.step, iter(range(stop_after))

        def counted():
            if next(count, None) is None:
                raise Stop
            return step()

        training.optimizer.step = counted
    training.run()
    return training


def weights(training) -> dict[str, torch.Tensor]:
    return training.potential.state_dict()


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", ["adamw", "soap"])
@pytest.mark.parametrize("stop_after", [1, 6, 8])
def test_a_training_that_was_cut_off_ends_with_the_same_weights(tmp_path, optimizer, stop_after):
    """Cut after the first step, within and at the end of an epoch of four."""
    chosen = toy.config(optimizer={"name": optimizer}, training={"validate_every_epochs": 2})
    whole = train(tmp_path / "whole", chosen)
    with pytest.raises(Stop):
        train(tmp_path / "cut", chosen, stop_after=stop_after)
    assert load_progress(tmp_path / "cut" / CHECKPOINT).step == stop_after
    resumed = train(tmp_path / "cut", chosen, resume=True)
    assert same(weights(resumed), weights(whole))
    timeless = [
        {k: v for k, v in row.items() if k not in ("elapsed_s", "ms_per_step")}
        for row in resumed.progress.history
    ]
    assert timeless == [
        {k: v for k, v in row.items() if k not in ("elapsed_s", "ms_per_step")}
        for row in whole.progress.history
    ]


def test_another_seed_gives_other_weights(tmp_path):
    """Otherwise the test above would prove nothing."""
    assert not same(
        weights(train(tmp_path / "a", toy.config(seed=1))),
        weights(train(tmp_path / "b", toy.config(seed=2))),
    )


def test_a_training_goes_on_from_a_model_that_was_trained_elsewhere(tmp_path):
    """Untouched weights give the start's energies, whatever the force scale of the new labels."""
    first = train(tmp_path / "first", toy.config(schedule={"max_epochs": 20}))
    write_model(first, "polcalc train")
    (start,) = (tmp_path / "first").glob("model.pt")
    chosen = toy.config(
        optimizer={"learning_rate": 1e-12},
        training={"start": str(start)},
        schedule={"max_epochs": 1},
    )
    (tmp_path / "second").mkdir()
    stiffer = replace(toy.waters(), forces=3 * toy.waters().forces)
    task = toy.task(chosen, stiffer)
    second = Training(task, tmp_path / "second", device="cpu")
    second.run()
    assert task.scale > 2 * first.task.scale and second.fresh == []
    ours, theirs = second.potential, load(start).potential
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(
            dict(ours.named_parameters())[name], weight, rtol=1e-6, atol=1e-9
        )
    graph, _ = next(iter(second.validation.batches(max_atoms=512)))
    found, wanted = predict(ours, graph), predict(theirs, graph)
    torch.testing.assert_close(found.forces, wanted.forces, rtol=1e-5, atol=1e-6)
    assert write_model(second, "polcalc train")["training"]["start"]["sha256"] == load(start).sha256


def test_tables_of_the_state_that_the_start_lacks_start_at_zero(tmp_path):
    """Every state then starts with the energies of the start; and the tables learn."""
    first = train(tmp_path / "first", toy.config(schedule={"max_epochs": 1}))
    write_model(first, "polcalc train")
    start = str(tmp_path / "first" / "model.pt")
    more = toy.SPEC | {
        "embeddings": [{"name": "species"}, {"name": "total_charge"}, {"name": "multiplicity"}]
    }
    (tmp_path / "second").mkdir()
    chosen = toy.config(
        data={"n_train": 8, "n_validation": 4}, potential=more, training={"start": start}
    )
    second = Training(toy.task(chosen, toy.mixture()), tmp_path / "second", device="cpu")
    graph, _ = next(iter(second.validation.batches(max_atoms=512)))
    graph = graph._replace(
        total_charge=torch.ones_like(graph.total_charge),
        multiplicity=torch.full_like(graph.multiplicity, 3),
    )
    theirs = load(start, torch.float32).potential
    torch.testing.assert_close(
        predict(second.potential, graph).forces, predict(theirs, graph).forces
    )
    second.run()
    assert second.potential.trunk.embeddings[1].positive[0].detach().abs().max() > 0


def test_a_start_may_lack_a_part_and_must_not_differ_in_one(tmp_path):
    first = train(tmp_path / "first", toy.config(schedule={"max_epochs": 1}))
    write_model(first, "polcalc train")
    start = str(tmp_path / "first" / "model.pt")
    more = toy.SPEC | {"embeddings": [{"name": "species"}, {"name": "total_charge"}]}
    assert Training(
        toy.task(toy.config(potential=more, training={"start": start})), tmp_path, device="cpu"
    ).fresh == [
        "trunk.embeddings.1.negative",
        "trunk.embeddings.1.positive",
    ]
    other = toy.SPEC | {"radial": {"name": "exp_normal", "n_radial": 6}}
    with pytest.raises(ValueError, match="`start` must be a model of the same architecture"):
        toy.task(toy.config(potential=other, training={"start": start}))
    with pytest.raises(ValueError, match=r"cutoff 5.0 Å, as \[potential\]; got 4.0 Å"):
        toy.task(toy.config(potential=toy.SPEC | {"cutoff": 5.0}, training={"start": start}))
    with pytest.raises(FileNotFoundError, match=r"`start` of \[training\]: `model` must be a file"):
        toy.task(toy.config(training={"start": "nowhere"}))


def test_training_learns(tmp_path):
    structures = toy.waters(24)
    start = train(
        tmp_path / "start",
        toy.config(schedule={"max_epochs": 1}, optimizer={"learning_rate": 1e-9}),
        structures,
    )
    trained = train(
        tmp_path / "end",
        toy.config(schedule={"max_epochs": 40}, optimizer={"learning_rate": 1e-2}),
        structures,
    )
    before, after = (t.progress.history[-1]["forces_mae_meV_per_A"] for t in (start, trained))
    assert after < 0.3 * before


def test_the_learning_rate_rises_and_falls_to_zero(tmp_path):
    rates = []
    chosen = toy.config(
        schedule={"max_epochs": 10, "warm_up_steps": 4}, optimizer={"learning_rate": 0.01}
    )
    training = Training(toy.task(chosen), tmp_path, device="cpu")
    step = training.optimizer.step
    training.optimizer.step = lambda: (
        rates.append(training.optimizer.param_groups[0]["lr"]),
        step(),
    )
    training.run()
    expected = [
        0.01 * min(1, (k + 1) / 4) * 0.5 * (1 + math.cos(math.pi * k / 40)) for k in range(40)
    ]
    assert rates == pytest.approx(expected)


def test_time_counts_over_sessions(tmp_path):
    chosen = toy.config(schedule={"max_epochs": None, "time_budget_min": 10.0})
    with pytest.raises(Stop):
        train(tmp_path, chosen, stop_after=2)
    state = load_progress(tmp_path / CHECKPOINT)
    assert state.elapsed_s > 0
    state.elapsed_s = 600.0
    save_progress(tmp_path / CHECKPOINT, state)
    assert train(tmp_path, chosen, resume=True).progress.step == 2  # nothing left to do


def test_patience_ends_the_training_with_the_best_weights(tmp_path):
    chosen = toy.config(
        schedule={"max_epochs": 50, "patience_epochs": 2}, optimizer={"learning_rate": 0.3}
    )
    training = train(tmp_path, chosen)
    progress = training.progress
    assert progress.stopped and progress.step < 50 * training.steps_per_epoch
    assert training.epoch - progress.best_epoch == 2
    assert all(torch.equal(p, best) for p, best in zip(training.params, progress.best, strict=True))
    assert progress.best_loss == min(row["validation_loss"] for row in progress.history)


def test_a_gradient_that_is_not_finite_stops_the_training(tmp_path):
    with pytest.raises(FloatingPointError, match="learning_rate"):
        train(
            tmp_path,
            toy.config(
                optimizer={"learning_rate": 1e30, "gradient_clip": math.inf},
                training={"batch_size": 2},
            ),
        )


def test_the_model_file_holds_the_averaged_weights_and_its_card(tmp_path):
    training = train(tmp_path, structures=toy.waters(24))
    report = write_model(training, "polcalc train toy.toml", "name = 'toy'")
    model = load(tmp_path / "model.pt")
    assert model.sha256 == report["sha256"]
    trained = [p for p in model.potential.parameters() if p.requires_grad]
    assert all(torch.equal(p, a) for p, a in zip(trained, training.average.values, strict=True))
    graph = training.validation.batch(torch.arange(8))
    error = (
        predict(model.potential, graph.graph).forces - graph.targets.forces
    ).abs().mean() * 1000
    assert model.card.test_errors["forces_mae_meV_per_A"] == pytest.approx(float(error), rel=1e-6)
    assert model.card.test_errors["dataset"]["n_frames"] == model.card.test_errors["n_frames"] == 8
    assert (
        model.card.elements == [1, 8] and model.card.states == [[0, 1, 16]] and model.card.seed == 0
    )
    assert (
        model.card.training["configuration_text"] == "name = 'toy'"
        and model.card.command == "polcalc train toy.toml"
    )
    assert set(model.card.closest_distances_A) == {"H-H", "H-O"}
    assert model.potential.spec["terms"][0]["scale"] == pytest.approx(training.task.scale)


def test_float64_weights_are_trained_in_float64(tmp_path):
    training = train(
        tmp_path, toy.config(training={"dtype": "float64"}, schedule={"max_epochs": 1})
    )
    assert training.potential.dtype == torch.float64


def test_energies_alone_can_be_learned(tmp_path):
    training = train(
        tmp_path, toy.config(schedule={"max_epochs": 1}), toy.without_forces(toy.waters(24))
    )
    row = training.progress.history[-1]
    assert row["forces_mae_meV_per_A"] is None and row["energy_mae_meV"] > 0


def test_the_log_has_a_row_per_validation_and_none_of_the_future(tmp_path):
    chosen = toy.config(training={"validate_every_epochs": 1})
    with pytest.raises(Stop):
        train(tmp_path, chosen, stop_after=9)
    (tmp_path / "log.csv").write_text((tmp_path / "log.csv").read_text() + "of,the,future\n")
    train(tmp_path, chosen, resume=True)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_another_configuration_does_not_resume(tmp_path):
    train(tmp_path, toy.config(schedule={"max_epochs": 1}))
    with pytest.raises(ValueError, match="optimizer differ"):
        train(
            tmp_path,
            toy.config(schedule={"max_epochs": 1}, optimizer={"learning_rate": 0.5}),
            resume=True,
        )
    assert train(tmp_path, toy.config(schedule={"max_epochs": 2}), resume=True).progress.step == 8


def test_a_damaged_checkpoint_is_refused(tmp_path):
    save_progress(tmp_path / CHECKPOINT, Progress({}))
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="checkpoint"):
        load_progress(tmp_path / CHECKPOINT)


def test_a_flipped_bit_in_the_weights_of_a_checkpoint_is_refused(tmp_path):
    weights = {"w": torch.arange(1000.0)}
    save_progress(tmp_path / CHECKPOINT, Progress({}, weights=weights))
    data = bytearray((tmp_path / CHECKPOINT).read_bytes())
    data[data.index(weights["w"].numpy().tobytes()) + 500] ^= 1
    (tmp_path / CHECKPOINT).write_bytes(data)
    with pytest.raises(ValueError, match="checkpoint"):
        load_progress(tmp_path / CHECKPOINT)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    save_progress(tmp_path / CHECKPOINT, Progress({}, step=1))

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_progress(tmp_path / CHECKPOINT, Progress({}, step=2))
    assert load_progress(tmp_path / CHECKPOINT).step == 1
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]


def test_the_average_follows_at_first_and_lags_later():
    x = torch.zeros(3)
    average = Average([x], decay=0.9)
    values, expected = [], 0.0
    for step in range(1, 200):
        x.fill_(float(step))
        average.update(average.weight(step))
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        values.append(float(average.values[0][0]))
    assert values[-1] == pytest.approx(expected, rel=1e-5) == pytest.approx(199 - 9, abs=0.1)
    with average.applied():
        assert float(x[0]) == values[-1]
    assert float(x[0]) == 199.0


def test_errors_by_charge_and_multiplicity():
    structures = toy.mixture()
    training_set = StructureSet(structures, 4.0)
    potential = toy.build_untrained()
    found = errors(potential, training_set)
    assert [(s["charge"], s["multiplicity"], s["n_frames"]) for s in found["by_state"]] == [
        (0, 1, 9),
        (1, 1, 3),
    ]
    total = sum(s["energy_mae_meV"] * s["n_frames"] for s in found["by_state"]) / 12
    assert found["energy_mae_meV"] == pytest.approx(total)
    graph, labels = training_set.batch(torch.arange(12))
    difference = (predict(potential, graph).energy - labels.energy)[9:]
    assert found["by_state"][1]["energy_max_meV"] == pytest.approx(
        float(difference.abs().max()) * 1000
    )
    assert found["gaps"] == []


def test_errors_of_gaps_between_multiplicities():
    """Water as singlet and, 0.2 eV above, as triplet.

    A potential that cannot see it has the whole gap as error.
    """
    singlets = toy.waters(6)
    triplets = replace(singlets, energy=singlets.energy + 0.2, multiplicity=np.full(6, 3))
    both = join([singlets, triplets])
    found = errors(toy.build_untrained(), StructureSet(both, 4.0))
    [gap] = found["gaps"]
    assert (gap["multiplicities"], gap["n_geometries"]) == ([1, 3], 6)
    assert gap["gap_mae_meV"] == pytest.approx(200, abs=1e-3) and gap[
        "blind_floor_meV"
    ] == pytest.approx(100, abs=1e-3)
    columns = by_state(found)
    assert columns["charge+0_gap1to3_mae_meV"] == gap["gap_mae_meV"]
    assert (
        columns["charge+0_multiplicity3_energy_mae_meV"] == found["by_state"][1]["energy_mae_meV"]
    )
    assert by_state(errors(toy.build_untrained(), StructureSet(singlets, 4.0))) == {}


def test_the_share_of_each_process_makes_up_the_batch(tmp_path):
    chosen = toy.config()
    with pytest.raises(ValueError, match=r"devices.*divide"):
        Training(toy.task(chosen), tmp_path, device="cpu", devices=3)


def test_species_that_are_left_wrong_are_told():
    """Labels are what the potential says, but for ammonia, 2 eV higher."""
    structures = toy.mixture()
    ammonia = np.array([len(atoms) == 4 and atoms.info["charge"] == 0 for atoms in structures])
    potential = build({**toy.SPEC, "terms": [{"name": "readout"}]})
    (whole,) = StructureSet(structures, potential.cutoff).batches(10_000)
    exact = replace(structures, energy=predict(potential, whole.graph).energy.detach().numpy())
    off = replace(exact, energy=exact.energy + 2.0 * ammonia)
    for labels, expected in ((exact, []), (off, [("H3N", 0, 1, pytest.approx(2.0, abs=1e-4))])):
        labelled = StructureSet(labels, potential.cutoff)
        assert wrong_species(potential, [(labelled, len(labels))]) == expected
    assert wrong_species(potential, [(labelled, 4)]) == []  # of waters alone
