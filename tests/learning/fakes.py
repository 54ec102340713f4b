"""References that cost nothing, and ones that go wrong, for `python:tests.learning.fakes:NAME`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes

from tests.small import Springs

COUNTED = "POLCALC_TEST_LABELS"  # a file that gets a line for each label


class Counted(Springs):
    """Springs that write down every geometry they are asked for."""

    def calculate(self, atoms: Any = None, *further: Any) -> None:
        super().calculate(atoms, *further)
        with Path(os.environ[COUNTED]).open("a") as file:
            file.write(f"{atoms.positions.ravel().round(6).tolist()}\n")
        time.sleep(0.05)


def springs(atoms: Atoms) -> Springs:
    """Return springs at rest in the water of ASE."""
    return Springs(molecule("H2O"), 20.0)


def counted(atoms: Atoms) -> Counted:
    """Return springs that keep count."""
    return Counted(molecule("H2O"), 20.0)


class Odd(Calculator):
    """What it does, the first coordinate says."""

    implemented_properties: ClassVar = ["energy", "forces"]

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        wish = round(atoms.positions[0, 0])
        if wish == 1:
            raise RuntimeError("no convergence")
        if wish == 2:
            time.sleep(60)
        if wish == 3:
            os._exit(9)
        energy = float("nan") if wish == 4 else 1.0
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3))}


def odd(atoms: Atoms) -> Odd:
    """Return a calculator with moods."""
    return Odd()
