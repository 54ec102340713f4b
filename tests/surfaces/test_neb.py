"""Paths between structures: a known barrier, batches, and ends that no path can join."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms
from ase.io import read
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.errors import InputError
from md_runs.surfaces.band import (
    BatchedNEB,
    Search,
    across_line,
    check_ends,
    find_path,
    interpolated,
    remarks,
    what_to_try,
)
from md_runs.surfaces.neb import summary
from polcalc import PolarizedCalculator
from tests.small import write_small_model

BARRIER, TILT = 0.4, 0.05  # eV


class Rotor(Calculator):
    """An H atom that two wells hold at z = ±1 Å of a fixed O atom.

    E = B (1 - c²)² + tilt c, c = cos θ, and stiff in the distance.
    """

    implemented_properties: ClassVar = ["energy", "forces"]

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = _rotor(atoms)

    def calculate_many(self, frames: Sequence[Atoms]) -> list[dict[str, Any]]:
        self.batches.append(len(frames))
        return [_rotor(atoms) for atoms in frames]


def _rotor(atoms: Atoms) -> dict[str, Any]:
    vector = atoms.positions[1] - atoms.positions[0]
    d = float(np.linalg.norm(vector))
    c = vector[2] / d
    slope = BARRIER * 2 * (1 - c * c) * (-2 * c) + TILT
    gradient = slope * (np.eye(3)[2] - c * vector / d) / d + 20.0 * (d - 1) * vector / d
    energy = BARRIER * (1 - c * c) ** 2 + TILT * c + 10.0 * (d - 1) ** 2
    return {"energy": energy, "forces": np.array([gradient, -gradient])}


def rotor(angle: float) -> Atoms:
    """The H atom at an angle (rad) from the z axis."""
    atoms = Atoms("OH", [[0, 0, 0], [np.sin(angle), 0, np.cos(angle)]])
    atoms.set_constraint(FixAtoms([0]))
    return atoms


def polcalc(command: str) -> Result:
    return CliRunner().invoke(app, command.split())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model") / "m.pt")


def test_the_highest_image_climbs_to_the_saddle_point() -> None:
    """The saddle is where the slope in c vanishes near c = 0.

    Without climbing an image need not be there.
    """
    calculator = Rotor()
    found = find_path(
        rotor(0.1), rotor(np.pi - 0.2), calculator, Search(images=3, fmax_eV_per_A=0.01)
    )
    roots = np.roots([4 * BARRIER, 0, -4 * BARRIER, TILT])
    c = float(roots[np.argmin(np.abs(roots))].real)
    top = BARRIER * (1 - c * c) ** 2 + TILT * c
    assert found.converged
    assert found.saddle is not None
    assert found.images[found.saddle].get_potential_energy() == pytest.approx(top, abs=1e-4)
    facts = summary(found)
    assert facts["barrier_eV"] - facts["reverse_barrier_eV"] == pytest.approx(
        facts["reaction_energy_eV"]
    )
    assert {step.climbing for step in found.steps} == {False, True}
    assert set(calculator.batches) == {5}


def test_too_few_steps_do_not_converge() -> None:
    found = find_path(rotor(0.1), rotor(np.pi - 0.2), Rotor(), Search(images=3, steps=2))
    assert not found.converged
    assert len(found.steps) <= 4


def test_downhill_all_the_way_has_no_saddle() -> None:
    found = find_path(rotor(2.0), rotor(np.pi - 0.1), Rotor(), Search(images=3, fmax_eV_per_A=0.05))
    assert found.saddle is None
    assert summary(found)["barrier_eV"] is None


def test_forces_of_the_band_are_those_of_ase(model: Path) -> None:
    """One batch gives what image by image gives; images are laid onto each other."""
    atoms, turned = molecule("CH3OH"), molecule("CH3OH")
    turned.rattle(0.1, seed=1)
    turned.rotate(40, "x")
    calculator = PolarizedCalculator(model, dtype="float64")
    images = interpolated(atoms, turned, 3)
    ours = BatchedNEB(images, calculator, free=True, spring_eV_per_A2=0.1).get_forces()
    plain = [image.copy() for image in images]
    for image in plain:
        image.calc = PolarizedCalculator(model, dtype="float64")
    theirs = super(
        BatchedNEB, BatchedNEB(plain, calculator, free=False, spring_eV_per_A2=0.1)
    ).get_forces()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    assert np.abs(images[-1].positions - turned.positions).max() > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: molecule("CH3CH2OH"), "atoms of `START`"),
        (lambda a: a[[1, 0, 2, 3, 4, 5]], "atom 0 is O, not C"),
        (lambda a: Atoms(a, cell=[9, 9, 9], pbc=True), "cell"),
        (lambda a: a.copy(), "another structure"),
        (lambda a: _turned(a), "another structure"),
        (lambda a: _fixed(a), "fixed atoms"),
    ],
    ids=["formula", "order", "cell", "same", "turned", "fixed"],
)
def test_ends_that_no_path_joins(change: Any, message: str) -> None:
    atoms = molecule("CH3OH")
    with pytest.raises(InputError, match=message):
        check_ends(atoms, change(atoms))


def test_atoms_on_one_line_go_round_each_other() -> None:
    """HCN and HNC: forces on the line never leave it, so the path begins beside it."""
    start = Atoms("HCN", [[0, 0, -1.07], [0, 0, 0], [0, 0, 1.15]])
    end = Atoms("HCN", [[0, 0, 2.15], [0, 0, 0], [0, 0, 1.17]])
    images = interpolated(start, end, 5)
    middle = images[3]
    assert middle.get_distance(0, 1) > 0.9 and middle.get_distance(0, 2) > 0.9
    assert 40 < middle.get_angle(0, 1, 2) < 140
    for atoms in (start, end):
        atoms.calc = Still()
    assert "on one line" in " ".join(remarks(start, end))
    bent = molecule("H2O")
    assert across_line(bent, bent) is None


class Still(Calculator):
    """Nothing pulls."""

    implemented_properties: ClassVar = ["energy", "forces"]

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def test_a_search_that_ends_early_says_what_to_try() -> None:
    search = Search(images=3, steps=2)
    found = find_path(rotor(0.1), rotor(np.pi - 0.2), Rotor(), search)
    assert found.band_forces.shape == (5,) and found.band_forces[[0, -1]].max() == 0
    said = what_to_try(found, search)
    assert f"image {found.band_forces.argmax()} of 4" in said and "--" in said
    flat = found._replace(images=[found.images[0]] * 5)  # no image is above the ends
    assert "--no-climb" in what_to_try(flat, search)
    assert "--no-climb" not in what_to_try(flat, replace(search, climb=False))


def test_fixed_atoms_must_stand_in_one_place() -> None:
    start, end = (bulk("Cu", cubic=True) for _ in range(2))
    for atoms in (start, end):
        atoms.set_constraint(FixAtoms([0]))
    end.positions[0] += 0.1
    with pytest.raises(InputError, match="fixed atoms"):
        check_ends(start, end)


def test_swapped_atoms_are_remarked() -> None:
    start, end = molecule("CH3OH"), molecule("CH3OH")
    end.positions[[2, 3]] = end.positions[[3, 2]]
    for atoms in (start, end):
        atoms.calc = Rotor()
    told = " ".join(remarks(start, end))
    assert "START is not at rest" in told and "Leave out --no-relax-ends" in told
    assert "Leave out" not in " ".join(remarks(start, end, ("START", "END")))
    assert "bonds broken on the way: " in told


def _turned(atoms: Atoms) -> Atoms:
    turned = atoms.copy()
    turned.rotate(30, "y")
    turned.translate([1, 2, 3])
    return turned


def _fixed(atoms: Atoms) -> Atoms:
    fixed = atoms.copy()
    fixed.set_constraint(FixAtoms([0]))
    return fixed


def test_the_shell(model: Path, tmp_path: Path) -> None:
    start, end = molecule("CH3OH"), molecule("CH3OH")
    end.rattle(0.15, seed=3)
    start.write(tmp_path / "a.xyz")
    end.write(tmp_path / "b.xyz")
    line = f"neb {tmp_path}/a.xyz {tmp_path}/b.xyz --model {model} --images 3 --no-relax-ends"
    result = polcalc(f"{line} --steps 2 --fmax-eV-per-A 1e-6 --output {tmp_path}/out")
    assert result.exit_code == 1, result.output
    assert "did not reach" in result.stderr and "The largest force is on image" in result.stderr
    facts = json.loads((tmp_path / "out/neb.json").read_text())
    assert not facts["converged"]
    path = read(tmp_path / "out/path.extxyz", ":")
    rows = list(csv.DictReader((tmp_path / "out/path.csv").read_text().splitlines()))
    assert [float(row["energy_eV"]) for row in rows] == pytest.approx(
        [image.get_potential_energy() for image in path], abs=1e-6
    )
    assert len(path) == 5
    assert (tmp_path / "out/barrier.png").stat().st_size > 1000
    assert polcalc(f"{line} --fmax-eV-per-A 10 --output {tmp_path}/easy").exit_code == 0


def test_ends_in_different_states_are_refused(model: Path, tmp_path: Path) -> None:
    for name, multiplicity in (("a", 1), ("b", 3)):
        atoms = molecule("CH3OH")
        atoms.rattle(0.1, seed=multiplicity)
        atoms.info["multiplicity"] = multiplicity
        atoms.write(tmp_path / f"{name}.extxyz")
    line = f"neb {tmp_path}/a.extxyz {tmp_path}/b.extxyz --model {model} --output {tmp_path}/out"
    result = polcalc(line)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "multiplicity 3" in result.stderr
    assert not (tmp_path / "out").exists()
