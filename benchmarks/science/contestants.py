"""Whom the benchmark of the default model compares, asked in one way: GFN2-xTB, teacher, models.

GFN2-xTB and the teacher do not change: what they say is kept on disk, by the structures asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols

from md_runs.models.reactions import unknown_to
from polcalc import PolarizedCalculator
from potentials.checkpoint import load
from potentials.files import write_text
from potentials.labels import teacher as aimnet2
from potentials.labels.gfn2 import Convergence, Surface, gfn2
from potentials.labels.method import Failed

CHUNK = 200  # structures asked for and kept together
BATCH_ATOMS = 1000  # of the teacher at once
GFN2, TEACHER = "GFN2-xTB", "AIMNet2"


class Answer(NamedTuple):
    """What a contestant says of one structure."""

    energy: float  # eV
    forces: np.ndarray  # (N, 3) eV/Å


Evaluate = Callable[[Sequence[Atoms]], "list[Answer | str]"]  # or the reason why there is none


class Contestant(NamedTuple):
    """A method with its name; charge and multiplicity of a structure are in its ``info``."""

    name: str
    identity: str  # changes where the answers may: a checksum of a model
    evaluate: Evaluate
    calculator: Callable[[Atoms], Calculator]  # for a path that begins at this structure
    path: str = ""  # of a model


def contestants(models: Sequence[str], store: Path) -> list[Contestant]:
    """Make all: GFN2-xTB, the teacher, and the models in the order given."""
    xtb = Contestant(GFN2, "2", kept(_gfn2, store / "gfn2-xtb"), TBLite)
    ensemble = kept(_teacher, store / "aimnet2")
    teacher = Contestant(TEACHER, aimnet2.SHA256, ensemble, lambda _: Single(_teacher))
    return [xtb, teacher, *(model(path) for path in models)]


def model(path: str) -> Contestant:
    """Make a contestant of a model file or a shipped model."""
    loaded = load(path)
    calculator = PolarizedCalculator(path, device="cpu")

    def evaluate(structures: Sequence[Atoms]) -> list[Answer | str]:
        answers: list[Answer | str] = [unknown_to(loaded.card, atoms) for atoms in structures]
        known = [n for n, reason in enumerate(answers) if not reason]
        for start in range(0, len(known), CHUNK):
            chunk = known[start : start + CHUNK]
            found = calculator.calculate_many([structures[n] for n in chunk])
            for n, results in zip(chunk, found, strict=True):
                answers[n] = Answer(results["energy"], results["forces"])
        return answers

    name = path  # of a shipped model; of a file that of its card, and what tells versions apart
    if Path(path).is_file():
        name = f"{loaded.card.name or Path(path).parent.name} {loaded.sha256[:6]}"
    return Contestant(name, loaded.sha256, evaluate, lambda _: calculator, path)


def kept(evaluate: Evaluate, folder: Path) -> Evaluate:
    """Keep the answers on disk, and look there first."""

    def answers(structures: Sequence[Atoms]) -> list[Answer | str]:
        found: list[Answer | str] = []
        for start in range(0, len(structures), CHUNK):
            chunk = structures[start : start + CHUNK]
            path = folder / f"{key_of(chunk)}.json"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, json.dumps([_plain(answer) for answer in evaluate(chunk)]))
            found += [_answer(plain) for plain in json.loads(path.read_text())]
        return found

    return answers


class Single(Calculator):
    """A method as an ASE calculator."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, evaluate: Evaluate) -> None:
        super().__init__()
        self._evaluate = evaluate

    def calculate(
        self,
        atoms: Any = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        [answer] = self._evaluate([atoms])
        if isinstance(answer, str):
            raise Failed(answer)
        self.results = {"energy": answer.energy, "forces": answer.forces}


class TBLite(Single):
    """GFN2-xTB on a path: charges are taken over from step to step, as its own users do."""

    def __init__(self, atoms: Atoms, accuracy: float = 1.0) -> None:
        state = atoms.info["charge"], atoms.info["multiplicity"]
        surface = Surface(atoms.numbers, *state, Convergence(accuracy))

        def follow(structures: Sequence[Atoms]) -> list[Answer | str]:
            label = surface.follow(structures[0].positions)
            return [Answer(label.energy, label.forces)]

        super().__init__(follow)


def one_network(atoms: Atoms) -> Calculator:
    """Make a calculator of one of the teacher's four networks, as a user of it has."""

    def evaluate(structures: Sequence[Atoms]) -> list[Answer | str]:
        padded = aimnet2.pad([atoms.numbers], [structures[0].positions], [atoms.info["charge"]])
        return [Answer(float("nan"), aimnet2.teacher().follow(padded)[0])]

    return Single(evaluate)


def _gfn2(structures: Sequence[Atoms]) -> list[Answer | str]:
    answers: list[Answer | str] = []
    for atoms in structures:
        try:
            label = gfn2(
                atoms.numbers, atoms.positions, atoms.info["charge"], atoms.info["multiplicity"]
            )
            answers.append(Answer(label.energy, label.forces))
        except Failed as error:
            answers.append(f"no convergence: {error}")
    return answers


def _teacher(structures: Sequence[Atoms]) -> list[Answer | str]:
    """Ask the ensemble in batches of about one size."""
    answers: list[Answer | str] = [_not_taught(atoms) for atoms in structures]
    known = [n for n, reason in enumerate(answers) if not reason]
    known.sort(key=lambda n: len(structures[n]))
    while known:
        largest = len(structures[known[-1]])
        batch = known[-max(1, BATCH_ATOMS // largest) :]
        del known[-len(batch) :]
        asked = [structures[n] for n in batch]
        charges = [atoms.info["charge"] for atoms in asked]
        padded = aimnet2.pad([a.numbers for a in asked], [a.positions for a in asked], charges)
        labels = aimnet2.teacher().label(padded)
        for row, n in enumerate(batch):
            size = len(structures[n])
            answers[n] = Answer(
                float(labels.energy[row]), labels.forces[row, :size].astype(np.float64)
            )
    return answers


def _not_taught(atoms: Atoms) -> str:
    foreign = sorted(set(atoms.numbers.tolist()) - set(aimnet2.ELEMENTS))
    if foreign:
        return "the teacher does not know " + ", ".join(chemical_symbols[n] for n in foreign)
    return "" if atoms.info["multiplicity"] == 1 else "the teacher knows no open shells"


def key_of(structures: Sequence[Atoms]) -> str:
    """Name structures by what they are, and in which state."""
    content = hashlib.sha256()
    for atoms in structures:
        content.update(atoms.numbers.tobytes() + np.round(atoms.positions, 8).tobytes())
        content.update(f"{atoms.info['charge']} {atoms.info['multiplicity']};".encode())
    return content.hexdigest()[:24]


def _plain(answer: Answer | str) -> Any:
    return answer if isinstance(answer, str) else [answer.energy, answer.forces.round(7).tolist()]


def _answer(plain: Any) -> Answer | str:
    return plain if isinstance(plain, str) else Answer(plain[0], np.array(plain[1]).reshape(-1, 3))
