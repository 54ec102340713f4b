"""Compute a great many molecules: in several processes, to the end after any interruption.

Memory holds what is under way, however long the input is. What is done is a line of the journal
for each chunk; table and geometries are made of it at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

from md_runs import session
from md_runs.batch.chunks import STRUCTURE, Chunk, compute, lost
from md_runs.batch.inputs import fingerprint, molecules
from md_runs.batch.table import check_parquet, columns_of, write_csv, write_parquet
from md_runs.errors import InputError, NotConverged
from md_runs.records.journal import Journal
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free
from md_runs.records.resume import resumable
from md_runs.screen import counted, screen
from md_runs.session import ModelOptions
from potentials.files import replacing
from potentials.processes import in_processes
from potentials.shipped import DEFAULT

JOURNAL = "batch.jsonl"
TABLE, PARQUET, GEOMETRIES = "results.csv", "results.parquet", "geometries.extxyz"
SIDE_BY_SIDE = 32  # energies computed at once; what a kill costs at most, in each process


def energies(
    inputs: list[Path],
    model: str | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    jobs: int = 1,
    output: Path = Path("polcalc-batch"),
    resume: bool = False,
    parquet: bool = False,
) -> None:
    """Evaluate molecules as they are, into a directory.

    Raises
    ------
    InputError     bad input
    NotConverged   some molecules have no result
    """
    chosen = ModelOptions(model, device, dtype, engine, charge, multiplicity)
    _batch("batch energy", inputs, chosen, None, SIDE_BY_SIDE, jobs, output, resume, parquet)


def minima(
    inputs: list[Path],
    model: str | None = None,
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    allow_saddle: bool = False,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    jobs: int = 1,
    output: Path = Path("polcalc-batch"),
    resume: bool = False,
    parquet: bool = False,
) -> None:
    """Relax molecules, into a directory.

    Raises
    ------
    InputError     bad input
    NotConverged   some molecules have no result, did not converge, or came to rest on a saddle
    """
    chosen = ModelOptions(model, device, dtype, engine, charge, multiplicity)
    search = {
        "optimizer": optimizer,
        "fmax_eV_per_A": fmax_eV_per_A,
        "steps": steps,
        "cell": False,
        "saddles": "keep" if allow_saddle else "leave",
    }
    _batch("batch relax", inputs, chosen, search, 1, jobs, output, resume, parquet)


def _batch(
    command: str,
    inputs: list[Path],
    chosen: ModelOptions,
    search: Mapping[str, Any] | None,
    size: int,
    jobs: int,
    output: Path,
    resume: bool,
    parquet: bool,
) -> None:
    if parquet:
        check_parquet()
    if not resume:
        check_free(output)
    total = sum(1 for _ in molecules(inputs))
    if not total:
        raise InputError("`INPUT` must hold molecules; got none. Check the files.")
    calculator = session.opened(chosen)
    settled = {"charge": chosen.charge, "multiplicity": chosen.multiplicity, "chunk": size}
    manifest = make_manifest(
        command,
        settled | dict(search or {}),
        structures=[fingerprint(path) for path in inputs],
        **session.describe_model(calculator),
        n_molecules=total,
    )
    named = replace(chosen, model=chosen.model or DEFAULT)  # which has been said now
    threads = torch.get_num_threads() if jobs == 1 else 1
    with resumable(output, manifest, resume):
        journal = Journal(output / JOURNAL)
        n_chunks = -(-total // size)
        if not journal.numbers <= set(range(n_chunks)):
            raise InputError(
                f"`--resume` must find whole files; got {journal.path} with chunks beyond"
                f" {n_chunks}. Start anew."
            )
        chunks = (
            Chunk(number, found, named, search, threads)
            for number, found in _chunks(inputs, size)
            if number not in journal
        )
        done = sum(min(size, total - number * size) for number in journal.numbers)
        _complete(chunks, journal, jobs, total, done)
        manifest |= _write(journal, output, parquet)
    journal.path.unlink()
    _say(manifest, total, output)


def _chunks(inputs: list[Path], size: int) -> Iterator[tuple[int, list[Any]]]:
    found = molecules(inputs)
    for number in count():
        if not (chunk := list(islice(found, size))):
            return
        yield number, chunk


def _complete(chunks: Iterator[Chunk], journal: Journal, jobs: int, total: int, done: int) -> None:
    """Compute what the journal does not hold yet."""
    computed = map(compute, chunks) if jobs == 1 else in_processes(compute, chunks, jobs, lost)
    with counted("computing", "molecules", total, done) as advance:
        for number, rows in computed:
            journal.add(number, rows)
            advance(len(rows))


def _write(journal: Journal, output: Path, parquet: bool) -> dict[str, int]:
    """Write table and geometries in the order of the input; count what went wrong."""
    columns = columns_of(journal.read(), STRUCTURE)
    write_csv(output / TABLE, columns, journal.read())
    if parquet:
        write_parquet(output / PARQUET, columns, journal.read())
    wrong = {"problems": 0, "not_converged": 0, "on_saddle": 0}
    with (
        replacing(output / GEOMETRIES) as temporary,
        temporary.open("w", encoding="utf-8") as structures,
    ):
        for row in journal.read():
            structures.write(row.get(STRUCTURE, ""))
            wrong["problems"] += bool(row.get("problem"))
            wrong["not_converged"] += row.get("converged") is False
            wrong["on_saddle"] += row.get("on_saddle") is True
    return wrong


def _say(manifest: Mapping[str, Any], total: int, output: Path) -> None:
    screen.print(f"{total - manifest['problems']} of {total} molecules. Results in {output}")
    keeps = manifest["options"].get("saddles") == "keep"
    said = {
        "have no result": manifest["problems"],
        "did not converge": manifest["not_converged"],
        "came to rest on a saddle": 0 if keeps else manifest["on_saddle"],
    }
    if any(said.values()):
        wrong = ", ".join(f"{number} {what}" for what, number in said.items() if number)
        raise NotConverged(f"of {total} molecules {wrong}; {output / TABLE} says why.")
