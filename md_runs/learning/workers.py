"""Processes that label structures side by side, each label within a limit of time.

What fails costs its own label: a program that raises, takes too long, or ends its process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context, parent_process
from queue import SimpleQueue
from threading import Thread
from typing import Any

from ase import Atoms

from md_runs.learning.references import Label, reference_of

SPAWN = get_context("spawn")


def labelled(
    structures: Mapping[int, Atoms], reference: str, jobs: int, limit_s: float
) -> Iterator[tuple[int, Label | str]]:
    """Label structures; yield the number of each as it is done, with its label or why it has none.

    Parameters
    ----------
    structures : dict   by number, with charge and multiplicity in their info
    reference : str     as `reference_of` knows it
    jobs : int          processes
    limit_s : float     for one label, s
    """
    workers = [_Worker(reference) for _ in range(min(jobs, len(structures)))]
    free: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def label(atoms: Atoms) -> Label | str:
        worker = free.get()
        try:
            return worker.label(atoms, limit_s)
        finally:
            free.put(worker)

    threads = ThreadPoolExecutor(max(len(workers), 1))
    try:
        asked = {threads.submit(label, atoms): n for n, atoms in structures.items()}
        for done in as_completed(asked):
            yield asked[done], done.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that labels one structure after the other, and is replaced where it is lost."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.process: Any = None

    def label(self, atoms: Atoms, limit_s: float) -> Label | str:
        if self.process is None:
            self._start()
        why = "its process ended by itself"
        with suppress(EOFError, OSError):
            self.pipe.recv()  # it is ready: imports do not count
            self.pipe.send(atoms)
            if self.pipe.poll(limit_s):
                answer: Label | str = self.pipe.recv()
                return answer
            why = f"it took longer than {limit_s:g} s"
        self.stop()
        return why

    def stop(self) -> None:
        """End the process and the programs that it has called."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.join()
            self.process = None

    def _start(self) -> None:
        self.pipe, there = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(there, self.reference))
        self.process.start()
        there.close()


def _serve(pipe: Any, name: str) -> None:
    """Label what comes through a pipe, until its other end is gone."""
    os.setsid()  # no Ctrl-C from the terminal; ended with all that it calls
    Thread(target=_end_with_parent, daemon=True).start()
    reference = reference_of(name)
    while True:
        pipe.send("ready")
        try:
            atoms = pipe.recv()
        except EOFError:
            return
        try:
            answer: Label | str = reference(atoms)
        except Exception as error:  # a foreign program may raise anything
            answer = " ".join(str(error).split())[:200] or type(error).__name__
        pipe.send(answer)


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)
