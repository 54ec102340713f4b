"""Electrons that are shared out, and what is made of them, in compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from polcalc.engines.base import Structure, Unavailable
from polcalc.engines.eager import Eager
from polcalc.engines.native import training as native_training
from polcalc.engines.native.engine import NativeEngine
from polcalc.engines.native.structures import Native
from polcalc.engines.native.training import NativeGradients
from potentials.build import build
from potentials.potential import Potential, predict
from potentials.quantities import QUANTITIES, Evaluation, Targets, named
from potentials.structure.graph import AtomicGraph, States, collate, from_ase
from potentials.training.config import LossConfig
from potentials.training.loss import Loss, autograd
from tests.engines.test_far import crystal, drop

native = pytest.importorskip(
    "polcalc.engines.native._native",
    reason="the extension polcalc.engines.native._native was not compiled",
    exc_type=ImportError,
)

ORDER = ("baseline", "avx2", "avx512")
INSTRUCTION_SETS = ORDER[: ORDER.index(native.instruction_set) + 1]
CPU = torch.device("cpu")
READOUT: list[dict[str, Any]] = [
    {"name": "readout", "scale": 2.5},
    {"name": "reference_energies", "energies_eV": {"H": -13.6, "C": -1036.0, "O": -2043.0}},
]
COSTS = {"name": "electron_energies", "charge_eV": 4.0, "squared_charge_eV": 3.0}
SPLIT, SHELLS, COULOMB = ({"name": n} for n in ("split_charges", "shells", "coulomb"))
POLARIZABILITY = {"name": "polarizability"}
DISPERSION = {"name": "dispersion", "method": "wb97m", "cutoff_A": 9.0, "counting_A": 7.0}
BOTH = {"attributes": ["total_charge", "unpaired_electrons"], "strength": "per_channel"}
VARIANTS: dict[str, dict[str, Any]] = {
    "all": {
        "terms": [
            *READOUT,
            {"name": "state_energies", "energies_eV": [[1, 1, 3.0], [0, 3, 2.0]]},
            {"name": "zbl"},
            COSTS,
            SPLIT,
            SHELLS,
            {"name": "shell_dipole"},
            COULOMB,
            DISPERSION,
        ]
    },
    "polarizable": {"terms": [*READOUT, SPLIT, {"name": "dipole"}, POLARIZABILITY, COULOMB]},
    "polarizable shells": {
        "terms": [*READOUT, {"name": "charges"}, SHELLS, {"name": "shell_dipole"}, POLARIZABILITY]
    },
    "points": {"terms": [*READOUT, SPLIT, {"name": "dipole"}, COULOMB, DISPERSION]},
    "no charges": {"terms": READOUT},
    "charges alone": {"terms": [*READOUT, SPLIT, SHELLS, {"name": "shell_dipole"}]},
    "equal shares": {"terms": [*READOUT, {"name": "charges"}, COULOMB]},
    "one layer": {"architecture": {"name": "tensornet", "channels": 8, "n_layers": 1}},
    "one layer, no charges": {
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1},
        "terms": [*READOUT, COSTS],
    },
    "three layers": {"architecture": {"name": "tensornet", "channels": 40, "n_layers": 3}},
    "SO(3)": {
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2, "group": "SO(3)"},
        "envelope": "polynomial",
    },
    "no factor": {"state_factor": {"attributes": []}},
    "factor fixed": {"state_factor": {"attributes": ["unpaired_electrons"], "initial": 0.4}},
    "partial charges": {
        "state_factor": {**BOTH, "attributes": ["partial_charges", *BOTH["attributes"]]},
        "embeddings": [{"name": "species"}, {"name": "partial_charges"}],
    },
}


def local(name: str = "points", dtype: torch.dtype = torch.float64, **changes: Any) -> Potential:
    """Make a model whose atoms have charges of their own, formal ones among them."""
    torch.manual_seed(2)
    spec: dict[str, Any] = {
        "cutoff": 4.0,
        "radial": {"name": "exp_normal", "n_radial": 8},
        "architecture": {"name": "tensornet", "channels": 16, "n_layers": 2},
        "state_factor": BOTH,
        "electrons": {"name": "local"},
        "terms": VARIANTS["points"]["terms"],
    }
    potential = build(spec | VARIANTS[name] | changes)
    for weight in potential.parameters():  # no weight is at a special value
        weight.data += 0.1 * torch.randn_like(weight)
    potential.trunk.electrons.network[-1].weight.data *= 3.0  # type: ignore[operator]
    return potential.to(dtype).eval()


def as_structure(atoms: Atoms, charge: int = 0, multiplicity: int = 1, **more: Any) -> Structure:
    partial = np.random.default_rng(0).normal(scale=0.3, size=len(atoms))
    cell, pbc = atoms.cell.array, atoms.pbc
    return Structure(
        atoms.numbers, atoms.positions, cell, pbc, charge, multiplicity, partial, **more
    )


def assert_same(found: Evaluation, expected: Evaluation, tolerance: float) -> None:
    assert named(found).keys() == named(expected).keys()
    steep = max(1.0, np.abs(expected.forces).max())
    for name, values in named(expected).items():
        most = tolerance * (steep if name in ("energy", "energies", "forces", "stress") else 1.0)
        np.testing.assert_allclose(getattr(found, name), values, rtol=0, atol=most, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_engine_agrees_with_eager(name: str, dtype: torch.dtype) -> None:
    """Neutral, charged and open-shell molecules, a crystal, and an atom alone."""
    engine, exact = Native(local(name, dtype), CPU), Eager(local(name), CPU)
    tolerance = 3e-6 if dtype == torch.float64 else 3e-4
    formal: list[float] = []
    for atoms, state in (
        (drop(), (0, 1)),
        (drop(), (1, 2)),
        (crystal((2, 1, 1)), (-1, 2)),
        (crystal(), (0, 3)),
        (Atoms("O"), (-1, 2)),
    ):
        structure = as_structure(atoms, *state)
        expected = exact.evaluate(structure)
        assert_same(engine.evaluate(structure), expected, tolerance)
        formal += list(expected.formal_charges)
    assert max(abs(charge - round(charge)) for charge in formal) > 0.1  # not flat


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-3)])
def test_three_wide_layers_are_exact_alone_and_side_by_side(
    dtype: torch.dtype, tolerance: float
) -> None:
    """Molecules in several states and a crystal; random weights are steeper than trained ones."""
    wide = {"architecture": {"name": "tensornet", "channels": 64, "n_layers": 3}}
    terms = [*READOUT, COSTS, {"name": "zbl"}, *VARIANTS["points"]["terms"][2:]]
    engine = Native(local(dtype=dtype, terms=terms, **wide), CPU)
    exact = Eager(local(terms=terms, **wide), CPU)
    states = [(molecule("CH3CH2OH"), 0, 1), (molecule("H2O"), 1, 2), (drop(), -1, 1)]
    structures = [as_structure(*state) for state in (*states, (crystal(), 1, 2))]
    together = engine.evaluate_many(structures)
    for structure, beside in zip(structures, together, strict=True):
        expected = exact.evaluate(structure)
        assert_same(engine.evaluate(structure), expected, tolerance)
        assert_same(beside, expected, tolerance)


@pytest.mark.parametrize("name", ["points", "all", "polarizable", "polarizable shells"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_electric_field_as_eager(name: str, dtype: torch.dtype) -> None:
    """Molecules in several states, a bare proton, and side by side, each in a field of its own."""
    fields = ([0.3, -0.2, 0.5], [0.0, 0.0, 0.0], [-0.4, 0.1, 0.2], [0.1, 0.2, 0.3])
    states = ((drop(), 1, 2), (drop(), 0, 1), (molecule("CH3OH"), -1, 2), (Atoms("H"), 1, 1))
    some = [
        as_structure(*state, inputs={"electric_field_V_per_A": np.array(field)})
        for state, field in zip(states, fields, strict=True)
    ]
    some.append(as_structure(drop(), 1, 2))
    engine, exact = Native(local(name, dtype), CPU), Eager(local(name), CPU)
    tolerance = 1e-6 if dtype == torch.float64 else 3e-4
    expected = [exact.evaluate(s) for s in some]
    assert abs(expected[0].energy - expected[-1].energy) > 0.1
    for structure, beside, right in zip(some, engine.evaluate_many(some), expected, strict=True):
        assert_same(engine.evaluate(structure), right, tolerance)
        assert_same(beside, right, tolerance)
    crystalline = as_structure(crystal(), inputs={"electric_field_V_per_A": np.ones(3)})
    with pytest.raises(Unavailable, match="in a crystal"):
        engine.evaluate(crystalline)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_every_instruction_set_and_threads_agree(isa: str) -> None:
    """And structures side by side, which know nothing of each other, and fragments, which do."""
    engine, exact = Native(local("all"), CPU), Eager(local("all"), CPU)
    engine.compiled = NativeEngine(local("all"), torch.float64, 3, isa)
    some = [as_structure(molecule("H2O")), as_structure(drop(), 1, 2), as_structure(drop(), -1)]
    for found, structure in zip(engine.evaluate_many(some), some, strict=True):
        assert_same(found, exact.evaluate(structure), 1e-6)
    order = np.random.default_rng(0).permutation(21)
    parts = States((order >= 9).astype(np.int64), np.array([1.0, -1.0]), np.array([2, 1]))
    pair = as_structure(drop()[order], fragments=parts)
    found = engine.evaluate(pair)
    assert_same(found, exact.evaluate(pair), 1e-6)
    assert found.charges[order < 9].sum() == pytest.approx(1.0)
    assert found.unpaired_electrons[order < 9].sum() == pytest.approx(1.0)


def test_atoms_that_are_sorted_in_space_keep_what_is_theirs() -> None:
    atoms = crystal((5, 5, 5))
    atoms.pbc = False
    structure = as_structure(atoms, 2, 3)
    changes: dict[str, Any] = {
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2},
        "cutoff": 2.5,
    }
    engine, exact = (kind(local("all", **changes), CPU) for kind in (Native, Eager))
    assert_same(engine.evaluate(structure), exact.evaluate(structure), 1e-6)


def batch(potential: Potential) -> tuple[AtomicGraph, Targets]:
    """Open and periodic structures in several states, with labels of all that is predicted.

    The open ones are in an electric field.
    """
    graph = collate(
        [
            from_ase(molecule("CH3OH"), 4.0, charge=1, multiplicity=2),
            from_ase(crystal(), 4.0),
            from_ase(drop(), 4.0, charge=-1),
            from_ase(crystal((1, 2, 1)), 4.0, multiplicity=3),
            from_ase(Atoms("O"), 4.0, charge=-1, multiplicity=2),
        ]
    )
    fields = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double()
    fields[graph.pbc.any(1)] = 0.0
    graph = graph._replace(electric_field_V_per_A=fields)
    said = predict(potential, graph)
    rng = torch.Generator().manual_seed(0)
    labels = {}
    for name, value in named(said).items():
        if QUANTITIES[name].label and name != "stress":
            labels[name] = value + torch.randn(value.shape, generator=rng, dtype=torch.float64)
    if "charges" in labels:
        labels["charges"][::3] = torch.nan
    return graph, Targets(**labels)


def gradients(kind: Any, potential: Potential, loss: Loss, given: Any) -> Any:
    potential.zero_grad()
    value = kind(potential, loss)(*given)
    parameters = potential.named_parameters()
    return float(value), {n: p.grad.clone() for n, p in parameters if p.grad is not None}


@pytest.mark.parametrize("forces", [10.0, 0.0])
@pytest.mark.parametrize("name", VARIANTS)
def test_training_as_autograd(name: str, forces: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of energies, forces, charges, formal charges, these before rounding, electrons, dipoles."""
    monkeypatch.setattr(native_training, "ROUGHNESS", 0.0)
    potential = local(name)
    given = batch(potential)
    weights = {"energy": 1.0, "forces": forces, "formal_charges": 3.0, "charges": 2.0}
    loss = Loss(LossConfig(weights=weights), 1.0)
    value, expected = gradients(autograd, potential, loss, given)
    other, found = gradients(NativeGradients, potential, loss, given)
    assert other == pytest.approx(value, rel=1e-3)
    smallest = 1e-3 * max(float(g.norm()) for g in expected.values())
    for weight, one in expected.items():
        if one.numel():
            difference = float((one - found[weight]).norm()) / max(float(one.norm()), smallest)
            assert difference < (3e-2 if forces else 1e-4), weight
