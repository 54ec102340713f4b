"""Forces, stress and the gradients of training are derivatives of one energy, which is smooth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor
from torch.testing import assert_close

from potentials.potential import Potential, predict
from potentials.structure.graph import collate
from tests.contract.structures import ALL, CRYSTALS, chiral_molecule, graph_of, slab, tiny_crystal
from tests.contract.variants import Variant

Maker = Callable[[], Atoms]


def energy_of(potential: Potential, atoms: Atoms) -> float:
    return float(predict(potential, graph_of(atoms, potential.cutoff), forces=False).energy)


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_forces_are_minus_the_gradient(potential: Potential, make: Maker) -> None:
    """Central differences; the pairs are searched anew for each step."""
    atoms, step = make(), 1e-5
    forces = predict(potential, graph_of(atoms, potential.cutoff)).forces
    numerical = np.zeros((len(atoms), 3))
    for atom, axis in np.ndindex(numerical.shape):
        ahead, behind = atoms.copy(), atoms.copy()
        ahead.positions[atom, axis] += step
        behind.positions[atom, axis] -= step
        numerical[atom, axis] = -(energy_of(potential, ahead) - energy_of(potential, behind)) / (
            2 * step
        )
    assert_close(forces, torch.as_tensor(numerical), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", CRYSTALS.values(), ids=CRYSTALS)
def test_stress_is_the_strain_derivative_per_volume(potential: Potential, make: Maker) -> None:
    """Triclinic cells, one far smaller than the cutoff; the stress is symmetric."""
    atoms, step = make(), 1e-5
    stress = predict(potential, graph_of(atoms, potential.cutoff), stress=True).stress
    numerical = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(energy_of(potential, strained))
        numerical[a, b] = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    assert stress is not None
    assert_close(stress[0], torch.as_tensor(numerical), rtol=1e-5, atol=1e-6)
    assert_close(stress, stress.mT, rtol=0.0, atol=1e-12)


def test_stress_of_a_batch(potential: Potential) -> None:
    graphs = [graph_of(make(), potential.cutoff) for make in CRYSTALS.values()]
    together = predict(potential, collate(graphs), stress=True).stress
    singles = [predict(potential, graph, stress=True).stress for graph in graphs]
    assert_close(together, torch.cat([s for s in singles if s is not None]), rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("make", [chiral_molecule, slab])
def test_stress_without_a_volume_is_refused(potential: Potential, make: Maker) -> None:
    with pytest.raises(ValueError, match="stress"):
        predict(potential, graph_of(make(), potential.cutoff), stress=True)


def test_no_net_force_and_no_net_torque(potential: Potential) -> None:
    atoms = chiral_molecule()
    forces = predict(potential, graph_of(atoms, potential.cutoff)).forces
    assert forces is not None
    assert forces.abs().max() > 1e-3
    assert_close(forces.sum(0), torch.zeros(3, dtype=torch.float64), rtol=0.0, atol=1e-10)
    torque = torch.linalg.cross(torch.as_tensor(atoms.positions), forces).sum(0)
    assert_close(torque, torch.zeros(3, dtype=torch.float64), rtol=0.0, atol=1e-10)


def test_energy_and_forces_are_continuous_at_the_cutoff(potential: Potential) -> None:
    """An atom leaves the list of another.

    A jump would stay when the step shrinks; a slope shrinks with it.
    """

    def jump(step: float) -> tuple[float, float]:
        inside, outside = (
            predict(
                potential,
                graph_of(Atoms("OHC", [[0, 0, 0], [0.3, 0.9, 0.1], [d, 0, 0]]), potential.cutoff),
            )
            for d in (potential.cutoff - step, potential.cutoff + step)
        )
        assert inside.forces is not None
        assert outside.forces is not None
        return float((inside.energy - outside.energy).abs()), float(
            (inside.forces - outside.forces).abs().max()
        )

    energies, forces = zip(*(jump(step) for step in (1e-3, 1e-4, 1e-5)), strict=True)
    for coarse, fine in zip(energies[:-1] + forces[:-1], energies[1:] + forces[1:], strict=True):
        assert fine < max(coarse / 5, 1e-11)


def test_pairs_beyond_the_cutoff_are_inert(potential: Potential) -> None:
    """A list with a skin gives what a tight one gives."""
    for make in ALL.values():
        tight, skin = graph_of(make(), potential.cutoff), graph_of(make(), potential.cutoff + 1.0)
        stress = bool(tight.pbc.all())
        here, there = (
            predict(potential, tight, stress=stress),
            predict(potential, skin, stress=stress),
        )
        if make is not chiral_molecule:
            assert len(skin.idx_i) > len(tight.idx_i)
        assert_close(there.energies, here.energies, rtol=0.0, atol=1e-10)
        assert_close(there.forces, here.forces, rtol=0.0, atol=1e-10)
        assert_close(there.stress, here.stress, rtol=0.0, atol=1e-10)


def test_every_parameter_is_trained(variant: Variant) -> None:
    """Energies and forces of a charged batch give every free parameter a gradient."""
    potential = variant.build()
    _loss(potential).backward()
    trained = {name: p.grad for name, p in potential.named_parameters() if p.requires_grad}
    assert [
        name
        for name, gradient in trained.items()
        if gradient is None or not gradient.any() or not gradient.isfinite().all()
    ] == []


def test_gradient_of_a_force_loss(variant: Variant) -> None:
    """Training differentiates twice.

    Check it along a random direction in the space of the parameters.
    """
    potential = variant.build()
    parameters = [p for p in potential.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(11)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    length = torch.stack([d.square().sum() for d in direction]).sum().sqrt()
    direction = [d / length for d in direction]
    gradients = torch.autograd.grad(_loss(potential), parameters)
    slope = torch.stack([(g * d).sum() for g, d in zip(gradients, direction, strict=True)]).sum()
    step, losses = 1e-5, []
    for sign in (1, -2):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(sign * step * d)
        losses.append(_loss(potential).detach())
    assert_close(slope, (losses[0] - losses[1]) / (2 * step), rtol=1e-5, atol=1e-7)


def _loss(potential: Potential) -> Tensor:
    molecule, crystal = (
        graph_of(chiral_molecule(), potential.cutoff),
        graph_of(tiny_crystal(), potential.cutoff, 2, 2),
    )
    anion = graph_of(Atoms("COH", chiral_molecule().positions[:3]), potential.cutoff, -1, 1)
    answer = predict(potential, collate([molecule, crystal, anion]), create_graph=True)
    assert answer.forces is not None
    weights = torch.linspace(0.5, 1.5, answer.forces.numel(), dtype=torch.float64).view_as(
        answer.forces
    )
    return (weights * answer.forces).square().sum() + (answer.energies * weights[:, 0]).sum()
