"""What must not change when the description of a structure changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from ase import Atoms
from torch.testing import assert_close

from potentials.potential import Potential, predict
from potentials.quantities import Prediction
from potentials.structure.graph import collate
from tests.contract.structures import (
    ALL,
    CRYSTALS,
    MIRROR,
    chiral_molecule,
    graph_of,
    rotation,
    tiny_crystal,
    transformed,
)
from tests.contract.variants import Variant, without_formal_charges

assert_same = partial(assert_close, rtol=0.0, atol=1e-10)
Maker = Callable[[], Atoms]


@pytest.fixture(params=list(ALL.values()), ids=list(ALL))
def atoms(request: pytest.FixtureRequest) -> Atoms:
    return request.param()  # type: ignore[no-any-return]


def test_translation(potential: Potential, atoms: Atoms) -> None:
    here = predict(potential, graph_of(atoms, potential.cutoff))
    there = predict(
        potential, graph_of(transformed(atoms, np.eye(3), (31.7, -4.1, 12.9)), potential.cutoff)
    )
    assert_same(there.energies, here.energies)
    assert_same(there.forces, here.forces)


def test_rotation(potential: Potential, atoms: Atoms) -> None:
    _assert_covariant(potential, atoms, rotation())


def test_reflection(variant: Variant, potential: Potential, atoms: Atoms) -> None:
    """Mirror images have one energy and mirrored forces, unless the architecture is chiral."""
    if variant.mirrors:
        _assert_covariant(potential, atoms, MIRROR)
        _assert_covariant(potential, atoms, -np.eye(3))
    else:
        left, right = (
            graph_of(a, potential.cutoff)
            for a in (chiral_molecule(), transformed(chiral_molecule(), MIRROR))
        )
        assert abs(float(predict(potential, left).energy - predict(potential, right).energy)) > 1e-7


def test_permutation(potential: Potential, atoms: Atoms) -> None:
    order = np.random.default_rng(1).permutation(len(atoms))
    here = predict(potential, graph_of(atoms, potential.cutoff))
    there = predict(potential, graph_of(atoms[order], potential.cutoff))
    assert_same(there.energy, here.energy)
    assert_same(there.forces, _forces(here)[order])


def test_pairs_in_any_order_and_orientation(potential: Potential, atoms: Atoms) -> None:
    """Which atom of a pair is named first, and where the pair stands in the list, says nothing."""
    graph = graph_of(atoms, potential.cutoff)
    order = torch.randperm(len(graph.idx_i), generator=torch.Generator().manual_seed(0))
    flip = torch.arange(len(order)) % 2 == 0
    swapped = graph._replace(
        idx_i=torch.where(flip, graph.idx_j, graph.idx_i)[order],
        idx_j=torch.where(flip, graph.idx_i, graph.idx_j)[order],
        shift=torch.where(flip[:, None], -graph.shift, graph.shift)[order],
    )
    periodic = bool(atoms.pbc.all())
    here, there = (
        predict(potential, graph, stress=periodic),
        predict(potential, swapped, stress=periodic),
    )
    assert_same(there.energies, here.energies)
    assert_same(there.forces, here.forces)
    assert_same(there.stress, here.stress)


@pytest.mark.parametrize("make", CRYSTALS.values(), ids=CRYSTALS)
def test_moving_atoms_by_lattice_vectors(potential: Potential, make: Maker) -> None:
    atoms = make()
    moved = atoms.copy()
    moved.positions += (
        np.random.default_rng(2).integers(-2, 3, size=(len(atoms), 3)) @ atoms.cell.array
    )
    here = predict(potential, graph_of(atoms, potential.cutoff), stress=True)
    there = predict(potential, graph_of(moved, potential.cutoff), stress=True)
    assert_same(there.energies, here.energies)
    assert_same(there.forces, here.forces)
    assert_same(there.stress, here.stress)


@pytest.mark.parametrize("make", CRYSTALS.values(), ids=CRYSTALS)
def test_the_handedness_of_the_cell_says_nothing(potential: Potential, make: Maker) -> None:
    """The same lattice by a cell of the other handedness: two vectors swapped, or one reversed."""
    atoms = make()
    here = predict(potential, graph_of(atoms, potential.cutoff), stress=True)
    for cell in (atoms.cell.array[[1, 0, 2]], atoms.cell.array * [[1.0], [1.0], [-1.0]]):
        other = atoms.copy()
        other.set_cell(cell)
        there = predict(potential, graph_of(other, potential.cutoff), stress=True)
        assert_same(there.energies, here.energies)
        assert_same(there.forces, here.forces)
        assert_same(there.stress, here.stress)


@pytest.mark.parametrize("make", CRYSTALS.values(), ids=CRYSTALS)
def test_supercell(variant: Variant, potential: Potential, make: Maker) -> None:
    """Twice the cell: twice the energy, the same forces and stress.

    A global charge acts on every atom, so it stays the same; one that is shared out doubles.
    """
    atoms = make()
    potential = without_formal_charges(potential)
    doubled = (2, 5) if variant.shared_state else (1, 3)
    here = predict(potential, graph_of(atoms, potential.cutoff), stress=True)
    there = predict(
        potential, graph_of(atoms.repeat((2, 1, 1)), potential.cutoff, *doubled), stress=True
    )
    assert_same(there.energy, 2 * here.energy)
    assert_same(there.forces, _forces(here).repeat(2, 1))
    assert_same(there.stress, here.stress)


def test_batch_equals_singles(potential: Potential) -> None:
    """Open, periodic, charged and lone structures in one batch, each as if alone."""
    graphs = [
        graph_of(make(), potential.cutoff, charge=n - 1, multiplicity=n + 1)
        for n, make in enumerate(ALL.values())
    ]
    graphs.insert(2, graph_of(Atoms("O"), potential.cutoff))
    together = predict(potential, collate(graphs))
    singles = [predict(potential, graph) for graph in graphs]
    assert_same(together.energy, torch.cat([s.energy for s in singles]))
    assert_same(together.energies, torch.cat([s.energies for s in singles]))
    assert_same(together.forces, torch.cat([_forces(s) for s in singles]))


def test_nothing_flows_between_structures(potential: Potential) -> None:
    first, second = (
        graph_of(chiral_molecule(), potential.cutoff),
        graph_of(tiny_crystal(), potential.cutoff),
    )
    batch = collate([first, second])
    positions = batch.positions.clone().requires_grad_()
    energies = potential(batch._replace(positions=positions)).energies
    (gradient,) = torch.autograd.grad(energies[: len(first.positions)].sum(), positions)
    assert not gradient[len(first.positions) :].any()
    assert gradient[: len(first.positions)].any()


def _assert_covariant(potential: Potential, atoms: Atoms, matrix: np.ndarray) -> None:
    periodic = bool(atoms.pbc.all())
    here = predict(potential, graph_of(atoms, potential.cutoff), stress=periodic)
    there = predict(
        potential, graph_of(transformed(atoms, matrix), potential.cutoff), stress=periodic
    )
    turn = torch.as_tensor(matrix)
    assert_same(there.energies, here.energies)
    assert_same(there.forces, _forces(here) @ turn.T)
    if here.stress is not None:
        assert_same(there.stress, turn @ here.stress @ turn.T)


def _forces(prediction: Prediction) -> torch.Tensor:
    assert prediction.forces is not None
    return prediction.forces
