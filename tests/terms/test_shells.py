"""Charges, shells, dipole and polarizability of a model that knows where its electrons are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_numbers
from torch import Tensor
from torch.testing import assert_close

from potentials.build import ARCHITECTURES, build
from potentials.potential import Potential, predict
from potentials.quantities import Prediction
from potentials.structure.graph import AtomicGraph, States, collate, from_ase
from potentials.terms.shells import valence_electrons

CUTOFF = 3.0
SIZES: dict[str, dict[str, Any]] = {"equiformer": {"n_heads": 2, "n_hidden": 8}}
NAMES = ("readout", "split_charges", "shells", "shell_dipole", "polarizability", "coulomb")


def potential_of(architecture: str = "tensornet", **spec: Any) -> Potential:
    if architecture == "equiformer":
        pytest.importorskip("e3nn")
    torch.manual_seed(1)
    sizes = {"channels": 8, "n_layers": 2} | SIZES.get(architecture, {})
    plain = {
        "cutoff": CUTOFF,
        "architecture": {"name": architecture} | sizes,
        "electrons": {"name": "local"},
        "terms": [{"name": name} for name in NAMES],
    }
    potential = build(plain | spec).double()
    for p in potential.parameters():  # no weight is at a special value
        p.data += 0.2 * torch.randn_like(p)
    return potential


def graph_of(atoms: Atoms, charge: float = 0, multiplicity: int = 1, **given: Any) -> AtomicGraph:
    graph = from_ase(atoms, CUTOFF, charge=charge, multiplicity=multiplicity)
    return graph._replace(**given)


def in_field(graph: AtomicGraph, field: Any) -> AtomicGraph:
    return graph._replace(
        electric_field_V_per_A=torch.as_tensor(field, dtype=torch.float64).view(1, 3)
    )


def cation() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=3)
    atoms.translate((0.3, -0.7, 1.1))
    return atoms


def sums(values: Tensor, parts: Tensor, n: int) -> list[float]:
    found: list[float] = torch.zeros(n, dtype=values.dtype).index_add(0, parts, values).tolist()
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_charges_add_up(architecture: str) -> None:
    """Of molecules in a batch, of a crystal, and of fragments that touch."""
    potential = potential_of(architecture)
    crystal = Atoms("NaCl", [[0, 0, 0], [2.8, 0, 0]], cell=[5.6, 2.8, 2.8], pbc=True)
    batch = collate([graph_of(cation(), 1, 2), graph_of(crystal), graph_of(Atoms("O"), -2)])
    said = predict(potential, batch)
    assert sums(said.charges, batch.batch, 3) == pytest.approx([1, 0, -2], abs=1e-12)
    assert float((said.charges - said.excess_charges).abs().max()) > 1e-3
    pair = molecule("H2O") + molecule("CH3OH")
    pair.positions[3:] += [0.0, 0.0, 2.8]
    states = torch.tensor([-1.0, 1.0], dtype=torch.float64), torch.tensor([1, 3])
    parts = States(torch.tensor([0] * 3 + [1] * 6), *states)
    said = predict(potential, graph_of(pair, fragments=parts))
    assert sums(said.charges, parts.batch, 2) == pytest.approx([-1, 1], abs=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_slope_of_the_energy_in_a_field_is_the_dipole(architecture: str) -> None:
    """Without a field and in one, where electrons have followed it; forces are slopes, too."""
    potential, graph, step = potential_of(architecture), graph_of(cation(), 1, 2), 1e-4
    for field in (np.zeros(3), np.array([0.1, -0.2, 0.15])):
        said = predict(potential, in_field(graph, field))
        slopes = [
            (energy_in(field - step * e) - energy_in(field + step * e)) / (2 * step)
            for e in np.eye(3)
            for energy_in in [lambda f: float(predict(potential, in_field(graph, f)).energy)]
        ]
        assert said.dipole[0].tolist() == pytest.approx(slopes, abs=1e-7)
        shifts = step * torch.eye(27, dtype=torch.float64)[4].view(9, 3)
        ahead, behind = (
            predict(potential, in_field(graph._replace(positions=x), field)).energy
            for x in (graph.positions + shifts, graph.positions - shifts)
        )
        expected = float(behind - ahead) / (2 * step)
        assert float(said.forces[1, 1]) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_dipole_is_that_of_cores_and_shells() -> None:
    """About the origin: that of an ion moves by its charge times the shift of the origin."""
    potential, atoms = potential_of(), cation()
    said = predict(potential, graph_of(atoms, 1, 2))
    cores, shells = said.charges + said.shell_charges, -said.shell_charges
    positions = torch.as_tensor(atoms.positions)
    expected = cores @ positions + shells @ (positions + said.shells)
    assert_close(said.dipole[0], expected)
    moved = atoms.copy()
    moved.translate((2.0, 0.0, -1.0))
    change = predict(potential, graph_of(moved, 1, 2)).dipole - said.dipole
    assert_close(change, torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64))


def test_born_charges_add_up_to_the_charge() -> None:
    potential, graph = potential_of(), graph_of(cation(), 1, 2)
    positions = graph.positions.requires_grad_()
    dipole = potential(graph._replace(positions=positions)).dipole[0]
    born = [torch.autograd.grad(x, positions, retain_graph=True)[0].sum(0) for x in dipole]
    assert_close(torch.stack(born), torch.eye(3, dtype=torch.float64), rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_electrons_follow_any_field(architecture: str) -> None:
    """Polarizabilities are positive; shells stay near, and on the nucleus of a symmetric site."""
    potential = potential_of(architecture)
    said = predict(potential, graph_of(cation(), 1, 2))
    assert float(torch.linalg.eigvalsh(said.atomic_polarizabilities).min()) > 0
    assert_close(said.atomic_polarizabilities.sum(0), said.polarizability[0])
    assert_close(said.polarizability, said.polarizability.mT)
    spread = torch.linalg.eigvalsh(said.polarizability[0]).diff()
    assert float(spread.max()) > 1e-6  # not the same along all directions
    assert 1e-4 < float(said.shells.norm(dim=1).max()) < 0.5
    assert not predict(potential, graph_of(Atoms("C"))).shells.any()
    methane = predict(potential, graph_of(molecule("CH4"))).shells
    assert float(methane[0].norm()) < 1e-10 < float(methane[1].norm())


def test_shells_go_on_from_points_that_moved() -> None:
    points = {"name": "moving", "max_displacement": 0.3}
    potential = potential_of(points=points)
    with torch.no_grad():
        potential.terms[2].point.weights.zero_()
    said = predict(potential, graph_of(cation(), 1, 2))
    length = said.polarization.norm(dim=1, keepdim=True)
    assert_close(said.shells, said.polarization / (1 + (length / 0.5) ** 2).sqrt())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_everything_fades_at_the_cutoff(architecture: str) -> None:
    """What a neighbour does when it leaves shrinks with the step, for every quantity."""
    potential = potential_of(architecture)
    names = ("charges", "shells", "dipole", "polarizability", "energies", "forces")

    def jumps(step: float) -> dict[str, float]:
        said = [
            predict(
                potential, graph_of(Atoms("OHC", [[0, 0, 0], [0.3, 0.9, 0.1], [d, 0, 0]]), 1, 2)
            )
            for d in (CUTOFF - step, CUTOFF + step)
        ]
        return {name: largest_change(name, *said) for name in names}

    coarse, fine = jumps(1e-3), jumps(1e-4)
    for name in names:
        assert fine[name] < max(coarse[name] / 5, 1e-11), name


def largest_change(name: str, here: Prediction, there: Prediction) -> float:
    return float((getattr(here, name) - getattr(there, name)).abs().max())


VALENCE = {"H": 1, "He": 2, "C": 4, "F": 7, "Na": 1, "Cl": 7, "Fe": 8, "Zn": 12, "I": 7, "Pb": 4}


@pytest.mark.parametrize(("symbol", "count"), VALENCE.items())
def test_shells_start_with_the_valence_electrons(symbol: str, count: int) -> None:
    assert valence_electrons(atomic_numbers[symbol]) == count
    potential = build(potential_of().spec)
    said = predict(potential, graph_of(Atoms(symbol)))
    assert float(said.shell_charges) == pytest.approx(count, rel=1e-6)


def test_what_must_come_first_is_told() -> None:
    with pytest.raises(ValueError, match="must predict excess_charges before 'split_charges'"):
        potential_of(electrons={"name": "global"})
