"""Charge and unpaired electrons of a molecule shared out over its atoms.

The formulas of the stage are checked by the contract tests, in the second TensorNet.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from torch.testing import assert_close

from polcalc import PolarizedCalculator
from potentials.build import ARCHITECTURES, build
from potentials.card import Card
from potentials.checkpoint import Model
from potentials.parts.electrons import rounded, shared_out
from potentials.potential import Potential, predict
from potentials.structure.graph import AtomicGraph, States, collate, from_ase
from potentials.terms.base import COULOMB_EV_ANGSTROM
from potentials.training.initial_weights import take_over

CUTOFF = 3.0
SIZES: dict[str, dict[str, Any]] = {"equiformer": {"n_heads": 2, "n_hidden": 8}}


def potential_of(architecture: str = "tensornet", formal: float = 2.0, **spec: Any) -> Potential:
    """Build one with random weights, whose formal charges are none (0) or many."""
    if architecture == "equiformer":
        pytest.importorskip("e3nn")
    torch.manual_seed(1)
    sizes = {"channels": 8, "n_layers": 2} | SIZES.get(architecture, {})
    plain = {
        "cutoff": CUTOFF,
        "architecture": {"name": architecture} | sizes,
        "electrons": {"name": "local"},
    }
    potential = build(plain | spec).double()
    with torch.no_grad():
        for parameter in potential.parameters():  # no weight is at a special value
            parameter += 0.3 * torch.randn_like(parameter)
        potential.trunk.electrons.network[-1].weight[0].mul_(formal)
    return potential


def graph_of(atoms: Atoms, charge: float = 0, multiplicity: int = 1, **given: Any) -> AtomicGraph:
    graph = from_ase(atoms, CUTOFF, charge=charge, multiplicity=multiplicity)
    return graph._replace(**given)


def far(*parts: Atoms, distance: float = 40.0) -> Atoms:
    joined = Atoms()
    for n, part in enumerate(parts):
        moved = part.copy()
        moved.positions += [0.0, 0.0, n * distance]
        joined += moved
    return joined


def test_rounding_is_flat_around_integers_and_twice_differentiable_between() -> None:
    u = torch.linspace(-2.6, 2.6, 5201, dtype=torch.float64)
    p = rounded(u.requires_grad_())
    (first,) = torch.autograd.grad(p.sum(), u, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), u)
    u, p, first = u.detach(), p.detach(), first.detach()
    near = (u - u.round()).abs() < 0.25 + 1e-9
    assert torch.equal(p[near].round(), u[near].round())
    assert_close(p[near], u[near].round(), rtol=0.0, atol=1e-12)
    assert_close(rounded(-u), -p, rtol=0.0, atol=1e-12)
    assert float(rounded(torch.tensor(0.5))) == pytest.approx(0.5)
    assert float(first[near].abs().max()) < 1e-12 and bool((first[~near] > 0).all())
    for values, bound in ((p, 0.004), (first, 0.03), (second, 0.5)):  # no jump between neighbours
        assert float(values.diff().abs().max()) < bound


def test_scores_of_any_size_share_out() -> None:
    parts = torch.tensor([0, 1, 0, 1])
    scores = torch.tensor([1e4, -1e4, 1e4, 0.0], dtype=torch.float64)
    shares = shared_out(torch.tensor([2.0, -1.0], dtype=torch.float64), scores, parts)
    assert shares.tolist() == [1.0, 0.0, 1.0, -1.0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_charges_and_unpaired_electrons_add_up(architecture: str) -> None:
    """Of molecules in a batch, of a crystal, and of fragments that touch."""
    potential = potential_of(architecture)
    crystal = Atoms("NaCl", [[0, 0, 0], [2.8, 0, 0]], cell=[5.6, 2.8, 2.8], pbc=True)
    states = [(1, 2), (-1, 1), (0, 3), (2, 1)]
    structures = [molecule("CH3CH2OH"), crystal, Atoms("O"), molecule("H2O")]
    graphs = [graph_of(atoms, *state) for atoms, state in zip(structures, states, strict=True)]
    said = predict(potential, collate(graphs))
    batch = collate(graphs).batch
    for values, totals in (
        (said.excess_charges, [1.0, -1.0, 0.0, 2.0]),
        (said.unpaired_electrons, [1.0, 0.0, 2.0, 0.0]),
    ):
        assert values.dtype == torch.float64
        sums = torch.zeros(4, dtype=torch.float64).index_add(0, batch, values)
        assert_close(sums, torch.tensor(totals, dtype=torch.float64), rtol=0.0, atol=1e-13)
    assert said.formal_charges.any()  # so that there is something to make up for
    pair = far(molecule("H2O"), molecule("CH3OH"), distance=2.8)
    parts = States(
        torch.tensor([0] * 3 + [1] * 6),
        torch.tensor([-1.0, 1.0], dtype=torch.float64),
        torch.tensor([1, 3]),
    )
    said = predict(potential, graph_of(pair, fragments=parts))
    for values, totals in ((said.excess_charges, [-1, 1]), (said.unpaired_electrons, [0, 2])):
        sums = torch.zeros(2, dtype=torch.float64).index_add(0, parts.batch, values)
        assert_close(sums, torch.tensor(totals, dtype=torch.float64), rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_charge_of_the_molecule_says_nothing_to_formal_charges(architecture: str) -> None:
    potential, atoms = potential_of(architecture), molecule("CH3CH2OH")
    neutral, cation = (predict(potential, graph_of(atoms, *s)) for s in ((0, 1), (1, 2)))
    assert torch.equal(neutral.unrounded_formal_charges, cation.unrounded_formal_charges)
    assert float((neutral.energy - cation.energy).abs()) > 1e-6


def with_ions(atoms: Atoms, ions: dict[str, float], **spec: Any) -> Potential:
    """Build a potential whose elements have formal charges: what training would teach it."""
    potential = potential_of(**spec)
    numbers = {number: 0.0 for number in atoms.numbers.tolist()}
    numbers |= {Atoms(symbol).numbers[0].item(): charge for symbol, charge in ions.items()}
    stage = potential.trunk.electrons

    def settle(electrons: Any, graph: Any, layer: int, invariants: Any) -> Any:
        """Take u from the table, and everything else from the network."""
        u = torch.tensor([numbers[z] for z in graph.atomic_numbers.tolist()], dtype=torch.float64)
        handle = stage.network.register_forward_hook(
            lambda _, __, out: torch.cat([u[:, None], out[:, 1:]], dim=1)
        )
        try:
            return type(stage).settle(stage, electrons, graph, layer, invariants)
        finally:
            handle.remove()

    stage.settle = settle  # type: ignore[method-assign]
    return potential


@pytest.mark.parametrize("distance", [8.0, 15.0, 60.0])
def test_ions_with_formal_charges_do_not_feel_a_far_molecule(distance: float) -> None:
    """An ion is the same alone, beside a neutral molecule, beside its counterion."""
    ion, water, counterion = Atoms("Na"), molecule("H2O"), Atoms("Cl")
    both = far(ion, water, counterion, distance=distance)
    potential = with_ions(both, {"Na": 1.0, "Cl": -1.0})
    together = predict(potential, graph_of(both))
    alone = [
        predict(potential, graph_of(atoms, charge))
        for atoms, charge in ((ion, 1), (water, 0), (counterion, -1))
    ]
    assert_close(together.energy, sum(a.energy for a in alone), rtol=0.0, atol=1e-11)
    assert_close(together.forces, torch.cat([a.forces for a in alone]), rtol=0.0, atol=1e-11)
    assert together.excess_charges.tolist() == [1.0, 0.0, 0.0, 0.0, -1.0]


def test_far_parts_act_on_each_other_as_charges_and_shells_do() -> None:
    """With every term: ion, molecule and counterion are off their sum by Coulomb's law alone."""
    ion, water, counterion = Atoms("Na"), molecule("H2O"), Atoms("Cl")
    both = far(ion, water, counterion, distance=15.0)
    names = ("readout", "electron_energies", "split_charges", "shells", "shell_dipole", "coulomb")
    terms = [{"name": name} for name in names]
    potential = with_ions(both, {"Na": 1.0, "Cl": -1.0}, terms=terms)
    together = predict(potential, graph_of(both))
    parts = [(ion, 1), (water, 0), (counterion, -1)]
    alone = [predict(potential, graph_of(atoms, charge)) for atoms, charge in parts]
    places, charges, owners = [], [], []
    for n, said in enumerate(alone):
        positions = torch.as_tensor(parts[n][0].positions + np.array([0.0, 0.0, n * 15.0]))
        places += [positions, positions + said.shells]
        charges += [said.charges + said.shell_charges, -said.shell_charges]
        owners += [n] * (2 * len(positions))
    q, r, own = torch.cat(charges), torch.cat(places), torch.tensor(owners)
    between = 0.5 * (own[:, None] != own[None, :]) * q[:, None] * q[None, :]
    expected = COULOMB_EV_ANGSTROM * (between / torch.cdist(r, r).clamp(min=1.0)).sum()
    found = together.energy - sum(said.energy for said in alone)
    assert abs(float(expected)) > 0.1
    assert float(found) == pytest.approx(float(expected), abs=1e-6)
    assert_close(together.charges, torch.cat([said.charges for said in alone]), rtol=0, atol=1e-12)
    assert together.excess_charges[[0, 4]].tolist() == [1.0, -1.0]


def test_copies_of_a_radical_ion_add_up() -> None:
    """What is left of the total counts by its sign, so that two holes settle as one does."""
    potential, one = potential_of(formal=0.0), molecule("CH3CH2OH")
    single = predict(potential, graph_of(one, 1, 2))
    triple = predict(potential, graph_of(far(one, one, one), 3, 4))
    assert float(triple.energy - 3 * single.energy) == pytest.approx(0.0, abs=1e-11)
    assert_close(triple.excess_charges, single.excess_charges.repeat(3), rtol=0.0, atol=1e-13)


def test_a_formal_charge_that_comes_and_goes_is_smooth() -> None:
    """A bond is stretched until its atoms say other formal charges: no jump in the forces."""
    potential, steps = potential_of(), []
    for n in (300, 3000):
        lengths = np.linspace(1.0, 1.3, n + 1)
        graphs = [graph_of(Atoms("OH", [[0, 0, 0], [0, 0, d]]), -1) for d in lengths]
        said = predict(potential, collate(graphs))
        formal = said.formal_charges.view(-1, 2)
        assert len(torch.unique(formal.round(), dim=0)) > 1  # it does come or go
        pull = said.forces.view(-1, 2, 3)[:, 1, 2]
        steps.append(float(pull.diff().abs().max()))
    assert steps[1] < steps[0] / 5  # a jump would stay when the step shrinks
    mean = -(said.energy[2:] - said.energy[:-2]) / (lengths[2] - lengths[0])
    assert_close(mean, pull[1:-1], rtol=0.0, atol=1e-2 * float(pull.abs().max()))


@pytest.mark.parametrize(
    "conditioned",
    [
        {"embeddings": [{"name": "species"}, {"name": "total_charge"}]},
        {"embeddings": [{"name": "species"}, {"name": "multiplicity"}]},
        {"attention": {"name": "charged"}},
    ],
)
def test_parts_that_know_the_totals_are_refused(conditioned: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="`electrons` must be global where"):
        potential_of(**conditioned)


def test_a_training_starts_where_the_model_without_it_was() -> None:
    spec = potential_of().spec
    start = build({name: value for name, value in spec.items() if name != "electrons"}).double()
    more = build(spec).double()
    fresh = take_over(more, start)
    assert fresh and all(name.startswith("trunk.electrons.") for name in fresh)
    for state in ((0, 1), (1, 2)):
        graph = graph_of(molecule("CH3CH2OH"), *state)
        before, after = predict(start, graph), predict(more, graph)
        assert_close(after.energies, before.energies, rtol=0, atol=1e-12)
        assert not after.formal_charges.any()


def test_ions_side_by_side_are_no_guess() -> None:
    """The calculator warns of them where a model knows the charge of the whole alone."""
    pair = Atoms("NaCl", [[0, 0, 0], [0, 0, 4.2]])
    card = Card(elements=[11, 17], states=[[0, 1, 9]])
    for spec, warns in (({}, False), ({"electrons": {"name": "global"}}, True)):
        potential = build(potential_of().spec | spec)
        pair.calc = PolarizedCalculator(Model(potential, card, "0" * 64, Path("x.pt")))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            pair.get_potential_energy()
        assert any("how it is shared out is a guess" in str(w.message) for w in said) == warns
