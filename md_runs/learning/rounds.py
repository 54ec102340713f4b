"""One round of learning, in a folder of its own: explore, choose, label, compare, fine-tune.

Each stage leaves a file that is there whole or not at all, and is not done again where it is.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from md_runs import session
from md_runs.errors import as_input_error
from md_runs.learning.exploration import Exploration, Explored, explore, frames_of
from md_runs.learning.references import Label
from md_runs.learning.selection import most_different, rattled, sensible
from md_runs.learning.workers import labelled
from md_runs.models.finetune import choose_gradients
from md_runs.models.train import print_row, watched_run
from md_runs.records.journal import Journal
from md_runs.records.reader import read_file
from md_runs.records.structures import write_structures
from md_runs.screen import counted
from md_runs.session import ModelOptions
from polcalc.engines.native.training import GRADIENTS
from potentials.checkpoint import load, save
from potentials.datasets import Frames, join, load_frames
from potentials.files import write_text
from potentials.finetuning import base_of, finish, plan
from potentials.finetuning.finetune import FineTuning
from potentials.training import Training
from potentials.trust.calibrate import FEWEST, calibrated, scale_by_own

CHOSEN, FOUND, MODEL = "chosen.extxyz", "round.json", "model.pt"
PER_ROUND = 10_000  # numbers of labels of a round
VALIDATED = 5  # one label of so many chooses when a training stops, and is never trained on
LARGEST_FORCE_EV_PER_A = 30.0  # of a label that is trained on
SAMPLE = 1000  # structures trained on that tell how sure a model may be


@dataclass(frozen=True)
class Learning:
    """What is asked for."""

    reference: str
    exploration: Exploration
    per_round: int
    minutes: float
    jobs: int
    limit_s: float
    limit_eV_per_A: float
    rehearsal_share: float
    chosen: ModelOptions
    seed: int


def explored(
    starts: Sequence[Atoms], model: str, learning: Learning, number: int, folder: Path
) -> list[Explored]:
    """Explore from every structure with the model of the round before."""
    return [
        explore(
            start,
            replace(learning.chosen, model=model),
            learning.exploration,
            folder / f"explore-{n}",
            seed=learning.seed + 1000 * n + number,
            limit_eV_per_A=learning.limit_eV_per_A,
        )
        for n, start in enumerate(starts)
    ]


def choose(
    starts: Sequence[Atoms],
    labels: Journal,
    learning: Learning,
    number: int,
    folder: Path,
    count: int,
) -> list[Atoms]:
    """Choose what is labelled, of each exploration alike.

    Where an exploration has fewer frames than are wanted, rattled copies of its start stand beside.
    """
    if (folder / CHOSEN).is_file():
        return read_file(folder / CHOSEN)
    rng = np.random.default_rng([learning.seed, number])
    known = [_structure(row) for row in labels.read()]
    taken = []
    shares = [len(part) for part in np.array_split(np.arange(count), len(starts))]
    for n, (start, share) in enumerate(zip(starts, shares, strict=True)):
        seen = [atoms for atoms in frames_of(folder / f"explore-{n}") if sensible(atoms)]
        if len(seen) < 2 * share:
            seen += [start, *rattled(start, share, rng)]
        taken += [_bare(seen[k], start, n) for k in most_different(seen, known, share)]
    write_structures(folder / CHOSEN, taken)
    return taken


def label(structures: Sequence[Atoms], labels: Journal, learning: Learning, number: int) -> None:
    """Label what has no label yet; what fails is noted with its reason, and not tried again."""
    first = PER_ROUND * number
    left = {first + n: atoms for n, atoms in enumerate(structures) if first + n not in labels}
    if not left:
        return
    done = len(structures) - len(left)
    with counted("labelling", "labels", len(structures), done) as advance:
        for n, answer in labelled(left, learning.reference, learning.jobs, learning.limit_s):
            labels.add(n, [{"round": number} | _row(left[n], answer)])
            advance(1)


def compare(
    model: str,
    labels: Journal,
    runs: Sequence[Explored],
    learning: Learning,
    number: int,
    folder: Path,
) -> dict[str, Any]:
    """Compare a model with the labels of frames that it was never trained on, and note it all."""
    if (folder / FOUND).is_file():
        found: dict[str, Any] = json.loads((folder / FOUND).read_text(encoding="utf-8"))
        return found
    rows = [row for row in labels.read() if row["round"] == number]
    good = [row for row in rows if not row["problem"]]
    found = {
        "round": number,
        "explored": [run._asdict() for run in runs],
        "labels": len(rows),
        "failed": len(rows) - len(good),
        "problems": sorted({row["problem"] for row in rows if row["problem"]}),
        "labels_in_all": sum(1 for _ in labels.read()),
        **_errors(replace(learning.chosen, model=model), good),
    }
    write_text(folder / FOUND, json.dumps(found, indent=2) + "\n")
    return found


def tune(model: str, labels: Journal, learning: Learning, number: int, folder: Path) -> None:
    """Fine-tune the model of the round before on all labels, and tell it how sure it may be.

    It goes on from the checkpoint of a training that was killed.
    """
    if (folder / MODEL).is_file():
        return
    rows = [row for row in labels.read() if not row["problem"]]
    rows = [row for row in rows if np.abs(row["forces"]).max() <= LARGEST_FORCE_EV_PER_A]
    validation = rows[VALIDATED - 1 :: VALIDATED]
    train = [row for n, row in enumerate(rows) if n % VALIDATED != VALIDATED - 1]
    parts = [
        _frames(folder / f"{name}.extxyz", part)
        for name, part in (("train", train), ("validation", validation))
    ]
    base = base_of(model, parts[0])
    device = learning.chosen.device
    tuning = plan(
        base,
        parts[:1],
        name=f"learnt-{number}",
        start=model,
        minutes=learning.minutes,
        validation=parts[1],
        rehearsal_share=learning.rehearsal_share,
        gradients=choose_gradients(base.potential, device),
        seed=learning.seed,
    )
    output = folder / "tuning"
    output.mkdir(exist_ok=True)
    with as_input_error():  # a checkpoint of another installation
        training = Training(
            tuning.task,
            output,
            device=device,
            resume=True,
            on_validation=print_row,
            gradients=GRADIENTS,
        )
    watched_run(training)
    finish(tuning, training, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    _calibrate(tuning, output / MODEL, folder / MODEL, learning.seed)


def _calibrate(tuning: FineTuning, tuned: Path, target: Path, seed: int) -> None:
    """Write a model with its uncertainty, from structures that were not trained on.

    Those of validation and of the old domain; where these are too few it stays without. Bars of
    forces in the states of the structures are scaled by those of validation alone.
    """
    made = load(tuned, torch.float32)
    potential, card = made.potential, made.card
    held_out = [tuning.task.validation] + ([] if tuning.old is None else [tuning.old.held_out])
    new = join([replace(frames, group=None) for frames in held_out])
    if len(new) >= FEWEST:
        train = tuning.task.train
        order = np.random.default_rng(seed).permutation(len(train))
        sample = train.select(np.sort(order[:SAMPLE]))
        potential, found = calibrated(potential, sample, new)
        scale_by_own(potential, tuning.task.validation)
        card = replace(card, uncertainty=found)
    save(target, potential, card)


def _errors(chosen: ModelOptions, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean absolute errors of forces, and of energies but for their mean; of rows with labels.

    None where the model cannot say anything of such structures.
    """
    nothing = {"forces_mae_meV_per_A": None, "relative_energy_mae_meV": None}
    if not rows:
        return nothing
    calculator = session.make_calculator(chosen)
    try:
        said = calculator.evaluate_many([_structure(row) for row in rows])
    except ValueError:  # an element or a state that it never saw
        return nothing
    forces = [np.asarray(one.forces) - row["forces"] for one, row in zip(said, rows, strict=True)]
    energies = np.array(
        [float(np.asarray(one.energy)) - row["energy"] for one, row in zip(said, rows, strict=True)]
    )
    return {
        "forces_mae_meV_per_A": 1000 * float(np.mean(np.abs(np.concatenate(forces)))),
        "relative_energy_mae_meV": 1000 * float(np.mean(np.abs(energies - np.median(energies)))),
    }


def _bare(atoms: Atoms, start: Atoms, number: int) -> Atoms:
    """Keep a structure, its state, and where it comes from."""
    origin = atoms.info.get("origin") or ("start" if atoms is start else "exploration")
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.info = {name: start.info[name] for name in ("charge", "multiplicity")}
    bare.info |= {"origin": origin, "structure": number}
    return bare


def _row(atoms: Atoms, answer: Label | str) -> dict[str, Any]:
    """Say a structure and its label in plain values."""
    row: dict[str, Any] = {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
        "info": {
            "charge": int(atoms.info["charge"]),
            "multiplicity": int(atoms.info["multiplicity"]),
            "origin": str(atoms.info["origin"]),
        },
        "problem": "",
    }
    if isinstance(answer, str):
        return row | {"problem": answer}
    finite = np.isfinite(answer.energy_eV) and np.isfinite(answer.forces_eV_per_A).all()
    if not finite:
        return row | {"problem": "its energy or forces are not finite"}
    return row | {"energy": answer.energy_eV, "forces": answer.forces_eV_per_A.tolist()}


def _structure(row: dict[str, Any]) -> Atoms:
    return Atoms(
        row["numbers"], row["positions"], cell=row["cell"], pbc=row["pbc"], info=dict(row["info"])
    )


def _frames(path: Path, rows: Sequence[dict[str, Any]]) -> Frames:
    """Write labelled structures, and read them as data sets are read."""
    write_structures(path, with_labels(rows))
    return load_frames(str(path))


def with_labels(rows: Iterable[dict[str, Any]]) -> list[Atoms]:
    """Make structures with energies and forces of rows without a problem."""
    made = []
    for row in rows:
        if not row["problem"]:
            atoms = _structure(row)
            atoms.calc = SinglePointCalculator(atoms, energy=row["energy"], forces=row["forces"])
            made.append(atoms)
    return made
