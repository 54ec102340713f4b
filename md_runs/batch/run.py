"""Compute a great many molecules: in several processes, to the end after any interruption.

Memory holds what is under way, however long the input is. What is done is a line of the journal
for each chunk; table and geometries are made of it at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from md_runs import session
from md_runs.batch.chunks import Chunk, Done, Job, compute, lost
from md_runs.batch.cluster import connected, on_cluster
from md_runs.batch.geometries import Geometries, write_geometries
from md_runs.batch.inputs import fingerprint, molecules
from md_runs.batch.rows import STRUCTURE
from md_runs.batch.table import check_parquet, columns_of, write_csv, write_parquet
from md_runs.errors import InputError, NotConverged
from md_runs.records.journal import Journal
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free
from md_runs.records.resume import resumable
from md_runs.screen import counted, screen
from md_runs.session import ModelOptions
from potentials.processes import in_processes
from potentials.shipped import DEFAULT, available

JOURNAL = "batch.jsonl"
TABLE, PARQUET = "results.csv", "results.parquet"


class Where(NamedTuple):
    """Where a batch is computed, and what it writes."""

    jobs: int
    dask: str | None  # address of a scheduler, or a queue
    output: Path
    resume: bool
    geometries: Geometries
    parquet: bool


def run(inputs: list[Path], chosen: ModelOptions, job: Job, where: Where) -> None:
    """Do a job with molecules, into a directory.

    Raises
    ------
    InputError     bad input
    NotConverged   some molecules have no result, did not converge, or came to rest on a saddle
    RunFailed      the scheduler of a cluster is gone
    """
    output = where.output
    if where.parquet:
        check_parquet()
    if not where.resume:
        check_free(output)
    total = sum(1 for _ in molecules(inputs))
    if not total:
        raise InputError("`INPUT` must hold molecules; got none. Check the files.")
    calculator = session.opened(chosen)
    settled = {"charge": chosen.charge, "multiplicity": chosen.multiplicity, "chunk": job.size}
    manifest = make_manifest(
        f"batch {job.name}",
        settled | dict(job.options),
        structures=[fingerprint(path) for path in inputs],
        **session.describe_model(calculator),
        n_molecules=total,
    )
    named = replace(chosen, model=chosen.model or DEFAULT)  # which has been said now
    own_threads = where.jobs == 1 and where.dask is None
    threads = torch.get_num_threads() if own_threads else 1
    with ExitStack() as stack:
        client = stack.enter_context(connected(where.dask, where.jobs)) if where.dask else None
        stack.enter_context(resumable(output, manifest, where.resume))
        journal = Journal(output / JOURNAL)
        n_chunks = -(-total // job.size)
        if not journal.numbers <= set(range(n_chunks)):
            raise InputError(
                f"`--resume` must find whole files; got {journal.path} with chunks beyond"
                f" {n_chunks}. Start anew."
            )
        chunks = (
            Chunk(number, found, named, job, threads)
            for number, found in _chunks(inputs, job.size)
            if number not in journal
        )
        done = sum(min(job.size, total - number * job.size) for number in journal.numbers)
        _complete(_computed(chunks, where.jobs, client, named), journal, total, done)
        manifest |= _write(journal, where)
    journal.path.unlink()
    _say(manifest, total, output)


def _chunks(inputs: list[Path], size: int) -> Iterator[tuple[int, list[Any]]]:
    found = molecules(inputs)
    for number in count():
        if not (chunk := list(islice(found, size))):
            return
        yield number, chunk


def _computed(
    chunks: Iterator[Chunk], jobs: int, client: Any, chosen: ModelOptions
) -> Iterable[Done]:
    """Compute chunks here, in processes or on a cluster."""
    if client is not None:
        assert chosen.model is not None
        file = None if chosen.model in available() else Path(chosen.model)
        return on_cluster(chunks, client, file)
    return map(compute, chunks) if jobs == 1 else in_processes(compute, chunks, jobs, lost)


def _complete(computed: Iterable[Done], journal: Journal, total: int, done: int) -> None:
    """Note what is computed."""
    with counted("computing", "molecules", total, done) as advance:
        for number, rows in computed:
            journal.add(number, rows)
            advance(len(rows))


def _write(journal: Journal, where: Where) -> dict[str, int]:
    """Write table and geometries in the order of the input; count what went wrong."""
    columns = columns_of(journal.read(), STRUCTURE)
    write_csv(where.output / TABLE, columns, journal.read())
    if where.parquet:
        write_parquet(where.output / PARQUET, columns, journal.read())
    structures = (row[STRUCTURE] for row in journal.read() if row.get(STRUCTURE))
    write_geometries(where.output, where.geometries, structures)
    wrong = {"problems": 0, "not_converged": 0, "on_saddle": 0}
    for row in journal.read():
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
