"""Every structure file that a command writes says the state that it was computed with."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from typer.testing import CliRunner, Result

from md_runs.cli import app as cli
from md_runs.records.structures import set_state, write_structures
from md_runs.records.trajectory import TrajectoryWriter
from polcalc import PolarizedCalculator
from polcalc.calculator.electrons import StateWarning
from tests.small import write_small_model

# an untrained model takes H3O apart
pytestmark = pytest.mark.filterwarnings("ignore:.*side by side have odd numbers")
STALE = "charge=1 net_charge=1 spin_multiplicity=3 REF_energy=-9.0"  # of another calculation


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run a command in a folder with an untrained model and H3O, one way and the other."""
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    for name, side in (("a.xyz", 1), ("b.xyz", -1)):
        rows = "".join(
            f"{s} {x:.4f} {y:.4f} {side * z:.4f}\n"
            for s, (x, y, z) in zip("OHHH", molecule("NH3").positions, strict=True)
        )
        (tmp_path / name).write_text(f"4\n\n{rows}")
        columns = "Properties=species:S:1:pos:R:3"
        (tmp_path / f"{name[0]}.extxyz").write_text(f"4\n{columns} {STALE}\n{rows}")

    def run(command: str) -> Result:
        result = CliRunner().invoke(cli.app, [*command.split(), "--model", "m.pt"])
        assert result.exit_code in (0, 1, 3), result.output
        return result

    return run


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("relax a.xyz --steps 2", ["relaxed.extxyz"]),
        ("relax a.extxyz --steps 2", ["relaxed.extxyz"]),
        ("neb a.extxyz b.extxyz --images 3 --steps 2", ["path.extxyz"]),
        ("vib a.extxyz", ["modes.extxyz", "animations/mode-001.extxyz"]),
        ("md a.extxyz --steps 4 --extxyz", ["final.extxyz", "trajectory.extxyz"]),
    ],
)
def test_the_state_is_written_in_place_of_older_ones(shell, tmp_path, command, files) -> None:  # type: ignore[no-untyped-def]
    shown = shell(f"{command} --charge -1 --multiplicity 1 --output out").output
    assert "charge -1" in shown and "multiplicity 1" in shown
    for name in files:
        for atoms in read(tmp_path / "out" / name, ":"):
            assert (atoms.info["charge"], atoms.info["multiplicity"]) == (-1, 1)
            assert not {"net_charge", "spin_multiplicity", "REF_energy"} & atoms.info.keys()


def test_the_next_command_goes_on_in_the_same_state(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shell("relax a.xyz --charge -1 --steps 2 --output one")
    shell("md one/relaxed.extxyz --steps 2 --output two")
    state = json.loads((tmp_path / "two" / "manifest.json").read_text())["state"]
    assert (state["charge"], state["multiplicity"]) == (-1, 1)
    assert state["charge_source"] == 'info["charge"]'


def test_velocities_that_are_not_used_are_said(shell) -> None:  # type: ignore[no-untyped-def]
    assert "drawn" not in shell("md a.xyz --charge -1 --steps 2 --output one").output
    again = "md one/final.extxyz --steps 2 --output"
    assert "new ones are drawn at 300 K" in shell(f"{again} two").output
    assert "drawn" not in shell(f"{again} three --velocities structure").output


def test_charges_of_atoms_stay_where_they_add_up(tmp_path: Path) -> None:
    atoms = molecule("OH")
    atoms.set_initial_charges([-1.2, 0.2])
    set_state(atoms, -1, 1)
    assert "initial_charges" in atoms.arrays and "initial_magmoms" not in atoms.arrays
    set_state(atoms, 1, 3)
    assert "initial_charges" not in atoms.arrays
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0)
    write_structures(tmp_path / "a.extxyz", [atoms])
    assert read(tmp_path / "a.extxyz").info["charge"] == 1


def test_an_odd_number_of_electrons_without_a_charge_warns(tmp_path: Path) -> None:
    write_small_model(tmp_path / "m.pt")
    hydroxyl = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    hydroxyl.calc = PolarizedCalculator(tmp_path / "m.pt", dtype="float64")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        radical = hydroxyl.get_potential_energy()
    assert any(
        w.category is StateWarning and "HO has 9 electrons and nothing says its charge" in str(w)
        for w in told
    )
    hydroxyl.info["charge"] = 0
    assert hydroxyl.get_potential_energy() == radical  # told once of what it never saw
    hydroxyl.info["charge"] = -1
    assert np.isfinite(hydroxyl.get_potential_energy())


def test_a_spin_that_contradicts_the_multiplicity_is_refused(tmp_path: Path) -> None:
    write_small_model(tmp_path / "m.pt")
    water = molecule("H2O")
    water.calc = PolarizedCalculator(tmp_path / "m.pt")
    for spin in (1, 0):
        water.info = {"multiplicity": 1, "spin": spin}
        water.get_potential_energy()
    water.info["spin"] = 3
    with pytest.raises(ValueError, match="must say one thing; got spin=3 and multiplicity 1"):
        water.get_potential_energy()


def test_a_trajectory_that_is_converted_tells_its_state(tmp_path: Path) -> None:
    oh = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    oh.calc = SinglePointCalculator(oh, energy=0.0, forces=np.zeros((2, 3)))
    writer = TrajectoryWriter(tmp_path / "t.h5md", oh, charge=-1, multiplicity=3, interval_fs=1.0)
    writer.append(0, 0.0, oh)
    writer.flush()
    words = ["convert", str(tmp_path / "t.h5md"), str(tmp_path / "a.extxyz")]
    said = CliRunner().invoke(cli.app, words)
    assert "a.extxyz: 1 frames, charge -1, multiplicity 3 (of the trajectory)" in said.stdout
    assert read(tmp_path / "a.extxyz").info["charge"] == -1
