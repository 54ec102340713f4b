"""Whom the benchmark of the default model compares, asked in one way: GFN2-xTB, teacher, models.

GFN2-xTB and the teacher do not change: what they say is kept on disk, by the structures asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols

from md_runs.models.reactions import unknown_to
from polcalc import PolarizedCalculator
from potentials.checkpoint import load
from potentials.files import write_text
from potentials.labels import teacher as aimnet2
from potentials.labels.gfn2 import ACCURACY, Convergence, Surface, gfn2
from potentials.labels.method import Failed
from potentials.quantities import Evaluation

CHUNK = 200  # structures asked for and kept together
BATCH_ATOMS = 1000  # of the teacher at once
GFN2, TEACHER = "GFN2-xTB", "AIMNet2"
T = TypeVar("T")


class Answer(NamedTuple):
    """What a contestant says of one structure."""

    energy: float  # eV
    forces: np.ndarray  # (N, 3) eV/Å


class Electrons(NamedTuple):
    """Where a contestant has the electrons of one structure."""

    charges: np.ndarray  # (N,) e
    dipole: np.ndarray  # (3,) e Å, about the origin of the coordinates
    formal_charges: np.ndarray | None = None  # (N,) e, where it names any


Evaluate = Callable[[Sequence[Atoms]], "list[Answer | str]"]  # or the reason why there is none
Find = Callable[[Sequence[Atoms]], "list[Electrons | str]"]


class Contestant(NamedTuple):
    """A method with its name; charge and multiplicity of a structure are in its ``info``."""

    name: str
    identity: str  # changes where the answers may: a checksum of a model
    evaluate: Evaluate
    electrons: Find
    calculator: Callable[[Atoms], Calculator]  # for a path that begins at this structure
    path: str = ""  # of a model


def contestants(models: Sequence[str], store: Path) -> list[Contestant]:
    """Make all: GFN2-xTB, the teacher, and the models in the order given."""
    xtb = Contestant(
        GFN2,
        "2",
        kept(_gfn2, store / "gfn2-xtb", ANSWERS),
        kept(_gfn2_electrons, store / "gfn2-xtb-electrons", ELECTRONS),
        TBLite,
    )
    teacher = Contestant(
        TEACHER,
        aimnet2.SHA256,
        kept(_teacher, store / "aimnet2", ANSWERS),
        kept(_teacher_electrons, store / "aimnet2-electrons", ELECTRONS),
        lambda _: Single(_teacher),
    )
    return [xtb, teacher, *(model(path) for path in models)]


def model(path: str) -> Contestant:
    """Make a contestant of a model file or a shipped model."""
    loaded = load(path)
    calculator = PolarizedCalculator(path, device="cpu")

    def asked(structures: Sequence[Atoms]) -> list[Evaluation | str]:
        found: list[Evaluation | str] = [unknown_to(loaded.card, atoms) for atoms in structures]
        known = [n for n, reason in enumerate(found) if not reason]
        for start in range(0, len(known), CHUNK):
            chunk = known[start : start + CHUNK]
            evaluations = calculator.evaluate_many([structures[n] for n in chunk])
            for n, evaluation in zip(chunk, evaluations, strict=True):
                found[n] = evaluation
        return found

    def evaluate(structures: Sequence[Atoms]) -> list[Answer | str]:
        return [
            x if isinstance(x, str) else Answer(float(x.energy), np.asarray(x.forces))
            for x in asked(structures)
        ]

    def electrons(structures: Sequence[Atoms]) -> list[Electrons | str]:
        if not {"charges", "dipole"} <= set(loaded.potential.predicts):
            return ["it predicts no charges" for _ in structures]
        return [x if isinstance(x, str) else _electrons_of(x) for x in asked(structures)]

    name = path  # of a shipped model; of a file that of its card, and what tells versions apart
    if Path(path).is_file():
        name = f"{loaded.card.name or Path(path).parent.name} {loaded.sha256[:6]}"
    return Contestant(name, loaded.sha256, evaluate, electrons, lambda _: calculator, path)


class Form(NamedTuple, Generic[T]):
    """How answers of a kind are written, and read again."""

    plain: Callable[[T], Any]
    read: Callable[[Any], T]


def kept(
    evaluate: Callable[[Sequence[Atoms]], list[T | str]], folder: Path, form: Form[T]
) -> Callable[[Sequence[Atoms]], list[T | str]]:
    """Keep the answers on disk, and look there first."""

    def answers(structures: Sequence[Atoms]) -> list[T | str]:
        found: list[T | str] = []
        for start in range(0, len(structures), CHUNK):
            chunk = structures[start : start + CHUNK]
            path = folder / f"{key_of(chunk)}.json"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                said = evaluate(chunk)
                plain = [x if isinstance(x, str) else form.plain(x) for x in said]
                write_text(path, json.dumps(plain))
            read = json.loads(path.read_text())
            found += [x if isinstance(x, str) else form.read(x) for x in read]
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


def _gfn2_electrons(structures: Sequence[Atoms]) -> list[Electrons | str]:
    answers: list[Electrons | str] = []
    for atoms in structures:
        state = atoms.info["charge"], atoms.info["multiplicity"]
        try:
            label = Surface(atoms.numbers, *state, Convergence(ACCURACY)).label(atoms.positions)
        except Failed as error:
            answers.append(f"no convergence: {error}")
            continue
        assert label.dipole is not None
        answers.append(Electrons(label.charges, label.dipole))
    return answers


def _teacher(structures: Sequence[Atoms]) -> list[Answer | str]:
    def of(labels: aimnet2.Labels, row: int, atoms: Atoms) -> Answer:
        forces = labels.forces[row, : len(atoms)].astype(np.float64)
        return Answer(float(labels.energy[row]), forces)

    return _taught(structures, of)


def _teacher_electrons(structures: Sequence[Atoms]) -> list[Electrons | str]:
    def of(labels: aimnet2.Labels, row: int, atoms: Atoms) -> Electrons:
        charges = labels.charges[row, : len(atoms)].astype(np.float64)
        return Electrons(charges, charges @ atoms.positions)

    return _taught(structures, of)


def _taught(
    structures: Sequence[Atoms], of: Callable[[aimnet2.Labels, int, Atoms], T]
) -> list[T | str]:
    """Ask the ensemble in batches of about one size."""
    answers: list[T | str] = [_not_taught(atoms) for atoms in structures]
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
            answers[n] = of(labels, row, structures[n])
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


def _electrons_of(evaluation: Evaluation) -> Electrons:
    formal = evaluation.formal_charges
    return Electrons(
        np.asarray(evaluation.charges),
        np.asarray(evaluation.dipole),
        None if formal is None else np.asarray(formal),
    )


ANSWERS = Form[Answer](
    lambda x: [x.energy, x.forces.round(7).tolist()],
    lambda x: Answer(x[0], np.array(x[1]).reshape(-1, 3)),
)
ELECTRONS = Form[Electrons](
    lambda x: [x.charges.round(6).tolist(), x.dipole.round(6).tolist()],
    lambda x: Electrons(np.array(x[0]), np.array(x[1])),
)
