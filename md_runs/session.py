"""From the options of the shell to structures and a calculator.

The one place where a command makes them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms

from md_runs.errors import InputError, as_input_error
from md_runs.records.reader import read_file
from md_runs.records.versions import version_of
from polcalc import PolarizedCalculator
from polcalc.calculator.electrons import ElectronicState
from polcalc.calculator.partial_charges import GASTEIGER
from potentials.shipped import DEFAULT


@dataclass(frozen=True)
class ModelOptions:
    """Which model, how it runs, and in which electronic state.

    None leaves the state to the structure.
    """

    model: str | None = None  # None: the default one
    device: str = "auto"
    dtype: str = "float32"
    engine: str = "auto"
    charge: int | None = None
    multiplicity: int | None = None
    partial_charges: str | list[float] | None = None
    fragments: list[dict[str, Any]] | None = None
    electric_field_V_per_A: Sequence[float] | None = None


def make_calculator(options: ModelOptions) -> PolarizedCalculator:
    """Open the model.

    Raises
    ------
    InputError   unknown model, unreadable file, device or dtype not available
    """
    with as_input_error():
        return PolarizedCalculator(**asdict(options))


def opened(options: ModelOptions) -> PolarizedCalculator:
    """Open the model once in a process: the same calculator for the same options.

    Raises
    ------
    InputError   as `make_calculator`
    """
    return _opened(json.dumps(asdict(options)))


@cache
def _opened(options: str) -> PolarizedCalculator:
    return make_calculator(ModelOptions(**json.loads(options)))


def read_partial_charges(given: str | None) -> str | list[float] | None:
    """Read the charges of a text file in e.

    Leave the word that asks for those of the bonds to the calculator.

    Raises
    ------
    InputError   no such file, or not numbers
    """
    if given is None or given == GASTEIGER:
        return given
    if not Path(given).is_file():
        raise InputError(
            f"`--partial-charges` must be {GASTEIGER} or a file; got {given}. Check the name."
        )
    with as_input_error():
        charges: list[float] = np.loadtxt(given, dtype=np.float64, ndmin=1).ravel().tolist()
        return charges


def read_fragments(path: Path | None) -> list[dict[str, Any]] | None:
    """Read fragments as plain values; the calculator checks what they say.

    Raises
    ------
    InputError   no such file, or not a list of objects in JSON
    """
    if path is None:
        return None
    with as_input_error():
        fragments = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(fragments, list) or not all(
        isinstance(fragment, dict) for fragment in fragments
    ):
        raise InputError(
            '`--fragments` must be a list, as in [{"atoms": [0, 1], "charge": 1}]; got another'
            f" form in {path}. Correct it."
        )
    return fragments


def evaluate_first(atoms: Atoms) -> None:
    """Evaluate once, to find impossible states and unknown elements before anything is written."""
    with as_input_error():
        atoms.get_forces()


def read_structure(path: Path, frame: int | None = None, option: str = "--frame") -> Atoms:
    """Read the only structure of a file, or one of its frames.

    Raises
    ------
    InputError   the file holds several structures and none is chosen, or fewer than that
    """
    frames = read_file(path)
    first, last = -len(frames), len(frames) - 1
    if frame is None and len(frames) > 1:
        raise InputError(
            f"`{option}` must say which of the {len(frames)} structures in {path}: 0 to {last}, or"
            " -1 for the last."
        )
    if frame is not None and not first <= frame <= last:
        raise InputError(
            f"`{option}` must be from {first} to {last} for {path}; got {frame}. Choose another."
        )
    return frames[frame or 0]


class Frame(NamedTuple):
    """A structure, and what it is called."""

    name: str
    atoms: Atoms


def read_named_frames(paths: list[Path]) -> list[Frame]:
    """Read every frame of every file: called as its ``info["name"]`` says, or by file and number.

    Raises
    ------
    InputError   a file is missing, empty or not a structure file
    """
    named = []
    for path in paths:
        frames = read_file(path)
        for number, atoms in enumerate(frames):
            place = f"{path.name}:{number}" if len(frames) > 1 else path.name
            named.append(Frame(str(atoms.info.get("name") or place), atoms))
    return named


def read_frames(paths: list[Path]) -> list[Atoms]:
    """Read every frame of every file.

    Raises
    ------
    InputError   a file is missing, empty or not a structure file
    """
    return [atoms for path in paths for atoms in read_file(path)]


def state_lines(states: Iterable[ElectronicState]) -> list[str]:
    """Say in which states structures are, and who said so: one line for each."""
    counted = Counter(states)
    return [
        str(state) if len(counted) == 1 else f"{state}: {number} structure{'s' * (number > 1)}"
        for state, number in counted.items()
    ]


def describe(calculator: PolarizedCalculator) -> dict[str, Any]:
    """Collect what the manifest says of the model that runs, after the first evaluation."""
    return describe_model(calculator) | {
        "state": None if calculator.state is None else calculator.state._asdict(),
        "engine": str(calculator.engine),
    }


def describe_model(calculator: PolarizedCalculator) -> dict[str, Any]:
    """Collect what the manifest says of a model before it runs."""
    parameters, model = calculator.parameters, calculator.model
    return {
        "model": {"name": parameters["model"], "path": str(model.path), "sha256": model.sha256},
        "device": parameters["device"],
        "dtype": parameters["dtype"],
    }


def identity(calculator: PolarizedCalculator) -> dict[str, Any]:
    """Name everything that must be the same for the same bits, after the first evaluation."""
    return {
        "model": calculator.model.sha256,
        "engine": calculator.engine.name,
        "device": calculator.parameters["device"],
        "dtype": calculator.parameters["dtype"],
        "threads": torch.get_num_threads(),
        **{name: version_of(name) for name in ("polcalc", "torch", "numpy", "ase", "vesin")},
    }


def provenance(calculator: PolarizedCalculator, chosen: ModelOptions) -> dict[str, Any]:
    """Collect what the manifest of a run says of its model, after the first evaluation.

    A run is restarted with it.
    """
    charges = (
        None
        if chosen.partial_charges is None or calculator.partial_charges is None
        else calculator.partial_charges.tolist()
    )
    return describe(
        calculator
    ) | {  # charges of the bonds as numbers: a restart must not look for bonds in a hot molecule
        "calculator": (
            asdict(chosen)
            | {"model": absolute(chosen.model), "partial_charges": charges}
            | {"engine": calculator.engine.name}  # a restart keeps it
        ),
        "identity": identity(calculator),
    }


def absolute(model: str | None) -> str:
    """Name a model so that it is found from any directory, and the default one by its name."""
    if model is None:
        return DEFAULT
    return str(Path(model).resolve()) if Path(model).is_file() else model


def fingerprint(path: Path) -> dict[str, str]:
    """Name an input file so that it is known again."""
    with path.open("rb") as file:
        return {"path": str(path), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
