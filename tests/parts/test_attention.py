"""Attention between the layers: how far it reaches, where it is silent, what is refused.

The contract tests check its formulas.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.build import molecule

from potentials.build import build
from potentials.checkpoint import Card, load, save
from potentials.experts import Experts, compact, expanded
from potentials.potential import Potential, predict
from potentials.structure.graph import AtomicGraph, from_ase
from potentials.training import read_config
from potentials.training.initial_weights import take_over
from potentials.training.specialise import combine, expert_config
from tests.training import toy

LOCAL: dict[str, Any] = toy.SPEC | {
    "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2}
}
STATES = [(0, 1), (1, 2), (-1, 1), (0, 3)]
BLIND: dict[str, Any] = {"attributes": []}


def made(**changes: Any) -> Potential:
    torch.manual_seed(2)
    return build(LOCAL | changes).double()


def graph(charge: int, multiplicity: int, partner: str = "", distance: float = 30.0) -> AtomicGraph:
    atoms = molecule("CH3CH2OH")
    if partner:
        other = molecule(partner)
        other.positions += [0.0, 0.0, distance]
        atoms += other
    return from_ase(atoms, 4.0, charge=charge, multiplicity=multiplicity)


@pytest.mark.parametrize(("charge", "multiplicity"), STATES)
def test_atoms_of_a_charged_or_open_shell_system_know_of_a_partner_beyond_the_cutoff(
    charge: int, multiplicity: int
) -> None:
    potential = made(attention={"name": "charged"})
    first, second = (
        predict(potential, graph(charge, multiplicity, partner)).energies[:9]
        for partner in ("H2O", "NH3")
    )
    change = float((first - second).abs().max())
    assert change < 1e-12 if (charge, multiplicity) == (0, 1) else change > 1e-6


@pytest.mark.parametrize("name", ["schnet", "egnn", "equivariant_transformer", "dimenetpp"])
def test_other_architectures_attend_as_well(name: str) -> None:
    architecture = {"name": name, "channels": 8, "n_layers": 2}
    potential = made(architecture=architecture, state_factor=BLIND, attention={"name": "charged"})
    first, second = (
        predict(potential, graph(1, 2, partner)).energies[:9] for partner in ("H2O", "NH3")
    )
    assert float((first - second).abs().max()) > 1e-6


def test_forces_at_a_distance_are_the_gradient() -> None:
    """Of an atom whose nearest of the other molecule is 30 Å away, by the bonds of that one."""
    potential, given, step = made(attention={"name": "charged"}), graph(1, 2, "H2O"), 1e-4
    shifts = torch.zeros(2, *given.positions.shape, dtype=torch.float64)
    shifts[0, -1, 1], shifts[1, -1, 1] = step, -step
    ahead, behind = (
        predict(potential, given._replace(positions=given.positions + shift)).energies[:9].sum()
        for shift in shifts
    )
    assert abs(float(ahead - behind)) > 1e-9  # the first molecule feels it
    forces = predict(potential, given).forces
    assert forces is not None
    ahead, behind = (
        predict(potential, given._replace(positions=given.positions + shift)).energy
        for shift in shifts
    )
    assert float(forces[-1, 1]) == pytest.approx(float(behind - ahead) / (2 * step), abs=1e-7)


def test_scores_of_any_size_are_finite() -> None:
    potential = made(attention={"name": "charged"})
    with torch.no_grad():
        potential.trunk.attention.layers[0].scores.weight.mul_(1e4)
    answer = predict(potential, graph(1, 2))
    assert (
        answer.forces is not None
        and bool(torch.isfinite(answer.energy))
        and bool(torch.isfinite(answer.forces).all())
    )


def test_a_training_starts_where_the_model_without_attention_was(tmp_path: Path) -> None:
    start, more = made(), made(attention={"name": "charged"})
    fresh = take_over(more, start)
    assert fresh and all(name.startswith("trunk.attention.layers.0.") for name in fresh)
    for state in STATES:
        before, after = predict(start, graph(*state)), predict(more, graph(*state))
        torch.testing.assert_close(after.energies, before.energies, rtol=0, atol=1e-12)
        torch.testing.assert_close(after.forces, before.forces, rtol=0, atol=1e-12)


def experts() -> Experts:
    torch.manual_seed(1)
    found = build(LOCAL | {"experts": [[0, 1], [1, 2]]})
    assert isinstance(found, Experts)
    with torch.no_grad():
        for expert in found.experts.values():
            for p in expert.trunk.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return found


def test_experts_get_attention_that_is_silent_until_it_is_trained(tmp_path: Path) -> None:
    save(
        tmp_path / "base.pt",
        experts(),
        Card(name="base", elements=[1, 6, 8], states=[[0, 1, 4], [1, 2, 4]]),
    )
    base = load(tmp_path / "base.pt")
    assert isinstance(base.potential, Experts)
    config = replace(
        read_config(toy.write_config(tmp_path)), potential={"attention": {"name": "charged"}}
    )
    grown = build(expert_config(config, base, (1, 2)).potential)
    take_over(grown, base.potential.of(1, 2))
    with torch.no_grad():
        grown.trunk.attention.layers[0].output.weight.add_(0.3)
    trained = base._replace(card=replace(base.card, states=[[1, 2, 4]]), potential=grown)
    combined = combine(base, [trained])
    assert combined.spec["attention"] == {"name": "charged"} and combined.states == [(0, 1), (1, 2)]
    given = [graph(*state) for state in ((0, 1), (1, 2), (0, 3))]
    moved = [
        float((predict(combined, one).energy - predict(base.potential, one).energy).abs())
        for one in given
    ]
    assert moved[0] < 1e-5 and moved[1] > 1e-3 and moved[2] < 1e-5
    with pytest.raises(ValueError, match="must have the spec of the base"):
        combine(
            load(tmp_path / "base.pt"), [trained._replace(potential=build(LOCAL | {"cutoff": 3.5}))]
        )


def test_a_file_leaves_out_rows_of_elements_that_no_expert_learnt(tmp_path: Path) -> None:
    """They are as good as random, in each expert others, and most of a table."""
    potential = experts()
    base = load(save_as(tmp_path / "base.pt", potential))
    alike = combine(
        base,
        [base._replace(card=replace(base.card, states=[[1, 2, 4]]), potential=potential.of(1, 2))],
    )
    name = "experts.+1,2.trunk.embeddings.0.table.weight"
    assert len(compact(potential.state_dict())[name]) == 128
    assert len(compact(alike.state_dict())[name]) == 9  # up to oxygen
    for key, value in expanded(compact(alike.state_dict())).items():
        torch.testing.assert_close(value, alike.state_dict()[key], rtol=0, atol=1e-3)
    for row in (1, 6, 8):
        torch.testing.assert_close(
            alike.state_dict()[name][row], potential.state_dict()[name][row], rtol=0, atol=0
        )


def save_as(path: Path, potential: Potential) -> Path:
    save(path, potential, Card(name="base", elements=[1, 6, 8], states=[[0, 1, 4], [1, 2, 4]]))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": {"name": "tensornet", "channels": 8, "n_layers": 1}},
            "`n_layers` must be at least 2",
        ),
        (
            {"attention": {"name": "neutral"}},
            "`attention` must be one of none, charged; got 'neutral'",
        ),
        (
            {"attention": {"name": "charged", "heads": 3}},
            "`attention` must be given the arguments of 'charged'",
        ),
    ],
)
def test_what_cannot_attend_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(LOCAL | {"attention": {"name": "charged"}} | changes)
