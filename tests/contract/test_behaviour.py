"""Shapes, limits, states, files: what every potential owes besides symmetry and derivatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor
from torch.testing import assert_close

from polcalc.engines.base import Structure, Unavailable
from polcalc.engines.selector import ENGINES, make_engine
from potentials import checkpoint
from potentials.build import build
from potentials.potential import Potential, predict
from potentials.structure.graph import collate
from tests.contract.structures import (
    ALL,
    chiral_molecule,
    graph_of,
    tiny_crystal,
    triclinic_crystal,
)
from tests.contract.variants import (
    DOORS,
    REFERENCES,
    VARIANTS,
    Variant,
    without_formal_charges,
)


def test_shapes_and_dtypes(potential: Potential) -> None:
    """One atom, atoms out of reach of each other, and a mixed batch.

    Energies are float64 and add up.
    """
    lone, apart = Atoms("C"), Atoms("OH", [[0, 0, 0], [50, 0, 0]])
    for structures in ([lone], [apart], [lone, chiral_molecule(), apart, triclinic_crystal()]):
        graph = collate([graph_of(atoms, potential.cutoff) for atoms in structures])
        answer = predict(potential, graph)
        n_atoms = [len(atoms) for atoms in structures]
        assert answer.energy.shape == (len(structures),)
        assert answer.energies.shape == (sum(n_atoms),)
        assert answer.forces is not None
        assert answer.forces.shape == (sum(n_atoms), 3)
        assert answer.energy.dtype == answer.energies.dtype == answer.forces.dtype == torch.float64
        assert torch.isfinite(answer.energies).all()
        assert torch.isfinite(answer.forces).all()
        assert_close(
            answer.energy,
            torch.stack([e.sum() for e in answer.energies.split(n_atoms)]),
            rtol=0.0,
            atol=1e-9,
        )
        assert answer.stress is None


def test_lone_atoms_feel_no_force(potential: Potential) -> None:
    apart = Atoms("OH", [[0, 0, 0], [50, 0, 0]])
    for atoms in (Atoms("C"), apart):
        forces = predict(potential, graph_of(atoms, potential.cutoff)).forces
        assert forces is not None
        assert not forces.any()


PLAIN = {v.architecture: v for v in reversed(VARIANTS)}  # the first of each architecture


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("architecture", PLAIN)
def test_every_engine_takes_atoms_without_a_pair(architecture: str, engine: str) -> None:
    """The energies of the atoms alone, no forces; from every engine that serves it here."""
    potential = PLAIN[architecture].build()
    for parameter in potential.parameters():
        parameter.data = parameter.data.float()  # tables are for float32
    try:
        made = make_engine(engine, potential, torch.device("cpu"))
    except Unavailable:
        pytest.skip(f"{engine} does not serve this potential here")
    apart = Atoms("OH", [[0, 0, 0], [0, 0, 8]])
    together, *alone = (made.evaluate(_structure(atoms)) for atoms in (apart, apart[:1], apart[1:]))
    assert not together.forces.any()
    np.testing.assert_allclose(
        together.energies, [answer.energy for answer in alone], rtol=0, atol=1e-6
    )


def test_an_isolated_atom_has_its_reference_energy(variant: Variant, potential: Potential) -> None:
    """Up to the constant that the network gives to element and state, the same in any company.

    A charge that is shared out over the molecule is the exception: there a neutral singlet is
    taken.
    """
    potential = without_formal_charges(potential)
    state = (0, 1) if variant.shared_state else (-1, 3)
    bare = build(
        variant.spec
        | {"terms": [t for t in variant.spec["terms"] if t["name"] != "reference_energies"]}
    ).double()
    missing = bare.load_state_dict(_renamed(potential, bare), strict=False)
    assert not missing.missing_keys
    for symbol, reference in REFERENCES.items():
        graph = graph_of(Atoms(symbol), potential.cutoff, *state)
        alone = predict(potential, graph).energies
        assert_close(
            alone - predict(bare, graph).energies,
            torch.tensor([reference], dtype=torch.float64),
            rtol=0.0,
            atol=1e-9,
        )
        far = Atoms(
            [symbol, *chiral_molecule().symbols], [[60, 0, 0], *chiral_molecule().positions]
        )
        assert_close(
            predict(potential, graph_of(far, potential.cutoff, *state)).energies[:1],
            alone,
            rtol=0.0,
            atol=1e-10,
        )


def test_far_copies_add(variant: Variant, potential: Potential) -> None:
    """Size consistency.

    A total charge or spin acts on every atom however far, and there it must be seen to fail.
    """
    potential = without_formal_charges(potential)
    one = chiral_molecule()
    two = one + one
    two.positions[len(one) :] += 80.0
    neutral = [
        float(predict(potential, graph_of(a, potential.cutoff, 0, 1)).energy) for a in (one, two)
    ]
    assert abs(neutral[1] - 2 * neutral[0]) < 1e-9
    single, double = graph_of(one, potential.cutoff, 1, 3), graph_of(two, potential.cutoff, 2, 5)
    surplus = float(predict(potential, double).energy - 2 * predict(potential, single).energy)
    assert abs(surplus) > 1e-6 if variant.global_state else abs(surplus) < 1e-9


def test_a_neutral_singlet_is_the_plain_network(variant: Variant, potential: Potential) -> None:
    """Bit for bit: energy, forces and stress of the same weights without a state factor."""
    potential = without_formal_charges(potential)
    blind = {"state": "blind", "embeddings": "species", "attention": "none", "electrons": "global"}
    plain = _with_weights_of(potential, variant._replace(**blind))
    for make in (chiral_molecule, tiny_crystal):
        atoms = make()
        atoms.set_initial_charges(None)
        graph = graph_of(atoms, potential.cutoff, charge=0, multiplicity=1)
        stress = bool(atoms.pbc.all())
        here, there = predict(potential, graph, stress=stress), predict(plain, graph, stress=stress)
        assert torch.equal(here.energies, there.energies)
        assert torch.equal(_given(here.forces), _given(there.forces))
        assert not stress or torch.equal(_given(here.stress), _given(there.stress))


def test_the_state_is_seen_where_the_model_has_eyes_for_it(
    variant: Variant, potential: Potential
) -> None:
    eyes = build(variant.spec).state_inputs
    atoms, bare = chiral_molecule(), chiral_molecule()
    bare.set_initial_charges(None)
    neutral = predict(potential, graph_of(bare, potential.cutoff, 0, 1)).energy
    for attribute, graph in {
        "total_charge": graph_of(bare, potential.cutoff, -1, 1),
        "unpaired_electrons": graph_of(bare, potential.cutoff, 0, 3),
        "partial_charges": graph_of(atoms, potential.cutoff, 0, 1),
    }.items():
        shift = float((predict(potential, graph).energy - neutral).abs())
        assert shift > 1e-7 if attribute in eyes else shift == 0.0, attribute


OPTIONS = [
    (v, door)
    for v in VARIANTS
    for door, table in DOORS.items()
    if getattr(v, door) != next(iter(table))
]


@pytest.mark.parametrize(("changed", "door"), OPTIONS, ids=[f"{v}, {door}" for v, door in OPTIONS])
def test_every_option_changes_the_result(changed: Variant, door: str) -> None:
    """The same weights with and without the option."""
    plain = changed._replace(**{door: next(iter(DOORS[door]))})
    potential = changed.build()
    graph = graph_of(chiral_molecule(), potential.cutoff, charge=-1, multiplicity=4)
    difference = (
        predict(potential, graph).energy - predict(_with_weights_of(potential, plain), graph).energy
    )
    assert float(difference.abs()) > 1e-7


def test_saved_and_loaded_is_identical(potential: Potential, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "model.pt", potential, checkpoint.Card(name="contract"))
    loaded = checkpoint.load(tmp_path / "model.pt", dtype=torch.float64).potential
    for make in ALL.values():
        graph = graph_of(make(), potential.cutoff)
        here, there = predict(potential, graph), predict(loaded, graph)
        assert torch.equal(here.energies, there.energies)
        assert torch.equal(_given(here.forces), _given(there.forces))


def test_single_precision_follows_double(potential: Potential, tmp_path: Path) -> None:
    """The network in float32, geometry and sums in float64.

    Large reference energies cost no digits.
    """
    checkpoint.save(tmp_path / "model.pt", potential, checkpoint.Card(name="contract"))
    single = checkpoint.load(tmp_path / "model.pt", dtype=torch.float32).potential
    assert single.dtype == torch.float32
    for make in ALL.values():
        graph = graph_of(make(), potential.cutoff)
        here, there = predict(potential, graph), predict(single, graph)
        assert there.energy.dtype == torch.float64
        assert_close(there.energies, here.energies, rtol=0.0, atol=2e-5)
        scale = float(_given(here.forces).abs().max())
        assert_close(there.forces, here.forces, rtol=0.0, atol=5e-5 * max(scale, 1.0))


def test_input_is_unchanged(potential: Potential) -> None:
    graph = graph_of(tiny_crystal(), potential.cutoff)
    before = {name: x.clone() for name, x in graph._asdict().items() if isinstance(x, Tensor)}
    weights = {name: w.clone() for name, w in potential.state_dict().items()}
    predict(potential, graph, stress=True)
    for name, tensor in before.items():
        assert torch.equal(getattr(graph, name), tensor), name
        assert not getattr(graph, name).requires_grad, name
    assert all(torch.equal(w, weights[name]) for name, w in potential.state_dict().items())
    assert all(p.grad is None for p in potential.parameters())


def test_the_same_input_gives_the_same_bits(potential: Potential) -> None:
    graph = graph_of(triclinic_crystal(), potential.cutoff)
    here, there = predict(potential, graph), predict(potential, graph)
    assert torch.equal(here.energies, there.energies)
    assert torch.equal(_given(here.forces), _given(there.forces))


def test_a_graph_with_too_small_a_cutoff_is_refused(potential: Potential) -> None:
    with pytest.raises(ValueError, match="cutoff"):
        predict(potential, graph_of(chiral_molecule(), potential.cutoff - 0.1))


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": {"name": "nonsense", "channels": 4}},
        {"radial": {"name": "nonsense"}},
        {"points": {"name": "nonsense"}},
        {"terms": [{"name": "nonsense"}]},
        {"embeddings": [{"name": "nonsense"}]},
        {"radial": {"name": "exp_normal", "nonsense": 1}},
        {"state_factor": {"attributes": ["nonsense"]}},
        {"state_factor": {"attributes": [], "strength": "nonsense"}},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_unknown_names_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        build(VARIANTS[0].spec | change)


def _with_weights_of(potential: Potential, variant: Variant) -> Potential:
    """Build another variant with the weights of this one, as far as both have them."""
    other = variant.build()
    shared = {name: w for name, w in potential.state_dict().items() if name in other.state_dict()}
    fitting = {name: w for name, w in shared.items() if w.shape == other.state_dict()[name].shape}
    other.load_state_dict(fitting, strict=False)
    return other


def _renamed(potential: Potential, bare: Potential) -> dict[str, Tensor]:
    """Weights for the same potential without its reference energies: later terms move up by one."""
    weights = potential.state_dict()
    kept = [
        n for n, term in enumerate(potential.spec["terms"]) if term["name"] != "reference_energies"
    ]
    renamed = {name: w for name, w in weights.items() if not name.startswith("terms.")}
    for new, old in enumerate(kept):
        renamed |= {
            f"terms.{new}.{n.split('.', 2)[2]}": w
            for n, w in weights.items()
            if n.startswith(f"terms.{old}.")
        }
    return renamed


def _structure(atoms: Atoms) -> Structure:
    return Structure(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, 0, 1, np.zeros(len(atoms))
    )


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor
