"""Weights of its own for each state.

The right ones answer, in batches, engines and files, and they are trained from one base.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import write
from typer.testing import CliRunner

from md_runs.cli import app as cli
from polcalc import PolarizedCalculator
from polcalc.engines.base import Structure
from polcalc.engines.by_expert import ByExpert
from polcalc.engines.native.engine import NativeEngine
from polcalc.engines.native.supported import Unsupported
from polcalc.engines.selector import Selector, make_engine
from potentials.build import build
from potentials.checkpoint import Card, load, save
from potentials.datasets import load_frames
from potentials.datasets.formats.hdf5 import write_hdf5
from potentials.experts import Experts
from potentials.parts.conditioning import MAX_ATOMIC_NUMBER
from potentials.potential import predict
from potentials.structure.graph import AtomicGraph, States, collate, from_ase
from potentials.training import prepare, read_config
from potentials.training.initial_weights import take_over
from potentials.training.specialise import combine, expert_config
from tests.training import toy

STATES = [(0, 1), (1, 2)]
SPEC: dict[str, Any] = toy.SPEC | {
    "embeddings": [{"name": "species"}, {"name": "total_charge"}, {"name": "multiplicity"}],
    "terms": [
        {"name": "readout", "scale": 2.0},
        {"name": "reference_energies", "energies_eV": {"H": -13.0, "O": -2000.0}},
        {
            "name": "state_energies",
            "energies_eV": [[1, 2, 3.0]],
        },  # shared by the atoms of a molecule: it must be known which they are
    ],
}
CPU = torch.device("cpu")


def experts(changes: dict[str, Any] | None = None) -> Experts:
    """Experts that differ from what they share."""
    torch.manual_seed(1)
    made = build(SPEC | (changes or {}) | {"experts": [list(state) for state in STATES]}).double()
    assert isinstance(made, Experts)
    with torch.no_grad():
        for expert in made.experts.values():
            for p in expert.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return made


def single(potential: Experts) -> Experts:
    """Cast the network; energies of elements stay float64."""
    for p in potential.parameters():
        p.data = p.data.float()
    return potential


def graph(name: str, charge: int, multiplicity: int) -> AtomicGraph:
    return from_ase(molecule(name), 4.0, charge=charge, multiplicity=multiplicity)


GIVEN = [("H2O", 0, 1), ("H2O", 1, 2), ("H2O2", 0, 1), ("OH", 0, 2), ("H2O", 0, 3), ("H2O2", 1, 2)]


@pytest.mark.parametrize(
    "changes", [{}, {"points": {"name": "moving"}}], ids=["fixed points", "moving points"]
)
def test_a_batch_of_several_states_is_that_of_each_alone(changes: dict[str, Any]) -> None:
    potential = experts(changes)
    batch = predict(potential, collate([graph(*one) for one in GIVEN]))
    start = 0
    for n, (name, charge, multiplicity) in enumerate(GIVEN):
        alone = predict(potential.of(charge, multiplicity), graph(name, charge, multiplicity))
        end = start + len(alone.energies)
        torch.testing.assert_close(batch.energy[n], alone.energy[0])
        torch.testing.assert_close(batch.forces[start:end], alone.forces)
        if alone.polarization is not None:
            torch.testing.assert_close(batch.polarization[start:end], alone.polarization)
        start = end


def test_an_expert_answers_for_its_state_and_the_shared_weights_for_others() -> None:
    potential = experts()
    water = molecule("H2O")
    for charge, multiplicity in [(0, 1), (1, 2), (0, 3), (-1, 2)]:
        one = from_ase(water, 4.0, charge=charge, multiplicity=multiplicity)
        own, shared = predict(potential, one).energy, predict(potential.shared, one).energy
        assert bool((own - shared).abs() > 1e-4) == ((charge, multiplicity) in STATES)


@pytest.mark.parametrize("distance", [40.0, 2.5])
def test_fragments_have_the_weights_of_their_own_states(distance: float) -> None:
    """Far ones add up; near ones act on each other as the shared weights say."""
    potential, water = experts(), molecule("H2O")
    other = water.copy()
    other.positions += [distance, 0, 0]
    order = [0, 3, 1, 4, 2, 5]  # the atoms of both in turns
    pair = (water + other)[order]
    fragment = torch.tensor(order) // 3
    states = States(fragment, torch.tensor([1.0, 0.0]).double(), torch.tensor([2, 1]))
    together = from_ase(pair, 4.0)._replace(fragments=states)
    found, shared = (predict(p, together) for p in (potential, potential.shared))
    alone = [graph("H2O", 1, 2), graph("H2O", 0, 1)]
    energy, forces = found.energy.sum(), found.forces
    acting = 0.0
    for n, one in enumerate(alone):
        own, common = predict(potential, one), predict(potential.shared, one)
        energy, acting = energy - own.energy.sum(), acting + common.energy.sum()
        forces = forces.index_add(
            0, (fragment == n).nonzero().flatten(), common.forces - own.forces
        )
    torch.testing.assert_close(energy, shared.energy.sum() - acting)
    torch.testing.assert_close(forces, shared.forces)
    assert (float(energy.abs()) < 1e-9) == (distance > 4)
    two = predict(potential, collate([together, together]))
    torch.testing.assert_close(two.energy, found.energy.repeat(2))


@pytest.mark.parametrize("name", ["native", "tabulated", "eager"])
def test_every_engine_evaluates_with_the_weights_of_the_state(name: str) -> None:
    if name == "native":
        pytest.importorskip(
            "polcalc.engines.native._native",
            reason="the extension polcalc.engines.native._native was not compiled",
            exc_type=ImportError,
        )
    potential = single(experts())
    engine = make_engine(name, potential, CPU)
    structures = []
    for kind, charge, multiplicity in GIVEN:
        atoms = molecule(kind)
        structures.append(
            Structure(
                atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, charge, multiplicity
            )
        )
    expected = [predict(potential.of(s.charge, s.multiplicity), graph_of(s)) for s in structures]
    for found in (engine.evaluate_many(structures), [engine.evaluate(s) for s in structures]):
        for evaluation, wanted in zip(found, expected, strict=True):
            assert evaluation.energy == pytest.approx(float(wanted.energy), abs=2e-4)
            np.testing.assert_allclose(evaluation.forces, wanted.forces.numpy(), atol=2e-4)
    selector = Selector(potential, CPU, name)
    assert selector.evaluate(structures[0]).energy == pytest.approx(
        float(expected[0].energy), abs=2e-4
    )
    if name != "eager":
        assert isinstance(engine, ByExpert) and engine.neighbors is not None


def graph_of(s: Structure) -> AtomicGraph:
    return from_ase(
        Atoms(numbers=s.atomic_numbers, positions=s.positions),
        4.0,
        charge=s.charge,
        multiplicity=s.multiplicity,
    )


def test_the_native_engine_itself_wants_one_state() -> None:
    pytest.importorskip(
        "polcalc.engines.native._native",
        reason="the extension polcalc.engines.native._native was not compiled",
        exc_type=ImportError,
    )
    with pytest.raises(Unsupported, match="its states have weights of their own"):
        NativeEngine(experts(), torch.float64)


def test_a_file_holds_differences_in_half_precision(tmp_path: Path) -> None:
    potential = single(experts())
    save(
        tmp_path / "experts.pt",
        potential,
        Card(name="x", elements=[1, 8], states=[[0, 1, 5], [1, 2, 5], [0, 3, 5]]),
    )
    opened = load(tmp_path / "experts.pt").potential
    assert isinstance(opened, Experts) and opened.spec["experts"] == [[0, 1], [1, 2]]
    for (name, a), b in zip(potential.named_parameters(), opened.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=2e-4 if name.startswith("experts") else 0.0)
    stored = torch.load(tmp_path / "experts.pt", weights_only=True)["weights"]
    network = {name: x.dtype for name, x in stored.items() if name.endswith("weight")}
    assert network and all(
        dtype == (torch.float16 if name.startswith("experts") else torch.float32)
        for name, dtype in network.items()
    )
    calculator = PolarizedCalculator(tmp_path / "experts.pt", charge=1, device="cpu")
    water = molecule("H2O")
    water.calc = calculator
    wanted = predict(opened.of(1, 2), from_ase(water, 4.0, charge=1, multiplicity=2))
    assert water.get_potential_energy() == pytest.approx(float(wanted.energy), abs=1e-4)
    calculator.set(charge=0)
    wanted = predict(opened.of(0, 1), from_ase(water, 4.0))
    assert water.get_potential_energy() == pytest.approx(float(wanted.energy), abs=1e-4)


def two_states(folder: Path) -> Path:
    """Write labels of water and of its cation, a configuration, and a base that knows both."""
    neutral, cation = toy.labelled("H2O", 24, 0), toy.labelled("H2O", 24, 1, charge=1)
    for atoms in cation:
        atoms.info["multiplicity"] = 2
    structures = [atoms for pair in zip(neutral, cation, strict=True) for atoms in pair]
    config = toy.write_config(folder, epochs=4)
    write(folder / "toy.extxyz", structures)
    config.write_text(
        config.read_text(encoding="utf-8").replace("n_train = 16", "n_train = 32"), encoding="utf-8"
    )
    torch.manual_seed(0)
    potential = build(SPEC | {"state_factor": {"attributes": []}})
    save(
        folder / "base.pt",
        potential,
        Card(name="base", elements=[1, 8], states=[[0, 1, 16], [1, 2, 16]]),
    )
    return config


def run(*words: object) -> Any:
    return CliRunner().invoke(cli.app, ["specialise", *map(str, words)])


def test_the_command_trains_an_expert_for_each_state(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs Lightning: pip install 'polcalc[train]'")
    config, base = two_states(tmp_path), tmp_path / "base.pt"
    found = run(base, config, "--output", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert "charge+0-multiplicity1" in found.output and "charge+1-multiplicity2" in found.output
    made, before = load(tmp_path / "out" / "model.pt"), load(base)
    assert isinstance(made.potential, Experts)
    for charge, multiplicity in STATES:
        alone = load(
            tmp_path / "out" / f"charge{charge:+d}-multiplicity{multiplicity}" / "model.pt"
        )
        assert [state[:2] for state in alone.card.states] == [[charge, multiplicity]]
        expert = made.potential.of(charge, multiplicity)
        for name, p in expert.named_parameters():
            # of other elements there is nothing to learn
            rows = [1, 8] if len(p) == MAX_ATOMIC_NUMBER else slice(None)
            learnt, start = (model.potential.get_parameter(name)[rows] for model in (alone, before))
            assert ((p[rows] - learnt).abs() <= 1e-3 * (learnt - start).abs() + 1e-7).all()
        moved = (
            expert.trunk.architecture.output.weight
            - before.potential.trunk.architecture.output.weight
        )
        assert moved.abs().max() > 1e-4
    assert (
        made.card.states == [[0, 1, 16], [1, 2, 16]]
        and made.card.dataset["n_train"] == 32
        and made.card.elements == [1, 8]
    )
    assert made.card.force_max_eV_per_A and made.card.closest_distances_A.keys() == {"H-H", "H-O"}
    assert made.card.test_errors["n_frames"] == 48 and set(made.card.training["experts"]) == {
        "charge+0-multiplicity1",
        "charge+1-multiplicity2",
    }
    errors = {
        (row["charge"], row["multiplicity"]): row for row in made.card.test_errors["by_state"]
    }
    assert set(errors) == set(STATES)
    again = run(base, config, "--output", tmp_path / "out")
    assert again.exit_code == 0 and again.output.count("done before") == 2


@pytest.mark.parametrize("name", ["of the base", "the same"])
def test_experts_go_on_and_those_of_other_states_stay(name: str, tmp_path: Path) -> None:
    """Labels of a data set that both know are counted by state; another one is that of the base."""
    pytest.importorskip("lightning", reason="needs Lightning: pip install 'polcalc[train]'")
    config, base = two_states(tmp_path), tmp_path / "base.pt"
    before = single(experts())
    own = load_frames(read_config(config).data.train).provenance.name
    dataset = {
        "name": own if name == "the same" else name,
        "n_train": 20,
        "n_frames": 20,
        "n_validation": 7,
    }
    known: dict[str, Any] = {
        "states": [[0, 1, 10], [1, 2, 10]],
        "closest_distances_A": {"H-O": 0.5},
        "dataset": dataset,
    }
    save(base, before, Card(name="base", elements=[1, 8], training={"experts": {"x": {}}}, **known))
    assert run(base, config, "--state", "1,2", "--output", tmp_path / "out").exit_code == 0
    opened, made = load(base).potential, load(tmp_path / "out" / "model.pt")
    assert (
        isinstance(opened, Experts)
        and isinstance(made.potential, Experts)
        and made.potential.states == opened.states
    )
    assert set(made.card.training["experts"]) == {"x", "charge+1-multiplicity2"}
    assert made.card.states == [[0, 1, 10], [1, 2, 16]]
    seen = dataset if name != "the same" else {**dataset, "n_train": 26, "n_frames": 26}
    assert made.card.dataset | {"sha256": 0} == seen | {"sha256": 0} and (
        "sha256" in made.card.dataset
    ) == (name == "the same")
    assert made.card.closest_distances_A["H-O"] == 0.5
    key = "trunk.architecture.output.weight"
    changes = [
        made.potential.of(*state).get_parameter(key) - opened.of(*state).get_parameter(key)
        for state in STATES
    ]
    # from the expert, whose weights are other than the shared
    assert changes[0].abs().max() == 0 and 1e-5 < changes[1].abs().max() < 0.1
    assert torch.equal(made.potential.shared.get_parameter(key), opened.shared.get_parameter(key))


def test_with_a_rehearsal_the_labels_of_the_base_count_as_well(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs Lightning: pip install 'polcalc[train]'")
    config, base = two_states(tmp_path), tmp_path / "base.pt"
    write_hdf5(
        tmp_path / "said.h5", load_frames(read_config(config).data.train).select(slice(0, 48, 3))
    )
    config.write_text(
        config.read_text().replace("[data]", f'[data]\nrehearsal = "{tmp_path / "said.h5"}"')
    )
    dataset = {"name": "waters", "n_train": 20, "n_frames": 20, "n_validation": 7}
    save(
        base,
        single(experts()),
        Card(name="base", elements=[1, 8], states=[[0, 1, 10], [1, 2, 10]], dataset=dataset),
    )
    found = run(base, config, "--output", tmp_path / "out")
    assert found.exit_code == 0, found.output
    card = load(tmp_path / "out" / "model.pt").card
    assert card.states == [[0, 1, 26], [1, 2, 26]] and card.dataset["n_train"] == 52
    assert card.dataset["n_rehearsed"] == 16 and card.dataset["name"] == "waters"
    alone = load(tmp_path / "out" / "charge+1-multiplicity2" / "model.pt").card
    assert alone.dataset["n_train"] == 16 and 0 < alone.dataset["n_rehearsed"] < 16


def test_further_embeddings_are_silent_until_they_are_trained(tmp_path: Path) -> None:
    """An expert may have more embeddings than what it starts from.

    The others get them, and every state stays as it was.
    """
    before = experts()
    save(
        tmp_path / "base.pt",
        before,
        Card(name="base", elements=[1, 8], states=[[0, 1, 4], [1, 2, 4]]),
    )
    base = load(tmp_path / "base.pt", torch.float64)
    assert isinstance(base.potential, Experts)
    more = [*SPEC["embeddings"], {"name": "electronic", "attribute": "total_charge"}]
    config = read_config(toy.write_config(tmp_path))
    assert expert_config(config, base, (1, 2)).potential["embeddings"] == SPEC["embeddings"]
    spec = expert_config(replace(config, potential={"embeddings": more}), base, (1, 2)).potential
    assert spec == base.potential.shared.spec | {"embeddings": more}
    grown = build(spec).double()
    assert {name for name in take_over(grown, base.potential.of(1, 2)) if "embeddings.3" in name}
    made = combine(
        base, [base._replace(card=replace(base.card, states=[[1, 2, 4]]), potential=grown)]
    )
    assert made.spec["embeddings"] == more and made.states == STATES
    given = collate([graph(*state) for state in GIVEN])
    expected, found = predict(base.potential, given), predict(made, given)
    torch.testing.assert_close(found.energy, expected.energy, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-10)
    with torch.no_grad():
        for potential in (made.of(0, 1), made.of(1, 2)):
            potential.trunk.embeddings[3].value.weight.add_(0.3)
    change = (predict(made, given).energy - expected.energy).abs()
    assert [bool(c > 1e-4) for c in change] == [
        (charge, multiplicity) == (1, 2) for _, charge, multiplicity in GIVEN
    ]


def test_what_cannot_be_specialised_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs Lightning: pip install 'polcalc[train]'")
    config, base = two_states(tmp_path), tmp_path / "base.pt"
    assert (
        "`--state` must be a state that the base was trained on"
        in run(base, config, "--state", "2,1").output
    )
    assert "such as -1,2; got 'singlet'" in run(base, config, "--state", "singlet").output
    opened = load(base)
    one, both = (
        replace(opened.card, states=states) for states in ([[0, 1, 4]], [[0, 1, 4], [1, 2, 4]])
    )
    with pytest.raises(ValueError, match="must know one state each"):
        combine(opened, [opened._replace(card=both)])
    with pytest.raises(ValueError, match="no two the same"):
        combine(opened, [opened._replace(card=one)] * 2)
    other = opened._replace(card=one, potential=build(SPEC))
    with pytest.raises(ValueError, match="must have the spec of the base"):
        combine(opened, [other])


def test_states_are_chosen(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs Lightning: pip install 'polcalc[train]'")
    chosen = read_config(two_states(tmp_path))
    task = prepare(replace(chosen, data=replace(chosen.data, states=[[1, 2]])))
    assert (len(task.train), len(task.validation)) == (16, 4)
    for frames in (task.train, task.validation, task.test):
        assert set(frames.multiplicity.tolist()) == {2}
    with pytest.raises(
        ValueError, match=r"`states` must be among those of the data; got \[\[0, 3\]\]"
    ):
        prepare(replace(chosen, data=replace(chosen.data, states=[[0, 3]])))


def test_a_training_starts_from_the_expert_of_its_state(tmp_path: Path) -> None:
    config, potential = read_config(two_states(tmp_path)), single(experts())
    save(
        tmp_path / "experts.pt",
        potential,
        Card(name="x", elements=[1, 8], states=[[0, 1, 5], [1, 2, 5]]),
    )
    config = replace(
        config,
        potential=SPEC,
        training=replace(config.training, start=str(tmp_path / "experts.pt")),
    )
    name = "trunk.architecture.output.weight"
    potential = load(tmp_path / "experts.pt").potential  # as rounded
    assert isinstance(potential, Experts)
    for states, wanted in ([[[1, 2]], potential.of(1, 2)], [[], potential.shared]):
        start = prepare(replace(config, data=replace(config.data, states=states))).start
        assert start is not None and torch.equal(
            start.potential.get_parameter(name), wanted.get_parameter(name)
        )


def test_info_says_how_many_sets_of_weights_there_are(tmp_path: Path) -> None:
    save(
        tmp_path / "experts.pt",
        single(experts()),
        Card(name="x", elements=[1, 8], states=[[0, 1, 5], [1, 2, 5]]),
    )
    found = CliRunner().invoke(cli.app, ["info", str(tmp_path / "experts.pt")])
    said = " ".join(found.output.split())  # as wide as the terminal may be
    assert "in 3 sets, one for each of 2 states and one for all others" in said, found.output
