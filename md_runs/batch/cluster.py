"""Chunks on a cluster of Dask: each once, whatever workers come and go.

The scheduler does again what a worker that went away had not answered. Of a chunk with which
several workers ended each molecule is tried alone. Nothing but the model's file and the texts of
the molecules goes over the network; no file system is shared.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from md_runs.batch.chunks import Chunk, Done, compute, ended, singles
from md_runs.batch.queues import QUEUES, queued
from md_runs.batch.rows import Row
from md_runs.errors import InputError, RunFailed

AHEAD = 2  # chunks of each thread of a worker that are under way or wait for it
CONNECT_S = 20
PATIENCE_S = 15  # for a scheduler that does not answer
LISTEN_S = 1  # between two looks at the connection
GONE = (
    "the scheduler of --dask is gone. What is done is kept: go on with --resume, and another"
    " scheduler or none."
)

_one_at_a_time = threading.Lock()  # warnings belong to a process, not to a thread


class Piece(NamedTuple):
    """A chunk, or one molecule of a chunk with which workers ended."""

    chunk: Chunk
    place: int | None  # in the chunk that was cut


def on_cluster(chunks: Iterator[Chunk], client: Any, model: Path | None) -> Iterator[Done]:
    """Compute chunks on the workers of a cluster, and yield them as they are done.

    Parameters
    ----------
    client : Client      of `connected`
    model : Path or None a model file that workers may not have; None: a shipped model

    Raises
    ------
    RunFailed            the scheduler is gone
    """
    if model is not None:
        client.register_plugin(_model_plugin(model))
    name = None if model is None else model.name
    again: deque[Piece] = deque()
    cut: dict[int, dict[int, Row]] = {}  # number of a chunk -> place -> row
    sizes: dict[int, int] = {}
    under_way: dict[Any, Piece] = {}
    while True:
        with _reachable():
            room = max(AHEAD * sum(client.nthreads().values()), 1) - len(under_way)
        pieces = [again.popleft() for _ in range(min(room, len(again)))]
        pieces += [Piece(chunk, None) for chunk in islice(chunks, max(room - len(pieces), 0))]
        for piece in pieces:
            with _reachable():
                there = client.submit(compute_there, piece.chunk, name, pure=False)
            under_way[there] = piece
        if not under_way:
            return
        for future in _landed(client, list(under_way)):
            chunk, place = under_way.pop(future)
            done = _answer(future)
            if place is None and done is not None:
                yield done
            elif place is None:
                cut[chunk.number], sizes[chunk.number] = {}, len(chunk.molecules)
                again.extend(Piece(one, n) for n, one in enumerate(singles(chunk)))
            else:
                rows = cut[chunk.number]
                rows[place] = (done or ended(chunk)).rows[0]
                if len(rows) == sizes[chunk.number]:
                    yield Done(chunk.number, [row for _, row in sorted(rows.items())])


@contextmanager
def connected(address: str, jobs: int) -> Iterator[Any]:
    """Connect to the scheduler at an address or in a scheduler file, or to jobs of a queue.

    Raises
    ------
    InputError   Dask is not installed, there is no scheduler
    """
    if find_spec("distributed") is None:
        raise InputError("`dask` must be installed for `--dask`. Run: pip install 'polcalc[dask]'.")
    from dask import distributed

    client_of: Any = distributed.Client
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # pages where a line is said
    if address in QUEUES:
        with queued(address, jobs) as cluster, closing(client_of(cluster)) as client:
            yield client
        return
    known = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        client = client_of(**known, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            "`--dask` must be the address of a scheduler, as in tcp://host:8786, its scheduler file"
            f" or one of {', '.join(QUEUES)}; got {address}, where none answers"
            f" ({' '.join(str(error).split()):.200})."
        ) from error
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=5)


def compute_there(chunk: Chunk, model: str | None) -> Done:
    """Compute a chunk on a worker, with the model file that was sent there."""
    from dask.distributed import get_worker

    if model is not None:
        here = str(Path(get_worker().local_directory) / model)
        chunk = chunk._replace(chosen=replace(chunk.chosen, model=here))
    with _one_at_a_time:
        return compute(chunk)


@contextmanager
def _reachable() -> Iterator[None]:
    """Say in one line that a scheduler does not answer.

    Raises
    ------
    RunFailed
    """
    try:
        yield
    except (OSError, CancelledError, RuntimeError) as error:
        raise RunFailed(GONE) from error


def _landed(client: Any, futures: list[Any]) -> list[Any]:
    """Wait until some are done.

    Raises
    ------
    RunFailed   the scheduler does not answer for `PATIENCE_S`
    """
    from dask import distributed

    wait: Any = distributed.wait
    silent_since = None
    while True:
        with _reachable(), suppress(TimeoutError), client.as_current():
            wait(futures, timeout=LISTEN_S, return_when="FIRST_COMPLETED")
        landed = [future for future in futures if future.status in ("finished", "error")]
        if landed:
            return landed
        if client.status == "running" and all(f.status == "pending" for f in futures):
            silent_since = None
            continue
        silent_since = silent_since or monotonic()
        if client.status == "closed" or monotonic() - silent_since > PATIENCE_S:
            raise RunFailed(GONE)


def _answer(future: Any) -> Done | None:
    """Return what became of a chunk; None where workers ended with it.

    Raises
    ------
    Exception   what the worker raised: of all molecules at once, as that it has no such model
    """
    from dask.distributed import KilledWorker

    try:
        done: Done = future.result()
        return done
    except KilledWorker:
        return None
    except CancelledError as error:
        raise RunFailed(GONE) from error


def _model_plugin(model: Path) -> Any:
    """Make what writes a model file into the directory of every worker that is there or comes."""
    from dask.distributed import WorkerPlugin

    class Model(WorkerPlugin):
        def __init__(self, name: str, content: bytes) -> None:
            self.name, self.content = f"polcalc-{name}", content
            self.file = name

        def setup(self, worker: Any) -> None:
            (Path(worker.local_directory) / self.file).write_bytes(self.content)

    return Model(model.name, model.read_bytes())
