"""The Coulomb energy of cores and shells: closed forms, lattices, an independent Ewald sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from torch import Tensor, nn
from torch.testing import assert_close

from potentials.build import build
from potentials.potential import Potential, predict
from potentials.structure.graph import AtomicGraph, collate, from_ase
from potentials.structure.pairs import find_pairs
from potentials.terms import TERMS, ewald
from potentials.terms.base import COULOMB_EV_ANGSTROM, Term

CUTOFF = 3.0
MADELUNG = {"rocksalt": 1.7475645946, "cesiumchloride": 1.7626747731, "zincblende": 1.6380550533}


class Given(Term):
    """Cores and shells from a table by element: a stand-in for the terms that predict them."""

    name = ""
    predicts = ("charges", "shells", "shell_charges")

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.linspace(-1.0, 1.0, 100, dtype=torch.float64))

    def forward(self, graph: AtomicGraph, features: Any, predicted: Any) -> dict[str, Tensor]:
        place = graph.positions - graph.positions.mean(0)
        charges = 3.0 * self.values[graph.atomic_numbers] + 0.1 * torch.sin(place.sum(1))
        shells = 0.1 * torch.sin(
            place * self.values[:3] + self.values[graph.atomic_numbers][:, None]
        )
        return {"charges": charges, "shells": shells, "shell_charges": 2.0 + 0.1 * charges}


def narrow(width_A: float = 0.01) -> Term:
    """Charges that are points to each other."""
    term: Any = TERMS["coulomb"](channels=1).double()
    term.widths_A.data.fill_(width_A)
    return term


def energies_of(term: Term, graph: AtomicGraph, *sites: Any) -> Tensor:
    names = ("charges", "shells", "shell_charges")
    given = {n: torch.as_tensor(x, dtype=torch.float64) for n, x in zip(names, sites, strict=False)}
    return term(graph, None, given)["energies"]


def energy_of(term: Term, atoms: Atoms, *sites: Any) -> float:
    return float(energies_of(term, from_ase(atoms, CUTOFF), *sites).sum().detach())


def with_coulomb() -> Potential:
    spec = {
        "cutoff": CUTOFF,
        "architecture": {"name": "schnet", "channels": 4, "n_layers": 1},
        "terms": [{"name": "coulomb"}],
    }
    potential = build(spec).double()
    potential.terms.insert(0, Given())
    return potential


def crystal(seed: int = 0) -> Atoms:
    cell = [[5.3, 0.0, 0.0], [0.9, 4.9, 0.2], [-0.7, 0.5, 5.6]]
    places = np.random.default_rng(seed).random((5, 3))
    return Atoms("COHNO", cell=cell, pbc=True, scaled_positions=places)


def cluster(seed: int = 0) -> Atoms:
    return Atoms("COHNO", 4.0 * np.random.default_rng(seed).random((5, 3)))


def test_two_charges_attract_as_coulomb_says_beyond_their_widths() -> None:
    term, pair = TERMS["coulomb"](channels=1), Atoms("HF", [[0, 0, 0], [0, 0, 6.0]])
    expected = -0.2 * COULOMB_EV_ANGSTROM / 6.0
    assert energy_of(term, pair, [0.5, -0.4]) == pytest.approx(expected, rel=1e-12)
    pair.positions[1, 2] = 0.0  # one inside the other: that of two Gaussians
    sigma = np.hypot(0.31, 0.57)
    inside = -0.2 * COULOMB_EV_ANGSTROM * np.sqrt(2 / np.pi) / sigma
    assert energy_of(term, pair, [0.5, -0.4]) == pytest.approx(inside, rel=1e-6)


def test_charges_may_have_one_width_that_stays() -> None:
    term: Any = TERMS["coulomb"](channels=1, width_A=0.5)
    assert not list(term.parameters())
    assert "widths_A" in term.state_dict()  # what a file holds
    pair = Atoms("HF", [[0, 0, 0], [0, 0, 0.0]])
    inside = COULOMB_EV_ANGSTROM * np.sqrt(2 / np.pi) / np.hypot(0.5, 0.5)
    assert energy_of(term, pair, [1.0, 1.0]) == pytest.approx(inside, rel=1e-6)
    with pytest.raises(ValueError, match=r"`width_A` must be positive; got 0\.0 Å"):
        TERMS["coulomb"](channels=1, width_A=0.0)


def test_a_charge_and_a_dipole_and_two_dipoles_far_apart() -> None:
    far, d, n = 20.0, 0.01, 4.0
    pair = Atoms("HH", [[0, 0, 0], [0, 0, far]])
    dipole = -n * d  # of a shell of electrons displaced by d
    alone = energy_of(narrow(), pair, [1.0, 0.0], [[0, 0, 0], [0, 0, d]], [1.0, n])
    assert alone == pytest.approx(-COULOMB_EV_ANGSTROM * dipole / far**2, rel=2 * d / far)
    both = energy_of(narrow(), pair, [0.0, 0.0], [[0, 0, d], [0, 0, d]], [n, n])
    assert both == pytest.approx(-2 * COULOMB_EV_ANGSTROM * dipole**2 / far**3, rel=1e-5)
    across = energy_of(narrow(), pair, [0.0, 0.0], [[d, 0, 0], [d, 0, 0]], [n, n])
    assert across == pytest.approx(COULOMB_EV_ANGSTROM * dipole**2 / far**3, rel=1e-5)


@pytest.mark.parametrize("lattice", MADELUNG)
def test_madelung_constants(lattice: str) -> None:
    atoms = bulk("NaCl", lattice, a=4.0)
    charges = np.where(atoms.numbers == 11, 1.0, -1.0)
    nearest = atoms.get_distance(0, 1, mic=True)
    found = -energy_of(narrow(), atoms, charges) * nearest / COULOMB_EV_ANGSTROM
    assert found == pytest.approx(MADELUNG[lattice], abs=2e-10)


@pytest.mark.parametrize("charges", [[0.3, -0.5, 0.4, 0.1, -0.3], [0.3, -0.5, 0.9, 0.1, 0.2]])
def test_an_independent_ewald_sum_agrees(charges: list[float]) -> None:
    """Cells with and without a charge; the sum at an α and in a box of waves of its own."""
    pme = pytest.importorskip("torchpme")
    atoms, q = crystal(), torch.tensor(charges, dtype=torch.float64)
    graph = from_ase(atoms, CUTOFF)
    graph = graph._replace(positions=graph.positions.requires_grad_())
    energy = energies_of(narrow(), graph, q).sum()
    smearing, reach = 0.8, 7.5
    i, j, shift = find_pairs(graph.positions, graph.cell[0], graph.pbc[0], reach)
    lengths = (graph.positions[j] - graph.positions[i] + shift @ graph.cell[0]).norm(dim=1)
    calculator = pme.EwaldCalculator(
        pme.CoulombPotential(smearing=smearing), lr_wavelength=smearing / 1.9
    ).double()
    potential = calculator(
        q[:, None], graph.cell[0], graph.positions, torch.stack([i, j], dim=1), lengths
    )
    other = COULOMB_EV_ANGSTROM * (q[:, None] * potential).sum()
    forces, others = (torch.autograd.grad(e, graph.positions)[0] for e in (energy, other))
    assert_close(energy, other, rtol=1e-9, atol=0)
    assert_close(forces, others, rtol=0, atol=1e-9 * float(others.abs().max()))


@pytest.mark.parametrize("make", [cluster, crystal])
def test_forces_and_stress_are_derivatives(make: Any) -> None:
    potential, atoms, step = with_coulomb(), make(), 1e-5
    periodic = bool(atoms.pbc.all())
    said = predict(potential, from_ase(atoms, CUTOFF), stress=periodic)
    for atom, axis in ((0, 0), (3, 2)):
        moved = [atoms.copy(), atoms.copy()]
        for other, sign in zip(moved, (1, -1), strict=True):
            other.positions[atom, axis] += sign * step
        ahead, behind = (float(predict(potential, from_ase(a, CUTOFF)).energy) for a in moved)
        expected = -(ahead - behind) / (2 * step)
        assert float(said.forces[atom, axis]) == pytest.approx(expected, rel=1e-7, abs=1e-7)
    if not periodic:
        return
    for a, b in ((0, 0), (1, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            other = atoms.copy()
            other.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(float(predict(potential, from_ase(other, CUTOFF)).energy))
        expected = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert float(said.stress[0, a, b]) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_training_may_differentiate_twice() -> None:
    potential, graph = with_coulomb(), from_ase(crystal(), CUTOFF)
    parameters = [p for p in potential.terms.parameters() if p.requires_grad]
    forces = predict(potential, graph, create_graph=True).forces
    weights = torch.randn(forces.shape, dtype=torch.float64, generator=torch.manual_seed(0))
    gradients = torch.autograd.grad((weights * forces).sum(), parameters)
    for parameter, gradient, place in zip(parameters, gradients, (6, 8), strict=True):
        values, flat = [], parameter.data.view(-1)
        for sign in (1, -2):
            flat[place] += sign * 1e-4
            values.append(float((weights * predict(potential, graph).forces).sum()))
        flat[place] += 1e-4
        expected = (values[0] - values[1]) / 2e-4
        assert float(gradient.view(-1)[place]) == pytest.approx(expected, rel=1e-5)


def test_a_batch_says_of_each_structure_what_it_says_of_it_alone() -> None:
    term = TERMS["coulomb"](channels=1).double()
    graphs = [from_ase(a, CUTOFF) for a in (cluster(1), crystal(2), Atoms("O"), crystal(3))]
    given = Given()
    alone = [term(g, None, given(g, None, {}))["energies"] for g in graphs]
    sites = [given(g, None, {}) for g in graphs]
    joined = {name: torch.cat([s[name] for s in sites]) for name in sites[0]}
    together = term(collate(graphs), None, joined)["energies"]
    assert_close(together, torch.cat(alone), rtol=0, atol=2e-9)


@pytest.mark.parametrize("total", [0.0, 0.7])
def test_a_supercell_has_the_energy_of_its_cells_wherever_they_lie(total: float) -> None:
    """Of charged cells, too: the background belongs to each."""
    term, atoms, rng = TERMS["coulomb"](channels=1).double(), crystal(), np.random.default_rng(1)
    charges, shells = rng.normal(size=5), 0.1 * rng.normal(size=(5, 3))
    charges += (total - charges.sum()) / 5
    one = energy_of(term, atoms, charges, shells, np.full(5, 3.0))
    twice = (np.tile(charges, 4), np.tile(shells, (4, 1)), np.full(20, 3.0))
    many = atoms * (2, 1, 2)
    many.translate((0.3, -7.0, 2.0))
    assert energy_of(term, many, *twice) == pytest.approx(4 * one, abs=1e-8)


def test_how_the_sum_is_divided_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    term, atoms, charges = (
        TERMS["coulomb"](channels=1).double(),
        crystal(),
        [1.0, -0.5, 0.4, 0, 0.6],
    )
    sites = (charges, np.full((5, 3), 0.1), np.full(5, 2.0))
    before = energy_of(term, atoms, *sites)
    monkeypatch.setattr(ewald, "BALANCE", 1.5 * ewald.BALANCE)
    assert energy_of(term, atoms, *sites) == pytest.approx(before, abs=2e-9)


def test_shells_that_are_not_displaced_are_the_charges_alone() -> None:
    for atoms in (cluster(), crystal()):
        term, charges = TERMS["coulomb"](channels=1).double(), [0.3, -0.5, 0.4, 0.1, -0.3]
        alone = energy_of(term, atoms, charges)
        shells = energy_of(term, atoms, charges, np.zeros((5, 3)), np.full(5, 4.0))
        assert shells == pytest.approx(alone, abs=1e-9)


def test_periodic_in_two_directions_is_refused() -> None:
    slab = Atoms("H", cell=[5, 5, 5], pbc=[True, True, False])
    with pytest.raises(ValueError, match=r"`pbc` must be true in all three .* got 2 of 3"):
        energy_of(narrow(), slab, [0.0])
