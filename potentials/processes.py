"""Worker processes that end with what they work for, even if that is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
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
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    processes: int,
    lost: Callable[[Task], Result],
) -> Iterator[Result]:
    """Do tasks in processes, yield results as they come; of the tasks a few are taken at a time.

    Where a process ends by itself, killed or crashed, what was under way is done again, each task
    in a process of its own.

    Parameters
    ----------
    lost : Callable   says what becomes of a task whose own process ended, too

    Raises
    ------
    BrokenProcessPool   no process can begin
    """
    source = enumerate(tasks)
    held: dict[int, Task] = {}  # taken, not answered
    while True:
        try:
            with process_pool(processes) as pool:
                yield from _in_pool(pool, work, source, held, AHEAD * processes)
            return
        except BrokenProcessPool:
            if not held:  # no process can begin
                raise
            for number in list(held):
                yield alone(work, held.pop(number), lost)


def alone(work: Callable[[Task], Result], task: Task, lost: Callable[[Task], Result]) -> Result:
    """Do a task in a process of its own; where that ends by itself, say what becomes of it."""
    try:
        with process_pool(1) as pool:
            return pool.submit(work, task).result()
    except BrokenProcessPool:
        return lost(task)


def _in_pool(
    pool: ProcessPoolExecutor,
    work: Callable[[Task], Result],
    source: Iterator[tuple[int, Task]],
    held: dict[int, Task],
    most: int,
) -> Iterator[Result]:
    futures: dict[Future[Result], int] = {}
    while True:
        for number, task in islice(source, most - len(futures)):
            held[number] = task
            futures[pool.submit(work, task)] = number
        if not futures:
            return
        for future in wait(futures, return_when=FIRST_COMPLETED).done:
            result = future.result()
            del held[futures.pop(future)]
            yield result


def _end_with_parent() -> None:
    Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
