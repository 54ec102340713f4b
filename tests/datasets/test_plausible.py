from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from potentials.datasets import Frames, Units, load_frames, make_frames
from potentials.datasets.checks.plausible import check_units, unit_problems, work_ratio
from potentials.datasets.formats.units import BOHR, HARTREE, KCAL_PER_MOL, KJ_PER_MOL
from tests.datasets.structures import waters

# how numbers come out when they are read as eV and Å, and which word of the message tells
MISTAKES = {
    "kcal/mol": (1 / KCAL_PER_MOL, 1 / KCAL_PER_MOL, 1.0, "looks like kcal/mol"),
    "kJ/mol": (1 / KJ_PER_MOL, 1 / KJ_PER_MOL, 1.0, "looks like kJ/mol"),
    "energy kcal/mol": (1 / KCAL_PER_MOL, 1.0, 1.0, "looks like kcal/mol"),
    "forces kcal/mol/Å": (1.0, 1 / KCAL_PER_MOL, 1.0, "kcal/mol/Å"),
    "hartree, Å": (1 / HARTREE, 1 / HARTREE, 1.0, "looks like hartree"),
    "hartree, hartree/bohr, Å": (1 / HARTREE, BOHR / HARTREE, 1.0, "looks like hartree"),
    "energy hartree": (1 / HARTREE, 1.0, 1.0, "looks like hartree"),
    "forces hartree/bohr": (1.0, BOHR / HARTREE, 1.0, "different units"),
    "atomic units": (1 / HARTREE, BOHR / HARTREE, 1 / BOHR, "looks like bohr"),
    "bohr": (1.0, 1.0, 1 / BOHR, "looks like bohr"),
    "nm": (1.0, 1.0, 0.1, "looks like nm"),
    "gradients": (1.0, -1.0, 1.0, "look like gradients"),
}


def mistaken(frames: Frames, mistake: str) -> Frames:
    energy, force, length, _ = MISTAKES[mistake]
    return replace(
        frames,
        energy=frames.energy * energy,
        forces=None if frames.forces is None else frames.forces * force,
        positions=frames.positions * length,
        cell=frames.cell * length,
        provenance=replace(frames.provenance, units=Units()),
    )


def test_right_units_pass() -> None:
    assert unit_problems(waters(60)) == []
    assert work_ratio(waters(60)).ratio == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_units_are_refused_and_named(mistake: str) -> None:
    problems = unit_problems(mistaken(waters(60), mistake))
    assert problems
    assert MISTAKES[mistake][3] in " ".join(problems)


@pytest.mark.parametrize(
    "mistake",
    ["kcal/mol", "hartree, Å", "energy hartree", "bohr", "forces hartree/bohr", "energy kcal/mol"],
)
@pytest.mark.parametrize("name", ["ethanol", "aspirin", "benzene", "uracil"])
def test_mistakes_with_real_data(
    reference_data: Callable[[str], Path], name: str, mistake: str
) -> None:
    frames = load_frames(reference_data(f"rmd17/rmd17_{name}_train_01.npz"))
    with pytest.raises(ValueError, match=MISTAKES[mistake][3]):
        check_units(mistaken(frames, mistake))


def test_a_file_in_kcal_is_refused_with_advice(tmp_path: Path) -> None:
    images = [Atoms("OH2", atoms.positions) for atoms in waters(20)]
    for image, atoms in zip(images, waters(20), strict=True):
        image.info["energy"] = atoms.get_potential_energy() / KCAL_PER_MOL
        image.arrays["forces"] = atoms.get_forces() / KCAL_PER_MOL
    write(tmp_path / "a.extxyz", images)
    with pytest.raises(
        ValueError,
        match=r"a.extxyz: `energy` must .* read in eV. That looks like kcal/mol. Declare the unit",
    ):
        load_frames(tmp_path / "a.extxyz")
    declared = load_frames(tmp_path / "a.extxyz", units=Units("kcal/mol"))
    np.testing.assert_allclose(declared.energy, waters(20).energy, rtol=1e-9)


def frames_of(atoms: Atoms, energy: float) -> Frames:
    return make_frames(
        np.array([len(atoms)]),
        atoms.numbers,
        atoms.positions,
        np.array([energy]),
        cell=atoms.cell.array[None],
        pbc=atoms.pbc[None],
    )


@pytest.mark.parametrize(
    ("atoms", "energy"),
    [
        (bulk("Na", cubic=True), -2.6),  # relative to atoms, as plane-wave codes print it
        (bulk("Cu", cubic=True), -15.0),
        (bulk("NaCl", "rocksalt", a=5.64), -7.0),
        (Atoms("Ar2", [[0, 0, 0], [0, 0, 3.76]]), -28700.0),
        (Atoms("He"), -79.0),
        (
            Atoms("H2O", [[0.76, 0.0, -0.48], [-0.76, 0.0, -0.48], [0, 0, 0.12]]),
            -470.0,
        ),  # valence electrons alone
        (molecule("C2H6"), -199.0),  # GFN2-xTB
    ],
    ids=lambda value: str(value.symbols) if isinstance(value, Atoms) else "",
)
def test_unusual_but_right(atoms: Atoms, energy: float) -> None:
    check_units(frames_of(atoms, energy))


def test_one_structure_and_equal_structures() -> None:
    check_units(waters(1))
    twice = waters(1).select([0] * 20)
    check_units(twice)
    check_units(replace(twice, forces=None))
