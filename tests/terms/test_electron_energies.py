"""What charge and unpaired electrons cost, as a sum over atoms: its values, its fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from potentials.datasets import Frames, fit_electron_energies, make_frames
from potentials.structure.graph import from_ase
from potentials.terms import TERMS
from potentials.training.config import from_dict
from potentials.training.preparation import prepare

A, B, C = -3.0, 4.0, 1.5  # eV
ELEMENTS = {1: -13.5, 6: -1036.0, 7: -1488.0, 8: -2043.0}


def test_it_sums_over_atoms_and_differs_by_element() -> None:
    term = TERMS["electron_energies"](4, charge_eV=A, squared_charge_eV=B, unpaired_electron_eV=C)
    with torch.no_grad():
        term.costs.weight[8, 2] = 7.0
    graph = from_ase(Atoms("OH", [[0, 0, 0], [0, 0, 1]]), 3.0)
    predicted = {
        "excess_charges": torch.tensor([-1.0, 0.5], dtype=torch.float64),
        "unpaired_electrons": torch.tensor([0.8, 0.2], dtype=torch.float64),
    }
    energies = term(graph, None, predicted)["energies"]
    assert energies.tolist() == pytest.approx([-A + B + 5.6, A / 2 + B / 4 + 0.2 * C])


def labelled() -> Frames:
    """Energies made of elements, formal charges and unpaired electrons alone."""
    rows = []
    for name in ("H2O", "CH4", "CH3OH", "CH3CH2OH", "NH3", "CH3NO2", "H2CO"):
        atoms = molecule(name)
        for formal, charge, multiplicity in (((), 0, 1), ((1,), 1, 1), ((-1,), -1, 1)):
            rows.append((atoms, formal, charge, multiplicity))
        rows += [(atoms, (1, -1), 0, 1), (atoms, (), 0, 3), (atoms, (), 1, 2)]
    formal = [np.array([*f, *[0] * (len(atoms) - len(f))]) for atoms, f, _, _ in rows]
    energy = []
    for (atoms, f, charge, multiplicity), own in zip(rows, formal, strict=True):
        x = own + (charge - sum(f)) / len(atoms)
        elements = sum(ELEMENTS[z] for z in atoms.numbers.tolist())
        energy.append(elements + A * x.sum() + B * (x**2).sum() + C * (multiplicity - 1))
    return make_frames(
        n_atoms=np.array([len(row[0]) for row in rows]),
        atomic_numbers=np.concatenate([row[0].numbers for row in rows]),
        positions=np.concatenate([row[0].positions for row in rows]),
        energy=np.array(energy),
        forces=np.random.default_rng(0).normal(size=(sum(len(row[0]) for row in rows), 3)),
        total_charge=np.array([row[2] for row in rows]),
        multiplicity=np.array([row[3] for row in rows]),
        more={"formal_charges": np.concatenate(formal)},
    )


def test_the_fit_finds_elements_and_costs_together() -> None:
    references, costs = fit_electron_energies(labelled())
    assert references == pytest.approx(ELEMENTS, abs=1e-5)
    assert list(costs.values()) == pytest.approx([A, B, C], abs=1e-5)


def test_training_starts_from_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = labelled()
    monkeypatch.setattr("potentials.training.preparation.load_frames", lambda *_, **__: frames)
    terms = ("readout", "reference_energies", "electron_energies")
    config = {
        "name": "tiny",
        "data": {"train": "x", "n_train": 36, "n_validation": 4},
        "potential": {
            "cutoff": 4.0,
            "architecture": {"name": "tensornet", "channels": 4, "n_layers": 2},
            "electrons": {"name": "local"},
            "terms": [{"name": name} for name in terms],
        },
        "schedule": {"max_epochs": 1},
        "training": {"batch_size": 4},
    }
    given = prepare(from_dict(config)).spec["terms"][2]
    costs = [given[name] for name in ("charge_eV", "squared_charge_eV", "unpaired_electron_eV")]
    assert costs == pytest.approx([A, B, C], abs=1e-3)
