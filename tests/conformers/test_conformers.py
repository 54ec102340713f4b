"""Conformers: the same ones once, no other isomer, weights, files, refusals."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.io import read, write
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.surfaces.flight import Answer, Flight, flight
from polcalc import PolarizedCalculator
from tests.small import write_small_model

pytest.importorskip("rdkit")
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from md_runs.conformers.distinct import distinct
from md_runs.conformers.search import Settings, search, starts
from md_runs.conformers.topology import configuration, of_smiles, of_structure, rotors, turned

ANTI, PLUS, MINUS = 180.0, 65.0, -65.0


def set_torsions(topology, torsions, angles):
    """Positions after turning bonds: torsions are four atoms each, angles in degrees."""
    copy = Chem.Mol(topology.molecule)
    conformer = copy.GetConformer()
    for four, angle in zip(torsions, angles, strict=True):
        rdMolTransforms.SetDihedralDeg(conformer, *four, angle)
    return conformer.GetPositions()


def flat(energy_eV):
    """A flight that says energies of geometries, and that they are at rest."""

    def evaluate(frames):
        return [Answer(energy_eV(atoms), np.zeros((len(atoms), 3)), None) for atoms in frames]

    return Flight(4, evaluate)


def placed(topology, positions):
    atoms = topology.template.copy()
    atoms.positions = positions
    return atoms


def test_reflections_and_symmetric_copies_of_pentane_are_one():
    """Nine combinations of anti and gauche are four conformers, with weights 1, 4, 2 and 2 of 9."""
    topology = of_smiles("CCCCC", 0)
    torsions = [(0, 1, 2, 3), (1, 2, 3, 4)]
    frames = [
        placed(topology, set_torsions(topology, torsions, angles))
        for angles in product((ANTI, PLUS, MINUS), repeat=2)
    ]

    def energy(atoms):
        first, second = (atoms.get_dihedral(*four) for four in torsions)
        n_gauche = sum(abs(angle - 180) > 60 for angle in (first, second))
        opposite = n_gauche == 2 and abs(first - second) > 60
        return 0.02 * n_gauche + 0.01 * opposite

    settings = Settings(window_eV=1.0, temperature_K=1e6)
    found = search(topology, frames, flat(energy), settings)
    assert [one.times_found for one in found.kept] == [1, 4, 2, 2]
    assert [one.relative_eV for one in found.kept] == pytest.approx([0, 0.02, 0.04, 0.05])
    shares = [one.mirror_images / one.symmetry_number for one in found.kept]
    np.testing.assert_allclose(np.array(shares) * 2, [1, 4, 2, 2])
    assert [one.weight for one in found.kept] == pytest.approx(np.array([1, 4, 2, 2]) / 9, abs=1e-3)


def test_weights_follow_boltzmann_and_the_window_cuts():
    topology = of_smiles("CCCC", 0)
    four = (0, 1, 2, 3)
    frames = [placed(topology, set_torsions(topology, [four], [a])) for a in (ANTI, PLUS, MINUS)]

    def energy(atoms):
        return 0.03 * (abs(atoms.get_dihedral(*four) - 180) > 60)

    found = search(topology, frames, flat(energy), Settings(temperature_K=300))
    anti, gauche = found.kept
    ratio = 4 / 2 * np.exp(-0.03 / (units.kB * 300))  # C2h and two C2: σ is 2 of both
    assert (anti.symmetry_number, gauche.symmetry_number, gauche.mirror_images) == (2, 2, 2)
    assert gauche.weight / anti.weight == pytest.approx(ratio)
    found = search(topology, frames, flat(energy), Settings(window_eV=0.02))
    assert len(found.kept) == 1 and found.above_window == 1
    assert "1 lie above the window" in found.left_out()


def test_another_stereoisomer_is_no_conformer():
    topology = of_smiles("C[C@H](O)CC", 0)
    positions = topology.template.positions
    frames = [placed(topology, positions), placed(topology, positions * [1, 1, -1])]
    assert configuration(topology.molecule, frames[0].positions) != configuration(
        topology.molecule, frames[1].positions
    )
    found = search(topology, frames, flat(lambda atoms: 0.0), Settings())
    assert (len(found.kept), found.inverted, found.kept[0].mirror_images) == (1, 1, 1)


def test_open_centres_are_settled_once():
    topology = of_smiles("CC(O)C(N)C=CC", 3)
    assert topology.n_open == 3
    frames = starts(topology, Settings(embed=8))
    kinds = {configuration(topology.molecule, atoms.positions) for atoms in frames}
    assert len(frames) >= 9 and len(kinds) == 1


def test_bonds_that_turn_are_turned_to_all_combinations():
    topology = of_smiles("CC(=O)OCCC#N", 0)  # a methyl group and a nitrile do not count
    assert len(rotors(topology)) == 3
    glycol = of_smiles("OCCO", 0)
    found = turned(glycol, [glycol.template.positions], 27, 0)
    angles = {
        tuple(round(placed(glycol, x).get_dihedral(*four)) % 360 for four in rotors(glycol))
        for x in found
    }
    assert angles == set(product((180, 60, 300), repeat=3))
    assert len(turned(glycol, [glycol.template.positions], 5, 0)) <= 5


def test_energies_tell_apart_what_heavy_atoms_do_not():
    """Methyl groups turned by 60°: the hydrogens do not count, their energy does."""
    topology = of_smiles("CC", 0)
    hydrogens = [a.GetIdx() for a in topology.molecule.GetAtoms() if a.GetAtomicNum() == 1]
    four = (hydrogens[0], 0, 1, hydrogens[3])
    positions = [set_torsions(topology, [four], [angle]) for angle in (0.0, 60.0)]
    assert [len(g.members) for g in distinct(topology.molecule, positions, [0.1, 0.0])] == [1, 1]
    assert [len(g.members) for g in distinct(topology.molecule, positions, [0.001, 0.0])] == [2]


@pytest.mark.parametrize(
    ("smiles", "charge", "multiplicity"), [("CC[O-]", -1, 1), ("C[NH3+]", 1, 1), ("C[CH2]", 0, 2)]
)
def test_bonds_of_a_structure_are_those_of_its_smiles(smiles, charge, multiplicity):
    drawn = of_smiles(smiles, 0)
    atoms = drawn.template.copy()
    atoms.info = {"charge": charge, "multiplicity": multiplicity}
    found = of_structure(atoms)
    assert Chem.MolToSmiles(found.molecule) == Chem.MolToSmiles(drawn.molecule)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["conformers", *words, "--model", "m.pt"])


LOOSE = ("--fmax-eV-per-A", "50", "--embed", "6", "--window-eV", "50")


@pytest.mark.filterwarnings("ignore:The model never saw")
def test_files_say_the_state_and_the_energies(folder):
    result = run("CC[O-]", *LOOSE, "--output", "out")
    assert result.exit_code == 0, result.output
    frames = read("out/conformers.extxyz", ":")
    rows = list(csv.DictReader(Path("out/conformers.csv").read_text().splitlines()))
    assert len(frames) == len(rows) >= 1
    calculator = PolarizedCalculator("m.pt", dtype="float64")
    for atoms, row in zip(frames, rows, strict=True):
        assert (atoms.info["charge"], atoms.info["multiplicity"]) == (-1, 1)
        (again,) = calculator.calculate_many([atoms])
        assert float(row["energy_eV"]) == pytest.approx(again["energy"], abs=1e-6)
        assert float(row["weight"]) == pytest.approx(atoms.info["weight"], abs=1e-8)
    energies = [float(row["energy_eV"]) for row in rows]
    assert energies == sorted(energies)
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(1)
    assert Path("out/conformers.png").stat().st_size > 10_000
    assert json.loads(Path("out/manifest.json").read_text())["status"] == "finished"


def test_a_structure_file_gives_conformers_of_its_molecule(folder):
    atoms = molecule("CH3CH2OH")
    write("in.xyz", atoms)
    result = run("in.xyz", *LOOSE, "--output", "out")
    assert result.exit_code == 0, result.output
    assert read("out/conformers.extxyz", 0).get_chemical_symbols() == atoms.get_chemical_symbols()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["C.C"], "one molecule"),
        (["none.xyz"], "one that RDKit reads"),
        (["CCl"], "Cl"),
        (["salt.xyz"], "periodic"),
        (["CO", "--frame", "1"], "--frame"),
        (["CO", "--window-eV", "-1"], "must be positive"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder, words, message):
    write("salt.xyz", bulk("NaCl", "rocksalt", a=5.6))
    result = run(*words, "--output", "new")
    assert result.exit_code == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not Path("new").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("smiles", "torsions"),
    [
        ("CCCCC", [(0, 1, 2, 3), (1, 2, 3, 4)]),
        ("OCCO", [(4, 0, 1, 2), (0, 1, 2, 3), (1, 2, 3, 9)]),
        ("NCCO", [(4, 0, 1, 2), (0, 1, 2, 3), (1, 2, 3, 10)]),
    ],
)
def test_an_exhaustive_scan_of_torsions_finds_no_more(smiles, torsions):
    """Every combination of torsions 60° apart, relaxed: the same lowest conformers."""
    calculator = PolarizedCalculator("organic", dtype="float64")
    topology, settings = of_smiles(smiles, 0), Settings()
    atoms = topology.template
    atoms.calc = calculator
    atoms.get_forces()
    grid = [
        placed(topology, set_torsions(topology, torsions, angles))
        for angles in product(range(-180, 180, 60), repeat=len(torsions))
    ]
    apart = [
        atoms for atoms in grid if np.sort(atoms.get_all_distances().ravel())[len(atoms)] > 0.7
    ]
    exhaustive = search(topology, apart, flight(calculator), settings)
    found = search(topology, starts(topology, settings), flight(calculator), settings)
    expected = [one.energy_eV for one in exhaustive.kept if one.relative_eV < 0.2]
    energies = np.array([one.energy_eV for one in found.kept])
    missed = [e for e in expected if np.abs(energies - e).min() > 0.002]
    assert not missed and len(expected) >= 3
