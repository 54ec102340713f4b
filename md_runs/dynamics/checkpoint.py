"""Write everything that the next step of a run depends on to one file, at once or not at all.

A checkpoint is an ``.npz`` archive of plain arrays; ``facts`` are plain values in JSON, which keeps
every digit of a float and of the large integers of a random generator. Reading one never runs code.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms

from md_runs.dynamics.constraints import describe_constraints, set_constraints
from md_runs.errors import InputError
from potentials.files import replacing, sync_file
from potentials.structure.graph import INFO_INPUTS
from potentials.structure.states import STATE_KEYS

Arrays = dict[str, npt.NDArray[Any]]

CHECKPOINT = "checkpoint.npz"
FORMAT = 2


class Checkpoint(NamedTuple):
    """A run between two steps.

    Attributes
    ----------
    facts : plain values     phase, step, clock, options, generator, sizes of the files, manifest
    atoms : Atoms            with momenta, masses, fixed atoms and bonds, and the entries of
                             ``info`` that the calculator reads
    forces : (N, 3)          eV/Å, to be found again
    integrator : arrays      variables of the thermostat and its bath energy
    pairs : arrays or None   positions and cell, in Å, where the pairs of the engine were searched
    guards : arrays          what the guards compare with
    """

    facts: dict[str, Any]
    atoms: Atoms
    forces: npt.NDArray[np.float64]
    integrator: Arrays
    pairs: Arrays
    guards: Arrays


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and wait until the disk has it; on any failure the one before stays."""
    groups = {name: getattr(checkpoint, name) for name in ("integrator", "pairs", "guards")} | {
        "atoms": _pack(checkpoint.atoms)
    }
    arrays = {
        f"{group}/{name}": value
        for group, members in groups.items()
        for name, value in members.items()
    }
    described = {
        "format": FORMAT,
        "info": _state_of(checkpoint.atoms),
        "constraints": describe_constraints(checkpoint.atoms),
    }
    facts = json.dumps(checkpoint.facts | described)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, facts=np.array(facts), forces=checkpoint.forces, **arrays)
    sync_file(path.parent)


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read the checkpoint of a run.

    Raises
    ------
    InputError   there is none, or it is damaged
    """
    path = directory / CHECKPOINT
    if not path.is_file():
        raise InputError(
            f"`--restart` must be the directory of a run with a {CHECKPOINT}; got {directory}"
            " without. Start the run anew."
        )
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            content = dict(file)
        facts = json.loads(str(content.pop("facts")))
        if facts["format"] != FORMAT:
            raise InputError(
                f"`--restart` must find a checkpoint of format {FORMAT}; got {facts['format']} in"
                f" {path}. Start the run anew."
            )
        groups: dict[str, Arrays] = {
            name: {} for name in ("atoms", "integrator", "pairs", "guards")
        }
        forces = content.pop("forces")
        for name, value in content.items():
            group, _, member = name.partition("/")
            groups[group][member] = value
        atoms = _unpack(groups.pop("atoms"), facts.pop("info"), facts.pop("constraints"))
        return Checkpoint(facts=facts, atoms=atoms, forces=forces, **groups)
    except (
        *(OSError, ValueError, KeyError, EOFError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise InputError(
            f"`--restart` must find a whole checkpoint; got {path}, which is damaged ({error})."
            " Start the run anew."
        ) from error


def _pack(atoms: Atoms) -> Arrays:
    """Return every array of a structure; momenta and masses are arrays too."""
    arrays = {name: value for name, value in atoms.arrays.items() if value.dtype.kind in "fiub"}
    return arrays | {"cell": atoms.cell.array, "pbc": atoms.pbc}


def _unpack(arrays: Arrays, info: dict[str, Any], constraints: dict[str, Any]) -> Atoms:
    cell, pbc = arrays.pop("cell"), arrays.pop("pbc")
    atoms = Atoms(
        numbers=arrays.pop("numbers"),
        positions=arrays.pop("positions"),
        cell=cell,
        pbc=pbc,
        info=info,
    )
    for name, value in arrays.items():
        atoms.set_array(name, value)
    set_constraints(atoms, **constraints)
    return atoms


def _state_of(atoms: Atoms) -> dict[str, Any]:
    kept = (*STATE_KEYS, *INFO_INPUTS)
    return {key: np.asarray(atoms.info[key]).tolist() for key in kept if key in atoms.info}
