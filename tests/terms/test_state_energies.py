"""A constant for each electronic state.

Its share per atom, its fit, and the same from every engine.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from polcalc.engines.base import Structure, Unavailable
from polcalc.engines.selector import ENGINES
from potentials.build import build
from potentials.datasets import Frames, fit_reference_energies, fit_state_energies, make_frames
from potentials.potential import Potential, predict
from potentials.structure.graph import States, from_ase
from potentials.training.config import from_dict
from potentials.training.preparation import prepare

CATION, TRIPLET = 11.5, 2.25  # eV
TERMS = [
    {"name": "readout"},
    {"name": "state_energies", "energies_eV": [[1, 2, CATION], [0, 3, TRIPLET]]},
]


def potential(*terms: dict[str, object]) -> Potential:
    torch.manual_seed(0)
    spec = {
        "cutoff": 4.0,
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1},
        "radial": {"name": "exp_normal", "n_radial": 4},
        "state_factor": {"attributes": ["total_charge", "unpaired_electrons"]},
        "terms": list(terms),
    }
    return build(spec).double().eval()


def structure(
    atoms: Atoms, charge: int = 0, multiplicity: int = 1, fragments: States | None = None
) -> Structure:
    return Structure(
        atoms.numbers,
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        charge,
        multiplicity,
        None,
        fragments,
    )


@pytest.mark.parametrize(
    ("charge", "multiplicity", "constant"),
    [(0, 1, 0.0), (1, 2, CATION), (0, 3, TRIPLET), (-1, 2, 0.0)],
)
def test_it_adds_its_constant_whatever_the_size_and_no_force(
    charge: int, multiplicity: int, constant: float
) -> None:
    plain, with_states = potential(TERMS[0]), potential(*TERMS)
    for name in ("H2O", "CH3CH2OH"):
        graph = from_ase(molecule(name), 4.0, charge=charge, multiplicity=multiplicity)
        without, found = predict(plain, graph), predict(with_states, graph)
        assert float(found.energy - without.energy) == pytest.approx(constant, abs=1e-9)
        assert float(found.energies.sum()) == pytest.approx(float(found.energy), abs=1e-9)
        torch.testing.assert_close(found.forces, without.forces)


@pytest.mark.parametrize("name", ["native", "tabulated"])
def test_other_engines_agree_with_fragments_too(name: str) -> None:
    model = potential(*TERMS).float() if name == "tabulated" else potential(*TERMS)
    try:
        engine = ENGINES[name](model, torch.device("cpu"))
    except Unavailable as reason:
        pytest.skip(str(reason))
    eager = ENGINES["eager"](model, torch.device("cpu"))
    far = molecule("CH3OH")
    far.translate([2.8, 0.0, 0.0])
    pair = molecule("H2O") + far
    parts = States(np.repeat([0, 1], [3, 6]), np.array([1.0, 0.0]), np.array([2, 3]))
    for asked in (
        structure(far, 1, 2),
        structure(far, 0, 3),
        structure(far),
        structure(pair, 1, 2, parts),
        structure(far, 1, 2),
    ):
        found, wanted = engine.evaluate(asked), eager.evaluate(asked)
        assert found.energy == pytest.approx(wanted.energy, abs=1e-4)
        np.testing.assert_allclose(found.energies, wanted.energies, atol=1e-4)


def test_a_state_beyond_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="charges up to"):
        potential({"name": "state_energies", "energies_eV": [[99, 1, 1.0]]})


def labelled() -> Frames:
    """Energies made of elements and states alone."""
    states = [(0, 1), (1, 2), (-1, 2), (0, 3)]
    molecules = [
        molecule(name)
        for name in ("H2O", "CH4", "CH3OH", "CH3CH2OH", "H2CO", "CO2")
        for _ in states
    ]
    charges, multiplicities = (np.tile([state[k] for state in states], 6) for k in (0, 1))
    cost = {(0, 1): 0.0, (1, 2): CATION, (-1, 2): -1.0, (0, 3): TRIPLET}
    element = {1: -13.5, 6: -1036.0, 8: -2043.0}
    energy = [
        sum(element[z] for z in a.numbers.tolist()) + cost[q, m]
        for a, q, m in zip(molecules, charges.tolist(), multiplicities.tolist(), strict=True)
    ]
    return make_frames(
        n_atoms=np.array([len(a) for a in molecules]),
        atomic_numbers=np.concatenate([a.numbers for a in molecules]),
        positions=np.concatenate([a.positions for a in molecules]),
        energy=np.array(energy),
        total_charge=charges,
        multiplicity=multiplicities,
    )


def test_the_fit_finds_elements_and_states_together() -> None:
    frames = labelled()
    references, states = fit_state_energies(frames)
    assert references == pytest.approx({1: -13.5, 6: -1036.0, 8: -2043.0}, abs=1e-6)
    assert states == pytest.approx({(1, 2): CATION, (-1, 2): -1.0, (0, 3): TRIPLET}, abs=1e-6)
    neutral = frames.select(np.flatnonzero(frames.total_charge == 0)[::2])
    assert fit_state_energies(neutral) == (fit_reference_energies(neutral), {})


def test_training_completes_the_term(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    forces = np.random.default_rng(0).normal(size=(labelled().n_atoms.sum(), 3))
    frames = replace(labelled(), forces=forces)
    monkeypatch.setattr("potentials.training.preparation.load_frames", lambda *_, **__: frames)
    config = from_dict(
        {
            "name": "tiny",
            "data": {"train": "x", "n_train": 20, "n_validation": 4},
            "potential": {
                "cutoff": 4.0,
                "architecture": {"name": "tensornet", "channels": 4, "n_layers": 1},
                "terms": [
                    {"name": "readout"},
                    {"name": "reference_energies"},
                    {"name": "state_energies"},
                ],
            },
            "schedule": {"max_epochs": 1},
            "training": {"batch_size": 4},
        }
    )
    given = {term["name"]: term for term in prepare(config).spec["terms"]}
    found = {(q, m): energy for q, m, energy in given["state_energies"]["energies_eV"]}
    assert found == pytest.approx({(1, 2): CATION, (-1, 2): -1.0, (0, 3): TRIPLET}, abs=1e-6)
    assert given["reference_energies"]["energies_eV"]["H"] == pytest.approx(-13.5, abs=1e-6)
