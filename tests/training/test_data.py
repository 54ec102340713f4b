"""A batch by index is the batch of those structures."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from potentials.build import build
from potentials.datasets import graphs, targets
from potentials.potential import predict
from potentials.structure.graph import collate
from potentials.training.data import StructureSet, epoch_order
from tests.training import toy


@pytest.mark.parametrize(
    "structures", [toy.mixture(), toy.waters(12)], ids=["mixture", "one molecule"]
)
def test_a_batch_is_the_collation_of_its_structures(structures):
    chosen = [7, 0, 11, 3]
    graph, labels = StructureSet(structures, 4.0).batch(torch.tensor(chosen))
    expected = collate(graphs(structures.select(chosen), 4.0))
    for name, value in expected._asdict().items():
        assert_close(getattr(graph, name), value, rtol=0, atol=0, msg=name)
    wanted = targets(structures.select(chosen))
    assert_close(labels.energy, wanted.energy, rtol=0, atol=0)
    assert_close(labels.forces, wanted.forces, rtol=0, atol=0)


def test_structures_of_one_molecule_share_pairs_without_changing_the_energy():
    """Ethanol's ends are at times beyond this cutoff: lists differ, their union does not."""
    structures = toy.frames(toy.labelled("CH3CH2OH", 6, 4))
    own = collate(graphs(structures, 3.0))
    shared = StructureSet(structures, 3.0).batch(torch.arange(6)).graph
    assert len(shared.idx_i) > len(own.idx_i) and len(shared.idx_i) % 6 == 0
    potential = build(toy.SPEC | {"cutoff": 3.0})
    for parameter in potential.parameters():
        parameter.data = parameter.data.double()
    assert_close(
        predict(potential, shared).energy, predict(potential, own).energy, rtol=0, atol=1e-12
    )
    assert_close(
        predict(potential, shared).forces, predict(potential, own).forces, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("max_atoms", [1, 7, 1000])
def test_batches_go_through_all_structures_once(max_atoms):
    structures = toy.mixture()
    found = list(StructureSet(structures, 4.0).batches(max_atoms))
    assert_close(
        torch.cat([b.targets.energy for b in found]),
        torch.from_numpy(structures.energy),
        rtol=0,
        atol=0,
    )
    assert all(b.graph.n_structures == 1 or len(b.graph.positions) <= max_atoms for b in found)


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone():
    torch.manual_seed(1)
    first = epoch_order(50, seed=3, epoch=2)
    torch.manual_seed(2)
    assert torch.equal(first, epoch_order(50, seed=3, epoch=2))
    assert torch.equal(first.sort().values, torch.arange(50))
    assert not torch.equal(first, epoch_order(50, seed=3, epoch=3))
    assert not torch.equal(first, epoch_order(50, seed=4, epoch=2))


def test_structures_without_forces():
    batch = StructureSet(toy.without_forces(toy.mixture()), 4.0).batch(torch.tensor([1, 2]))
    assert batch.targets.forces is None
