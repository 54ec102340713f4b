"""Fixed shapes on the CPU against the eager engine; the graph itself where there is a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from polcalc.engines.base import Structure, Unavailable
from polcalc.engines.cuda_graph import CudaGraph, FixedShapes
from polcalc.engines.eager import Eager
from polcalc.engines.neighbors import NeighborList
from potentials.build import build
from potentials.potential import Potential
from potentials.quantities import Evaluation


def potential() -> Potential:
    torch.manual_seed(5)
    return (
        build({"cutoff": 4.0, "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2}})
        .double()
        .eval()
    )


def structure_of(atoms: Atoms) -> Structure:
    numbers = np.asarray(atoms.numbers, dtype=np.int64)
    return Structure(
        numbers, atoms.positions.copy(), atoms.cell.array.copy(), atoms.pbc.copy(), 0, 1
    )


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    return atoms


def silicon() -> Atoms:
    atoms = bulk("Si", "diamond", a=5.4)
    atoms.rattle(0.05, seed=1)
    return atoms


def assert_same(left: Evaluation, right: Evaluation) -> None:
    np.testing.assert_allclose(left.energies, right.energies, atol=1e-10)
    np.testing.assert_allclose(left.forces, right.forces, atol=1e-9)
    assert (left.stress is None) == (right.stress is None)
    if left.stress is not None:
        np.testing.assert_allclose(left.stress, right.stress, atol=1e-10)


@pytest.mark.parametrize("make", [ethanol, silicon])
@pytest.mark.parametrize("unused", [0, 37])
def test_unused_places_are_inert(make, unused: int) -> None:  # type: ignore[no-untyped-def]
    model, structure = potential(), structure_of(make())
    neighbors = NeighborList(model.cutoff, 0.5)
    neighbors.update(structure.positions, structure.cell, structure.pbc)
    shapes = FixedShapes(model, structure, len(neighbors.pairs[0]) + unused, torch.device("cpu"))
    shapes.load(structure, neighbors.pairs)
    shapes.evaluate()
    assert_same(shapes.read(), Eager(model, torch.device("cpu")).evaluate(structure))


def test_inputs_are_replaced_in_place() -> None:
    """A second load at other positions gives their result from the same tensors."""
    model, atoms = potential(), ethanol()
    first = structure_of(atoms)
    neighbors = NeighborList(model.cutoff, 0.5)
    neighbors.update(first.positions, first.cell, first.pbc)
    shapes = FixedShapes(model, first, len(neighbors.pairs[0]), torch.device("cpu"))
    shapes.load(first, neighbors.pairs)
    address = shapes.graph.positions.data_ptr(), shapes.output.data_ptr()
    atoms.rattle(0.05, seed=4)
    shapes.load(structure_of(atoms), None)
    shapes.evaluate()
    assert (shapes.graph.positions.data_ptr(), shapes.output.data_ptr()) == address
    assert_same(shapes.read(), Eager(model, torch.device("cpu")).evaluate(structure_of(atoms)))


def test_it_is_unavailable_without_a_gpu() -> None:
    with pytest.raises(Unavailable, match="GPU"):
        CudaGraph(potential(), torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("make", [ethanol, silicon])
def test_replays_follow_the_atoms(make) -> None:  # type: ignore[no-untyped-def]
    device = torch.device("cuda")
    model, atoms = potential().to(device), make()
    engine, reference = CudaGraph(model, device), Eager(model, device)
    for seed in range(5):
        assert_same(engine.evaluate(structure_of(atoms)), reference.evaluate(structure_of(atoms)))
        atoms.rattle(0.2, seed=seed)
