"""A model of TorchSim: its own contract, and many molecules at once as one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, save
from tests.small import SPEC, write_small_model

torch_sim = pytest.importorskip("torch_sim")
from torch_sim.models.interface import validate_model_outputs  # noqa: E402

from polcalc.interfaces.torchsim import PolarizedModel  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def calculator(tmp_path_factory) -> PolarizedCalculator:
    path = write_small_model(tmp_path_factory.mktemp("model") / "m.pt")
    return PolarizedCalculator(path, dtype="float64")


def state_of(systems: list[Atoms]):  # type: ignore[no-untyped-def]
    return torch_sim.io.atoms_to_state(systems, CPU, torch.float64)


def test_its_own_contract_holds(tmp_path):
    """TorchSim evaluates crystals of silicon and iron, alone and in one batch."""
    save(tmp_path / "m.pt", build(SPEC), Card(name="small", description="", elements=[14, 26]))
    calculator = PolarizedCalculator(tmp_path / "m.pt", dtype="float64", charge=0)
    validate_model_outputs(PolarizedModel(calculator), CPU, torch.float64)


def test_every_system_has_its_own_state(calculator):
    systems = [molecule("H2O"), molecule("H2O"), Atoms("OH", [[0, 0, 0], [0, 0, 1]])]
    charges, multiplicities = [0, 0, -1], [1, 3, 1]
    results = PolarizedModel(calculator, charges, multiplicities)(state_of(systems))
    for n, (atoms, charge, multiplicity) in enumerate(
        zip(systems, charges, multiplicities, strict=True)
    ):
        told = atoms.copy()
        told.info.update(charge=charge, multiplicity=multiplicity)
        right = calculator.calculate_many([told])[0]
        assert float(results["energy"][n]) == pytest.approx(right["energy"], abs=1e-9)
        own = state_of(systems).system_idx == n
        assert np.allclose(results["forces"][own], right["forces"], atol=1e-9)
    assert "stress" not in results
    assert results["energy"][0] != results["energy"][1]


def test_a_sheared_crystal_has_its_stress(calculator):
    crystal = bulk("C", cubic=True)
    crystal.set_cell(crystal.cell.array @ [[1, 0.06, 0.03], [0, 1, 0], [0, 0, 1]], scale_atoms=True)
    crystal.rattle(0.05, seed=1)
    results = PolarizedModel(calculator)(state_of([crystal]))
    crystal.calc = calculator
    assert np.allclose(results["stress"][0], crystal.get_stress(voigt=False), atol=1e-9)
    assert np.allclose(results["forces"], crystal.get_forces(), atol=1e-9)


def test_what_does_not_fit_is_refused(calculator):
    with pytest.raises(ValueError, match="one for each system; got 1 and 2"):
        PolarizedModel(calculator, [0], [1, 1])
    with pytest.raises(ValueError, match="must hold 2 systems"):
        PolarizedModel(calculator, [0, -1])(state_of([molecule("H2O")]))
    with pytest.raises(ValueError, match="`multiplicity` must fit"):
        PolarizedModel(calculator, multiplicities=[2])(state_of([molecule("H2O")]))


def test_dynamics_of_many_molecules_are_those_of_one_by_one(calculator):
    """At constant energy, from velocities that each molecule has whatever its company."""
    systems = [molecule(name) for name in ("H2O", "CH4", "CH3OH", "H2CO")]

    def moved(batch: list[Atoms]) -> np.ndarray:
        model = PolarizedModel(calculator)
        start, step = torch_sim.integrators.nve(model, dt=torch.tensor(0.05), kT=torch.tensor(0.0))
        state = start(state_of(batch))
        for _ in range(20):
            state = step(state)
        positions: np.ndarray = state.positions.numpy()
        return positions

    together = moved(systems)
    assert np.allclose(together, np.concatenate([moved([atoms]) for atoms in systems]), atol=1e-10)
    assert np.abs(together - np.concatenate([a.positions for a in systems])).max() > 1e-3
