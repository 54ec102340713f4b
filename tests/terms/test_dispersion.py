"""D3(BJ) against the library of its authors, and what its cutoff does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.units import Bohr, Hartree
from torch.testing import assert_close

from potentials.build import build
from potentials.potential import Potential, predict
from potentials.structure.graph import collate, from_ase
from potentials.terms.dispersion import DAMPING, HEAVIEST, Dispersion

CUTOFF = 3.0
NAMES = {"bp86": "bp", "cam-b3lyp": "camb3lyp"}  # where the library's own differ
SHARP: dict[str, Any] = {"cutoff_A": 9.0, "counting_A": 7.0, "switching_A": 1e-7}


def with_dispersion(**arguments: Any) -> Potential:
    spec = {
        "cutoff": CUTOFF,
        "architecture": {"name": "schnet", "channels": 4, "n_layers": 1},
        "terms": [{"name": "dispersion", "method": "wb97m"} | arguments],
    }
    return build(spec).double()


def of_library(
    atoms: Atoms, method: str, cutoff_A: float = 16.0, counting_A: float = 12.0, **_: float
) -> dict[str, Any]:
    """Energy in hartree, gradient in hartree/bohr."""
    dftd3 = pytest.importorskip("dftd3.interface")
    periodic = bool(atoms.pbc.all())
    lattice = (atoms.cell.array / Bohr, np.array([True] * 3)) if periodic else (None, None)
    model = dftd3.DispersionModel(atoms.numbers, atoms.positions / Bohr, *lattice)
    model.set_realspace_cutoff(cutoff_A / Bohr, cutoff_A / Bohr, counting_A / Bohr)
    damping = dftd3.RationalDampingParam(method=NAMES.get(method, method), atm=False)
    found: dict[str, Any] = model.get_dispersion(damping, grad=True)
    return found


def assert_as_library(atoms: Atoms, method: str, **arguments: Any) -> None:
    periodic = bool(atoms.pbc.all())
    potential = with_dispersion(method=method, **arguments)
    said = predict(potential, from_ase(atoms, CUTOFF), stress=periodic)
    expected = of_library(atoms, method, **arguments)
    assert float(said.energy) / Hartree == pytest.approx(expected["energy"], abs=1e-9, rel=0)
    gradient = torch.from_numpy(expected["gradient"])
    assert_close(-said.forces * Bohr / Hartree, gradient, atol=1e-9, rtol=0)
    if periodic:
        virial = torch.from_numpy(expected["virial"])
        volume = atoms.get_volume()
        assert_close(said.stress[0] * volume / Hartree, virial, atol=1e-8, rtol=0)


@pytest.mark.parametrize("method", DAMPING)
def test_molecules_as_the_library_of_its_authors(method: str) -> None:
    pair = molecule("C6H6") + molecule("CH3CH2OH")
    pair.positions[12:] += (0.5, 0.3, 3.8)
    pair.rattle(0.05, seed=1)
    assert_as_library(pair, method)


def test_every_element_as_the_library() -> None:
    """A drop of all of them, each with some neighbours and most references in use."""
    numbers = np.arange(1, HEAVIEST + 1)
    places = np.array(list(np.ndindex(4, 4, 4)), dtype=float)[: len(numbers)]
    drop = Atoms(np.random.default_rng(3).permutation(numbers), 2.4 * places)
    drop.rattle(0.3, seed=2)
    assert_as_library(drop, "wb97m", cutoff_A=20.0, counting_A=20.0)


def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.6)


def skew() -> Atoms:
    cell = [[4.3, 0.0, 0.0], [0.9, 4.9, 0.2], [-0.7, 0.5, 5.6]]
    places = [[0.1, 0.1, 0.1], [0.4, 0.2, 0.2], [0.6, 0.7, 0.6], [0.1, 0.6, 0.8]]
    return Atoms("COHN", cell=cell, pbc=True, scaled_positions=places)


@pytest.mark.parametrize("make", [salt, skew])
def test_crystals_as_the_library(make: Any) -> None:
    """Their cutoff is a step."""
    assert_as_library(make(), "pbe0", **SHARP)


def test_a_supercell_has_the_energy_of_its_cells() -> None:
    potential = with_dispersion(cutoff_A=8.0, counting_A=6.0)
    one, four = (
        float(predict(potential, from_ase(a, CUTOFF)).energy) for a in (skew(), skew() * (2, 1, 2))
    )
    assert four == pytest.approx(4 * one, abs=1e-10)


def test_energy_and_forces_vanish_smoothly_at_the_cutoff() -> None:
    potential = with_dispersion(cutoff_A=8.0, counting_A=6.0, switching_A=3.0)

    def force(apart: float) -> float:
        graph = from_ase(Atoms("Ar2", [[0, 0, 0], [0, 0, apart]]), CUTOFF)
        return float(predict(potential, graph).forces[1, 2])

    assert force(8.1) == 0
    assert 0 < abs(force(7.999)) < 1e-4 * abs(force(6.5))
    for place in (3.0, 5.0, 6.0, 8.0):
        assert force(place - 1e-6) == pytest.approx(force(place + 1e-6), abs=1e-7)


def test_a_batch_says_of_each_structure_what_it_says_of_it_alone() -> None:
    potential = with_dispersion(cutoff_A=8.0, counting_A=6.0)
    graphs = [from_ase(a, CUTOFF) for a in (molecule("CH3OH"), skew(), Atoms("O"))]
    alone = torch.cat([predict(potential, g).forces for g in graphs])
    assert_close(predict(potential, collate(graphs)).forces, alone, atol=1e-12, rtol=0)


def test_tables_stand_in_the_package_and_not_in_model_files() -> None:
    term = Dispersion(channels=1, method="PBE0")
    assert not term.state_dict()
    assert float(term.reference[6, 6].max()) == pytest.approx(49.1130)  # of two free atoms


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(ValueError, match=r"`method` of the dispersion must be one of b3lyp"):
        Dispersion(channels=1, method="wB97X")
    with pytest.raises(ValueError, match=r"`switching_A` must be positive, at most `c"):
        Dispersion(channels=1, method="pbe", cutoff_A=3.0)
    with pytest.raises(ValueError, match=r"elements from H to I .* got Xe"):
        predict(with_dispersion(), from_ase(Atoms("Xe"), CUTOFF))
