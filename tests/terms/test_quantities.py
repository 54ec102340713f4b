"""Every quantity of the table on every architecture: shapes, symmetry, batches, closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from torch import Tensor
from torch.testing import assert_close

from potentials.build import ARCHITECTURES, build
from potentials.potential import Potential, predict
from potentials.quantities import DEBYE, QUANTITIES, named, unit_key
from potentials.structure.graph import collate, from_ase
from potentials.terms.base import Term

SIZES: dict[str, dict[str, Any]] = {"equiformer": {"n_heads": 2, "n_hidden": 8}}
HEADS: list[dict[str, Any]] = [
    {"name": "readout"},
    {"name": "charges"},
    {"name": "dipole"},
    {"name": "coulomb"},
    {"name": "mean_readout", "quantity": "orbital_energy"},
    {"name": "sum_readout", "quantity": "heat_capacity"},
    {"name": "sum_readout", "quantity": "vibrational_energy"},
    {"name": "sum_readout", "quantity": "isotropic_polarizability"},
    {"name": "dipole_moment"},
    {"name": "spatial_extent"},
]
ELECTRONS: list[dict[str, Any]] = [
    {"name": "readout"},
    {"name": "split_charges"},
    {"name": "shells"},
    {"name": "shell_dipole"},
    {"name": "polarizability"},
    {"name": "coulomb"},
]
CUTOFF = 4.0


def potential_of(architecture: str, points: str = "fixed", electrons: str = "global") -> Potential:
    if architecture == "equiformer":
        pytest.importorskip("e3nn")
    torch.manual_seed(1)
    sizes = {"channels": 8, "n_layers": 2} | SIZES.get(architecture, {})
    spec = {
        "cutoff": CUTOFF,
        "architecture": {"name": architecture} | sizes,
        "points": {"name": points},
        "electrons": {"name": electrons},
        "terms": ELECTRONS if electrons == "local" else HEADS,
    }
    potential = build(spec).double()
    for p in potential.parameters():  # no weight is at a special value
        p.data += 0.1 * torch.randn_like(p)
    return potential


def cation() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=3)
    atoms.translate((0.3, -0.7, 1.1))
    return atoms


def graph_of(atoms: Atoms, charge: int = 1) -> Any:
    return from_ase(atoms, CUTOFF, charge=charge)


def turned_by(matrix: Tensor, values: Tensor, rank: int) -> Tensor:
    """Turn the last axes of a vector or tensor."""
    for axis in range(rank):
        values = (values.movedim(-1 - axis, -1) @ matrix.T).movedim(-1, -1 - axis)
    return values


VARIANTS = [
    (name, "fixed", electrons) for name in ARCHITECTURES for electrons in ("global", "local")
]
VARIANTS += [("tensornet", "moving", electrons) for electrons in ("global", "local")]


@pytest.mark.parametrize(("architecture", "points", "electrons"), VARIANTS)
def test_every_quantity_turns_and_mirrors_with_the_structure(
    architecture: str, points: str, electrons: str
) -> None:
    potential, atoms = potential_of(architecture, points, electrons), cation()
    rng = np.random.default_rng(0)
    matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix *= -np.sign(np.linalg.det(matrix))  # a reflection among it
    other = atoms.copy()
    other.positions = atoms.positions @ matrix.T
    here, there = (predict(potential, graph_of(a)) for a in (atoms, other))
    turn = torch.from_numpy(matrix)
    assert set(named(here)) >= set(potential.predicts) - {"stress"}
    for name, values in named(here).items():
        rank = len(QUANTITIES[name].shape)
        expected = turned_by(turn, values, rank)
        assert_close(getattr(there, name), expected, rtol=1e-8, atol=1e-9, msg=name)
        if rank:
            assert float(values.abs().max()) > 1e-6, f"{name} is zero: nothing was tested"


@pytest.mark.parametrize(("architecture", "points", "electrons"), VARIANTS)
def test_shapes_and_batches(architecture: str, points: str, electrons: str) -> None:
    """A batch says of each structure what it says of it alone."""
    potential = potential_of(architecture, points, electrons)
    graphs = [graph_of(cation()), graph_of(molecule("H2O"), 0), graph_of(Atoms("O"), 0)]
    batch, n_atoms = predict(potential, collate(graphs)), [9, 3, 1]
    singles = [predict(potential, graph) for graph in graphs]
    for name, values in named(batch).items():
        quantity = QUANTITIES[name]
        rows = sum(n_atoms) if quantity.per == "atom" else len(n_atoms)
        assert values.shape == (rows, *quantity.shape) and values.dtype == torch.float64
        joined = torch.cat([getattr(single, name) for single in singles])
        assert_close(values, joined, rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize(("architecture", "points", "electrons"), VARIANTS)
def test_forces_are_minus_the_gradient_with_every_term(
    architecture: str, points: str, electrons: str
) -> None:
    potential, atoms = potential_of(architecture, points, electrons), cation()
    forces, step = predict(potential, graph_of(atoms)).forces, 2e-5
    for atom, axis in ((0, 1), (4, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(float(predict(potential, graph_of(moved), forces=False).energy))
        expected = -(energies[0] - energies[1]) / (2 * step)
        assert float(forces[atom, axis]) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_charges_add_up_and_the_dipole_of_an_ion_follows_the_origin() -> None:
    potential, atoms = potential_of("tensornet"), cation()
    said = predict(potential, graph_of(atoms))
    assert float(said.charges.sum()) == pytest.approx(1.0)
    moved = atoms.copy()
    moved.translate((2.0, 0.0, -1.0))
    change = predict(potential, graph_of(moved)).dipole - said.dipole
    assert_close(change, torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64))


def test_a_term_finds_what_it_reads() -> None:
    spec = {
        "cutoff": CUTOFF,
        "architecture": {"name": "schnet", "channels": 4, "n_layers": 1},
        "terms": [{"name": "dipole"}, {"name": "charges"}],
    }
    with pytest.raises(ValueError, match="`terms` must predict charges before 'dipole' reads it"):
        build(spec)


class Stark(Term):
    """-q·F·r of given charges: the one term that reads an electric field."""

    name = ""
    inputs = ("electric_field_V_per_A",)
    reads = ("charges",)

    def forward(self, graph: Any, features: Any, predicted: Any) -> dict[str, Tensor]:
        field = graph.electric_field_V_per_A[graph.batch]
        return {"energies": -predicted["charges"] * (field * graph.positions).sum(1)}


def test_an_input_per_structure_reaches_the_term_that_reads_it() -> None:
    """-dE/dF is the dipole of the charges; each structure of a batch has a field of its own."""
    potential = potential_of("schnet")
    potential.terms.append(Stark())
    assert potential.inputs == {"electric_field_V_per_A"}
    atoms, field = cation(), np.array([0.1, -0.2, 0.3])
    graphs = [
        from_ase(atoms, CUTOFF, charge=1, electric_field_V_per_A=f) for f in (0 * field, field)
    ]
    said = predict(potential, collate(graphs))
    dipole = (said.charges[:9, None] * graphs[0].positions).sum(0)
    change = float(said.energy[1] - said.energy[0])
    assert change == pytest.approx(-float(dipole @ torch.from_numpy(field)))


def test_a_bare_proton_has_no_energy() -> None:
    """It has no electrons; a hydrogen atom has one, and an energy."""
    potential = potential_of("schnet")
    proton, atom = (predict(potential, graph_of(Atoms("H"), charge)) for charge in (1, 0))
    assert float(proton.energy) == 0.0
    assert float(atom.energy) != 0.0


def test_the_units_of_errors() -> None:
    assert QUANTITIES["dipole"].error.factor == pytest.approx(1 / DEBYE)
    assert pytest.approx(4.803204, rel=1e-6) == 1 / DEBYE  # D of one e Å


def test_units_in_names_of_columns() -> None:
    keys = [unit_key(QUANTITIES[name].unit) for name in ("stress", "dipole", "heat_capacity")]
    assert keys == ["eV_per_A3", "e_A", "cal_per_mol_K"]
