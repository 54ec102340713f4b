"""A file of metatomic, opened as the programs do that know nothing of polcalc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from typer.testing import CliRunner

from md_runs.cli.app import app
from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, save
from potentials.experts import Experts
from tests.small import SPEC, write_small_model

pytest.importorskip("metatomic.torch")
metatomic_ase = pytest.importorskip("metatomic_ase")

from polcalc.interfaces.metatomic import export  # noqa: E402

HYDROXIDE = Atoms("OH", [[0, 0, 0.1], [0, 0.2, 1.07]])
# metatomic's calculator and its neighbour lists warn of their own future
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model") / "m.pt")


@pytest.fixture(scope="module")
def file(model, tmp_path_factory) -> Path:
    """Of neutral singlets."""
    path: Path = tmp_path_factory.mktemp("file") / "x.pt"
    export(model, path, 0, 1)
    return path


def opened(path: Path):  # type: ignore[no-untyped-def]
    return metatomic_ase.MetatomicCalculator(path, device="cpu")


def compare(path: Path, model: Path | str, atoms: Atoms, charge: int, multiplicity: int) -> None:
    right = PolarizedCalculator(model, dtype="float64", charge=charge, multiplicity=multiplicity)
    expected = right.calculate_many([atoms])[0]
    atoms = atoms.copy()
    atoms.calc = opened(path)
    assert atoms.get_potential_energy() == pytest.approx(expected["energy"], abs=1e-8)
    assert np.allclose(atoms.get_forces(), expected["forces"], atol=1e-7)
    if atoms.pbc.any():
        assert np.abs(expected["stress"]).max() > 1e-4
        assert np.allclose(atoms.get_stress(), expected["stress"], atol=1e-8)


def sheared() -> Atoms:
    crystal = bulk("C", cubic=True)
    crystal.set_cell(crystal.cell.array @ [[1, 0.06, 0.03], [0, 1, 0], [0, 0, 1]], scale_atoms=True)
    return crystal


@pytest.mark.parametrize(
    "atoms",
    [
        molecule("CH3CH2OH"),
        Atoms("O"),
        Atoms("O2", [[0, 0, 0], [0, 0, 30]]),
        sheared(),
        bulk("C"),
    ],
    ids=["molecule", "atom", "far apart", "sheared crystal", "own images"],
)
def test_structures_of_any_size_have_the_numbers_of_the_calculator(file, model, atoms):
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=1)
    compare(file, model, atoms, 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("charge", "multiplicity", "atoms"), [(-1, 1, molecule("CH3O")), (0, 3, molecule("C2H4"))]
)
def test_a_file_is_of_its_state(model, tmp_path, charge, multiplicity, atoms):
    export(model, tmp_path / "x.pt", charge, multiplicity)
    compare(tmp_path / "x.pt", model, atoms, charge, multiplicity)


@pytest.mark.slow
def test_the_default_model_is_written(tmp_path):
    export("organic", tmp_path / "x.pt", -1, 1)
    compare(tmp_path / "x.pt", "organic", HYDROXIDE, -1, 1)


@pytest.mark.slow
def test_experts_of_a_state_are_written(tmp_path):
    potential = Experts(build(SPEC), [(0, 3)])
    for parameter in potential.of(0, 3).parameters():
        parameter.data += 0.01
    card = Card(name="m", elements=[1, 8], states=[[0, 1, 1], [0, 3, 1]])
    save(tmp_path / "m.pt", potential, card)
    for multiplicity in (1, 3):
        export(tmp_path / "m.pt", tmp_path / "x.pt", 0, multiplicity)
        compare(tmp_path / "x.pt", tmp_path / "m.pt", molecule("H2O"), 0, multiplicity)


def test_the_file_needs_nothing_of_ours(file):
    """As in the C++ of LAMMPS: no module and no operator of this package."""
    script = (
        "import sys, torch\nfrom metatomic.torch import load_atomistic_model\n"
        "model = load_atomistic_model('x.pt')\n"
        "assert 'polcalc' not in str(model.module.energies.graph)\n"
        "assert not {'polcalc', 'potentials'} & sys.modules.keys()\n"
        "print(model.capabilities().atomic_types, model.metadata().name)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[1, 6, 8] small, charge +0, multiplicity 1", done.stderr


def test_the_command_writes_one_file_and_no_other(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["export", "--model", str(model), "--charge", "0", "--multiplicity"]
    assert CliRunner().invoke(app, [*words, "5"]).exit_code == 2
    assert not list(tmp_path.iterdir())
    assert CliRunner().invoke(app, [*words, "1"]).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["m+0_1.pt"]
    again = CliRunner().invoke(app, [*words, "1"])
    assert again.exit_code == 2 and "must not be there" in again.output


def test_what_a_file_cannot_hold_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="a state of the card"):
        export(model, tmp_path / "x.pt", 1, 2)
    spec = SPEC | {"terms": [*SPEC["terms"], {"name": "charges"}, {"name": "coulomb"}]}
    save(tmp_path / "far.pt", build(spec), Card(name="far", elements=[1, 8]))
    with pytest.raises(ValueError, match="beyond its cutoff"):
        export(tmp_path / "far.pt", tmp_path / "x.pt", 0, 1)
    assert not (tmp_path / "x.pt").exists()
