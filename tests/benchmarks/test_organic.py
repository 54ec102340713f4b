"""The benchmark of the default model on contestants whose errors are known by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

pytest.importorskip("tblite", reason="needs tblite")
from benchmarks.science.organic import command, crystals, dynamics, energies, figure, gates, labels
from benchmarks.science.organic.contestants import (
    ANSWERS,
    ELECTRONS,
    GFN2,
    TEACHER,
    Answer,
    Contestant,
    Electrons,
    Single,
    kept,
)
from benchmarks.science.organic.settings import Missing, Settings
from potentials.datasets import load_frames
from potentials.quantities import DEBYE
from tests.datasets.test_gscdb import write_reactions


def frame(
    charge: int, multiplicity: int, energy: float, name: str = "CH4", shift: float = 0.0
) -> Atoms:
    atoms = molecule(name)
    atoms.set_initial_magnetic_moments(None)
    atoms.positions += shift
    atoms.info = {"charge": charge, "multiplicity": multiplicity}
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((len(atoms), 3)))
    return atoms


def silent(structures):
    return ["it predicts no charges" for _ in structures]


def contestant(name, evaluate, path="", electrons=silent):
    identity = f"identity of {name}"
    return Contestant(name, identity, evaluate, electrons, lambda _: Single(evaluate), path)


def settings(folder: Path) -> Settings:
    return Settings(None, None, 1, 2, 2, 1.0, 1.0, 5, folder)


def test_answers_are_kept_by_what_was_asked(tmp_path):
    asked = []

    def evaluate(structures):
        asked.append(len(structures))
        return [
            "no" if len(a) == 3 else Answer(-1.25, np.full((len(a), 3), 0.5)) for a in structures
        ]

    structures = [frame(0, 1, 0.0), frame(0, 1, 0.0, "H2O")]
    for _ in range(2):
        methane, water = kept(evaluate, tmp_path, ANSWERS)(structures)
        assert methane.energy == -1.25 and methane.forces.shape == (5, 3) and water == "no"
    assert asked == [2]
    structures[0].info["charge"] = 1
    kept(evaluate, tmp_path, ANSWERS)(structures)
    assert asked == [2, 2]


def test_vertical_differences_by_hand(tmp_path):
    """States err by 0.1, 0.3, -0.2, 0.7 eV: gaps, ionisation and attachment follow."""
    wanted = {(0, 1): -10.0, (0, 3): -7.0, (1, 2): -2.0, (-1, 2): -9.5}
    error = {(0, 1): 0.1, (0, 3): 0.3, (1, 2): -0.2, (-1, 2): 0.7}
    frames = [frame(*state, energy) for state, energy in wanted.items()]
    frames.append(frame(1, 2, 0.0, shift=1.0))  # another geometry

    def evaluate(structures):
        forces = np.full((5, 3), 0.01)
        return [
            Answer(
                a.calc.results["energy"] + error[a.info["charge"], a.info["multiplicity"]], forces
            )
            for a in structures
        ]

    write(tmp_path / "frames.extxyz", frames)
    labelled = load_frames(tmp_path / "frames.extxyz")
    found = labels.on_labels(contestant("x", evaluate), labelled)
    assert found["gap_mae_eV"] == pytest.approx(0.2) and found["gap_n"] == 1
    assert found["ip_mae_eV"] == pytest.approx((0.3 + 0.5) / 2) and found["ip_n"] == 2
    assert found["ea_mae_eV"] == pytest.approx((0.6 + 0.4) / 2) and found["ea_n"] == 2
    assert found["forces_meV_per_A_all"] == pytest.approx(10)
    assert found["energy_meV_per_atom_neutral"] == pytest.approx(1000 * 0.2 / 5)
    assert [(s["charge"], s["multiplicity"], s["n_frames"]) for s in found["by_state"]] == [
        (-1, 2, 1),
        (0, 1, 1),
        (0, 3, 1),
        (1, 2, 2),
    ]
    error = {state: value - 30.0 for state, value in error.items()}  # another zero of energy
    other = labels.on_labels(contestant("x", evaluate), labelled)
    assert not any("energy" in key for key in (*other, *other["by_state"][0]))
    assert other["ip_mae_eV"] == pytest.approx(found["ip_mae_eV"])


def test_charges_far_apart_leave_no_error(tmp_path):
    """Point charges obey Coulomb's law; a method that adds 5 meV to mixtures does not."""

    def evaluate(structures):
        answers = []
        for atoms in structures:
            charges = np.zeros(len(atoms))
            charges[atoms.numbers == 7] = 1
            charges[atoms.numbers == 17] = -1
            i, j = np.triu_indices(len(atoms), 1)
            distances = np.linalg.norm(atoms.positions[i] - atoms.positions[j], axis=1)
            energy = 14.399645 * np.sum(charges[i] * charges[j] / distances)
            extra = 0.005 if atoms.info["charge"] and len(set(atoms.numbers.tolist())) > 2 else 0
            answers.append(Answer(float(energy) + extra, np.zeros((len(atoms), 3))))
        return answers

    found = energies.size(contestant("x", evaluate), settings(tmp_path))
    assert found["pairs_meV"]["ammonium … chloride"] == pytest.approx(0, abs=1e-6)
    assert found["pairs_meV"]["water … benzene"] == pytest.approx(0, abs=1e-6)
    assert found["pairs_meV"]["water … chloride"] == pytest.approx(5)
    assert found["worst_meV"] == pytest.approx(5)


def test_conformations_are_compared_within_each_amino_acid(tmp_path, monkeypatch, reference_data):
    """Energies of another zero for each size, every second conformation 0.2 eV too high."""
    monkeypatch.setenv(
        "POLCALC_DATA", str(reference_data("spice/solvated-amino-acids.hdf5").parent)
    )

    def evaluate(structures):
        return [
            Answer(
                a.calc.results["energy"] + len(a) + 0.2 * (n % 2), a.calc.results["forces"] - 0.01
            )
            for n, a in enumerate(structures)
        ]

    found = energies.solvated(
        contestant("x", evaluate), settings(tmp_path)._replace(conformations=2)
    )
    assert found["n_frames"] == 52
    assert found["forces_mae_meV_per_A"] == pytest.approx(10)
    assert found["conformations_mae_kcal_per_mol"] == pytest.approx(0.1 * 23.060548, rel=1e-6)


def test_a_report_goes_on_and_judges_the_last_model(tmp_path, monkeypatch):
    """Parts that are not measured again stay; those of a contestant that changed go."""
    write_reactions(tmp_path)
    monkeypatch.setenv("POLCALC_DATA", str(tmp_path))
    energies = {GFN2: -1.0, TEACHER: -2.0, "new": -13.0}

    def make(name):
        def evaluate(structures):
            return [Answer(energies[name] * len(a), np.zeros((len(a), 3))) for a in structures]

        return contestant(name, evaluate, path="" if name in (GFN2, TEACHER) else "model.pt")

    monkeypatch.setattr(command, "contestants", lambda models, store: [*map(make, energies)])
    output = tmp_path / "organic.json"
    command.main(["--parts", "gscdb", "labels", "--output", str(output), "--frames", "none:test"])
    report = json.loads(output.read_text())
    assert report["judged"] == "new" and list(report["contestants"]) == [GFN2, TEACHER, "new"]
    new = report["contestants"]["new"]
    assert "--frames" in new["labels"]["missing"]
    assert new["gscdb"]["A2"]["n"] == 2 and "E1" not in new["gscdb"]  # a set of fields
    assert new["better"]["sets"] == [
        s
        for s in ("A2", "P1")
        if new["gscdb"][s]["mae_kcal_per_mol"]
        < report["contestants"][GFN2]["gscdb"][s]["mae_kcal_per_mol"]
    ]
    report["contestants"]["new"]["stable"] = {"percent_300K": 75.0}
    report["contestants"]["old"] = {"identity": "another", "gscdb": {}}
    report["contestants"][TEACHER] = {"identity": "another", "solvated": {"n_frames": 7}}
    output.write_text(json.dumps(report))
    command.main(["--parts", "size", "--output", str(output)])
    again = json.loads(output.read_text())["contestants"]
    assert list(again) == [GFN2, TEACHER, "old", "new"] and "solvated" not in again[TEACHER]
    assert again["new"]["gscdb"] == new["gscdb"] and again["new"]["stable"]["percent_300K"] == 75
    table = output.with_suffix(".md").read_text()
    assert "| stable at 300 K, % | – | – | – | 75 | 100 | 97 | missed by 23 % |" in table
    assert "| water … chloride |" in table


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (1.0, False, "goal"),
        (1.9, False, "within"),
        (3.0, False, "missed by 50 %"),
        (None, False, "not measured"),
        (1.0, True, "missed by 50 %"),
        (2.0, True, "within"),
    ],
)
def test_verdicts(value, at_least, verdict):
    goal = 3.0 if at_least else 1.0
    gate = gates.Gate("x", ("a",), limit=2.0, goal=goal, at_least=at_least)
    assert gates.verdict(value, gate) == verdict


def test_a_gate_without_a_limit_only_reports():
    gate = gates.Gate("x", ("a",), limit=np.inf, goal=1.0)
    assert gates.verdict(0.5, gate) == "goal" and gates.verdict(9.0, gate) == "beyond the goal"


def labelled(frames, folder):
    """Read frames whose dipoles, charges and formal charges are zero."""
    write(folder / "frames.extxyz", frames)
    found = load_frames(folder / "frames.extxyz")
    zero = np.zeros(len(found.positions))
    dipole = np.zeros((len(found), 3))
    return replace(found, partial_charges=zero, dipole=dipole, more={"formal_charges": zero})


def test_dipoles_and_charges_by_hand(tmp_path):
    """Each component of a neutral dipole is off by 0.3 D, of an ion's by 0.5; charges by 0.02 e."""

    def electrons(structures):
        return [
            "no open shells"
            if a.info["multiplicity"] > 1
            else Electrons(
                np.full(len(a), 0.02),
                np.full(3, (0.5 if a.info["charge"] else 0.3) * DEBYE),
                np.eye(len(a))[0] * a.info["charge"],
            )
            for a in structures
        ]

    frames = labelled([frame(0, 1, 0), frame(0, 1, 0), frame(1, 1, 0), frame(0, 3, 0)], tmp_path)
    told = settings(tmp_path)._replace(frames=frames, open_shells=frames)
    found = labels.charges(contestant("x", silent, electrons=electrons), told)
    assert found["dipole_D_neutral"] == pytest.approx(0.3) and found["n_dipole_D_neutral"] == 2
    assert found["dft_dipole_D_ions"] == pytest.approx(0.5) and found["n_dipole_D_ions"] == 1
    assert found["charges_e_ions"] == pytest.approx(0.02)
    assert found["formal_charges_percent"] == pytest.approx(100 * 2 / 3)
    with pytest.raises(Missing, match="no charges"):
        labels.charges(contestant("x", silent), told)
    again = kept(electrons, tmp_path, ELECTRONS)
    for _ in range(2):
        first, *_, last = again(list(frames))
        assert first.charges == pytest.approx(0.02) and last == "no open shells"


def test_crystals_are_whole(tmp_path):
    """Bonds of every molecule are as long as bonds are, and water has two hydrogens."""
    built = crystals.structures()
    assert {name: len(atoms) for name, (atoms, _) in built.items()} == {
        "benzene": 48,
        "urea": 16,
        "glycine": 40,
        "acetic acid": 32,
        "ice Ih": 24,
    }
    for atoms, volume in built.values():
        distances = atoms.get_all_distances(mic=True) + 9 * np.eye(len(atoms))
        assert 0.94 < distances.min() < 1.1
        hydrogens = atoms.numbers == 1
        bound = distances[hydrogens][:, ~hydrogens].min(1)
        assert bound.max() < 1.15
        assert atoms.get_volume() == pytest.approx(volume, rel=0.06)
    ice = built["ice Ih"][0]
    bound = ice.get_all_distances(mic=True)[:8, 8:] < 1.1
    assert (bound.sum(1) == 2).all()
    vectors = [
        ice.get_distances(o, np.flatnonzero(row) + 8, mic=True, vector=True).sum(0)
        for o, row in enumerate(bound)
    ]
    assert np.abs(np.sum(vectors, axis=0)).max() < 1e-6  # no dipole
    with pytest.raises(Missing):
        crystals.crystals(contestant("x", silent), settings(tmp_path))


def test_first_peak_of_a_lattice():
    """Neighbours 2.84 Å apart, by bins of 0.05 Å."""
    atoms = Atoms("O64", 2.84 * np.indices((4, 4, 4)).reshape(3, -1).T, cell=3 * [11.36], pbc=True)
    assert dynamics._first_peak([atoms]) == pytest.approx(2.825)


def test_the_figure_leaves_out_what_is_answered_in_part():
    whole = {"S22": {"n": 2, "mae_kcal_per_mol": 1.0}, "A24": {"n": 2, "mae_kcal_per_mol": 4.0}}
    part = whole | {"A24": {"n": 1, "mae_kcal_per_mol": 9.0}}
    found = {
        name: {"gscdb": sets, "speed": {"processor_ms": 1.0}}
        for name, sets in (("new", whole), (GFN2, part), (TEACHER, whole))
    }
    panel = figure.draw(found, "new").axes[0]
    means = sorted(text.get_text() for text in panel.texts)
    assert means == ["1", "2", "2"]  # geometric: of 1 and 4, and of 1 alone
