"""The generator of organic-xtb.

Molecules, geometries, states, checks, and files that training reads.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from typer.testing import CliRunner

pytest.importorskip("rdkit", reason="needs RDKit")
pytest.importorskip("tblite", reason="needs tblite")

from md_runs.cli.app import app
from potentials.datasets import load_frames, split
from potentials.datasets.sets.organic import NAME
from potentials.labels import organic, organic_molecules
from potentials.labels.gfn2 import Convergence, Surface, gfn2
from potentials.labels.method import Failed
from potentials.labels.organic import Job
from potentials.labels.organic_files import collect, write_set
from potentials.labels.organic_geometries import (
    beside,
    contact,
    make_species,
    n_fragments,
    partner,
    stretched,
)
from potentials.labels.organic_molecules import SMALL, Parent, canonical, grow, is_wanted, parents
from potentials.labels.work import run_jobs

CHEAP = ("dynamics", "modes", "stretched", "contact", "pair")


def test_molecules_are_different_of_the_wanted_elements_and_in_the_same_order_again() -> None:
    from rdkit import Chem

    made = parents(120, 10, seed=3)
    assert made == parents(120, 10, seed=3) != parents(120, 10, seed=4)
    assert len({parent.smiles for parent in made}) == len(made) == 130
    assert sum(parent.test for parent in made) == 10 and not any(
        parent.test and parent.small for parent in made
    )
    for parent in made:
        graph = Chem.MolFromSmiles(parent.smiles)
        assert parent.smiles == canonical(parent.smiles)
        assert {atom.GetSymbol() for atom in graph.GetAtoms()} <= {
            "H",
            "C",
            "N",
            "O",
            "F",
            "S",
            "Cl",
        }
        assert 1 <= graph.GetNumAtoms() <= 12
        if not parent.small:
            assert Chem.GetFormalCharge(graph) == 0 and not any(
                atom.GetNumRadicalElectrons() for atom in graph.GetAtoms()
            )


def test_a_larger_set_begins_with_a_smaller_one_and_has_its_test_molecules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(organic_molecules, "DRAWS", (120, 140, 145, 147, 148, 149, 150, 151, 152))
    small, larger, large = (parents(n, 10, seed=3) for n in (120, 130, 152))
    assert (
        large[:130] == small
        and large[:140] == larger
        and len(large) == len({parent.smiles for parent in large}) == 162
    )
    assert [parent.draw for parent in large] == [0] * 130 + [1] * 20 + [2] * 5 + [3] * 2 + [
        4,
        5,
        6,
        7,
        8,
    ]
    assert not any(parent.test for parent in large[130:])


def test_molecules_of_the_last_draw_are_known_ones_as_large_as_those_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New ones grow larger, since the small ones are known. None of the test is among them."""
    monkeypatch.setattr(organic_molecules, "DRAWS", (300, 301, 302, 303, 304, 304, 304, 304, 600))
    before, made = parents(600, 60, seed=3), parents(900, 60, seed=3)
    again = made[len(before) :]
    assert (
        made[: len(before)] == before
        and len(again) == 300
        and {parent.draw for parent in again} == {9}
    )
    assert parents(700, 60, seed=3) == made[: len(before) + 100]
    known = {parent.smiles for parent in before if not (parent.test or parent.small)}
    assert {parent.smiles for parent in again} <= known and not any(
        parent.test or parent.small for parent in again
    )
    drawn = organic_molecules._again(
        200, ["CCO", "CC", "CC"], ["CCN", "CCC", "CF", "CC", "CCCCCC"], np.random.default_rng(0)
    )
    assert (
        set(drawn) == {"CCN", "CCC", "CF", "CC"}
        and 100 < drawn.count("CF") + drawn.count("CC") < 166
    )


def test_molecules_of_two_draws_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    from rdkit import Chem

    monkeypatch.setattr(organic_molecules, "DRAWS", (120, 121, 122, 123, 180, 210, 240, 240, 240))
    n_heavy = [
        Chem.MolFromSmiles(parent.smiles).GetNumAtoms() for parent in parents(240, 10, seed=3)
    ]
    assert min(n_heavy[190:]) >= 4 and max(n_heavy[190:]) <= 10
    assert max(n_heavy[130:190]) > 10


@pytest.mark.parametrize(
    "smiles",
    [
        "COOC",
        "CNNNC",
        "C1=CC1",
        "C=C=C",
        "CC#CO",
        "C1CC2CC12",
        "FN(C)C",
        "c1[nH]c2cc1OC2",
        "CC(O)(O)O",
    ],
)
def test_unstable_and_strained_molecules_are_not_wanted(smiles: str) -> None:
    from rdkit import Chem

    assert not is_wanted(Chem.MolFromSmiles(smiles))


@pytest.mark.parametrize(
    "smiles",
    [
        "CCO",
        "CC(=O)Nc1ccccc1",
        "CS(C)(=O)=O",
        "O=[N+]([O-])c1ccco1",
        "C1CC2CCC1C2",
        "FC(F)(F)CCl",
        "CNN",
    ],
)
def test_ordinary_molecules_are_wanted(smiles: str) -> None:
    from rdkit import Chem

    assert is_wanted(Chem.MolFromSmiles(smiles))


def test_small_molecules_have_the_electrons_of_their_multiplicity() -> None:
    from rdkit import Chem

    for smiles, multiplicity in SMALL:
        graph = Chem.AddHs(Chem.MolFromSmiles(smiles))
        electrons = sum(atom.GetAtomicNum() for atom in graph.GetAtoms()) - Chem.GetFormalCharge(
            graph
        )
        assert (electrons + multiplicity) % 2 == 1, smiles


def test_growth_stops_at_twelve_heavy_atoms() -> None:
    from rdkit import Chem

    rng = np.random.default_rng(0)
    grown = [smiles for smiles in (grow(rng) for _ in range(60)) if smiles]
    assert len(grown) > 20
    assert all(3 <= Chem.MolFromSmiles(smiles).GetNumAtoms() <= 12 for smiles in grown)


@pytest.mark.parametrize(
    ("kind", "formula", "charge", "multiplicity"),
    [
        ("molecule", "C2H6O", 0, 1),
        ("protonated", "C2H7O", 1, 1),
        ("deprotonated", "C2H5O", -1, 1),
        ("radical", "C2H5O", 0, 2),
    ],
)
def test_species_of_a_molecule(kind: str, formula: str, charge: int, multiplicity: int) -> None:
    from ase import Atoms

    species = make_species(Parent("CCO"), kind, np.random.default_rng(0))
    assert Atoms(species.atomic_numbers).get_chemical_formula("hill") == formula
    assert (species.charge, species.multiplicity) == (charge, multiplicity)
    rng = np.random.default_rng(1)
    cold, hot = (
        np.mean(
            [np.square(species.displaced(t, rng) - species.positions).mean() for _ in range(20)]
        )
        for t in (10, 1000)
    )
    assert 1e-3 < cold < hot < 0.2  # Å^2


def test_geometries() -> None:
    atoms, rng = molecule("CH3CH2OH"), np.random.default_rng(0)
    numbers, positions = atoms.numbers.astype(np.int64), atoms.positions
    changed = np.linalg.norm(stretched(numbers, positions, rng) - positions, axis=1) > 1e-9
    assert 0 < changed.sum() < len(numbers)
    before, after = (np.sort(_distances(x)) for x in (positions, contact(numbers, positions, rng)))
    assert not np.allclose(before, after)
    both, placed = beside(numbers, positions, partner("O"), rng)
    assert len(both) == len(numbers) + 3 and np.array_equal(placed[: len(numbers)], positions)
    assert (
        np.linalg.norm(placed[: len(numbers), None] - placed[None, len(numbers) :], axis=-1).min()
        > 0.7
    )
    assert n_fragments(numbers, positions) == 1
    assert n_fragments(both, np.concatenate([positions, placed[len(numbers) :] + 20])) == 2


def test_states_are_those_that_the_electrons_allow() -> None:
    rng = np.random.default_rng(0)
    for ground, allowed in (
        ((0, 1), {(0, 3), (1, 2), (-1, 2)}),
        ((0, 2), {(1, 1), (1, 3), (-1, 1), (-1, 3)}),
    ):
        drawn = [organic._states(*ground, organic.DRAWS[0].chance, rng) for _ in range(200)]
        assert all(states[0] == ground and len(set(states)) == len(states) for states in drawn)
        assert {state for states in drawn for state in states[1:]} == allowed
        assert 2 < np.mean([len(states) for states in drawn]) < 3.5


@pytest.mark.parametrize("draw", [3, 4])
def test_later_draws_have_more_of_the_states_that_molecules_teach(draw: int) -> None:
    """Triplets, and singlets of odd species; fewer doublets."""
    rng = np.random.default_rng(0)

    def count(draw: int, ground: tuple[int, int], state: tuple[int, int]) -> int:
        return sum(
            state in organic._states(*ground, organic.DRAWS[draw].chance, rng) for _ in range(400)
        )

    for ground, state in (((0, 1), (0, 3)), ((0, 2), (1, 1)), ((0, 2), (-1, 3)), ((1, 1), (-1, 1))):
        assert count(draw, ground, state) > 1.25 * count(2, ground, state) > 0
    assert 0 < count(draw, (0, 1), (1, 2)) < 0.75 * count(2, (0, 1), (1, 2))


def test_later_draws_have_neutral_molecules_and_others_in_all_states() -> None:
    neutral, charged, last = organic.DRAWS[5:8]
    assert (
        neutral.kinds == {"molecule": 1.0}
        and "molecule" not in charged.kinds
        and sum(charged.kinds.values()) == pytest.approx(1)
    )
    rng = np.random.default_rng(0)
    assert set(organic._states(0, 1, neutral.chance, rng)) == {(0, 1), (0, 3), (-1, 2), (1, 2)}
    assert set(organic._states(-1, 1, charged.chance, rng)) == {
        (-1, 1),
        (-1, 3),
        (0, 2),
        (1, 1),
        (1, 3),
    }
    drawn = [organic._states(-1, 1, last.chance, rng) for _ in range(200)]
    assert all(
        {(-1, 1), (-1, 3), (0, 2)} <= set(states) for states in drawn
    )  # those two electrons away as rarely as in the first draw
    assert 0.15 < np.mean([(1, 1) in states for states in drawn]) < 0.35


def test_the_last_draws_give_labels_up_sooner() -> None:
    """A surface that may go through one cycle only does not converge."""
    assert [draw.convergence.cycles for draw in organic.DRAWS] == [150] * 5 + [75] * 5
    atoms = molecule("H2O")
    numbers = atoms.numbers.astype(np.int64)
    assert np.isfinite(Surface(numbers, 0, 1, organic.SOONER).label(atoms.positions).energy)
    with pytest.raises(Failed, match="SCF"):
        Surface(numbers, 0, 1, organic.SOONER._replace(cycles=1)).label(atoms.positions)


@pytest.mark.parametrize("state", [(0, 1), (0, 3), (1, 2), (-1, 2)])
def test_labels_of_the_last_draw_are_as_good_as_any_model_needs(state: tuple[int, int]) -> None:
    """They converge from another guess, not as far: far closer than the default model is."""
    assert [draw.convergence for draw in organic.DRAWS] == [organic.TIGHT] * 5 + [
        organic.SOONER
    ] * 3 + [organic.LOOSE] * 2
    species = make_species(Parent("NCC(=O)O"), "molecule", np.random.default_rng(0))
    positions = species.displaced(600.0, np.random.default_rng(1))
    tight, loose = (
        Surface(species.atomic_numbers, *state, how).label(positions)
        for how in (organic.TIGHT, organic.LOOSE)
    )
    assert 0 < abs(loose.energy - tight.energy) < 1e-4  # eV
    assert 0 < np.abs(loose.forces - tight.forces).max() < 0.03  # eV/Å


def test_a_surface_is_the_method_and_tells_spin_and_dipole() -> None:
    atoms = molecule("CH3")
    numbers, positions = atoms.numbers.astype(np.int64), atoms.positions
    surface, again = Surface(numbers, 0, 2, Convergence(0.01)), gfn2(numbers, positions, 0, 2)
    label = surface.label(positions)
    assert label.energy == pytest.approx(again.energy, abs=1e-6)
    np.testing.assert_allclose(label.forces, again.forces, atol=1e-5)
    np.testing.assert_allclose(surface.follow(positions).forces, again.forces, atol=1e-4)
    assert label.spin_squared == pytest.approx(0.75, abs=0.02)
    assert label.dipole is not None and label.dipole == pytest.approx(
        label.charges @ positions, abs=0.1
    )  # and atomic dipoles


def test_absurd_labels_are_refused() -> None:
    atoms = molecule("H2O")
    label = Surface(atoms.numbers.astype(np.int64), 0, 1, organic.TIGHT).label(atoms.positions)
    organic._check(label, 1, label.energy)
    for wrong, multiplicity, floor in (
        (label._replace(forces=label.forces + 31), 1, label.energy),
        (label._replace(spin_squared=1.0), 3, label.energy),
        (label, 1, label.energy - 40),
        (label._replace(energy=np.nan), 1, label.energy),
    ):
        with pytest.raises(Failed):
            organic._check(wrong, multiplicity, floor)


def test_forces_that_are_no_gradient_are_noticed() -> None:
    atoms, rng = molecule("H2O"), np.random.default_rng(0)
    surface = Surface(atoms.numbers.astype(np.int64), 0, 1, organic.TIGHT)
    label = surface.label(atoms.positions)
    organic._check_forces(surface, atoms.positions, label, rng)
    with pytest.raises(Failed, match="gradient"):
        organic._check_forces(
            surface,
            atoms.positions,
            label._replace(forces=label.forces + rng.normal(size=(3, 3))),
            rng,
        )


def test_a_job_is_decided_by_its_seed_and_its_files_can_be_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organic, "SCENES", CHEAP)
    jobs = {f"{n:05d}": Job(n, Parent("CO", test=n == 3), (1, 1, n)) for n in range(2, 4)}
    first = organic.compute(jobs["00002"])
    assert all(
        np.array_equal(value, organic.compute(jobs["00002"])[name]) for name, value in first.items()
    )
    assert set(first["scene"].tolist()) <= set(CHEAP) and len(first["energy"]) >= 3
    list(run_jobs(jobs, organic.compute, tmp_path / "jobs"))
    about = write_set(jobs, tmp_path / "jobs", tmp_path)
    train, test = (
        load_frames(path)
        for path in (tmp_path / f"{NAME}-train-02.h5", tmp_path / f"{NAME}-test.h5")
    )
    assert (
        about["labels"] == len(train) and about["test labels"] == len(test) and about["seed"] == 1
    )
    assert train.dipole is not None and train.group is not None and set(train.group.tolist()) == {2}
    assert {tuple(state) for state in np.c_[train.total_charge, train.multiplicity]} <= {
        (q, m) for q in (-1, 0, 1) for m in (1, 2, 3)
    }
    np.testing.assert_allclose(train.energy, first["energy"], atol=1e-9)


def test_of_a_further_molecule_fewer_geometries_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        organic, "_labelled", lambda method, species, scenes, *_: asked.append(scenes) or []
    )
    asked: list[tuple[str, ...]] = []
    for n, draw in enumerate(
        (
            0,
            1,
            1,
            *(2,) * 4,
            *(3,) * 4,
            *(4,) * 12,
            *(5,) * 12,
            *(6,) * 12,
            *(7,) * 40,
            *(8,) * 80,
            *(9,) * 80,
        )
    ):
        with pytest.raises(Failed, match="no frame"):
            organic.compute(Job(n, Parent("CO", draw=draw), (1, 1, n)))
    assert (
        asked[0] == organic.SCENES
        and [len(scenes) for scenes in asked[1:3]] == [organic.FURTHER_SCENES] * 2
    )
    assert asked[1] != asked[2] and set(asked[1] + asked[2]) <= set(organic.SCENES)
    for first, some in (("modes", asked[3:7]), ("relaxed", asked[7:11]), ("modes", asked[11:23])):
        assert (
            all(len(scenes) == 2 and scenes[0] == first for scenes in some) and len(set(some)) > 1
        )
    assert sum(scenes[1] in ("stretched", "contact", "pair") for scenes in asked[11:23]) > 6
    assert all(len(scenes) == organic.SCARCE for scenes in asked[23:47])
    assert (
        {"ion", "pair", "modes"}
        < {scene for scenes in asked[23:35] for scene in scenes}
        <= set(organic.SCARCE_SCENES)
    )
    assert (
        {"dynamics", "pair"}
        < {scene for scenes in asked[35:47] for scene in scenes}
        <= set(organic.ION_SCENES)
    )
    of_two = asked[47:87]
    assert {scenes[0] for scenes in of_two} == set(organic.THERMAL_SCENES) and {
        scenes[1] for scenes in of_two
    } == set(organic.SCENES)
    assert all(len(scenes) == 1 for scenes in asked[87:167]) and {
        scenes[0] for scenes in asked[87:167]
    } == set(organic.SCENES)
    paths, others = (
        [scenes for scenes in asked[167:] if (scenes[0] == "dynamics") == along]
        for along in (True, False)
    )
    assert 6 < len(paths) < 26 and all(scenes == organic.PATH_SCENES for scenes in paths)
    assert all(len(scenes) == 2 for scenes in others) and {
        scene for scenes in others for scene in scenes
    } == set(organic.PATHLESS_SCENES)


def test_rare_labels_of_draws_that_labelled_all_states_are_thinned_to_train_on(
    tmp_path: Path,
) -> None:
    """One molecule of such a draw and one of the first draw, with the same labels.

    Geometries of a cation, half of them beside an ion.
    """
    n, states = 400, [(1, 1), (0, 2), (-1, 1)]
    rng, made = np.random.default_rng(0), n * len(states)
    geometries = np.array([[0, 0, 0], [1.1, 0, 0]]) + 0.02 * rng.normal(size=(n, 1, 2, 3))
    positions = geometries.repeat(len(states), 1).reshape(-1, 3).astype(np.float32)
    arrays = {
        "n_atoms": np.full(made, 2),
        "atomic_numbers": np.tile([6, 1], made).astype(np.uint8),
        "positions": positions,
        "energy": rng.normal(size=made),
        "forces": np.zeros_like(positions),
        "partial_charges": np.zeros(2 * made, np.float32),
        "dipole": np.zeros((made, 3), np.float32),
        "total_charge": np.tile([q for q, _ in states], n),
        "multiplicity": np.tile([m for _, m in states], n),
        "group": np.zeros(made, int),
        "scene": np.repeat(["dynamics", "ion"], made // 2),
    }
    jobs = {f"{k:05d}": Job(k, Parent("C", draw=draw), (1, 1, k)) for k, draw in enumerate((0, 6))}
    list(
        run_jobs(
            jobs,
            lambda job: (
                arrays | {"group": arrays["group"] + job.number, "left_out": np.array("{}")}
            ),
            tmp_path / "jobs",
        )
    )
    write_set(jobs, tmp_path / "jobs", tmp_path)
    whole, thinned = (load_frames(tmp_path / f"{NAME}-train-{k:02d}.h5") for k in range(2))
    assert len(whole) == made and len(collect(jobs, tmp_path / "jobs")) == made + len(
        thinned
    )  # those to rehearse as well
    kept = np.isin(arrays["energy"], thinned.energy)
    np.testing.assert_array_equal(thinned.energy, arrays["energy"][kept])
    np.testing.assert_allclose(
        thinned.positions.reshape(-1, 2, 3), positions.reshape(-1, 2, 3)[kept]
    )
    far, beside = arrays["total_charge"] == -1, arrays["scene"] == "ion"
    assert kept[~far & ~beside].all() and 0.12 < kept[far & ~beside].mean() < 0.3
    assert 0.2 < kept[~far & beside].mean() < 0.4 and 0 < kept[far & beside].mean() < 0.13


@pytest.mark.parametrize("kind", ["molecule", "protonated", "deprotonated", "radical"])
def test_a_relaxed_geometry_is_a_minimum_of_the_method_near_that_of_the_force_field(
    kind: str,
) -> None:
    species = make_species(Parent("CCO"), kind, np.random.default_rng(0))
    positions = organic._relaxed(Surface, species, organic.TIGHT_PATH)
    before, after = (
        gfn2(species.atomic_numbers, x, species.charge, species.multiplicity)
        for x in (species.positions, positions)
    )
    assert after.energy < before.energy - 0.01
    assert (
        np.abs(after.forces).max()
        < 2 * organic.RELAXED_FMAX + 0.01
        < 0.3 * np.abs(before.forces).max()
    )
    assert (
        0.01
        < np.linalg.norm(positions - species.positions + species.positions.mean(0), axis=1).max()
        < 0.7
    )


def test_a_small_species_is_labelled_near_its_minimum_as_well_in_all_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(organic, "SMALL_SCENES", ("modes", "stretched"))
    job = Job(1, Parent("O", small=True), (1, 1, 1))
    monkeypatch.setattr(organic, "NEAR_SCENES", ())
    before = organic.compute(job)
    monkeypatch.setattr(organic, "NEAR_SCENES", ("relaxed",) + ("near",) * 6)
    after = organic.compute(job)
    n = len(before["energy"])
    for name in ("energy", "scene", "total_charge"):
        np.testing.assert_array_equal(
            after[name][:n], before[name]
        )  # what was labelled before stays
    assert set(after["scene"][n:]) == {"relaxed", "near"}
    positions = after["positions"].reshape(-1, 3, 3)
    bonds = np.linalg.norm(positions[:, 1:] - positions[:, :1], axis=-1)
    minimum, near = bonds[after["scene"] == "relaxed"], bonds[after["scene"] == "near"]
    assert 0.003 < np.abs(near - minimum[0]).max() < 0.3
    states = {
        scene: set(
            zip(after["total_charge"][n:][here], after["multiplicity"][n:][here], strict=True)
        )
        for scene in ("relaxed", "near")
        for here in [after["scene"][n:] == scene]
    }
    assert states["relaxed"] == states["near"] == {(0, 1), (0, 3), (1, 2), (-1, 2)}


def test_forces_of_every_molecule_are_checked_but_of_a_part_of_the_later_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(organic, "_check_forces", lambda *_: checked.append(draw))
    monkeypatch.setattr(organic, "SCENES", ("modes",) * organic.FURTHER_SCENES)
    checked: list[int] = []
    for draw in range(8):
        for n in range(40):
            with suppress(Failed):  # both geometries fell apart
                organic.compute(Job(n, Parent("CO", draw=draw), (2, draw, n)))
    assert checked.count(0) == checked.count(1) == 40 and all(
        0 < checked.count(draw) < 20 for draw in (2, 3, 4, 5, 6, 7)
    )


def test_the_command_goes_on_and_refuses_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        organic,
        "make_jobs",
        lambda *_: {f"{n:05d}": Job(n, Parent("CO"), (1, 1, n)) for n in range(3)},
    )
    monkeypatch.setattr(organic, "SCENES", ("modes",))
    arguments = ["labels", "organic", "--output", str(tmp_path), "--limit"]
    for limit in ("1", "2"):
        done = CliRunner().invoke(app, [*arguments, limit])
        assert done.exit_code == 0, done.output
        assert len(list((tmp_path / NAME).glob("*.npz"))) == int(limit)
    more = CliRunner().invoke(
        app, [*arguments, "3", "--molecules", str(organic_molecules.DRAWS[0] + 100)]
    )
    assert more.exit_code == 0 and len(list((tmp_path / NAME).glob("*.npz"))) == 3, more.output
    other = CliRunner().invoke(app, [*arguments, "1", "--seed", "5"])
    assert other.exit_code == 2 and "same set" in other.output


def test_nobody_publishes_the_set_and_that_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "fetch", f"{NAME}:test", "--output", str(tmp_path)])
    assert done.exit_code == 2 and "polcalc labels organic" in done.output
    with pytest.raises(FileNotFoundError, match="polcalc labels organic"):
        load_frames(f"{NAME}:train", data=tmp_path)


def test_the_sample_that_comes_with_the_package() -> None:
    frames = load_frames(f"{NAME}-sample")
    assert len(frames) == 500 and frames.group is not None and frames.dipole is not None
    assert {
        (int(q), int(m)) for q, m in zip(frames.total_charge, frames.multiplicity, strict=True)
    } == {(q, m) for q in (-1, 0, 1) for m in (1, 2, 3)}
    train, validation, rest = split(frames, 300, 100, seed=0)
    groups: list[Any] = [
        set(part.group.tolist()) for part in (train, validation, rest) if part.group is not None
    ]
    assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]


def _distances(positions: Any) -> Any:
    return np.linalg.norm(positions[:, None] - positions[None], axis=-1)[
        np.triu_indices(len(positions), 1)
    ]
