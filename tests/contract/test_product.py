"""Every architecture with every sort of encoding, points and conditioning.

The doors are independent of each other.

One short test for each combination; the other contract tests run on a choice of combinations, and
with ``-m slow`` on all of them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor
from torch.testing import assert_close

from potentials.build import build
from potentials.potential import Potential, predict
from potentials.structure.graph import collate
from potentials.training.loss import penalties
from tests.contract.structures import (
    MIRROR,
    chiral_molecule,
    graph_of,
    rotation,
    transformed,
    triclinic_crystal,
)
from tests.contract.variants import PRODUCT, Variant

METHANE = Atoms(
    "CH4", 0.629 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
)


@pytest.mark.parametrize("variant", PRODUCT, ids=str)
def test_every_combination_is_a_potential(variant: Variant) -> None:
    potential = variant.build()
    molecule = chiral_molecule()
    check_symmetry(variant, potential, molecule)
    check_derivatives(potential)
    check_lone_and_batched(potential)
    check_cutoff(potential)
    check_options(variant, potential)


def check_symmetry(variant: Variant, potential: Potential, atoms: Atoms) -> None:
    """Turned, mirrored, renumbered and moved."""
    order = np.array([3, 1, 5, 0, 4, 2])
    matrix = rotation() @ (MIRROR if variant.mirrors else np.eye(3))
    other = transformed(atoms, matrix, (3.0, -2.0, 1.0))[order]
    here, there = (predict(potential, graph_of(a, potential.cutoff)) for a in (atoms, other))
    assert_close(there.energies, here.energies[order], rtol=0.0, atol=1e-10)
    assert_close(
        there.forces, given(here.forces)[order] @ torch.as_tensor(matrix).T, rtol=0.0, atol=1e-10
    )
    assert given(here.forces).abs().max() > 1e-3


def check_derivatives(potential: Potential) -> None:
    """Forces along a random direction, stress along a strain, a gradient for every parameter."""
    atoms, rng, step = triclinic_crystal(), np.random.default_rng(0), 1e-5
    answer = predict(potential, graph_of(atoms, potential.cutoff), stress=True)
    direction, strain = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    strain = 0.5 * (strain + strain.T)
    graphs = []
    for factor in (1, -1, 2, -2):
        moved, strained = atoms.copy(), atoms.copy()
        moved.positions += factor * step * direction
        strained.set_cell(atoms.cell.array @ (np.eye(3) + factor * step * strain), scale_atoms=True)
        graphs += [graph_of(moved, potential.cutoff), graph_of(strained, potential.cutoff)]
    e = predict(potential, collate(graphs), forces=False).energy.view(4, 2)
    slopes = (8 * (e[0] - e[1]) - (e[2] - e[3])) / (12 * step)
    expected = [-(given(answer.forces) * torch.as_tensor(direction)).sum()]
    expected.append((given(answer.stress)[0] * torch.as_tensor(strain)).sum() * atoms.get_volume())
    assert_close(slopes, torch.stack(expected), rtol=1e-6, atol=1e-6)
    graphs = [
        graph_of(chiral_molecule(), potential.cutoff),
        graph_of(atoms, potential.cutoff, 2, 2),
    ]
    graphs.append(graph_of(Atoms("COH", chiral_molecule().positions[:3]), potential.cutoff, -1, 1))
    trained = predict(potential, collate(graphs), create_graph=True)
    parameters = {name: p for name, p in potential.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(
        given(trained.forces).square().sum() + trained.energy.sum(),
        parameters.values(),
        allow_unused=True,
    )
    dead = [
        name
        for name, g in zip(parameters, gradients, strict=True)
        if g is None or not g.any() or not g.isfinite().all()
    ]
    assert dead == []


def check_lone_and_batched(potential: Potential) -> None:
    """One atom, atoms out of reach, and a molecule in a batch are what they are alone."""
    structures = [
        Atoms("C"),
        Atoms("OH", [[0, 0, 0], [50, 0, 0]]),
        chiral_molecule(),
        triclinic_crystal(),
    ]
    graphs = [
        graph_of(atoms, potential.cutoff, charge=n - 1, multiplicity=n + 1)
        for n, atoms in enumerate(structures)
    ]
    together, singles = (
        predict(potential, collate(graphs)),
        [predict(potential, graph) for graph in graphs],
    )
    assert_close(
        together.energies, torch.cat([single.energies for single in singles]), rtol=0.0, atol=1e-10
    )
    assert_close(
        together.forces,
        torch.cat([given(single.forces) for single in singles]),
        rtol=0.0,
        atol=1e-10,
    )
    assert not given(together.forces)[:3].any()


def check_cutoff(potential: Potential) -> None:
    """What an atom does when it leaves shrinks with the step, in energy and forces.

    Also where it was the only neighbour.
    """
    for others in (Atoms("O"), Atoms("OH", [[0, 0, 0], [0.3, 0.9, 0.1]])):
        graphs = []
        for d in (offset + potential.cutoff for offset in (-1e-3, 1e-3, -1e-4, 1e-4)):
            graphs.append(graph_of(others + Atoms("C", [[d, 0, 0]]), potential.cutoff))
        answer = predict(potential, collate(graphs))
        energies, forces = answer.energy.view(2, 2), given(answer.forces).view(2, 2, -1)
        for jump in (
            (energies[:, 0] - energies[:, 1]).abs(),
            (forces[:, 0] - forces[:, 1]).abs().amax(1),
        ):
            assert float(jump[1]) < max(float(jump[0]) / 5, 1e-11)


def check_options(variant: Variant, potential: Potential) -> None:
    """Points move, but not at a symmetric site.

    The state is seen by those that have eyes for it; learned tables are penalised.
    """
    moved = predict(potential, graph_of(METHANE, potential.cutoff)).polarization
    assert (moved is None) == (variant.points == "fixed")
    if moved is not None:
        assert float(moved[0].norm()) < 1e-12
        assert float(moved[1:].norm(dim=1).min()) > 1e-4
    states = [
        predict(potential, graph_of(METHANE, potential.cutoff, *state)).energy
        for state in ((0, 1), (1, 1), (0, 3))
    ]
    seen = bool(build(variant.spec).state_inputs)
    assert [bool((energy - states[0]).abs() > 1e-7) for energy in states[1:]] == [seen, seen]
    assert bool(penalties(potential) > 0) == (variant.radial == "learned")


def given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor
