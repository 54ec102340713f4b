"""The set organic: molecules, ions, clusters, labels of the teacher, files to train on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("rdkit", reason="needs RDKit")

from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from md_runs.cli.reference.labels import app
from potentials.datasets import join, load_frames
from potentials.datasets.frames import make_frames
from potentials.labels import organic_set
from potentials.labels.closed_shells import clusters, molecules, moves, substances
from potentials.labels.closed_shells.conformers import conformer, stiffness
from potentials.labels.closed_shells.geometries import Geometry, batches, label
from potentials.labels.closed_shells.ions import formal_charges, ion
from potentials.labels.closed_shells.paths import downhill
from potentials.labels.method import Failed
from potentials.labels.teacher import Labels, Structures, is_installed, pad, teacher

WATER = [[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]]  # Å
with_teacher = pytest.mark.skipif(not is_installed(), reason="needs auto3d")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """No list of RDKit, and few molecules that are combined."""
    monkeypatch.setattr(substances, "LISTS", ())
    monkeypatch.setattr(substances, "N_COMBINED", 150)
    monkeypatch.setattr(substances, "N_TEST", 20)
    substances.substances.cache_clear()
    substances.species.cache_clear()
    yield
    substances.substances.cache_clear()
    substances.species.cache_clear()


class Springs:
    """In place of the teacher: every atom is drawn to the origin, so that a test takes no time."""

    def label(self, structures: Structures) -> Labels:
        x = structures.positions.astype(np.float64)
        zero = np.zeros(len(x))
        return Labels(0.5 * (x**2).sum((1, 2)), -x, x[..., 0], zero + 0.001, np.full(x.shape, 0.01))

    def follow(self, structures: Structures) -> Any:
        return -0.01 * structures.positions


@pytest.fixture
def springs(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (molecules, clusters):
        monkeypatch.setattr(module, "teacher", Springs)
    clusters._molecule.cache_clear()
    yield
    clusters._molecule.cache_clear()


@pytest.mark.parametrize(
    ("smiles", "charged"),
    [
        ("CC(=O)[O-]", {1: -1}),
        ("NC(N)=[NH2+]", {1: 1}),
        ("C[N+](=O)[O-]", {}),
        ("CS(=O)(=O)[O-]", {1: -1}),
        ("O=[N+]([O-])[O-]", {1: -1}),
        ("[NH3+]CC(=O)[O-]", {0: 1, 2: -1}),
        ("[N-]=[N+]=[N-]", {1: -1}),
        ("c1c[nH]c[nH+]1", {3: 1}),
        ("[C-]#[O+]", {}),
        ("C[O-]", {1: -1}),
        ("[Cl-]", {0: -1}),
        ("COP(=O)([O-])O", {2: -1}),
        ("[O-]Cl(=O)(=O)=O", {1: -1}),
    ],
)
def test_formal_charges_sit_on_the_centre_of_a_group(smiles: str, charged: dict[int, int]) -> None:
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    charges = formal_charges(molecule)
    assert {int(n): int(charges[n]) for n in np.flatnonzero(charges)} == charged
    assert charges.sum() == Chem.GetFormalCharge(molecule)


@pytest.mark.parametrize(
    ("smiles", "kind", "made"),
    [
        ("CC(=O)O", "anion", "CC(=O)[O-]"),
        ("CN", "cation", "C[NH3+]"),
        ("NCC(=O)O", "zwitterion", "[NH3+]CC(=O)[O-]"),
        ("NC(=N)N", "cation", "NC(N)=[NH2+]"),
        ("CCC", "anion", None),
        ("CC(C)C", "cation", "C[C+](C)C"),
    ],
)
def test_protonation_states(smiles: str, kind: str, made: str | None) -> None:
    found = {ion(Chem.MolFromSmiles(smiles), kind, np.random.default_rng(n)) for n in range(9)}
    wanted = None if made is None else substances.canonical(made)
    assert wanted in found and len(found) < 4


def test_species_are_closed_shells_that_are_there_once_and_in_the_same_order_again() -> None:
    drawn = substances.species()
    assert len({s.smiles for s in drawn}) == len(drawn) > 200
    substances.species.cache_clear()
    assert substances.species() == drawn != substances.species(1)
    for one in (*drawn, *substances.small_species()):
        molecule = Chem.AddHs(Chem.MolFromSmiles(one.smiles))
        electrons = sum(a.GetAtomicNum() for a in molecule.GetAtoms()) - substances.charge_of(
            one.smiles
        )
        assert electrons % 2 == 0 and abs(substances.charge_of(one.smiles)) <= 1, one.smiles
        assert {a.GetAtomicNum() for a in molecule.GetAtoms()} <= substances.ELEMENTS
        assert Chem.MolFromSmiles(one.smiles).GetNumAtoms() <= substances.MOST_HEAVY
        assert one.n_atoms == molecule.GetNumAtoms()


def test_what_is_tested_on_is_never_trained_on() -> None:
    """Neither in another protonation state nor in a cluster."""
    drawn = substances.species()
    tested = {s.group for s in drawn if s.test}
    assert len(tested) == 20 and tested.isdisjoint(s.group for s in drawn if not s.test)
    jobs = molecules.make_jobs(30_000)
    by_kind = {
        kind: {s.group for key, job in jobs.items() if key.startswith(kind) for s in job.species}
        for kind in ("train", "small", "test", "flexible", "tautomers")
    }
    assert by_kind.pop("test") == tested
    assert all(groups and tested.isdisjoint(groups) for groups in by_kind.values())
    states = {s.smiles for s in drawn if s.test}
    built = {
        substances.canonical(s)
        for job in clusters.make_jobs(4000).values()
        if isinstance(job, clusters.Job)
        for c in job.clusters
        for s in c.smiles
    }
    assert len(built) > 100 and states.isdisjoint(built)


@pytest.mark.parametrize("purpose", [molecules, clusters])
def test_a_larger_set_begins_with_a_smaller_one(purpose: Any) -> None:
    smaller, larger = purpose.make_jobs(3000), purpose.make_jobs(6000)
    assert len(larger) > len(smaller) and list(larger.items())[: len(smaller)] == list(
        smaller.items()
    )


def test_tautomers_are_isomers_of_one_substance() -> None:
    drawn = next(substances.tautomers(12))
    by_group: dict[tuple[int, int], set[str]] = {}
    for one in drawn:
        state = one.group, substances.charge_of(one.smiles)
        by_group.setdefault(state, set()).add(one.smiles)
    assert len(drawn) >= 12 and all(len(found) > 1 for found in by_group.values())
    for found in by_group.values():
        assert len({CalcMolFormula(Chem.MolFromSmiles(s)) for s in found}) == 1


def test_clusters_are_of_all_kinds_and_of_charge_one_at_most() -> None:
    jobs = clusters.make_jobs(8000).values()
    drawn = [c for job in jobs if isinstance(job, clusters.Job) for c in job.clusters]
    assert set(Counter(c.kind for c in drawn)) == set(clusters.KINDS)
    assert all(abs(sum(map(substances.charge_of, c.smiles))) <= 1 for c in drawn)
    assert max(len(c.smiles) for c in drawn) <= 21


def test_moves_change_what_they_say() -> None:
    rng = np.random.default_rng(0)
    shape = conformer("CC(=O)CCO", rng)
    before = shape.positions

    def lengths(x: Any) -> Any:
        return np.linalg.norm(x[:, None] - x[None], axis=-1)[shape.bonds_apart == 1]

    ratio = lengths(moves.stretched(shape, before, rng)) / lengths(before)
    assert (np.abs(ratio - 1) > 1e-6).sum() == 2 and moves.STRETCH[
        0
    ] < ratio.min() <= ratio.max() < moves.STRETCH[1]
    turned = moves.turned(shape, before, rng)
    assert np.allclose(lengths(turned), lengths(before)) and not np.allclose(turned, before)
    moved = moves.transferred(shape.atomic_numbers, before, rng)
    changed = np.flatnonzero(np.abs(moved - before).max(1) > 1e-9)
    assert list(shape.atomic_numbers[changed]) == [1]
    assert 0.001 < np.square(moves.shaken(shape, before, 300, rng) - before).mean() < 0.05
    water = conformer("O", rng)
    with pytest.raises(Failed):
        moves.turned(water, water.positions, rng)


@pytest.mark.parametrize("way", ["hydrogen", "any"])
def test_a_partner_is_put_beside(way: str) -> None:
    rng = np.random.default_rng(0)
    water = conformer("O", rng)
    for _ in range(20):
        placed = moves.beside(water.atomic_numbers, water.positions, water, way, rng)
        gaps = np.linalg.norm(placed[:, None] - water.positions[None], axis=-1)
        assert gaps.min() > 1.2
        if way == "hydrogen":
            assert gaps.min() < moves.HYDROGEN_BOND[1] + 0.01
            assert gaps[1:, 1:].min() > 0.7 * 2.4  # no hydrogens on each other


@pytest.mark.usefixtures("springs")
@pytest.mark.parametrize("purpose", [molecules, clusters])
def test_a_job_makes_the_same_labels_again(purpose: Any) -> None:
    job = next(iter(purpose.make_jobs(300).values()))
    job = job._replace(
        **{name: getattr(job, name)[:4] for name in ("species", "clusters") if hasattr(job, name)}
    )
    one, again = purpose.compute(job), purpose.compute(job)
    assert all(np.array_equal(one[name], again[name]) for name in one)
    n_atoms = int(one["n_atoms"].sum())
    assert all(len(one[name]) == n_atoms for name in organic_set.PER_ATOM)
    assert np.array_equal(
        np.add.reduceat(one["formal_charges"], np.cumsum([0, *one["n_atoms"][:-1]])),
        one["total_charge"],
    )
    assert len({str(scene) for scene in one["scene"]}) > 3


def test_absurd_labels_are_left_out() -> None:
    left_out: Counter[str] = Counter()

    def geometry(z: int, x: float) -> Geometry:
        positions = np.array([[0.0, 0, 0], [x, 0, 0]])
        return Geometry(np.array([z, z]), positions, 0, np.zeros(2, np.int8), 1, "")

    kept = label(
        [geometry(1, 1.0), geometry(1, 80.0), geometry(1, 11.0), geometry(6, 3.0)],
        Springs(),
        left_out,
    )
    assert len(kept["energy"]) == 2
    assert left_out == {"a force beyond 30 eV/Å": 1, "an energy out of range": 1}
    with pytest.raises(Failed, match="no label is left"):
        label([geometry(1, 80.0)], Springs(), left_out)


def test_batches_hold_every_structure_once() -> None:
    sizes = np.random.default_rng(0).integers(2, 60, 200)
    shared = batches(sizes.tolist())
    assert sorted(np.concatenate(shared)) == list(range(200))
    assert all(sizes[rows].max() * len(rows) <= 800 for rows in shared)


def _done(folder: Path, name: str, n: int, disagreement: float = 0.05, scale: float = 1.0) -> None:
    """Write a finished job of water at n geometries, the first of them scaled."""
    rng = np.random.default_rng(n)
    folder.mkdir(exist_ok=True)
    positions = np.tile(WATER, (n, 1)) + 0.05 * rng.normal(size=(3 * n, 3))
    positions[:3] *= scale
    np.savez(
        folder / f"{name}.npz",
        n_atoms=np.full(n, 3),
        atomic_numbers=np.tile(np.array([8, 1, 1], dtype=np.uint8), n),
        positions=positions,
        energy=rng.normal(size=n),
        forces=rng.normal(size=(3 * n, 3)).astype(np.float32),
        partial_charges=rng.normal(size=3 * n).astype(np.float32),
        formal_charges=np.zeros(3 * n, dtype=np.int8),
        total_charge=np.zeros(n, dtype=int),
        multiplicity=np.ones(n, dtype=int),
        group=np.full(n, n),
        energy_std=np.full(n, 0.001),
        forces_std=np.array([disagreement, *[0.05] * (n - 1)]),
        scene=np.array(
            ["stretched", *["relaxed"] * (n - 1)] if name == "test-00001" else ["relaxed"] * n
        ),
        left_out=np.array(json.dumps({"a reason": 2})),
    )


def test_the_set_is_what_the_jobs_made_but_for_what_is_not_sure(tmp_path: Path) -> None:
    _done(tmp_path / "molecules", "train-00000", 5, disagreement=9.0)
    _done(tmp_path / "molecules", "test-00001", 4)
    _done(tmp_path / "clusters", "train-00000", 3)
    _done(tmp_path / "clusters", "train-00001", 2, scale=0.4)
    card = organic_set.write_set(tmp_path)
    train, test = (
        load_frames("organic:train", data=tmp_path),
        load_frames("organic:test", data=tmp_path),
    )
    far = load_frames("organic:test-far", data=tmp_path)
    assert (len(train), len(test) + len(far)) == (card["labels"], card["test labels"]) == (8, 4)
    assert len(far) == 1
    assert card["left out"] == {
        "a reason": 6,
        "the teacher's networks disagree": 1,
        "atoms on top of each other": 1,
        "two atoms": 0,
    }
    assert card["labels by scene"] == {"molecules: relaxed": 4, "clusters: relaxed": 4}
    assert {"theory", "licence", "citation", "programs", "checks", "states"} <= set(card)
    import h5py

    with h5py.File(tmp_path / "organic-train.h5") as file:
        assert len(file["formal_charges"]) == len(file["partial_charges"]) == 24
        assert len(file["energy_std"]) == len(file["forces_std"]) == 8
    assert not train.more["formal_charges"].any() and np.isnan(far.more["formal_charges"]).all()
    charges = np.split(train.partial_charges[:, None] * train.positions, train.first[1:-1])
    assert np.allclose(train.dipole, [one.sum(0) for one in charges], atol=1e-5)
    with pytest.raises(ValueError, match="must hold labels of organic"):
        organic_set.write_set(tmp_path / "none")


def test_open_shells_are_met_as_often_as_their_share_says() -> None:
    found = [organic_set.copies_of(n_open, 40_000) for n_open in (10, 1500, 6000, 20_000)]
    assert found == [30, 4, 1, 1]


def test_open_shells_and_two_atoms_come_to_the_teachers_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    sizes = np.r_[rng.integers(3, 6, 38), 2, 1]
    numbers = rng.choice([1, 6, 8], sizes.sum())
    composition = np.array(
        [
            [(part == z).sum() for z in (1, 6, 8)]
            for part in np.split(numbers, np.cumsum(sizes)[:-1])
        ]
    )
    frames = make_frames(
        sizes,
        numbers,
        rng.normal(size=(sizes.sum(), 3)),
        rng.normal(size=40),
        forces=rng.normal(size=(sizes.sum(), 3)),
        total_charge=np.zeros(40),
        multiplicity=np.where((np.arange(40) < 30) | (sizes < 3), 1, 2),
        group=np.arange(40),
    )
    wanted = frames.energy + composition @ [0.5, -2.0, 3.0]
    monkeypatch.setattr(
        organic_set, "_taught", lambda both: wanted[:30] + 0.001 * rng.normal(size=30)
    )
    further, about = organic_set.on_the_scale(frames)
    assert len(further) == 10 and np.allclose(further.energy, wanted[30:], atol=0.01)
    assert (
        about["closed shells labelled both ways"] == 30
        and about["root mean square of what is left of the fitted in eV"] < 0.01
    )


def test_a_lone_ion_has_a_formal_charge_and_a_radical_ion_none() -> None:
    def made(numbers: list[int], charge: int, multiplicity: int, **labels: Any) -> Any:
        n, zeros = len(numbers), np.zeros((len(numbers), 3))
        state = {"total_charge": charge, "multiplicity": multiplicity, "group": np.zeros(1)}
        return make_frames([n], numbers, zeros, [0.0], forces=zeros, **state, **labels)

    water = made([8, 1, 1], 0, 1, partial_charges=np.zeros(3), more={"formal_charges": np.zeros(3)})
    further = join([made([17], -1, 1), made([8, 1], 1, 3)])
    both, _ = organic_set._with_open_shells(water, {}, further)
    assert both.more["formal_charges"].tolist() == [0, 0, 0, -1, 0, 0]
    assert np.isnan(both.partial_charges[3:]).all()


@with_teacher
def test_the_teacher_says_the_same_of_a_structure_in_any_company() -> None:
    rng = np.random.default_rng(0)
    shapes = [conformer(smiles, rng) for smiles in ("CCO", "CC(=O)[O-]", "[NH4+]")]
    z, x, q = (
        [getattr(s, name) for s in shapes] for name in ("atomic_numbers", "positions", "charge")
    )
    together, alone = teacher().label(pad(z, x, q)), teacher().label(pad(z[1:2], x[1:2], q[1:2]))
    assert together.energy[1] == pytest.approx(alone.energy[0], abs=1e-4)
    assert np.allclose(together.forces[1, : len(z[1])], alone.forces[0], atol=1e-4)
    assert together.charges.sum(1) == pytest.approx(q, abs=1e-3)
    assert not together.forces[2, len(z[2]) :].any()


@with_teacher
def test_forces_of_the_teacher_are_the_gradient_and_lead_downhill() -> None:
    shape = conformer("CCO", np.random.default_rng(0))
    batch = pad([shape.atomic_numbers], [shape.positions], [0])
    moved = [shape.positions + step * np.eye(9, 3) for step in (-0.01, 0.01)]
    before, after = (
        teacher().label(pad([shape.atomic_numbers], [x], [0])).energy[0] for x in moved
    )
    slope = -(teacher().label(batch).forces[0] * np.eye(9, 3)).sum()
    assert (after - before) / 0.02 == pytest.approx(slope, abs=0.02)
    relaxed = downhill(teacher(), batch, [stiffness(shape, shape.positions)], 12)
    strength = [
        np.abs(teacher().follow(batch._replace(positions=p))).max()
        for p in (batch.positions, relaxed)
    ]
    assert strength[1] < 0.5 * strength[0]


@with_teacher
@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_is_the_same(tmp_path: Path) -> None:
    script = (
        "from potentials.labels.closed_shells import substances; substances.LISTS = ();"
        "substances.N_COMBINED = 100; substances.N_TEST = 10;"
        "from potentials.labels.closed_shells import molecules; molecules.SPECIES_PER_JOB = 4;"
        "from md_runs.cli.app import main; main()"
    )
    command = [sys.executable, "-c", script, "labels", "molecules", "--labels", "1200", "--output"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen([*command, str(tmp_path / "a")], env=environment)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "a").glob("molecules/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = len(list((tmp_path / "a").glob("molecules/*.npz")))
    for name in "ab":
        subprocess.run([*command, str(tmp_path / name)], env=environment, check=True)
    one, other = (load_frames("organic:train", data=tmp_path / name) for name in "ab")
    assert 0 < done < 4 and len(one) == len(other)
    assert np.array_equal(one.positions, other.positions) and np.array_equal(
        one.energy, other.energy
    )


def test_without_the_teacher_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("md_runs.reference.labels.is_installed", lambda: False)
    result = CliRunner().invoke(app, ["molecules", "--output", str(tmp_path)])
    assert result.exit_code != 0 and "pip install --no-deps auto3d==2.3.1" in result.output.replace(
        "\n", " "
    )
