from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from potentials.datasets import Frames, Provenance, Units, load_frames
from potentials.datasets.formats.hdf5 import read_hdf5, write_hdf5
from potentials.datasets.formats.npz import read_npz
from potentials.datasets.formats.runner import read_runner
from tests.datasets.structures import mixed, waters


def same(one: Frames, two: Frames, **tolerance: float) -> None:
    assert one.arrays().keys() == two.arrays().keys()
    for name, array in one.arrays().items():
        np.testing.assert_allclose(
            getattr(two, name), array, err_msg=name, **(tolerance or {"rtol": 0, "atol": 0})
        )


def test_hdf5_loses_nothing(tmp_path: Path) -> None:
    about = Provenance(
        "mine",
        theory="PBE",
        licence="CC0-1.0",
        citation="me",
        sha256={"a": "b"},
        units=Units("hartree", "bohr"),
    )
    frames = replace(mixed(), provenance=about)
    write_hdf5(tmp_path / "a.h5", frames)
    again = read_hdf5(tmp_path / "a.h5")
    same(frames, again)
    assert again.provenance == about
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_hdf5_stores_float32_only_where_exact(tmp_path: Path) -> None:
    frames = mixed()
    frames = replace(frames, positions=frames.positions.astype(np.float32).astype(np.float64))
    write_hdf5(tmp_path / "a.h5", frames)
    same(frames, read_hdf5(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["positions"].dtype == np.float32 and file["forces"].dtype == np.float64
        assert (
            file["energy"].attrs["unit"] == "eV" and file["forces"].attrs["unit"] == "eV/angstrom"
        )


def test_hdf5_units_are_obeyed(tmp_path: Path) -> None:
    frames = waters(3)
    write_hdf5(tmp_path / "a.h5", frames)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["energy"].attrs["unit"], file["forces"].attrs["unit"] = "kcal/mol", "kcal/mol/angstrom"
    again = read_hdf5(tmp_path / "a.h5")
    np.testing.assert_allclose(again.energy, frames.energy * Units("kcal/mol").energy_eV)
    np.testing.assert_allclose(again.forces, frames.forces * Units("kcal/mol").energy_eV)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["forces"].attrs["unit"] = "eV/angstrom"
    with pytest.raises(ValueError, match="must follow kcal/mol and angstrom"):
        read_hdf5(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["energy"].attrs["unit"]
    with pytest.raises(ValueError, match="`unit` must be an attribute of energy"):
        read_hdf5(tmp_path / "a.h5")


def test_hdf5_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"no")
    with pytest.raises(ValueError, match="must be a whole HDF5 file"):
        read_hdf5(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="must have a known layout"):
        read_hdf5(tmp_path / "b.h5")
    write_hdf5(tmp_path / "c.h5", waters(2))
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        del file["energy"]
    with pytest.raises(ValueError, match="must hold energy; got none"):
        read_hdf5(tmp_path / "c.h5")


@pytest.mark.parametrize("name", ["a.extxyz", "a.db", "a.traj"])
def test_ase_formats(tmp_path: Path, name: str) -> None:
    frames = waters(4, total_charge=1, multiplicity=2)
    if name.endswith(".db"):
        with connect(tmp_path / name) as database:
            for atoms in frames:
                database.write(atoms, key_value_pairs=atoms.info)
    else:
        write(tmp_path / name, list(frames))
    again = load_frames(tmp_path / name)
    same(frames, again, rtol=0, atol=2e-8)  # eight decimals in extxyz
    assert again.provenance.sha256.keys() == {name}


def test_extxyz_with_stress_and_cells(tmp_path: Path) -> None:
    frames = replace(mixed().select([1, 2]), partial_charges=None, group=None)
    write(tmp_path / "a.extxyz", list(frames))
    same(frames, load_frames(tmp_path / "a.extxyz", check=lambda frames: None), rtol=0, atol=2e-8)


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({}, (0, 1)),
        ({"charge": 1}, (1, 2)),
        ({"total_charge": np.int64(-1), "spin_multiplicity": 4}, (-1, 4)),
        ({"unpaired_electrons": 2}, (0, 3)),
        ({"spin": 3}, (0, 3)),  # ten electrons: 2S + 1
        ({"spin": 0}, (0, 1)),
    ],
)
def test_names_of_charge_and_multiplicity(
    tmp_path: Path, info: dict[str, int], state: tuple[int, int]
) -> None:
    atoms = waters(1).atoms(0)
    atoms.info = {**info}
    write(tmp_path / "a.extxyz", atoms)
    frames = load_frames(tmp_path / "a.extxyz")
    assert (frames.total_charge[0], frames.multiplicity[0]) == state


def test_state_from_sums_over_atoms(tmp_path: Path) -> None:
    atoms = waters(1).atoms(0)
    atoms.info = {}
    atoms.set_initial_charges([0.4, 0.3, 0.301])
    atoms.set_initial_magnetic_moments([0.9, 0.05, 0.05])
    atoms.calc = SinglePointCalculator(atoms, energy=-2000.0)
    write(tmp_path / "a.traj", atoms)
    frames = load_frames(tmp_path / "a.traj")
    assert (frames.total_charge[0], frames.multiplicity[0]) == (1, 2)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 1, "total_charge": 0}, "charge and total_charge` must agree"),
        (
            {"charge": 0.5},
            "`charge` must be a whole number; got .*0.5.* in structure 0 of a.extxyz",
        ),
        ({"multiplicity": "low"}, "`multiplicity` must be a whole number"),
    ],
)
def test_states_that_cannot_be(tmp_path: Path, info: dict[str, object], message: str) -> None:
    atoms = waters(1).atoms(0)
    atoms.info = {**info}
    write(tmp_path / "a.extxyz", atoms)
    with pytest.raises(ValueError, match=message):
        load_frames(tmp_path / "a.extxyz")


def test_missing_labels(tmp_path: Path) -> None:
    write(tmp_path / "a.extxyz", Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]))
    with pytest.raises(ValueError, match=r"must hold an energy .* got none in structure 0"):
        load_frames(tmp_path / "a.extxyz")
    images = list(waters(2))
    del images[1].calc.results["forces"]
    write(tmp_path / "b.extxyz", images)
    frames = load_frames(tmp_path / "b.extxyz")
    assert np.isnan(frames.forces[3:]).all() and np.isfinite(frames.forces[:3]).all()
    assert frames.remarks == ("structure 1 without forces: the energy alone is read",)
    images[0].calc.results["forces"][0, 0] = np.nan
    write(tmp_path / "b.extxyz", images)
    with pytest.raises(ValueError, match=r"`forces` must be finite; got others in structure 0"):
        load_frames(tmp_path / "b.extxyz")
    with pytest.raises(FileNotFoundError, match="must be a file or a known set"):
        load_frames(tmp_path / "c.extxyz")


def test_npz_layouts(tmp_path: Path) -> None:
    frames, kcal = waters(5), Units("kcal/mol").energy_eV
    positions, forces = frames.positions.reshape(5, 3, 3), frames.forces.reshape(5, 3, 3)
    energy, z = frames.energy, np.array([8, 1, 1])
    np.savez(
        tmp_path / "r.npz",
        nuclear_charges=z,
        coords=positions,
        energies=energy / kcal,
        forces=forces / kcal,
    )
    np.savez(tmp_path / "m.npz", z=z, R=positions, E=energy[:, None] / kcal, F=forces / kcal)
    np.savez(tmp_path / "u.npz", z=z, R=positions, E=energy, F=forces, e_unit="eV", r_unit="Ang")
    np.savez(
        tmp_path / "p.npz",
        atomic_numbers=np.tile(z, (5, 1)),
        positions=positions,
        energy=energy,
        forces=forces,
    )
    for name in ("r.npz", "m.npz", "u.npz"):
        same(frames, load_frames(tmp_path / name), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"`units` must be given for p.npz"):
        load_frames(tmp_path / "p.npz")
    same(frames, load_frames(tmp_path / "p.npz", units=Units()))


def test_damaged_npz(tmp_path: Path) -> None:
    whole = tmp_path / "a.npz"
    np.savez(whole, z=[8, 1, 1], R=np.zeros((2, 3, 3)), E=np.zeros(2), F=np.zeros((2, 3, 3)))
    (tmp_path / "half.npz").write_bytes(whole.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"must be a whole .npz file"):
        read_npz(tmp_path / "half.npz")
    np.savez(tmp_path / "b.npz", x=[1])
    with pytest.raises(ValueError, match=r"known sets of arrays .* got x"):
        read_npz(tmp_path / "b.npz")


def test_fingerprint_of_sgdml(reference_data, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    genuine = reference_data("md17_ccsdt/ethanol_ccsd_t-train.npz")
    assert len(read_npz(genuine)) == 1000
    with np.load(genuine) as file:
        arrays = dict(file)
    arrays["E"][7] += 1e-6
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(
        ValueError, match="must match its own fingerprint cdad377f9048f070ba9071b647d19397"
    ):
        read_npz(tmp_path / "a.npz")


RUNNER = """begin
comment two structures
lattice 10 0 0
lattice 0 11 0
lattice 0 0 12
atom 0 0 0 O 0.5 0.0 0.1 0.2 0.3
atom 1.8 0 0 H -0.5 0.0 -0.1 -0.2 -0.3
energy -75.5
charge -1.0
end
begin
lattice 10 0 0
lattice 0 11 0
lattice 0 0 12
atom 0 0 0 H 1 0 0 0 0
energy 0
charge 1
end
"""


def test_runner(tmp_path: Path) -> None:
    (tmp_path / "input.data").write_text(RUNNER)
    frames = read_runner(tmp_path / "input.data")
    atomic = Units("hartree", "bohr")
    assert frames.n_atoms.tolist() == [2, 1] and frames.atomic_numbers.tolist() == [8, 1, 1]
    assert frames.positions[1, 0] == pytest.approx(1.8 * atomic.length_A)
    assert frames.cell[0, 1, 1] == pytest.approx(11 * atomic.length_A) and frames.pbc.all()
    assert frames.forces is not None and frames.forces[0, 1] == pytest.approx(
        0.2 * atomic.force_eV_per_A
    )
    assert frames.total_charge.tolist() == [-1, 1] and frames.multiplicity.tolist() == [1, 1]
    (tmp_path / "input.data").write_text(RUNNER.replace("atom 1.8 0 0 H", "atom 1.8 zero 0 H"))
    with pytest.raises(ValueError, match=r"RuNNer format; got 'atom 1.8 zero 0 H .*' in line 7"):
        read_runner(tmp_path / "input.data")


def test_provenance_is_plain_json(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", waters(1))
    with h5py.File(tmp_path / "a.h5") as file:
        assert json.loads(file.attrs["provenance"])["units"]["energy"] == "eV"
