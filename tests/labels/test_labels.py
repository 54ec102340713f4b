"""Our own reference data: sampling against closed forms, runs that go on, installed methods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write
from ase.units import kB
from typer.testing import CliRunner

from md_runs.cli.app import app
from potentials.datasets import load_frames
from potentials.datasets.checksum import checksum
from potentials.labels import carbenes, toy_charge
from potentials.labels import molecule as one_molecule
from potentials.labels.jobs import failures, results, run_jobs
from potentials.labels.method import Failed, Floats, Integers, Label
from potentials.labels.sampling import hessian, langevin, relax, thermal_displacements

CARBON_PAIR = np.array([6, 6])
START = np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0]])
STIFFNESS, LENGTH = 40.0, 1.3  # eV/Å^2, Å


_compute = toy_charge.compute


def spring(atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int) -> Label:
    """One spring between two atoms."""
    vector = positions[1] - positions[0]
    length = float(np.linalg.norm(vector))
    pull = STIFFNESS * (length - LENGTH) * vector / length
    return Label(0.5 * STIFFNESS * (length - LENGTH) ** 2, np.array([pull, -pull]), np.zeros(2))


def test_relaxation_ends_at_the_minimum() -> None:
    relaxed = relax(spring, CARBON_PAIR, START, 0, 1)
    assert np.linalg.norm(relaxed[1] - relaxed[0]) == pytest.approx(LENGTH, abs=1e-3)
    stiff = hessian(spring, CARBON_PAIR, relaxed, 0, 1)
    assert np.linalg.eigvalsh(stiff)[-1] == pytest.approx(2 * STIFFNESS, rel=1e-3)
    quick = relax(spring, CARBON_PAIR, START, 0, 1, stiffness=stiff, max_steps=5)
    assert np.linalg.norm(quick[1] - quick[0]) == pytest.approx(LENGTH, abs=1e-3)


def test_langevin_dynamics_has_the_temperature() -> None:
    """Equipartition of the spring, (r - r0)^2 = kT / k, to the error of 2,000 samples.

    And the same seed gives the same path.
    """
    path = langevin(spring, CARBON_PAIR, START, 0, 1, 600.0, 20, np.random.default_rng(0))
    stretch = [
        np.linalg.norm(x[1] - x[0]) - LENGTH for x, _ in zip(path, range(2000), strict=False)
    ][100:]
    assert np.mean(np.square(stretch)) == pytest.approx(kB * 600 / STIFFNESS, rel=0.2)
    again, other = (
        next(langevin(spring, CARBON_PAIR, START, 0, 1, 600.0, 20, np.random.default_rng(s)))
        for s in (0, 1)
    )
    first = next(langevin(spring, CARBON_PAIR, START, 0, 1, 600.0, 20, np.random.default_rng(0)))
    assert np.array_equal(again, first) and not np.array_equal(other, first)


def test_thermal_displacements_are_classical_when_hot() -> None:
    minimum = np.array([[0.0, 0.0, 0.0], [LENGTH, 0.0, 0.0]])
    stiff, rng = hessian(spring, CARBON_PAIR, minimum, 0, 1), np.random.default_rng(0)
    moved = np.array(
        [thermal_displacements(stiff, CARBON_PAIR, 20_000.0, rng) for _ in range(4000)]
    )
    stretch = moved[:, 1, 0] - moved[:, 0, 0]
    assert np.mean(stretch**2) == pytest.approx(kB * 20_000 / STIFFNESS, rel=0.1)
    # no rotation, no translation
    assert abs(moved[:, :, 1:]).max() < 1e-12 and abs(moved.sum(1)).max() < 1e-10


def square(number: int) -> dict[str, Any]:
    if number == 3:
        raise Failed("three is not done")
    return {"square": np.array(number**2)}


@pytest.mark.parametrize(
    "processes", [1, pytest.param(2, marks=pytest.mark.slow)]
)  # each process imports everything anew
def test_a_run_goes_on_where_it_was(tmp_path: Path, processes: int) -> None:
    jobs = {f"job-{n}": n for n in range(6)}
    first = dict(run_jobs(dict(list(jobs.items())[:2]), square, tmp_path, processes))
    assert first == {"job-0": "", "job-1": ""}
    (tmp_path / ".job-2.99.npz").write_bytes(b"half")  # a process that was killed
    rest = dict(run_jobs(jobs, square, tmp_path, processes))
    assert set(rest) == {"job-2", "job-3", "job-4", "job-5"}
    assert failures(tmp_path, list(jobs)) == {"job-3": "three is not done"}
    assert [int(r["square"]) for r in results(tmp_path, list(jobs)).values()] == [0, 1, 4, 16, 25]
    assert list(run_jobs(jobs, square, tmp_path, processes)) == []


def test_gfn2_forces_are_the_gradient_and_triplets_are_polarised() -> None:
    pytest.importorskip("tblite", reason="needs tblite")
    from potentials.labels.gfn2 import gfn2

    atoms = molecule("CH2_s3B1d")
    numbers, positions = (
        atoms.numbers,
        atoms.positions + 0.05 * np.random.default_rng(0).normal(size=(3, 3)),
    )
    forces, step = gfn2(numbers, positions, 0, 3).forces, np.zeros((3, 3))
    step[1, 2] = 1e-3
    ahead, behind = (gfn2(numbers, positions + s * step, 0, 3).energy for s in (1, -1))
    assert forces[1, 2] == pytest.approx((behind - ahead) / 2e-3, abs=1e-4)
    triplet, singlet = (
        gfn2(numbers, molecule(name).positions, 0, m).energy
        for name, m in (("CH2_s3B1d", 3), ("CH2_s1A1d", 1))
    )
    assert -1.0 < triplet - singlet < -0.2  # without spin polarisation it would be above


def test_a_piece_of_the_toy_set(tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="needs tblite")
    key, piece = next(iter(toy_charge.jobs("toy-charge-A").items()))
    list(run_jobs({key: piece._replace(n_samples=2)}, _short_compute, tmp_path))
    frames = toy_charge.collect("toy-charge-A", tmp_path)
    assert frames.total_charge.tolist() == [0, 1, 0, 1] and frames.multiplicity.tolist() == [
        1,
        2,
        1,
        2,
    ]
    np.testing.assert_array_equal(frames.positions[:6], frames.positions[6:12])
    assert frames.group is not None and frames.group.tolist() == [0, 0, 1, 1]
    assert frames.partial_charges is not None
    np.testing.assert_allclose(
        np.add.reduceat(frames.partial_charges, frames.first[:-1]), frames.total_charge, atol=1e-5
    )
    np.testing.assert_array_equal(frames.positions, frames.positions.astype(np.float32))


def test_carbenes_of_the_issue(tmp_path: Path) -> None:
    """At least 100 parents of at most five heavy atoms, methylene among them, 3,000 geometries.

    The order is balanced.
    """
    pytest.importorskip("rdkit", reason="needs RDKit")
    made = carbenes.carbenes()
    assert len({c.parent for c in made}) >= 100 and len({c.smiles for c in made}) == len(made)
    assert "[H][C][H]" in {c.smiles for c in made}
    assert all(
        set(c.atomic_numbers) <= {1, 6, 7, 8, 9} and sum(z > 1 for z in c.atomic_numbers) <= 5
        for c in made
    )
    assert all(sum(c.atomic_numbers) % 2 == 0 for c in made)
    assert carbenes.geometries(made, tmp_path) == {}  # a minimum comes first
    for key in carbenes.minima(made):
        (tmp_path / f"{key}.npz").touch()
    jobs = carbenes.geometries(made, tmp_path)
    assert len(jobs) >= 3000
    assert {job.draw for job in list(jobs.values())[: 2 * len(made)]} == {0}


def test_dft_labels_of_both_states() -> None:
    pytest.importorskip("pyscf", reason="needs PySCF")
    from potentials.labels.dft import dft

    triplet, singlet = (
        dft(molecule(n).numbers, molecule(n).positions, 0, m)
        for n, m in (("CH2_s3B1d", 3), ("CH2_s1A1d", 1))
    )
    # eV; experiment -0.39, hybrids in small bases overshoot
    assert -1.2 < triplet.energy - singlet.energy < -0.4
    assert abs(triplet.forces.sum(0)).max() < 0.02
    assert triplet.charges.sum() == pytest.approx(0, abs=1e-6)


def test_the_command_computes_writes_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tblite", reason="needs tblite")
    monkeypatch.setattr(toy_charge, "compute", _tiny_piece)
    arguments = ["labels", "toy-charge", "B", "--output", str(tmp_path), "--limit"]
    for limit, n_labels in (("1", 1), ("2", 2), ("2", 2)):
        done = CliRunner().invoke(app, [*arguments, limit])
        assert done.exit_code == 0, done.output
        frames = load_frames(tmp_path / "toy-charge-B.h5")
        about = json.loads((tmp_path / "toy-charge-B.json").read_text(encoding="utf-8"))
        assert len(frames) == about["labels"] == n_labels and about["sha256"] == checksum(
            tmp_path / "toy-charge-B.h5"
        )
    wrong = CliRunner().invoke(app, ["labels", "toy-charge", "C", "--output", str(tmp_path)])
    assert wrong.exit_code == 2


def _tiny_piece(piece: toy_charge.Piece) -> dict[str, Any]:
    return _short_compute(piece._replace(n_samples=1))


def _short_compute(piece: toy_charge.Piece) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy_charge, "SETTLE", 0)
        patch.setattr(toy_charge, "EVERY", 2)
        return _compute(piece)


def test_labels_of_one_molecule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cation from a file: its state, labels and groups on every frame; no mixing of two sets."""
    pytest.importorskip("tblite", reason="needs tblite")
    from potentials.labels.gfn2 import gfn2

    monkeypatch.setattr(one_molecule, "PIECE", 3)
    monkeypatch.setattr(one_molecule, "SETTLE", 2)
    structure = tmp_path / "hydronium.xyz"
    atoms = molecule("H2O")
    atoms.append("H")
    atoms.positions[-1] = [0.5, 0.0, 0.9]
    write(structure, atoms)
    arguments = [
        "labels",
        "molecule",
        str(structure),
        "--charge",
        "1",
        "--output",
        str(tmp_path),
        "--labels",
    ]
    done = CliRunner().invoke(app, [*arguments, "5"])
    assert done.exit_code == 0, done.output
    frames = load_frames(tmp_path / "hydronium.h5")
    assert frames.total_charge.tolist() == [1] * 5 and frames.multiplicity.tolist() == [1] * 5
    assert frames.group is not None and frames.group.tolist() == [0, 0, 0, 1, 1]
    label = gfn2(atoms.numbers, frames.positions[4:8], 1, 1)
    assert frames.energy[1] == pytest.approx(label.energy, abs=1e-5)
    np.testing.assert_allclose(frames.forces[4:8], label.forces, atol=1e-3)  # type: ignore[index]
    # pieces have seeds of their own
    assert not np.array_equal(frames.positions[:4], frames.positions[12:16])
    other = CliRunner().invoke(app, [*arguments, "6"])
    assert other.exit_code == 2 and "same set" in other.output


@pytest.mark.parametrize(
    ("labels", "temperature_K", "pbc", "message"),
    [(0, 300.0, False, "labels"), (5, 0.0, False, "temp"), (5, 300.0, True, "periodic")],
)
def test_labels_of_one_molecule_refuse(
    labels: int, temperature_K: float, pbc: bool, message: str
) -> None:
    atoms = molecule("H2O")
    atoms.pbc = pbc
    with pytest.raises(ValueError, match=message):
        one_molecule.jobs(atoms, 0, 1, temperature_K, labels, 0)
