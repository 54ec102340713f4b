"""Worker processes that end with what they work for, even if that is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 2  # tasks of each process that are under way or wait for it


@contextmanager
def process_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes that begin as new ones, whatever threads run here.

    An exception, also of Ctrl-C, ends them at once; they do not hear Ctrl-C themselves.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_end_with_parent
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(processes):
            pool.submit(int)  # starts a process, which inherits what is blocked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown()


def in_processes(
    work: Callable[[Task], Result], tasks: Iterable[Task], processes: int
) -> Iterator[Result]:
    """Do tasks in processes, yield results as they come; of the tasks a few are taken at a time."""
    with process_pool(processes) as pool:
        running: set[Future[Result]] = set()
        for task in tasks:
            running.add(pool.submit(work, task))
            if len(running) >= AHEAD * processes:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def _end_with_parent() -> None:
    Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
