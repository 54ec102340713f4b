"""Whom the benchmark asks: models in float64, the same without formal charges, the teacher."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from polcalc import PolarizedCalculator
from polcalc.calculator.domain import ExtrapolationWarning
from potentials.checkpoint import Model, load
from potentials.labels import teacher as aimnet2
from potentials.parts.electrons import LocalElectrons

TEACHER = "AIMNet2"
BATCH_ATOMS = 1000  # of the teacher at once


class Said(NamedTuple):
    """What is said of one structure."""

    energy: float  # eV
    forces: np.ndarray  # (N, 3) eV/Å
    charges: np.ndarray | None = None  # (N,) e
    excess: np.ndarray | None = None  # (N,) e, before neighbours hand charge to each other
    formal: np.ndarray | None = None  # (N,) e, of the groups


class Contestant(NamedTuple):
    """Someone who says energies of structures in the state that is in their ``info``."""

    name: str
    ask: Callable[[Sequence[Atoms]], list[Said]]
    covers: Callable[[Atoms], bool]


def contestants(models: Sequence[str]) -> list[Contestant]:
    """Make all, each model with formal charges also by a softmax of the total charge alone."""
    found = []
    for path in models:
        if path == TEACHER:
            found.append(Contestant(TEACHER, _taught, _is_taught))
            continue
        model = load(path, torch.float64)
        name = path if not Path(path).is_file() else model.card.name or Path(path).parent.name
        found.append(_of(name, model))
        if isinstance(model.potential.trunk.electrons, LocalElectrons):
            found.append(_of(f"{name}, Q shared out alone", without_formal_charges(model)))
    return found


def without_formal_charges(model: Model) -> Model:
    """Let a model share out the total charge by its softmax alone, with the same weights."""
    potential = copy.deepcopy(model.potential)
    electrons = potential.trunk.electrons
    assert isinstance(electrons, LocalElectrons)
    with torch.no_grad():
        electrons.network[-1].weight[0] = 0.0  # type: ignore[operator]
    return model._replace(potential=potential)


def calculator_of(model: Model, engine: str = "auto") -> PolarizedCalculator:
    """Make a calculator of one thread in float64."""
    return PolarizedCalculator(model, device="cpu", dtype="float64", engine=engine)


def _of(name: str, model: Model) -> Contestant:
    calculator = calculator_of(model)

    def ask(structures: Sequence[Atoms]) -> list[Said]:
        with warnings.catch_warnings():  # ions far apart are meant to be beyond the card
            warnings.simplefilter("ignore", ExtrapolationWarning)
            found = calculator.evaluate_many(structures)
        return [
            Said(
                float(e.energy),
                np.asarray(e.forces),
                *map(_array, (e.charges, e.excess_charges, e.formal_charges)),
            )
            for e in found
        ]

    known = set(model.card.elements or range(1, len(chemical_symbols)))
    return Contestant(name, ask, lambda atoms: set(atoms.numbers.tolist()) <= known)


def _array(values: object) -> np.ndarray | None:
    return None if values is None else np.asarray(values)


def _taught(structures: Sequence[Atoms]) -> list[Said]:
    said: list[Said] = []
    while len(said) < len(structures):
        largest = max(len(atoms) for atoms in structures[len(said) :])
        batch = structures[len(said) : len(said) + max(1, BATCH_ATOMS // largest)]
        padded = aimnet2.pad(
            [atoms.numbers for atoms in batch],
            [atoms.positions for atoms in batch],
            [atoms.info["charge"] for atoms in batch],
        )
        labels = aimnet2.teacher().label(padded)
        for row, atoms in enumerate(batch):
            n = len(atoms)
            charges = labels.charges[row, :n].astype(float)
            forces = labels.forces[row, :n].astype(float)
            said.append(Said(float(labels.energy[row]), forces, charges, charges))
    return said


def _is_taught(atoms: Atoms) -> bool:
    known = set(atoms.numbers.tolist()) <= set(aimnet2.ELEMENTS)
    return known and atoms.info["multiplicity"] == 1 and not atoms.pbc.any()
