"""``polcalc finetune``: from a model and ten structures to a better model that forgot little."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.units import Bohr, Hartree
from typer.testing import CliRunner

from md_runs.cli import app as cli
from md_runs.models.finetune import finetune
from potentials.build import build
from potentials.card import Card
from potentials.checkpoint import load, save
from potentials.datasets import load_frames
from potentials.datasets.formats.hdf5 import write_hdf5
from potentials.datasets.statistics import atom_energies
from potentials.experts import Experts
from potentials.finetuning import base_of, plan, recipe
from potentials.finetuning.rehearsal import labelled_by
from tests.training import toy

ELEMENTS = {"H": 1, "N": 7, "O": 8}
SPEC = {
    **toy.SPEC,
    "terms": [
        {"name": "readout"},
        {
            "name": "reference_energies",
            "energies_eV": {symbol: float(atom_energies(n)) for symbol, n in ELEMENTS.items()},
        },
    ],
}


def renamed(atoms: list[Atoms], shift: float = 0.0) -> list[Atoms]:
    """Labels under the names of another program, beside what they are not."""
    made = []
    for one in atoms:
        copy = Atoms(one.numbers, one.positions, info=dict(one.info))
        copy.info["REF_energy"] = one.get_potential_energy() + shift
        copy.arrays["REF_forces"] = one.get_forces()
        made.append(copy)
    return made


def _free(symbol: str) -> Atoms:
    atom = Atoms(symbol, info={"charge": 0, "multiplicity": 1})
    atom.calc = SinglePointCalculator(atom, energy=0.0, forces=np.zeros((1, 3)))
    return atom


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model that knows ammonia, and ten waters of another level with their free atoms."""
    folder = tmp_path_factory.mktemp("finetune")
    torch.manual_seed(0)
    card = Card(
        name="ammonia",
        elements=[1, 7, 8],
        states=[[0, 1, 90]],
        limits="Not for ice.",
        dataset={"name": "ammonia.h5"},
        closest_distances_A={"H-N": 0.9},
        n_atoms_max=4,
        periodic=False,
    )
    save(folder / "base.pt", build(SPEC), card)
    free = [Atoms(symbol) for symbol in "HO"]
    for atom, energy in zip(free, (-113.6, -1843.0), strict=True):
        atom.info |= {"REF_energy": energy, "config_type": "IsolatedAtom"}
    write(folder / "water.extxyz", [*free, *renamed(toy.labelled("H2O", 10, 0), shift=-3.0)])
    write(folder / "ammonia.extxyz", toy.labelled("NH3", 20, 5))
    return folder


@pytest.fixture(scope="module")
def tuned(folder) -> Path:
    """What the command leaves. A model that was never trained takes longer steps."""
    arguments = ["finetune", folder / "water.extxyz", "--model", folder / "base.pt", "--output"]
    arguments += [folder / "tuned", "--minutes", 9, "--rehearsal", folder / "ammonia.extxyz"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "RATE", 3e-3)
        patch.setattr(recipe, "HIGHEST_RATE", 1e-2)
        patch.setattr(recipe, "STEPS", 210)  # 600 in all
        done = CliRunner().invoke(cli.app, [str(word) for word in arguments])
    assert done.exit_code == 0, done.output
    return folder / "tuned"


def test_the_new_structures_become_right(tuned):
    compared = json.loads((tuned / "report.json").read_text())["training"]["compared"]
    assert compared["before"]["n_frames"] == 2
    before, after = (compared[key]["forces_mae_meV_per_A"] for key in ("before", "after"))
    assert after < 0.7 * before
    assert compared["after"]["energy_mae_meV"] < 100  # of which 3 eV were the level
    assert compared["old_before"]["n_frames"] == 4


def test_the_card_knows_both_domains(tuned):
    card = load(tuned / "model.pt").card
    assert card.elements == [1, 7, 8] and card.states == [[0, 1, 98]]
    assert set(card.closest_distances_A) == {"H-H", "H-N", "H-O"}
    assert card.dataset["name"] == "ammonia.h5"
    assert card.dataset["fine_tuned_on"]["n_train"] == 8
    assert card.dataset["theory"] == "that of its labels for water.extxyz"
    assert card.training["start"]["name"] == "ammonia"
    assert card.training["rehearsal_share"] == pytest.approx(0.5, abs=0.01)
    assert "old_after" in card.training["compared"]
    shown = CliRunner().invoke(cli.app, ["info", str(tuned / "model.pt"), "--verbose"]).output
    assert "old domain: forces" in shown
    assert "meV/Å before" in card.limits and card.limits.endswith("Not for ice.")


def test_the_page_says_what_came_of_it(tuned):
    page = (tuned / "report.txt").read_text()
    assert "8 structures of water.extxyz" in page and "old domain" in page
    assert "before" in page and "after" in page and f"--model {tuned}/model.pt" in page
    assert {path.name for path in tuned.iterdir()} >= {
        "checkpoint.pt",
        "learning_curve.png",
        "log.csv",
        "manifest.json",
        "model.pt",
        "report.json",
    }


def test_free_atoms_of_the_file_put_every_element_on_the_level(folder):
    frames = load_frames(folder / "water.extxyz")
    base = base_of(str(folder / "base.pt"), frames)
    tuning = plan(base, [frames], name="x", start=str(folder / "base.pt"))
    atoms = toy.frames([_free("H"), _free("O")])
    said = labelled_by(tuning.on_level, atoms).energy  # nothing else tells hydrogen from oxygen
    assert said == pytest.approx([-113.6, -1843.0], abs=5)
    assert tuning.old is None  # no set of the package holds its structures
    assert len(tuning.task.labelled) == 8 and tuning.task.n_rehearsed == 0


def test_a_model_with_local_electrons_and_dispersion_is_put_on_the_level(folder, tmp_path):
    """Tables of energy terms stay in float64, while the network is in float32."""
    terms = [{"name": "split_charges"}, {"name": "coulomb"}]
    terms += [{"name": "dispersion", "method": "wb97m"}, {"name": "dipole"}]
    spec = {**SPEC, "electrons": {"name": "local"}, "terms": [*SPEC["terms"], *terms]}
    card = Card(name="x", elements=[1, 7, 8], states=[[0, 1, 90]])
    save(tmp_path / "electrons.pt", build(spec), card)
    frames = load_frames(folder / "water.extxyz")
    base = base_of(str(tmp_path / "electrons.pt"), frames)
    tuning = plan(base, [frames], name="x", start=str(tmp_path / "electrons.pt"))
    before, after = (labelled_by(p, frames) for p in (base.potential, tuning.on_level))
    assert after.forces == pytest.approx(before.forces, abs=1e-4)


def test_without_rehearsal_the_model_knows_the_new_structures_alone(folder):
    report = finetune(
        [str(folder / "water.extxyz")],
        model=str(folder / "base.pt"),
        output=folder / "alone",
        minutes=0.02,
        rehearsal_share=0.0,
    )
    card = load(folder / "alone" / "model.pt").card
    assert report["training"]["steps"] > 0 and "old_before" not in report["training"]["compared"]
    assert card.elements == [1, 8] and card.limits.startswith("Knows water.extxyz alone")


def test_a_dry_run_writes_nothing(folder):
    done = CliRunner().invoke(
        cli.app,
        [
            *("finetune", str(folder / "water.extxyz"), "--model", str(folder / "base.pt")),
            *("--output", str(folder / "none"), "--dry-run"),
        ],
    )
    assert done.exit_code == 0 and "native" in done.output and not (folder / "none").exists()


def test_an_interrupted_fine_tuning_goes_on_from_its_checkpoint(folder, tuned, monkeypatch):
    """Of the finished one nothing is left to do, and nothing is drawn otherwise."""
    monkeypatch.setattr(recipe, "RATE", 3e-3)
    monkeypatch.setattr(recipe, "HIGHEST_RATE", 1e-2)
    monkeypatch.setattr(recipe, "STEPS", 210)
    weights = load(tuned / "model.pt").potential.state_dict()
    (tuned / "model.pt").unlink()
    arguments = ["finetune", folder / "water.extxyz", "--model", folder / "base.pt", "--output"]
    arguments += [tuned, "--minutes", 9, "--rehearsal", folder / "ammonia.extxyz", "--resume"]
    done = CliRunner().invoke(cli.app, [str(word) for word in arguments])
    assert done.exit_code == 0, done.output
    again = load(tuned / "model.pt").potential.state_dict()
    assert all(torch.equal(again[name], x) for name, x in weights.items())
    other = CliRunner().invoke(cli.app, [str(word) for word in [*arguments, "--seed", 1]])
    assert other.exit_code == 2 and "differ" in other.output


def test_what_is_not_sure_is_refused_with_what_is_there(folder, tmp_path):
    atoms = renamed(toy.labelled("H2O", 6, 0))
    for n, one in enumerate(atoms):
        one.info["dft_energy"] = one.info["REF_energy"] - 1.0 - 0.1 * n
        one.arrays["forces"] = one.arrays.pop("REF_forces")
    write(tmp_path / "two.extxyz", atoms)
    arguments = ["finetune", str(tmp_path / "two.extxyz"), "--model", str(folder / "base.pt")]
    arguments += ["--output", str(tmp_path / "out"), "--dry-run"]
    refused = CliRunner().invoke(cli.app, arguments)
    assert refused.exit_code == 2 and "REF_energy, dft_energy, which differ" in refused.output
    assert not (tmp_path / "out").exists()
    chosen = CliRunner().invoke(cli.app, [*arguments, "--energy", "dft_energy"])
    assert chosen.exit_code == 0, chosen.output


def test_several_files_are_trained_on_together(folder, tmp_path):
    waters, more = toy.waters(6), toy.frames(toy.labelled("NH3", 6, 3))
    base = base_of(str(folder / "base.pt"), waters)
    tuning = plan(base, [waters, more], name="x", start=str(folder / "base.pt"))
    assert tuning.size.n_train + tuning.size.n_validation == 12
    assert set(np.unique(tuning.task.train.atomic_numbers)) == {1, 7, 8}
    some = [waters, toy.without_forces(more)]
    tuning = plan(base, some, name="x", start=str(folder / "base.pt"))
    known = ~np.isnan(tuning.task.labelled.forces).any(1)
    assert set(tuning.task.labelled.atomic_numbers[known]) == {1, 8}
    assert set(tuning.task.labelled.atomic_numbers[~known]) == {1, 7}
    assert np.isfinite(tuning.task.scale)


@pytest.mark.parametrize("name", ["labels.db", "labels.h5", "labels.npz"])
def test_other_formats_are_read_as_well(folder, tmp_path, name):
    atoms, path = toy.labelled("H2O", 6, 0), tmp_path / name
    if name.endswith(".h5"):
        write_hdf5(path, toy.frames(atoms))
    elif name.endswith(".npz"):
        frames = toy.frames(atoms)
        np.savez(
            path,
            atomic_numbers=atoms[0].numbers,
            positions=frames.positions.reshape(6, 3, 3) / Bohr,
            energy=frames.energy / Hartree,
            forces=(frames.forces / (Hartree / Bohr)).reshape(6, 3, 3),
        )
    else:
        write(path, atoms)
    arguments = ["finetune", str(path), "--model", str(folder / "base.pt"), "--dry-run"]
    arguments += ["--output", str(tmp_path / "out")]
    if name.endswith(".npz"):
        refused = CliRunner().invoke(cli.app, arguments)
        assert refused.exit_code == 2 and "does not tell" in refused.output
        arguments += ["--energy-unit", "hartree", "--length-unit", "bohr"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert f"5 structures of {name} (+0/1: 5)" in done.output


def test_copies_of_one_structure_are_refused(folder):
    one = toy.waters(1)
    base = base_of(str(folder / "base.pt"), one)
    with pytest.raises(ValueError, match="structures that differ; got 6"):
        plan(base, [one.select([0] * 6)], name="x", start=str(folder / "base.pt"))


def test_a_model_with_weights_for_each_state_goes_on_with_those_of_the_structures(tmp_path):
    torch.manual_seed(0)
    experts = Experts(build(SPEC), [(0, 1), (1, 1)])
    with torch.no_grad():
        for n, state in enumerate(experts.states):
            next(experts.of(*state).parameters()).add_(n + 1.0)
    known = [[0, 1, 5], [1, 1, 7]]
    path = tmp_path / "experts.pt"
    save(path, experts, Card(name="experts", elements=[1, 7, 8], states=known))
    water = toy.waters(6)
    base = base_of(str(path), water)
    ours, theirs = (next(p.parameters()) for p in (base.potential, experts.of(0, 1)))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)  # differences are kept in half
    assert base.card.states == [[0, 1, 5]]
    (remark,) = plan(base, [water], name="x", start=str(path)).task.remarks
    assert "does not know +1/1" in remark
    both = toy.mixture()
    shared = base_of(str(path), both)
    assert torch.equal(next(shared.potential.parameters()), next(experts.shared.parameters()))
    assert shared.card.states == known
    assert plan(shared, [both], name="x", start=str(path)).task.remarks[:1] != (remark,)
