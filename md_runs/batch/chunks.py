"""Some molecules of a batch, computed by one process: a row for each, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from md_runs import session
from md_runs.batch.inputs import Molecule, Smiles, read
from md_runs.batch.rows import Ready, Row, Work, told
from md_runs.batch.work import conformers, dynamics, energies, minima, states, vibrations
from md_runs.session import Frame, ModelOptions
from md_runs.surfaces.relax_files import ENDED
from polcalc import PolarizedCalculator
from polcalc.calculator.electrons import ElectronicState
from potentials.processes import alone

PREFIX = 12  # hexadecimal digits of a model's SHA-256 that name it

WORKS: Mapping[str, Work] = {  # by the name of the command
    "energy": energies.work,
    "relax": minima.work,
    "states": states.work,
    "vib": vibrations.work,
    "conformers": conformers.work,
    "md": dynamics.work,
}


class Job(NamedTuple):
    """What is done with each molecule."""

    name: str  # in `WORKS`
    options: Mapping[str, Any]  # as that wants them, plain values
    size: int  # molecules of a chunk; what a kill costs at most, in each process


class Chunk(NamedTuple):
    """What a process needs."""

    number: int
    molecules: Sequence[Molecule]
    chosen: ModelOptions
    job: Job
    threads: int


class Done(NamedTuple):
    """What became of a chunk."""

    number: int
    rows: list[Row]


def compute(chunk: Chunk) -> Done:
    """Compute the molecules of a chunk; one that fails is a row with its reason."""
    torch.set_num_threads(chunk.threads)
    calculator = session.opened(chunk.chosen)
    rows = [_row(molecule, calculator) for molecule in chunk.molecules]
    ready = []
    for row, molecule in zip(rows, chunk.molecules, strict=True):
        with told(row):
            found = read(molecule)
            row |= {"name": found.name, "formula": found.atoms.get_chemical_formula()}
            row["warnings"] += found.remarks
            state = calculator.check(found.atoms)
            row |= _state(state)
            ready.append(Ready(Frame(found.name, found.atoms), state, row))
    WORKS[chunk.job.name](ready, calculator, chunk.job.options)
    for row in rows:
        row["warnings"] = "; ".join(dict.fromkeys(row["warnings"]))
    return Done(chunk.number, rows)


def lost(chunk: Chunk) -> Done:
    """Find the molecule that ends its process: compute the others, half of them in a process."""
    middle = len(chunk.molecules) // 2
    if not middle:
        return ended(chunk)
    halves = (chunk.molecules[:middle], chunk.molecules[middle:])
    done = [alone(compute, chunk._replace(molecules=half), lost) for half in halves]
    return Done(chunk.number, [row for half in done for row in half.rows])


def singles(chunk: Chunk) -> list[Chunk]:
    """Cut a chunk into its molecules."""
    return [chunk._replace(molecules=[molecule]) for molecule in chunk.molecules]


def ended(chunk: Chunk) -> Done:
    """Say of molecules that they ended their process."""
    calculator = session.opened(chunk.chosen)
    rows = [_row(molecule, calculator) for molecule in chunk.molecules]
    return Done(chunk.number, [row | {"warnings": "", "problem": ENDED} for row in rows])


def _row(molecule: Molecule, calculator: PolarizedCalculator) -> Row:
    content = molecule.content
    return {
        "name": molecule.name or molecule.place,
        "source": molecule.source,
        "place": molecule.place,
        "smiles": content.smiles if isinstance(content, Smiles) else "",
        "model_sha256": calculator.model.sha256[:PREFIX],
        "warnings": [],
        "problem": "",
    }


def _state(state: ElectronicState) -> Row:
    return {
        "charge": state.charge,
        "charge_from": state.charge_source,
        "multiplicity": state.multiplicity,
        "multiplicity_from": state.multiplicity_source,
    }
