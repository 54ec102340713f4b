"""Where a model is let loose: dynamics that end where it is no longer to be trusted."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ase import Atoms

from md_runs import session
from md_runs.dynamics.driver import TRAJECTORY, Dynamics, DynamicsOptions
from md_runs.dynamics.phase import ALARM
from md_runs.dynamics.progress import watch_dynamics
from md_runs.errors import InputError, RunAlarmed
from md_runs.records.manifest import make_manifest
from md_runs.records.output import claim
from md_runs.records.reader import read_file
from md_runs.records.trajectory import read_trajectory
from md_runs.screen import errors
from md_runs.session import ModelOptions
from potentials.files import write_text

FRAME_FS = 10.0  # between the frames that are kept
EXPLORED = "explored.json"
WORDS = re.compile(r"md|(?P<K>[\d.]+) ?K|(?P<ps>[\d.]+) ?ps|(?P<fs>[\d.]+) ?fs|bonds free")


@dataclass(frozen=True)
class Exploration:
    """Dynamics at a temperature, and how long they must hold."""

    temperature_K: float = 500.0
    length_ps: float = 20.0
    timestep_fs: float = 0.5
    bonds: str = "keep"  # or free: a bond may break or form without an alarm

    def options(self, seed: int, limit_eV_per_A: float | None) -> DynamicsOptions:
        """Say it in the options of ``polcalc md``."""
        return DynamicsOptions(
            temperature_K=self.temperature_K,
            timestep_fs=self.timestep_fs,
            steps=max(1, round(1000 * self.length_ps / self.timestep_fs)),
            trajectory_every=max(1, round(FRAME_FS / self.timestep_fs)),
            log_every=max(1, round(FRAME_FS / self.timestep_fs)),
            seed=seed,
            bonds=self.bonds,  # type: ignore[arg-type]  # checked where it is read
            max_uncertainty_eV_per_A=limit_eV_per_A,
        )


def exploration_of(text: str) -> Exploration:
    """Read an exploration, such as ``md 500 K, 20 ps, 0.5 fs, bonds free``.

    Raises
    ------
    InputError   other words
    """
    found: dict[str, float | str] = {}
    names = {"K": "temperature_K", "ps": "length_ps", "fs": "timestep_fs"}
    for word in (part.strip() for part in re.split(r",|(?<=md) ", text)):
        if (match := WORDS.fullmatch(word)) is None:
            raise InputError(
                f"`--explore` must be like 'md 500 K, 20 ps', with '0.5 fs' and 'bonds free' where"
                f" wanted; got {word!r}. Correct it."
            )
        found |= {names[unit]: float(x) for unit, x in match.groupdict().items() if x}
        if word == "bonds free":
            found["bonds"] = "free"
    if not all(value > 0 for value in found.values() if isinstance(value, float)):
        raise InputError(f"`--explore` must have positive numbers; got {text!r}. Correct it.")
    return Exploration(**found)  # type: ignore[arg-type]


class Explored(NamedTuple):
    """How far a model came."""

    time_ps: float
    why: str  # it ended; empty where it came to the end


def explore(
    start: Atoms,
    chosen: ModelOptions,
    exploration: Exploration,
    folder: Path,
    *,
    seed: int,
    limit_eV_per_A: float,
) -> Explored:
    """Run the dynamics of an exploration from a structure, once: what is done is read.

    A run that was killed begins anew, with the same seed.

    Parameters
    ----------
    start : Atoms             with charge and multiplicity in its info
    chosen : ModelOptions
    exploration : Exploration
    folder : Path             of the run
    seed : int
    limit_eV_per_A : float    of the uncertainty of a force, for a model that knows it
    """
    if (folder / EXPLORED).is_file():
        return Explored(**json.loads((folder / EXPLORED).read_text(encoding="utf-8")))
    shutil.rmtree(folder, ignore_errors=True)
    explored = _run(start, chosen, exploration, folder, seed, limit_eV_per_A)
    write_text(folder / EXPLORED, json.dumps(explored._asdict()) + "\n")
    return explored


def _run(
    start: Atoms,
    chosen: ModelOptions,
    exploration: Exploration,
    folder: Path,
    seed: int,
    limit_eV_per_A: float,
) -> Explored:
    calculator = session.make_calculator(chosen)
    atoms = start.copy()
    atoms.calc = calculator
    knows_itself = bool(calculator.model.card.uncertainty)
    options = exploration.options(seed, limit_eV_per_A if knows_itself else None)
    try:
        session.evaluate_first(atoms)
    except InputError as error:  # an element or a state that it never saw
        folder.mkdir(parents=True)
        return Explored(0.0, str(error))
    manifest = make_manifest(
        "md",
        asdict(options),
        seed=seed,
        formula=atoms.get_chemical_formula(),
        **session.provenance(calculator, chosen),
    )
    claim(folder, manifest)
    dynamics = Dynamics(
        atoms,
        options,
        charge=start.info["charge"],
        multiplicity=start.info["multiplicity"],
    )
    try:
        summary = dynamics.run(folder, manifest, partial(watch_dynamics, console=errors)).summary
    except RunAlarmed:
        alarm = manifest["alarms"][-1]
        return Explored(alarm["step"] * options.timestep_fs / 1000, alarm["what"])
    return Explored(summary.time_ps, "")


def frames_of(folder: Path) -> list[Atoms]:
    """Read what an exploration went through, the last frames before an alarm finely."""
    trajectory, alarm = folder / TRAJECTORY, folder / ALARM
    frames = list(read_trajectory(trajectory)) if trajectory.is_file() else []
    return frames + (read_file(alarm)[::5] if alarm.is_file() else [])
