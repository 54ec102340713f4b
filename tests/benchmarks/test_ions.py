"""The benchmark of ions: geometries, what far molecules are held against, that a jump is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from benchmarks.physics.ions import apart, command, crowds, paths, tables
from benchmarks.physics.ions.contestants import Contestant, Said, contestants
from benchmarks.physics.ions.molecules import facing, joined, molecule
from potentials.build import build
from potentials.checkpoint import Card, save
from tests.small import SPEC

TERMS = [{"name": name} for name in ("readout", "split_charges", "coulomb")]


@pytest.fixture
def model(tmp_path):
    """An untrained model that shares out charges."""
    torch.manual_seed(0)
    potential = build(SPEC | {"electrons": {"name": "local"}, "terms": TERMS})
    states = [[0, 1, 9], [1, 1, 9], [-1, 1, 9], [1, 2, 9], [-1, 2, 9]]
    save(tmp_path / "m.pt", potential, Card(name="m", elements=[1, 6, 7, 8, 17], states=states))
    return tmp_path / "m.pt"


def charged(jump: float) -> Contestant:
    """One unit charge on the first atom, and forces that jump beyond 3 Å."""

    def ask(structures):
        said = []
        for atoms in structures:
            charges = np.zeros(len(atoms))
            charges[0] = atoms.info["charge"]
            forces = np.zeros((len(atoms), 3))
            forces[0, 0] = jump * (np.ptp(atoms.positions[:, 0]) > 3)
            said.append(Said(0.0, forces, charges, charges, charges))
        return said

    return Contestant("charged", ask, lambda atoms: True)


def test_a_proton_points_at_the_lone_pair():
    one, two = facing(molecule("[NH4+]"), molecule("CC(=O)[O-]"), "O", 1.7)
    pair, n = joined([one, two]), len(one)
    oxygen = n + next(i for i, s in enumerate(two.symbols) if s == "O")
    assert pair.info == {"charge": 0, "multiplicity": 1}
    between = pair.get_distances(oxygen, range(n)).min()
    assert between == pytest.approx(1.7, abs=1e-9)
    assert pair.get_angle(oxygen - 1, oxygen, n - 1) == pytest.approx(120, abs=1)


def test_far_ions_are_held_against_their_coulomb_energy():
    """Charges of +1 and -1 that feel nothing of each other are off by it."""
    ions = [molecule("[NH4+]"), molecule("[Cl-]")]
    assert apart.coulomb_eV(ions, charged(0.0).ask(ions)) < -10
    placed = apart.apart(ions, 30.0)
    expected = apart.coulomb_eV(placed, charged(0.0).ask(placed))
    assert expected == pytest.approx(-apart.COULOMB / 31, rel=0.03)
    found = apart._deviation(charged(0.0), ions, 30.0)
    assert found["meV"] == pytest.approx(-1000 * expected)


def test_a_jump_is_found(monkeypatch):
    monkeypatch.setattr(paths, "PAIRS", paths.PAIRS[:1])
    [smooth], [jumping] = (paths.measure_pairs(charged(jump)) for jump in (0.0, 0.005))
    assert smooth["jump_meV_per_A"] == 0
    assert jumping["jump_meV_per_A"] == pytest.approx(5)


def test_a_box_holds_three_ions_of_each_kind():
    whole, ions, parts = crowds.box("[NH4+]", "[Cl-]", 14.0)
    assert len(ions) == 6 and whole.info["charge"] == 0 and whole.pbc.all()
    sums = np.bincount(parts, np.where(whole.symbols == "H", 1, 0))
    assert sums.tolist() == [4, 0] * 3
    assert whole.get_all_distances(mic=True)[parts[:, None] != parts[None]].min() > 4.5


def test_a_lattice_of_charges_has_the_energy_of_madelung():
    n = 4
    places = np.indices((n, n, n)).reshape(3, -1).T
    salt = Atoms(f"F{n**3}", 8.0 * places, cell=[8.0 * n] * 3, pbc=True)
    charges = np.where(places.sum(axis=1) % 2, -1.0, 1.0)
    energy = crowds.ewald_eV(salt, charges) * 2 / n**3
    assert energy == pytest.approx(-1.7475646 * apart.COULOMB / 8, rel=1e-6)


def test_the_report(model, tmp_path, monkeypatch):
    for name in ("CATIONS", "ANIONS", "SHARING", "COPIES", "BESIDE"):
        monkeypatch.setattr(apart, name, getattr(apart, name)[-1:])
    monkeypatch.setattr(apart, "CATIONS", (("[NH4+]", "O"),))
    monkeypatch.setattr(apart, "N_WATERS", (1,))
    monkeypatch.setattr(paths, "PAIRS", paths.PAIRS[:1])
    monkeypatch.setattr(paths, "HANDOVERS", paths.HANDOVERS[:1])
    monkeypatch.setattr(paths, "STEPS_A", np.array([1.6, 5.5, 9.0, 20.0]))
    monkeypatch.setattr(crowds, "ZWITTERIONS", crowds.ZWITTERIONS[:1])
    monkeypatch.setattr(crowds, "BRIDGES", (1,))
    monkeypatch.setattr(crowds, "BOXES", crowds.BOXES[:1])
    command.main(["--model", str(model), "--output", str(tmp_path / "ions.json")])
    table = (tmp_path / "ions.md").read_text()
    assert "| systems that keep the target | m | m, Q shared out alone |" in table
    assert "[NH4+] … [Cl-]" in table and "3 [NH4+], 3 [Cl-], 28 Å" in table


def test_without_formal_charges_all_is_shared(model):
    _, alone = contestants([str(model)])
    [said] = alone.ask([molecule("[NH4+]")])
    assert said.formal is not None and np.all(said.formal == 0)
    assert said.excess is not None and said.excess.sum() == pytest.approx(1)


def test_brackets_of_smiles_are_no_links() -> None:
    table = tables._table(["system", "e"], [["O=[N+]([O-])[O-]", "1"], ["O", "0"]])
    assert "| `O=[N+]([O-])[O-]` | 1 |" in table and "| O | 0 |" in table
