"""Trajectories come back as they went in, by our reader and MDAnalysis, also after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from md_runs.dynamics.recorder import Log
from md_runs.records.structures import write_structures
from md_runs.records.trajectory import TrajectoryWriter, read_trajectory
from tests.damage import damage
from tests.small import sprung


def frames_of(atoms: Atoms, number: int) -> list[Atoms]:
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(number):
        frame = atoms.copy()
        frame.positions += rng.normal(size=frame.positions.shape)
        frame.set_momenta(rng.normal(size=frame.positions.shape))
        frame.calc = SinglePointCalculator(
            frame, energy=rng.normal(), forces=rng.normal(size=frame.positions.shape)
        )
        frames.append(frame)
    return frames


def write(path: Path, frames: list[Atoms], flush_each: int = 1000) -> None:
    writer = TrajectoryWriter(path, frames[0], charge=-1, multiplicity=3, interval_fs=5.0)
    for n, frame in enumerate(frames):
        writer.append(10 * n, 5.0 * n, frame)
        if n % flush_each == flush_each - 1:
            writer.flush()
    writer.flush()


def triclinic() -> Atoms:
    return Atoms(
        "NaCl",
        positions=[[0, 0, 0], [2, 2, 2]],
        cell=[[5, 0, 0], [1, 6, 0], [0.5, 1.5, 7]],
        pbc=True,
    )


@pytest.mark.parametrize("make", [sprung, triclinic, lambda: bulk("Cu", cubic=True)])
@pytest.mark.parametrize("flush_each", [1, 7, 1000])
def test_frames_come_back(make, flush_each, tmp_path):
    frames = frames_of(make(), 25)
    write(tmp_path / "t.h5md", frames, flush_each)
    back = list(read_trajectory(tmp_path / "t.h5md"))
    assert len(back) == 25
    for n, (old, new) in enumerate(zip(frames, back, strict=True)):
        assert np.array_equal(old.numbers, new.numbers)
        assert np.array_equal(old.pbc, new.pbc)
        assert np.array_equal(old.cell.array, new.cell.array)
        assert np.array_equal(old.positions, new.positions)
        assert np.allclose(old.get_velocities(), new.get_velocities(), rtol=1e-14)
        assert np.allclose(old.get_forces(), new.get_forces(), rtol=1e-14)
        assert new.get_potential_energy() == old.get_potential_energy()
        assert new.info == {"charge": -1, "multiplicity": 3, "step": 10 * n, "time_fs": 5.0 * n}


def test_velocities_alone_come_back_and_frames_do_not_change(tmp_path):
    """Those of five times as many moments, in Å/fs, also after the file was cut back."""
    path, frames = tmp_path / "t.h5md", frames_of(sprung(), 50)
    writer = TrajectoryWriter(path, frames[0], charge=0, multiplicity=1, interval_fs=10.0)
    for n, frame in enumerate(frames):
        writer.append_velocities(4 * n, 2.0 * n, frame)
        if n % 5 == 0:
            writer.append(4 * n, 2.0 * n, frame)
    assert writer.sync() == {"n_frames": 10, "n_velocities": 50}
    assert len(list(read_trajectory(path))) == 10
    TrajectoryWriter.cut_back(
        path, frames[0], 3, 11, charge=0, multiplicity=1, interval_fs=10.0
    ).append_velocities(44, 22.0, frames[11])
    with h5py.File(path) as file:
        series = file["parameters/velocities"]
        assert series["time"][()].tolist() == [2.0 * n for n in range(11)]
        expected = [frame.get_velocities() * units.fs for frame in frames[:11]]
        np.testing.assert_allclose(series["value"][()], expected, rtol=1e-6)
        assert len(file["particles/trajectory/velocity/value"]) == 3
    with pytest.raises(ValueError, match="velocities at 12 times; got 11"):
        TrajectoryWriter.cut_back(
            path, frames[0], 3, 12, charge=0, multiplicity=1, interval_fs=10.0
        )


def test_some_frames(tmp_path):
    write(tmp_path / "t.h5md", frames_of(sprung(), 10))
    assert [f.info["step"] for f in read_trajectory(tmp_path / "t.h5md", slice(-3, None))] == [
        70,
        80,
        90,
    ]


def test_every_dataset_names_its_unit(tmp_path):
    write(tmp_path / "t.h5md", frames_of(triclinic(), 3))
    with h5py.File(tmp_path / "t.h5md") as file:
        names: list[str] = []
        file.visit(names.append)
        without = {
            name
            for name in names
            if isinstance(file[name], h5py.Dataset)
            and "unit" not in file[name].attrs
            and not name.startswith("parameters/")  # VMD's own
        }
        assert list(file["h5md"].attrs["version"]) == [1, 1]
    assert len(names) > 20
    steps = {name for name in without if name.endswith("/step")}
    assert without - steps == {"particles/trajectory/species", "observables/multiplicity/value"}


@pytest.mark.parametrize("make", [sprung, triclinic])
def test_mdanalysis_reads_it(make, tmp_path):
    """In its units: Å, ps, Å/ps, kJ/mol/Å."""
    mda = pytest.importorskip("MDAnalysis")
    frames = frames_of(make(), 12)
    write(tmp_path / "t.h5md", frames)
    frames[0].write(tmp_path / "t.xyz", format="xyz")
    universe = mda.Universe(tmp_path / "t.xyz", tmp_path / "t.h5md")
    assert universe.trajectory.n_frames == 12
    for old, step in zip(frames, universe.trajectory, strict=True):
        assert np.allclose(step.positions, old.positions, atol=1e-5)
        assert np.allclose(step.velocities, old.get_velocities() * units.fs * 1000, rtol=1e-5)
        assert np.allclose(step.forces, old.get_forces() / (units.kJ / units.mol), rtol=1e-5)
        assert step.time == pytest.approx(0.005 * step.frame)
        assert step.dt == universe.trajectory.dt == pytest.approx(0.005)
        assert step.data["potential_energy"] == old.get_potential_energy()
        assert (step.data["charge"], step.data["multiplicity"], step.data["step"]) == (
            -1,
            3,
            10 * step.frame,
        )
        assert old.cell.rank == 0 or np.allclose(step.dimensions, old.cell.cellpar(), atol=1e-4)


def test_few_writes(tmp_path, monkeypatch):
    """A thousand frames of a small molecule reach the disk in a few blocks, not one by one."""
    flushes = []
    flush = TrajectoryWriter.flush
    monkeypatch.setattr(
        TrajectoryWriter, "flush", lambda self: (flushes.append(len(self.frames)), flush(self))
    )
    write(tmp_path / "t.h5md", frames_of(sprung(), 1) * 2000, flush_each=10**9)
    assert len(flushes) <= 4
    assert sum(flushes) == 2000


def test_elements_and_bonds_stand_where_vmd_looks(tmp_path):
    atoms = molecule("CH3OH")
    TrajectoryWriter(tmp_path / "t.h5md", atoms, charge=0, multiplicity=1, interval_fs=5.0)
    with h5py.File(tmp_path / "t.h5md") as file:
        said = {name: values[()] for name, values in file["parameters/vmd_structure"].items()}
    assert said["atomicnumber"].tolist() == said["indexOfSpecies"].tolist() == [1, 6, 8]
    assert said["name"].tolist() == [b"H", b"C", b"O"]
    assert said["mass"] == pytest.approx([1.008, 12.011, 15.999], abs=1e-3)
    carbon = 1 + atoms.symbols.search("C")[0]
    bonds = list(zip(said["bond_from"], said["bond_to"], strict=True))
    assert len(bonds) == 5 and sum(carbon in bond for bond in bonds) == 4


def test_a_file_is_not_overwritten(tmp_path):
    write(tmp_path / "t.h5md", frames_of(sprung(), 2))
    with pytest.raises(FileExistsError):
        TrajectoryWriter(tmp_path / "t.h5md", sprung(), charge=0, multiplicity=1, interval_fs=5.0)


def test_extxyz_of_a_trajectory(tmp_path):
    frames = frames_of(sprung(), 3)
    write(tmp_path / "t.h5md", frames)
    write_structures(tmp_path / "t.extxyz", read_trajectory(tmp_path / "t.h5md"))
    back = read(tmp_path / "t.extxyz", ":")
    assert [(a.info["charge"], a.info["multiplicity"]) for a in back] == [(-1, 3)] * 3
    assert np.allclose(back[2].get_forces(), frames[2].get_forces(), atol=1e-7)
    assert np.allclose(back[2].get_momenta(), frames[2].get_momenta(), atol=1e-7)


WRITER = """
import os, signal, sys
from pathlib import Path
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from md_runs.records import trajectory

def write_until_killed(path, writes):
    extend, left = trajectory._extend, [writes]
    def extend_or_die(dataset, rows):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        extend(dataset, rows)
        dataset.file.flush()  # the worst case: what is written so far reaches the disk
    trajectory._extend = extend_or_die
    frame = molecule("CH3CH2OH")
    frame.calc = SinglePointCalculator(frame, energy=1.0, forces=frame.positions)
    writer = trajectory.TrajectoryWriter(path, frame, charge=0, multiplicity=1, interval_fs=5.0)
    for n in range(100):
        writer.append(n, float(n), frame)
        if n % 5 == 4:
            writer.flush()

for writes in map(int, sys.argv[2:]):
    child = os.fork()
    if child == 0:
        write_until_killed(Path(sys.argv[1]) / f"{writes}.h5md", writes)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
"""


def test_killed_within_a_write_it_is_readable(tmp_path):
    """Ten datasets grow in each block of five frames.

    The process dies before each of these writes in turn.
    """
    writes = range(10, 31)
    command = [sys.executable, "-c", WRITER, str(tmp_path), *map(str, writes)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], env=os.environ)
    for n in writes:
        frames = list(read_trajectory(tmp_path / f"{n}.h5md"))
        assert [f.info["step"] for f in frames] == list(range(5 * (n // 10)))
        assert all(np.abs(f.get_forces()).max() > 0 for f in frames)


def test_a_damaged_file_is_not_taken_for_a_full_disk(tmp_path):
    """OSError is what a disk raises that cannot be written to; what is damaged is a ValueError."""
    path, frames = tmp_path / "t.h5md", frames_of(sprung(), 20)
    write(path, frames)
    whole, refused = path.read_bytes(), 0
    for seed in range(60):
        path.write_bytes(damage(whole, np.random.default_rng(seed)))
        try:
            TrajectoryWriter.cut_back(
                path, frames[0], 5, 0, charge=-1, multiplicity=3, interval_fs=5.0
            )
        except (ValueError, LookupError, TypeError, RuntimeError):
            refused += 1
    assert refused > 3


def test_a_log_with_other_columns_is_not_continued(tmp_path):
    path = tmp_path / "log.csv"
    for header, good in (("step,time_ps,dipole", True), ("step,time_pt", False), ("s", False)):
        path.write_text(f"{header}\n")
        if good:
            log = Log.cut_back(path, len(header) + 1, ("step", "time_ps"), ("dipole",))
            assert log.rows == []
            log.file.close()
        else:
            with pytest.raises(ValueError, match="must have the columns"):
                Log.cut_back(path, len(header) + 1, ("step", "time_ps"), ("dipole",))
