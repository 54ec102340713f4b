"""State factor and embeddings.

What they are for a neutral singlet, that states are told apart, and that the company of a batch is
not.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from torch import Tensor, nn

from potentials.build import build
from potentials.parts.conditioning import (
    EMBEDDINGS,
    Electronic,
    StateFactor,
)
from potentials.potential import predict
from potentials.structure.graph import AtomicGraph, States, collate, from_ase, to_device

BOTH = ["total_charge", "unpaired_electrons"]


def factor_of(charge: int, multiplicity: int, **options: object) -> torch.Tensor:
    graph = from_ase(molecule("H2O"), 4.0, charge=charge, multiplicity=multiplicity)
    return StateFactor(n_layers=2, channels=4, **{"attributes": BOTH} | options)(graph)  # type: ignore[arg-type]


@pytest.mark.parametrize("strength", ["fixed", "per_layer", "per_channel"])
def test_neutral_singlet_is_exactly_one(strength: str) -> None:
    assert (factor_of(0, 1, strength=strength) == 1).all()


def test_no_two_states_share_a_factor() -> None:
    """With equal strengths an anion doublet would be a neutral singlet."""
    states = list(itertools.product(range(-3, 4), range(1, 6)))
    factors = torch.stack([factor_of(q, m)[0, 0, 0] for q, m in states])
    differences = (factors[:, None] - factors[None]).abs() + torch.eye(len(states))
    assert differences.min() > 1e-3


def test_factor_is_linear_in_charge_and_unpaired_electrons() -> None:
    assert factor_of(2, 1)[0, 0, 0].item() == pytest.approx(1.2)
    assert factor_of(0, 3, attributes=["unpaired_electrons"], initial=0.1)[
        1, 2, 0
    ].item() == pytest.approx(1.2)
    assert factor_of(-1, 2, initial=0.1)[0, 0, 0].item() == pytest.approx(1.0)


def test_unknown_attribute_is_named() -> None:
    with pytest.raises(ValueError, match=r"got spin"):
        factor_of(0, 1, attributes=["spin"])


STATE_EMBEDDINGS: list[dict[str, Any]] = [
    {"name": "total_charge"},
    {"name": "multiplicity"},
    {"name": "partial_charges"},
    {"name": "electronic", "attribute": "total_charge"},
    {"name": "electronic", "attribute": "unpaired_electrons"},
]
ids = ["charge", "multiplicity", "partial", "electronic charge", "electronic spin"]
by_embedding = pytest.mark.parametrize("entry", STATE_EMBEDDINGS, ids=ids)


def embedding_of(entry: dict[str, Any]) -> nn.Module:
    torch.manual_seed(1)
    arguments = {name: value for name, value in entry.items() if name != "name"}
    return EMBEDDINGS[entry["name"]](channels=4, **arguments).double()


def water(charge: int = 0, multiplicity: int = 1) -> AtomicGraph:
    charges = charge * np.array([0.6, 0.3, 0.1])
    return from_ase(
        molecule("H2O"), 4.0, charge=charge, multiplicity=multiplicity, partial_charges=charges
    )


@by_embedding
def test_a_neutral_singlet_adds_nothing(entry: dict[str, Any]) -> None:
    embedding = embedding_of(entry)
    assert torch.equal(embedding(water()), torch.zeros(3, 4, dtype=torch.float64))
    assert embedding(water(1, 2)).abs().max() > 1e-3


@by_embedding
def test_states_are_told_apart(entry: dict[str, Any]) -> None:
    """As far as the attribute differs; charges of either sign too."""
    embedding = embedding_of(entry)
    states = (
        [(0, 2), (0, 3), (0, 4)]
        if "multiplicity" in entry.values() or "unpaired_electrons" in entry.values()
        else [(-2, 1), (-1, 1), (1, 1)]
    )
    values = torch.stack([embedding(water(*state)).flatten() for state in states])
    assert torch.pdist(values).min() > 1e-3


@by_embedding
def test_the_company_of_a_batch_changes_nothing(entry: dict[str, Any]) -> None:
    embedding = embedding_of(entry)
    graphs = [
        water(1, 2),
        from_ase(molecule("C6H6"), 4.0, charge=-1, multiplicity=4),
        water(0, 1),
        water(2, 3),
    ]
    together = embedding(collate(graphs)).split([3, 12, 3, 3])
    for graph, rows in zip(graphs, together, strict=True):
        torch.testing.assert_close(rows, embedding(graph), rtol=0.0, atol=1e-14)


def test_the_electronic_embedding_is_its_formula() -> None:
    """Atom by atom, charge -2 of water: e = (0, 2), key of the unit vector (0, 1)."""
    embedding = embedding_of(STATE_EMBEDDINGS[3])
    assert isinstance(embedding, Electronic)
    k, v = (
        embedding.key.weight @ torch.tensor([0.0, 1.0]).double(),
        embedding.value.weight @ torch.tensor([0.0, 2.0]).double(),
    )
    # sqrt(C) = 2
    weights = [torch.log1p(torch.exp((embedding.query.weight[z] @ k) / 2.0)) for z in (8, 1, 1)]
    expected = []
    for weight in weights:
        x = v * weight / torch.stack(weights).sum()
        expected.append(x + embedding.residual[3](_silu(embedding.residual[1](_silu(x)))))
    torch.testing.assert_close(embedding(water(-2, 1)), torch.stack(expected))


def _silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


@pytest.mark.parametrize(
    ("entry", "charge", "multiplicity"),
    [(STATE_EMBEDDINGS[0], 7, 1), (STATE_EMBEDDINGS[0], -7, 1), (STATE_EMBEDDINGS[1], 0, 11)],
)
def test_a_state_beyond_the_table_is_no_silent_number(
    entry: dict[str, Any], charge: int, multiplicity: int
) -> None:
    with pytest.raises(IndexError):
        embedding_of(entry)(water(charge, multiplicity))


def test_unknown_attribute_of_an_embedding_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"`attribute` must be one of total_charge, unpaired_electrons; got 'spin'"
    ):
        Electronic(4, "spin")


def test_what_a_spec_sees() -> None:
    spec = {
        "embeddings": [{"name": "species"}, STATE_EMBEDDINGS[0], STATE_EMBEDDINGS[4]],
        "state_factor": {"attributes": ["partial_charges"]},
    }
    common = {"cutoff": 4.0, "architecture": {"name": "tensornet", "channels": 4, "n_layers": 1}}
    potential, blind = build(common | spec), build(common)
    assert potential.state_inputs == {"total_charge", "unpaired_electrons", "partial_charges"}
    assert potential.looked_up == {"total_charge"}
    assert blind.state_inputs == blind.looked_up == set()


# fragments


SPECS: dict[str, dict[str, Any]] = {
    "state factor": {"state_factor": {"attributes": BOTH, "strength": "per_channel"}},
    "tables": {
        "embeddings": [{"name": "species"}, {"name": "total_charge"}, {"name": "multiplicity"}]
    },
    "electronic": {"embeddings": [{"name": "species"}, *STATE_EMBEDDINGS[3:]]},
}
by_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))


def pair_of_ions() -> tuple[AtomicGraph, AtomicGraph, AtomicGraph]:
    """H2O+ and OH, a doublet each, 30 Å apart; as one structure, and alone."""
    ion, radical = molecule("H2O"), molecule("OH")
    both = ion + radical
    both.positions[3:] += [30.0, 0.0, 0.0]
    alone = (
        from_ase(ion, 4.0, charge=1, multiplicity=2),
        from_ase(radical, 4.0, charge=0, multiplicity=2),
    )
    return from_ase(both, 4.0, charge=1, multiplicity=3), *alone


def by_parts(graph: AtomicGraph) -> AtomicGraph:
    parts = States(
        torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1.0, 0.0]).double(), torch.tensor([2, 2])
    )
    return graph._replace(fragments=parts)


@by_spec
def test_fragments_make_energies_add(spec: dict[str, Any]) -> None:
    """A charge of the whole acts on every atom, however far; one of each fragment does not."""
    torch.manual_seed(2)
    potential = build(
        {"cutoff": 4.0, "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2}} | spec
    ).double()
    with torch.no_grad():
        for parameter in potential.parameters():
            # an untrained factor does next to nothing
            parameter.add_(0.3 * torch.randn_like(parameter))
    both, ion, radical = pair_of_ions()
    apart = float(predict(potential, ion).energy + predict(potential, radical).energy)
    whole, parts = (float(predict(potential, graph).energy) for graph in (both, by_parts(both)))
    assert abs(whole - apart) > 1e-3  # eV: what is to be remedied
    assert abs(parts - apart) < 1e-9  # far below 1 meV


def test_fragments_survive_batches_and_devices() -> None:
    factor = StateFactor(BOTH, n_layers=1, channels=4)
    both, ion, _ = pair_of_ions()
    batch = to_device(collate([ion, by_parts(both), both]), "cpu")
    single = [factor(graph) for graph in (ion, by_parts(both), both)]
    torch.testing.assert_close(factor(batch), torch.cat(single, dim=1), rtol=0.0, atol=0.0)
    assert collate([ion, both]).fragments is None


def test_atoms_in_any_order_may_share_a_fragment() -> None:
    embedding = embedding_of(STATE_EMBEDDINGS[3])
    atoms = Atoms("OHHHO", np.random.default_rng(0).normal(size=(5, 3)) * 3)
    parts = States(
        torch.tensor([1, 0, 1, 0, 0]), torch.tensor([1.0, -1.0]).double(), torch.tensor([1, 1])
    )
    graph = from_ase(atoms, 4.0)
    found = embedding(graph._replace(fragments=parts))
    for n, charge in enumerate((1, -1)):
        chosen = parts.batch == n
        torch.testing.assert_close(
            found[chosen], embedding(from_ase(atoms[chosen.numpy()], 4.0, charge=charge))
        )
