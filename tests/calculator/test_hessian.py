"""The Hessian, against finite differences of forces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from polcalc import PolarizedCalculator
from polcalc.calculator import hessian as module
from polcalc.calculator.hessian import hessian
from potentials.build import build
from potentials.potential import Potential, predict
from potentials.structure.graph import collate, from_ase
from tests.contract.structures import graph_of, tiny_crystal, triclinic_crystal
from tests.small import write_small_model

SPECS: dict[str, dict[str, Any]] = {
    "tensornet": {"architecture": {"name": "tensornet"}},
    "tensornet, moving points": {
        "architecture": {"name": "tensornet"},
        "points": {"name": "moving"},
    },
    "equivariant transformer": {"architecture": {"name": "equivariant_transformer", "n_heads": 2}},
}


def make(name: str = "tensornet") -> Potential:
    torch.manual_seed(1)
    spec = SPECS[name]
    architecture = {"channels": 8, "n_layers": 2} | spec["architecture"]
    return build(
        spec
        | {
            "cutoff": 3.0,
            "architecture": architecture,
            "radial": {"name": "exp_normal", "n_radial": 6},
        }
    ).double()


def numerical(potential: Potential, atoms: Atoms, step: float = 1e-3) -> np.ndarray:
    """Central differences of fourth order of the forces, with pairs searched anew.

    (3N, 3N) eV/Å^2.
    """
    frames = []
    for place in range(3 * len(atoms)):
        for factor in (1, -1, 2, -2):
            frames.append(atoms.copy())
            frames[-1].positions[place // 3, place % 3] += factor * step
    forces = predict(potential, collate([graph_of(frame, 3.0) for frame in frames])).forces
    assert forces is not None
    f = forces.numpy().reshape(-1, 4, 3 * len(atoms))
    return (8 * (f[:, 0] - f[:, 1]) - (f[:, 2] - f[:, 3])) / (-12 * step)


@pytest.mark.parametrize("name", SPECS)
def test_agrees_with_finite_differences(name: str) -> None:
    potential, atoms = make(name), molecule("CH3OH")
    atoms.rattle(0.05, seed=1)
    found = hessian(potential, graph_of(atoms, 3.0)).numpy()
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose(
        found, numerical(potential, atoms), rtol=0, atol=1e-7 * np.abs(found).max()
    )


@pytest.mark.parametrize("crystal", [triclinic_crystal, tiny_crystal])
def test_periodic_images_move_together(crystal: Any) -> None:
    potential, atoms = make(), crystal()
    found = hessian(potential, graph_of(atoms, 3.0)).numpy()
    np.testing.assert_allclose(
        found, numerical(potential, atoms), rtol=0, atol=1e-7 * np.abs(found).max()
    )


def test_batches_and_parts_are_pieces_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    potential, graph = make(), from_ase(molecule("CH3OH"), 3.0)
    whole = hessian(potential, graph)
    monkeypatch.setattr(module, "BATCH_ATOMS", 20)
    torch.testing.assert_close(hessian(potential, graph), whole, rtol=0.0, atol=1e-12)
    places = torch.tensor([3, 4, 5, 12, 13, 14])
    torch.testing.assert_close(
        hessian(potential, graph, [1, 4]), whole[places][:, places], rtol=0.0, atol=1e-12
    )


def test_an_atom_alone_feels_nothing() -> None:
    assert not hessian(make(), from_ase(Atoms("O"), 3.0)).any()


def test_the_calculator_knows_the_state(tmp_path: Path) -> None:
    calculator = PolarizedCalculator(write_small_model(tmp_path / "m.pt"), dtype="float64")
    atoms = molecule("CH3OH")
    singlet = calculator.get_hessian(atoms)
    atoms.info["multiplicity"] = 3
    triplet = calculator.get_hessian(atoms)
    assert singlet.shape == (6, 3, 6, 3)
    assert np.abs(singlet - triplet).max() > 1e-6
    assert calculator.get_hessian(atoms, [0, 5]).shape == (2, 3, 2, 3)
