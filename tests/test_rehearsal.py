"""What a model says of the molecules that it has learnt from.

The same geometries, its own energies and forces.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("rdkit", reason="needs RDKit")
pytest.importorskip("tblite", reason="needs tblite")

from md_runs.cli.app import app
from polcalc import PolarizedCalculator
from potentials.checkpoint import load
from potentials.datasets import load_frames
from potentials.labels import organic, rehearsal
from potentials.labels.method import Failed
from potentials.labels.organic import Job
from potentials.labels.organic_molecules import Parent

PATHLESS = ("modes", "stretched", "contact", "pair")


def test_geometries_and_states_are_those_of_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(organic, "SCENES", PATHLESS)
    job = Job(1, Parent("CCO"), (1, 1, 1))
    labelled, drawn = organic.compute(job), rehearsal.draw(job)
    assert len(_structures(labelled)) == len(labelled["energy"]) >= 5
    assert _structures(labelled) <= _structures(
        drawn
    )  # some did not converge, or have another <S²>
    assert set(drawn["scene"].tolist()) == set(PATHLESS)
    assert (
        np.ptp(labelled["energy"]) > 1 and not drawn["energy"].any() and not drawn["forces"].any()
    )


def _structures(arrays: dict[str, Any]) -> set[Any]:
    ends = np.cumsum(arrays["n_atoms"])[:-1]
    atoms = zip(
        np.split(arrays["atomic_numbers"], ends), np.split(arrays["positions"], ends), strict=True
    )
    states = zip(arrays["total_charge"].tolist(), arrays["multiplicity"].tolist(), strict=True)
    return {
        (tuple(numbers), positions.tobytes(), state)
        for (numbers, positions), state in zip(atoms, states, strict=True)
    }


def test_what_needs_a_path_is_displaced_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(organic, "SCENES", ("relaxed", "dynamics", "modes"))
    drawn = rehearsal.draw(Job(1, Parent("CCO"), (1, 1, 1)))
    assert set(drawn["scene"].tolist()) == {"dynamics", "modes"}
    assert json.loads(str(drawn["left_out"])) == {"a path needs the method": 1}
    with pytest.raises(Failed, match="path"):
        rehearsal.Unsaid(np.array([1]), 0, 2, organic.TIGHT).follow(np.zeros((1, 3)))


def test_the_model_says_what_its_calculator_says(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = load_frames("organic-xtb-sample").select(slice(0, 60))
    said = rehearsal.said_by(load("organic-xtb").potential, frames)
    assert len(said) == 60 and said.forces is not None and said.partial_charges is None
    assert 1e-4 < np.abs(said.energy - frames.energy).max() < 5
    calculator = PolarizedCalculator("organic-xtb")
    for index in (0, 7, 31, 59):
        atoms = said.atoms(index)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = calculator
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the domain
            assert atoms.get_potential_energy() == pytest.approx(energy, abs=2e-4)
            np.testing.assert_allclose(atoms.get_forces(), forces, atol=2e-3)
    monkeypatch.setattr(rehearsal, "MOST_FORCE", float(np.abs(said.forces).max()) / 2)
    fewer = rehearsal.said_by(load("organic-xtb").potential, frames)
    assert (
        0 < len(fewer) < 60
        and fewer.forces is not None
        and np.abs(fewer.forces).max() <= rehearsal.MOST_FORCE
    )


def test_the_command_writes_a_file_and_says_whose_words_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = {
        f"{n:05d}": Job(n, Parent("CO", test=n == 4, small=n == 5), (1, 1, n)) for n in range(7)
    }
    monkeypatch.setattr(organic, "make_jobs", lambda *_: jobs)
    monkeypatch.setattr(organic, "SCENES", ("modes",))
    arguments = ["labels", "rehearsal", "organic-xtb", "--output", str(tmp_path), "--every", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    path = tmp_path / f"{rehearsal.NAME}.h5"
    frames, card = load_frames(path), json.loads(path.with_suffix(".json").read_text())
    assert frames.group is not None and set(frames.group.tolist()) == {
        0,
        2,
        6,
    }  # neither the one to test on nor the small one
    assert (
        card["labels"] == len(frames) and card["sha256 of the model"] == load("organic-xtb").sha256
    )
    other = CliRunner().invoke(app, [*arguments[:-1], "3"])
    assert other.exit_code == 2 and "same set" in other.output
