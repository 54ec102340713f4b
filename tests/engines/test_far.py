"""What reaches beyond the cutoff, in compiled code: by itself, in the engine and in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from polcalc.engines.base import Structure
from polcalc.engines.eager import Eager
from polcalc.engines.native.export import dispersion_tables
from polcalc.engines.native.structures import Native
from polcalc.engines.native.training import NativeGradients
from potentials.build import build
from potentials.potential import Potential, predict
from potentials.quantities import Evaluation, Targets
from potentials.structure.graph import States, collate, from_ase
from potentials.terms.coulomb import Coulomb
from potentials.terms.dispersion import Dispersion
from potentials.terms.shells import Shells
from potentials.training.config import LossConfig
from potentials.training.loss import Loss, autograd, compiled

native = pytest.importorskip(
    "polcalc.engines.native._native",
    reason="the extension polcalc.engines.native._native was not compiled",
    exc_type=ImportError,
)

ORDER = ("baseline", "avx2", "avx512")
INSTRUCTION_SETS = ORDER[: ORDER.index(native.instruction_set) + 1]
CPU = torch.device("cpu")
TERMS: list[dict[str, Any]] = [
    {"name": "readout", "scale": 2.5},
    {"name": "reference_energies", "energies_eV": {"H": -13.6, "C": -1036.0, "O": -2043.0}},
    {"name": "charges"},
    {"name": "shells"},
    {"name": "coulomb"},
    {"name": "dispersion", "method": "pbe0", "cutoff_A": 9.0, "counting_A": 7.0},
]
SOME = [TERMS, [*TERMS[:3], TERMS[4]], TERMS[:5], [*TERMS[:2], TERMS[5]], TERMS[:3]]


def far_potential(dtype: torch.dtype = torch.float64, **spec: Any) -> Potential:
    torch.manual_seed(5)
    defaults = {
        "cutoff": 4.0,
        "radial": {"name": "exp_normal", "n_radial": 8},
        "architecture": {"name": "tensornet", "channels": 20, "n_layers": 2},
        "state_factor": {"attributes": ["total_charge"], "initial": 0.3},
        "terms": TERMS,
    }
    potential = build(defaults | spec)
    for term in potential.terms:
        if isinstance(term, Shells):  # as far as the clip, which is at 0.5 Å
            term.point.weights.data *= 3000
    return potential.to(dtype).eval()


def crystal(repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    cell = [[5.3, 0.0, 0.0], [0.9, 4.9, 0.2], [-0.7, 0.5, 5.6]]
    places = np.random.default_rng(4).random((5, 3))
    atoms: Atoms = Atoms("COHNO", cell=cell, pbc=True, scaled_positions=places) * repeat
    return atoms


def drop() -> Atoms:
    """Two molecules, not everywhere in reach of each other."""
    both = molecule("CH3CH2OH") + molecule("C6H6")
    both.positions[9:] += (1.0, 3.0, 7.0)
    both.rattle(0.05, seed=1)
    return both


def slab() -> Atoms:
    atoms = molecule("C6H6")
    atoms.positions += 0.3 * atoms.positions[:, ::-1]
    atoms.cell, atoms.pbc = [[8.0, 0, 0], [2.0, 9.0, 0], [0, 0, 0]], [True, True, False]
    return atoms


def as_structure(atoms: Atoms, charge: int = 0, **fields: Any) -> Structure:
    return Structure(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, charge, 1, **fields
    )


def derivatives(term: Any, atoms: Atoms, given: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Energies of a term, and gradients of their sum by all that it depends on."""
    graph = from_ase(atoms, 3.0)
    inputs = {name: x.clone().requires_grad_() for name, x in given.items()}
    positions = graph.positions.clone().requires_grad_()
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    turned = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.T)
    strained = graph._replace(positions=positions @ turned, cell=graph.cell @ turned)
    energies = term(strained, None, inputs)["energies"]
    by = {"positions": positions, "virial": strain, **inputs, **dict(term.named_parameters())}
    found = torch.autograd.grad(energies.sum(), list(by.values()))
    return {"energies": energies.detach(), **dict(zip(by, found, strict=True))}


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("shells", [False, True])
@pytest.mark.parametrize("make", [drop, crystal])
def test_the_coulomb_energy_and_all_its_gradients(make: Any, shells: bool, isa: str) -> None:
    atoms, rng = make(), np.random.default_rng(2)
    n = len(atoms)
    given = {"charges": rng.normal(size=n)}
    if shells:
        given |= {"shells": 0.1 * rng.normal(size=(n, 3)), "shell_charges": 2 + rng.random(n)}
        given["shells"][0] = 0.0  # where erf(αd)/d is 0/0
    term = Coulomb(channels=1).double()
    expected = derivatives(term, atoms, {k: torch.from_numpy(x) for k, x in given.items()})
    found = native.coulomb(
        species=atoms.numbers.astype(np.int64),
        positions=atoms.positions,
        lattice=atoms.cell.array if atoms.pbc.all() else None,
        charges=given["charges"],
        widths=term.widths_A.detach().numpy(),
        shells=given.get("shells"),
        electrons=given.get("shell_charges"),
        instruction_set=isa,
    )
    names = {"shell_charges": "electrons", "widths_A": "widths"}
    # of lattice sums, what is left of 9e-9 of the energy of a charge with itself
    tolerance = 2e-6 if atoms.pbc.all() else 1e-12
    for name, value in expected.items():
        same = found[names.get(name, name)]
        if name == "virial":
            same = 0.5 * (same + same.T)
            if not atoms.pbc.all():
                continue
        np.testing.assert_allclose(same, value.numpy(), rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("make", [drop, slab, crystal])
def test_the_dispersion_energy_and_its_gradients(make: Any, isa: str) -> None:
    atoms, term = make(), Dispersion(1, "wb97m", cutoff_A=9.0, counting_A=7.0)
    expected = derivatives(term, atoms, {})
    found = native.dispersion(
        species=atoms.numbers.astype(np.int64),
        positions=atoms.positions,
        lattice=atoms.cell.array * atoms.pbc[:, None],
        tables={name: x.numpy().ravel() for name, x in dispersion_tables(term, 60).items()},
        instruction_set=isa,
    )
    for name in ("energies", "positions"):
        np.testing.assert_allclose(found[name], expected[name].numpy(), rtol=0, atol=1e-13)
    virial = 0.5 * (found["virial"] + found["virial"].T)
    if atoms.pbc.any():
        plane = np.outer(atoms.pbc, atoms.pbc)  # the strain of an open direction is that of atoms
        np.testing.assert_allclose((virial - expected["virial"].numpy())[plane], 0, atol=1e-12)


def assert_same(found: Evaluation, expected: Evaluation, tolerance: float) -> None:
    for name in ("energies", "forces", "charges", "stress", "shells", "shell_charges"):
        values = getattr(expected, name)
        if values is None:
            assert getattr(found, name) is None
        else:
            np.testing.assert_allclose(
                getattr(found, name), values, rtol=0, atol=tolerance, err_msg=name
            )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("terms", SOME)
def test_the_engine_agrees_with_eager(terms: list[dict[str, Any]], dtype: torch.dtype) -> None:
    potential = far_potential(dtype, terms=terms)
    exact = Eager(far_potential(torch.float64, terms=terms), CPU)
    engine = Native(potential, CPU)
    tolerance = 2e-6 if dtype == torch.float64 else 2e-4
    for atoms, charge in ((drop(), 1), (crystal((2, 1, 1)), 0), (crystal(), -1), (Atoms("O"), 1)):
        structure = as_structure(atoms, charge)
        assert_same(engine.evaluate(structure), exact.evaluate(structure), tolerance)


def test_forces_of_many_atoms_on_two_threads_are_derivatives() -> None:
    """Enough atoms to be sorted in space, and to be far from most others."""
    atoms, step = crystal((5, 5, 5)), 1e-4
    atoms.pbc = False
    engine = Native(far_potential(), CPU)
    forces = engine.evaluate(as_structure(atoms)).forces
    for atom, axis in ((0, 0), (311, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(engine.evaluate(as_structure(moved)).energy)
        expected = -(energies[0] - energies[1]) / (2 * step)
        assert forces[atom, axis] == pytest.approx(expected, abs=2e-5)


def test_structures_side_by_side_do_not_see_each_other_and_fragments_do() -> None:
    engine, exact = Native(far_potential(), CPU), Eager(far_potential(), CPU)
    some = [as_structure(molecule("H2O")), as_structure(drop(), 1), as_structure(crystal())]
    for found, structure in zip(engine.evaluate_many(some), some, strict=True):
        assert_same(found, exact.evaluate(structure), 2e-6)
    parts = States(np.repeat([0, 1], [9, 12]), np.array([1.0, -1.0]), np.array([1, 1]))
    pair = as_structure(drop(), fragments=parts)
    found = engine.evaluate(pair)
    assert_same(found, exact.evaluate(pair), 2e-6)
    assert found.charges[:9].sum() == pytest.approx(1.0)


def test_what_compiled_code_cannot_do_is_said_by_python() -> None:
    engine = Native(far_potential(), CPU)
    with pytest.raises(ValueError, match=r"`pbc` must be true in all three .* got 2 of 3"):
        engine.evaluate(as_structure(slab()))
    with pytest.raises(ValueError, match=r"`cell` must be higher than 0\.1 Å"):
        native.dispersion(
            species=np.ones(1, dtype=np.int64),
            positions=np.zeros((1, 3)),
            lattice=np.array([[1.0, 0, 0], [1.0, 1e-3, 0], [0, 0, 1.0]]),
            tables={
                name: x.numpy().ravel()
                for name, x in dispersion_tables(Dispersion(1, "pbe"), 60).items()
            },
        )
    with pytest.raises(ValueError, match="elements from H to I"):
        engine.evaluate(as_structure(Atoms("Xe")))
    with pytest.raises(Exception, match="its Coulomb energy is that of given charges"):
        Native(far_potential(terms=[TERMS[0], TERMS[4]]), CPU)


@pytest.mark.parametrize("terms", SOME[:4])
def test_training_as_autograd(terms: list[dict[str, Any]]) -> None:
    """The weights of charges and their widths, too; dispersion has none."""
    potential = far_potential(terms=terms)
    graphs = [from_ase(molecule("CH3OH"), 4.0, charge=1), from_ase(crystal(), 4.0)]
    graph = collate([*graphs, from_ase(molecule("H2O"), 4.0), from_ase(crystal((1, 2, 1)), 4.0)])
    said = predict(potential, graph)
    rng = torch.Generator().manual_seed(0)
    forces = said.forces + torch.randn(said.forces.shape, generator=rng, dtype=torch.float64)
    energy = said.energy + torch.tensor([0.7, -1.0, 0.4, 1.3])
    charges = None if said.charges is None else said.charges.flip(0)
    targets = Targets(energy=energy, forces=forces, charges=charges)
    loss = Loss(LossConfig(weights={"energy": 1.0, "forces": 10.0}), 1.0)
    found = []
    for kind in (autograd, NativeGradients):
        potential.zero_grad()
        value = kind(potential, loss)(graph, targets)
        named = potential.named_parameters()
        found.append((float(value), {k: p.grad.clone() for k, p in named if p.grad is not None}))
    (expected, gradients), (value, others) = found
    assert value == pytest.approx(expected, rel=1e-3)
    smallest = 1e-3 * max(float(g.norm()) for g in gradients.values())
    for name, one in gradients.items():
        difference = float((one - others[name]).norm()) / max(float(one.norm()), smallest)
        assert difference < 2e-2, name


def test_what_needs_fixed_shapes_does_not_take_lists_of_pairs() -> None:
    assert far_potential().lists_pairs and not far_potential(terms=TERMS[:3]).lists_pairs
    with pytest.raises(ValueError, match='`gradients` must be "autograd" or "native"'):
        compiled(far_potential(), Loss(LossConfig(), 1.0))
