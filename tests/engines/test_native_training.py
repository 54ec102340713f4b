"""Gradients by the weights in compiled code.

Against autograd, in every part that a TensorNet may have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from polcalc.engines.native import training as native_training
from polcalc.engines.native.supported import Unsupported
from polcalc.engines.native.training import GRADIENTS, NativeGradients
from potentials.build import build
from potentials.checkpoint import load
from potentials.datasets import Frames, make_frames
from potentials.potential import Potential, predict
from potentials.structure.graph import from_ase
from potentials.training.config import LossConfig, from_dict
from potentials.training.data import Batch, StructureSet
from potentials.training.fit import Training
from potentials.training.loss import Loss, autograd
from tests.training import toy

compiled = pytest.importorskip(
    "polcalc.engines.native._native",
    reason="the extension polcalc.engines.native._native was not compiled",
    exc_type=ImportError,
)

ORDER = ("baseline", "avx2", "avx512")
INSTRUCTION_SETS = ORDER[: ORDER.index(compiled.instruction_set) + 1]

BASE: dict[str, Any] = toy.SPEC | {
    "architecture": {
        "name": "tensornet",
        "channels": 24,
        "n_layers": 2,
    },  # not a whole number of vectors
    "terms": [
        {"name": "readout", "scale": 2.0},
        {"name": "reference_energies", "energies_eV": {"H": -13.0, "O": -2000.0}},
    ],
}
EMBEDDED = [
    {"name": "species"},
    {"name": "total_charge"},
    {"name": "multiplicity"},
    {"name": "electronic", "attribute": "total_charge"},
]
FACTOR = ["total_charge", "unpaired_electrons", "partial_charges"]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"state_factor": {"attributes": []}},
    "one layer": {"architecture": {"name": "tensornet", "channels": 8, "n_layers": 1}},
    "SO(3)": {
        "architecture": {"name": "tensornet", "channels": 24, "n_layers": 2, "group": "SO(3)"}
    },
    "factor fixed": {"state_factor": {"attributes": FACTOR, "strength": "fixed"}},
    "factor per layer": {"state_factor": {"attributes": FACTOR, "strength": "per_layer"}},
    "factor per channel": {"state_factor": {"attributes": FACTOR, "strength": "per_channel"}},
    "embedded": {"embeddings": EMBEDDED},
    "partial charges": {"embeddings": [{"name": "species"}, {"name": "partial_charges"}]},
    "attention": {"attention": {"name": "charged", "n_heads": 3, "n_values": 5}},
    "attention twice": {
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 3},
        "attention": {"name": "charged"},
    },
    "bessel": {"radial": {"name": "bessel", "n_radial": 6}, "envelope": "polynomial"},
    "learned": {
        "radial": {
            "name": "learned",
            "base": "exp_normal",
            "n_radial": 8,
            "n_intervals": 16,
            "strength": 0.1,
        }
    },
    "terms": {
        "terms": [
            {"name": "readout"},
            {"name": "reference_energies", "energies_eV": {"H": -13.0}},
            {"name": "state_energies", "energies_eV": [[1, 1, 3.0]]},
            {"name": "offset", "energy_eV": -7.0},
            {"name": "zbl"},
        ]
    },
}


@pytest.fixture(autouse=True)
def no_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autograd knows of no penalty on bends; those that test it put it back."""
    monkeypatch.setattr(native_training, "ROUGHNESS", 0.0)


def model(changes: dict[str, Any], dtype: torch.dtype = torch.float64) -> Potential:
    torch.manual_seed(3)
    return build(BASE | changes).to(dtype)


def batch(potential: Potential, structures: Frames | None = None) -> Batch:
    """Three kinds of molecules, one of them with a charge.

    Energies within eV of what the model says, so that forces count as well.
    """
    found = StructureSet(
        toy.mixture() if structures is None else structures, potential.cutoff
    ).batch(torch.tensor([0, 4, 5, 10, 11]))
    charges = torch.from_numpy(
        np.random.default_rng(0).normal(scale=0.2, size=len(found.graph.batch))
    )
    graph = found.graph._replace(
        partial_charges=charges, multiplicity=torch.tensor([1, 1, 3, 1, 1])
    )
    energy = predict(potential, graph, forces=False).energy + torch.tensor(
        [0.7, -1.0, 0.4, 1.3, -0.2], dtype=torch.float64
    )
    return Batch(graph, found.targets._replace(energy=energy))


def gradients(
    potential: Potential, differentiate: Any, batch: Batch
) -> tuple[float, dict[str, torch.Tensor]]:
    potential.zero_grad()
    value = differentiate(*batch)
    return float(value), {
        name: p.grad.clone() for name, p in potential.named_parameters() if p.grad is not None
    }


def largest_difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Of any tensor, relative to its own norm or a thousandth of the largest."""
    smallest = 1e-3 * max(float(g.norm()) for g in expected.values())
    return max(
        float((found[name] - g).norm()) / max(float(g.norm()), smallest)
        for name, g in expected.items()
        if g.numel()
    )


@pytest.mark.parametrize("loss", ["mse", "huber"])
@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_those_of_autograd(name: str, loss: str) -> None:
    potential = model(VARIANTS[name])
    how = Loss(LossConfig(loss, weights={"energy": 2.0}, delta=0.5), scale=1.5)
    given = batch(potential)
    value, expected = gradients(potential, autograd(potential, how), given)
    native, found = gradients(potential, NativeGradients(potential, how), given)
    assert native == pytest.approx(value, rel=1e-4)
    assert found.keys() == {name for name, g in expected.items() if g.numel()} | {
        name for name in found if name in expected
    }
    assert largest_difference(found, expected) < 3e-3


@pytest.mark.parametrize(
    ("picked", "order", "step"), [([0, 4, 5], 1, 0.004), ([0, 0, 4, 4, 5, 5], 2, 0.08)]
)
def test_the_error_is_of_first_order_in_the_displacement_and_cancels(
    picked: list[int], order: int, step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second structure moves the other way.

    The error of one that is there twice is of second order.
    """
    monkeypatch.setattr(native_training, "INTERVAL", 0.004)  # so that tables do not count
    potential = model({})
    how, given = (
        Loss(LossConfig(weights={"energy": 0.0}), 1.0),
        StructureSet(toy.mixture(), potential.cutoff).batch(torch.tensor(picked)),
    )
    _, expected = gradients(potential, autograd(potential, how), given)
    differences = []
    for displacement in (step, step / 2):
        monkeypatch.setattr(native_training, "DISPLACEMENTS", {torch.float64: displacement})
        differences.append(
            largest_difference(
                gradients(potential, NativeGradients(potential, how), given)[1], expected
            )
        )
    assert differences[0] / differences[1] == pytest.approx(2.0**order, rel=0.1)


def test_an_evaluation_is_the_same_while_gradients_are_summed() -> None:
    potential = model(VARIANTS["terms"])
    native, given = NativeGradients(potential, Loss(LossConfig(), 1.0)), batch(potential)
    made = native._made(given.graph)
    native._hand_over(made)
    structure, engine = native._structure(given.graph, made["factor"]), native._engine
    seeds = np.array([1.0, -1.0, 1.0, 2.0, -0.5])[given.graph.batch.numpy()]
    given, found, sums = compiled.Structure(**structure), [], []
    for add in (engine.add_gradients, engine.evaluate_and_add):
        engine.clear_gradients(len(seeds))
        found.append(add(given, seeds))
        sums.append(engine.gradients())
    expected = engine.evaluate(given, gradients=True)
    assert found[0] is None and np.abs(expected[2]).max() > 0.1
    for got, wanted in zip(found[1], expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)
    for name, wanted in sums[0].items():
        np.testing.assert_array_equal(sums[1][name], wanted)


def test_state_factors_of_many_atoms_are_those_of_each() -> None:
    """From 512 atoms on the engine sorts them in space."""
    potential = model(VARIANTS["factor per channel"])
    structures = StructureSet(toy.mixture(), potential.cutoff)
    given = structures.batch(torch.tensor([0, 4, 5, 10, 11] * 40))
    assert len(given.graph.batch) >= 512
    how = Loss(LossConfig(weights={"energy": 2.0}), 1.0)
    _, expected = gradients(potential, autograd(potential, how), given)
    _, found = gradients(potential, NativeGradients(potential, how), given)
    assert largest_difference(found, expected) < 3e-3


def test_without_forces_nothing_is_displaced() -> None:
    potential = model({})
    how, given = Loss(LossConfig(), 1.0), batch(potential, toy.without_forces(toy.mixture()))
    _, expected = gradients(potential, autograd(potential, how), given)
    assert (
        largest_difference(
            gradients(potential, NativeGradients(potential, how), given)[1], expected
        )
        < 1e-5
    )  # of the tables


def test_periodic_images_are_seen() -> None:
    atoms = bulk("MgO", "rocksalt", 4.2)
    rng = np.random.default_rng(0)
    n, structures = len(atoms), 5
    frames = make_frames(
        n_atoms=np.full(structures, n),
        atomic_numbers=np.tile(atoms.numbers, structures),
        positions=np.concatenate(
            [atoms.positions + rng.normal(scale=0.1, size=(n, 3)) for _ in range(structures)]
        ),
        energy=rng.normal(size=structures),
        forces=rng.normal(size=(structures * n, 3)),
        cell=np.tile(atoms.cell.array, (structures, 1, 1)),
        pbc=np.ones((structures, 3), dtype=bool),
        total_charge=np.zeros(structures),
        multiplicity=1,
    )
    potential = model({})
    how, given = (
        Loss(LossConfig(), 1.0),
        StructureSet(frames, potential.cutoff).batch(torch.arange(structures)),
    )
    _, expected = gradients(potential, autograd(potential, how), given)
    assert (
        largest_difference(
            gradients(potential, NativeGradients(potential, how), given)[1], expected
        )
        < 3e-3
    )


def test_single_precision_is_enough() -> None:
    potential = model({}, torch.float32)
    how, given = Loss(LossConfig(), 1.0), batch(potential)
    _, found = gradients(potential, NativeGradients(potential, how), given)
    _, expected = gradients(potential.double(), autograd(potential, how), given)
    assert largest_difference({name: g.double() for name, g in found.items()}, expected) < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_instruction_sets_agree(isa: str, dtype: torch.dtype) -> None:
    potential = model(VARIANTS["factor per channel"], dtype)
    how, given = Loss(LossConfig(), 1.0), batch(potential)
    _, found = gradients(potential, NativeGradients(potential, how, instruction_set=isa), given)
    _, best = gradients(potential, NativeGradients(potential, how), given)
    assert largest_difference(found, best) < (2e-3 if dtype == torch.float32 else 1e-9)


def test_bends_of_the_filters_are_penalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The penalty is added to the loss, its gradient to that of the filters: finite differences."""
    potential = model({})
    how, given = Loss(LossConfig(), 1.0), batch(potential)
    plain, without = gradients(potential, NativeGradients(potential, how), given)
    monkeypatch.setattr(native_training, "ROUGHNESS", 10.0)
    value, found = gradients(potential, NativeGradients(potential, how), given)
    native = NativeGradients(potential, how)
    weight = potential.trunk.architecture.layers[0].filter.network[2].weight

    def penalty() -> float:
        made = native._made(given.graph)
        return float(
            native_training.roughness([made[f"table.{k}"][:, 0] for k in range(3)]).detach()
        )

    assert value - plain == pytest.approx(penalty(), rel=1e-9) and penalty() > 1e-6
    step = 1e-4
    with torch.no_grad():
        weight[3, 5] += step
        above = penalty()
        weight[3, 5] -= 2 * step
        below = penalty()
        weight[3, 5] += step
    name = "trunk.architecture.layers.0.filter.network.2.weight"
    assert float((found[name] - without[name])[3, 5]) == pytest.approx(
        (above - below) / (2 * step), rel=1e-4
    )
    assert torch.equal(found["terms.0.network.0.weight"], without["terms.0.network.0.weight"])


def test_the_penalty_tells_walls_from_filters_as_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bump of height 10 where no label lies costs more than what a shipped model learned."""
    potential = load("ethanol-rmd17").potential
    native = NativeGradients(potential, Loss(LossConfig(), 1.0))
    graph = from_ase(molecule("CH3CH2OH"), potential.cutoff)
    tables = [native._made(graph)[f"table.{k}"][:, 0].detach() for k in range(3)]
    monkeypatch.setattr(native_training, "ROUGHNESS", 0.02)
    as_trained = float(native_training.roughness(tables))
    knots = native._lengths[:, None]
    walled = [table + 10 * torch.exp(-(((knots - 0.6) / 0.05) ** 2)) for table in tables]
    assert as_trained < 0.01 < 1 < float(native_training.roughness(walled))


def test_threads_share_a_batch_and_sum_in_the_same_order_each_time() -> None:
    potential = model(VARIANTS["embedded"])
    how, given = Loss(LossConfig(), 1.0), batch(potential)
    _, alone = gradients(potential, NativeGradients(potential, how, n_threads=1), given)
    _, shared = gradients(potential, NativeGradients(potential, how, n_threads=3), given)
    _, again = gradients(potential, NativeGradients(potential, how, n_threads=3), given)
    assert largest_difference(shared, alone) < 1e-10
    assert all(torch.equal(g, again[name]) for name, g in shared.items())


def test_knots_lie_closer_at_short_distances() -> None:
    knots = native_training._knots(4.5)
    spacing = knots.diff()
    assert knots[0] == 0 and float(knots[-1]) == pytest.approx(4.5)
    middle = 0.5 * (knots[1:] + knots[:-1])
    ratio = spacing / (native_training.INTERVAL * (1 + native_training.CROWDING * middle))
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0.0)
    assert 0.98 < float(ratio[0]) <= 1


def test_gradients_must_be_cleared_first() -> None:
    engine = NativeGradients(model({}), Loss(LossConfig(), 1.0))._engine
    with pytest.raises(ValueError, match="clear them first"):
        engine.gradients()


def test_gradients_are_added_and_frozen_weights_left_alone() -> None:
    potential = model({})
    frozen = potential.trunk.architecture.output.weight
    frozen.requires_grad_(False)
    native = NativeGradients(potential, Loss(LossConfig(), 1.0))
    given = batch(potential)
    _, once = gradients(potential, native, given)
    native(*given)
    assert frozen.grad is None
    for name, p in potential.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(p.grad, 2 * once[name])


def test_a_training_goes_as_with_autograd(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs Lightning: pip install 'polcalc[train]'")

    def trained(folder: str, gradients: str, ways: Any = GRADIENTS) -> Training:
        (tmp_path / folder).mkdir()
        config = toy.config(schedule={"max_epochs": 6}, training={"gradients": gradients})
        training = Training(toy.task(config), tmp_path / folder, device="cpu", gradients=ways)
        training.run()
        return training

    native, again, expected = (
        trained("one", "native"),
        trained("two", "native"),
        trained("three", "autograd"),
    )
    last, first = (
        native.progress.history[-1]["validation_loss"],
        native.progress.history[0]["validation_loss"],
    )
    assert last == pytest.approx(expected.progress.history[-1]["validation_loss"], rel=0.01)
    assert last < 0.99 * first
    for a, b in zip(native.params, again.params, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(
        ValueError, match="`gradients` must be one of autograd, compiled; got 'native'"
    ):
        trained("four", "native", ways={})


def test_other_architectures_and_devices_are_refused() -> None:
    potential = build(
        {
            "cutoff": 4.0,
            "architecture": {"name": "schnet", "channels": 8, "n_layers": 1},
            "radial": {"name": "gaussian", "n_radial": 8},
        }
    )
    with pytest.raises(Unsupported, match="not TensorNet"):
        NativeGradients(potential, Loss(LossConfig(), 1.0))
    with pytest.raises(Unsupported, match="`gradients` must not be native on meta"):
        NativeGradients(model({}).to("meta"), Loss(LossConfig(), 1.0))


@pytest.mark.parametrize(("compile_", "gradients_"), [(True, "compiled"), (False, "autograd")])
def test_older_configurations_are_understood(compile_: bool, gradients_: str) -> None:
    values = {
        "name": "x",
        "data": {"train": "x", "n_train": 1, "n_validation": 1},
        "potential": {},
        "schedule": {"max_epochs": 1},
    }
    assert from_dict(values | {"training": {"compile": compile_}}).training.gradients == gradients_
