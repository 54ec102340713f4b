"""Labels are read, chosen or refused under any plausible name, and never dropped in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from potentials.datasets import Units, fit_reference_energies, load_frames
from potentials.datasets.checks.lint import lint
from potentials.datasets.formats.labels import Wanted
from potentials.datasets.formats.npz import read_npz
from potentials.datasets.formats.units import GPA, HARTREE, declared_units
from tests.datasets.structures import waters

Put = Callable[[Atoms, int], None]
OTHER_METHOD = 1000.0  # eV below the reference


def written(path: Path, put: Put, n: int = 6) -> Path:
    """Write shaken water molecules in a cell with the labels that ``put`` gives each."""
    frames = []
    for number, labelled in enumerate(waters(n)):
        atoms = Atoms(labelled.symbols, labelled.positions, cell=[9] * 3, pbc=True)
        atoms.calc = labelled.calc
        put(atoms, number)
        frames.append(atoms)
    write(path, frames, format="extxyz")
    return path


def bare(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Take the labels of a structure away and return them."""
    energy, forces = atoms.calc.results["energy"], atoms.calc.results["forces"]
    atoms.calc = None
    return energy, forces


def named(energy: str, forces: str | None = None) -> Put:
    def put(atoms: Atoms, number: int) -> None:
        values = bare(atoms)
        atoms.info[energy] = values[0]
        if forces:
            atoms.set_array(forces, values[1])

    return put


@pytest.mark.parametrize(
    "energy", ["energy", "Energy", "REF_energy", "dft_energy", "E", "TotEnergy"]
)
@pytest.mark.parametrize(
    "forces", ["forces", "Forces", "REF_force", "ref_forces", "DFT_forces", "F"]
)
def test_plain_names_are_read(tmp_path: Path, energy: str, forces: str) -> None:
    frames = load_frames(written(tmp_path / "a.xyz", named(energy, forces)))
    assert frames.energy == pytest.approx(waters(6).energy)
    assert frames.forces == pytest.approx(waters(6).forces, abs=1e-7)
    assert not frames.remarks


@pytest.mark.parametrize("column", ["gradient", "b3lyp_forces", "f_orca", "three_numbers"])
def test_columns_that_may_be_forces_are_named(tmp_path: Path, column: str) -> None:
    path = written(tmp_path / "a.xyz", named("energy", column))
    frames = load_frames(path)
    assert frames.forces is None
    assert any(column in remark and "no forces was read" in remark for remark in frames.remarks)
    assert [f.code for f in lint(frames).findings if f.code == "not read"] == ["not read"]
    sign = -1 if column == "gradient" else 1
    name = f"-{column}" if sign < 0 else column
    assert f'forces = "{name}"' in frames.remarks[0]
    asked = load_frames(path, wanted=Wanted(forces=name), check=lambda frames: None)
    assert asked.forces == pytest.approx(sign * waters(6).forces, abs=1e-7)


def test_energies_under_unknown_names_are_refused_with_the_setting(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", named("b3lyp_energy", "forces"))
    with pytest.raises(ValueError, match=r'no energy was read; b3lyp_energy .* energy = "b3lyp_e'):
        load_frames(path)
    assert load_frames(path, wanted=Wanted(energy="b3lyp_energy")).forces is not None
    with pytest.raises(ValueError, match=r"`energy` of \[data\] must name .* got 'E0'"):
        load_frames(path, wanted=Wanted(energy="E0"))


def two_methods(forces_of_both: bool) -> Put:
    def put(atoms: Atoms, number: int) -> None:
        energy, forces = bare(atoms)
        atoms.info |= {"energy": energy / 15, "REF_energy": energy}
        atoms.set_array("REF_forces", forces)
        if forces_of_both:
            atoms.set_array("forces", forces / 15)

    return put


def test_two_methods_are_never_mixed(tmp_path: Path) -> None:
    frames = load_frames(written(tmp_path / "a.xyz", two_methods(False)))
    assert frames.energy == pytest.approx(waters(6).energy)  # the energies that have the forces
    assert "energy is read as REF_energy; energy was not" in frames.remarks[0]
    both = written(tmp_path / "b.xyz", two_methods(True))
    with pytest.raises(ValueError, match=r"must stand under one name in b\.xyz; got"):
        load_frames(both)
    for name, factor in (("energy", 1 / 15), ("REF_energy", 1)):
        chosen = load_frames(both, wanted=Wanted(energy=name), check=lambda frames: None)
        assert chosen.energy == pytest.approx(factor * waters(6).energy)
        assert chosen.forces == pytest.approx(factor * waters(6).forces, abs=1e-7)

    def twice(atoms: Atoms, number: int) -> None:
        atoms.info["REF_energy"] = atoms.calc.results["energy"]

    assert not load_frames(written(tmp_path / "c.xyz", twice)).remarks


@pytest.mark.parametrize(
    ("name", "put"),
    [
        ("stress", lambda s, a: s),
        ("REF_stress", lambda s, a: s),
        ("stress", lambda s, a: s[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]),
        ("virials", lambda s, a: -s * a.get_volume()),
        ("REF_virial", lambda s, a: -s * a.get_volume()),
    ],
    ids=["stress", "of the reference", "six numbers", "virials", "virial of the reference"],
)
def test_stress_and_virials(tmp_path: Path, name: str, put: Callable[[Any, Atoms], Any]) -> None:
    stress = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]]) * 1e-3  # eV/Å^3

    def with_stress(atoms: Atoms, number: int) -> None:
        atoms.info[name] = put(stress, atoms)

    frames = load_frames(written(tmp_path / "a.xyz", with_stress))
    assert frames.stress == pytest.approx(np.stack([stress] * 6), abs=1e-9)


@pytest.mark.parametrize("without", [[0], [1, 2, 3, 4, 5]])
def test_stress_in_some_structures_only_is_refused_and_forces_are_read(tmp_path, without) -> None:  # type: ignore[no-untyped-def]
    def put(kind: str) -> Put:
        def labelled(atoms: Atoms, number: int) -> None:
            results = {"energy": 1.0, "forces": np.zeros((3, 3)), "stress": np.zeros(6)}
            if number in without:
                del results[kind]
            atoms.calc = SinglePointCalculator(atoms, **results)

        return labelled

    with pytest.raises(ValueError, match=f"`stress` must be there .* in structure {without[0]}"):
        load_frames(written(tmp_path / "a.xyz", put("stress")))
    frames = load_frames(written(tmp_path / "b.xyz", put("forces")))
    unknown = np.isnan(frames.forces).any(1).reshape(6, 3)
    assert (
        np.flatnonzero(unknown.all(1)).tolist()
        == without
        == np.unique(unknown.nonzero()[0]).tolist()
    )
    assert any(f"structure {without[0]}" in remark for remark in frames.remarks)


def test_units_of_each_label(tmp_path: Path) -> None:
    def in_hartree(atoms: Atoms, number: int) -> None:
        energy, forces = bare(atoms)
        atoms.info |= {"energy": energy / HARTREE, "stress": np.eye(3)}
        atoms.set_array("forces", forces / Units("hartree", "bohr").force_eV_per_A)

    path = written(tmp_path / "a.xyz", in_hartree)
    with pytest.raises(ValueError, match="That looks like hartree"):
        load_frames(path)
    frames = load_frames(path, units=declared_units("hartree", stress="GPa"))
    assert frames.energy == pytest.approx(waters(6).energy)
    assert frames.forces == pytest.approx(waters(6).forces, abs=1e-6)
    assert frames.positions == pytest.approx(waters(6).positions, abs=1e-7)
    assert frames.stress == pytest.approx(np.stack([GPA * np.eye(3)] * 6))


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (("hartree",), Units("hartree", "Å", "bohr")),
        (("hartree", "bohr"), Units("hartree", "bohr")),
        (("hartree", "angstrom", "hartree/angstrom"), Units("hartree")),
        (("eV", "", "kcal/mol/angstrom"), Units("eV", "Å", "", "kcal/mol")),
        (("", "", "", "kbar"), Units(stress="kbar")),
        (("", "", "", "eV/angstrom^3"), Units()),
    ],
)
def test_declared_units(declared: tuple[str, ...], expected: Units) -> None:
    assert declared_units(*declared) == expected
    assert declared_units() is None


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (("calorie",), "unit must be one of"),
        (("eV", "", "newton"), "must be energy/length"),
        (("eV", "", "", "hartree/bohr^3"), "`stress_unit` must be"),
    ],
)
def test_units_that_are_none(declared: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declared_units(*declared)


@pytest.mark.parametrize("with_forces", [True, False])
@pytest.mark.parametrize(
    "mark", ["config_type=IsolatedAtom", "config_type=isolated_atom", "kind=atom"]
)
def test_isolated_atoms_set_the_energies_of_their_elements(
    tmp_path: Path, mark: str, with_forces: bool
) -> None:
    path = written(tmp_path / "molecules.xyz", named("REF_energy", "REF_forces"))
    columns = "Properties=species:S:1:pos:R:3" + (":REF_forces:R:3" if with_forces else "")
    rest = " 0 0 0" if with_forces else ""
    atoms = "".join(
        f"1\n{columns} REF_energy={energy} {mark}\n{symbol} 0 0 0{rest}\n"
        for symbol, energy in (("H", -13.6), ("O", -2042.5))
    )
    text = path.read_text()
    for name, whole in (("a.xyz", atoms + text), ("b.xyz", text + atoms)):
        (tmp_path / name).write_text(whole)
        frames = load_frames(tmp_path / name)
        assert len(frames) == 6 and frames.forces is not None
        assert frames.references == {1: -13.6, 8: -2042.5}
        assert fit_reference_energies(frames) == {1: -13.6, 8: -2042.5}
        assert lint(frames).free_atoms_eV == {"H": -13.6, "O": -2042.5}
    (tmp_path / "c.xyz").write_text(atoms.split("1\n", 2)[1].join(["1\n", ""]) + text)
    fitted = fit_reference_energies(load_frames(tmp_path / "c.xyz"))
    assert fitted[1] == -13.6 and fitted[8] == pytest.approx(-2079 + 2 * 13.6, abs=0.2)


def test_atoms_without_a_mark_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", named("energy", "forces"))
    path.write_text(path.read_text() + "1\nenergy=-13.6 charge=0\nH 0 0 0\n")
    frames = load_frames(path)
    assert len(frames) == 7 and not frames.references  # the force on one atom is zero by symmetry
    assert any("without the mark config_type=IsolatedAtom" in remark for remark in frames.remarks)


def test_charges_that_nobody_declares_are_named(tmp_path: Path) -> None:
    def odd(atoms: Atoms, number: int) -> None:
        del atoms[2]
        atoms.calc = SinglePointCalculator(atoms, energy=-2000.0, forces=np.zeros((2, 3)))
        atoms.set_array("mulliken", np.array([-0.4, 0.4]))

    remarks = load_frames(written(tmp_path / "a.xyz", odd), check=lambda frames: None).remarks
    assert any("odd number of electrons and no declared charge" in remark for remark in remarks)
    assert any("mulliken was not read" in remark for remark in remarks)


def test_arrays_of_npz_files_say_the_state(tmp_path: Path) -> None:
    frames = waters(4)
    arrays = {
        "atomic_numbers": np.array([8, 1, 1]),
        "positions": frames.positions.reshape(4, 3, 3),
        "energy": frames.energy,
        "gradients": -frames.forces.reshape(4, 3, 3),
    }
    np.savez(tmp_path / "a.npz", **arrays, charge=1, spin_multiplicity=[2, 2, 4, 2])
    read = read_npz(tmp_path / "a.npz", Units())
    assert read.total_charge.tolist() == [1] * 4 and read.multiplicity.tolist() == [2, 2, 4, 2]
    assert read.remarks == ("its arrays gradients were not read",)
    np.savez(tmp_path / "b.npz", **arrays, charge=1, Q=np.zeros(4))
    with pytest.raises(ValueError, match="charge and Q` must agree"):
        read_npz(tmp_path / "b.npz", Units())
