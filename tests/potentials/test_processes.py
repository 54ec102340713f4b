"""Workers end with the process that started them, also when it is killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from md_runs.errors import clear_endings
from potentials.processes import in_processes, process_pool

REPOSITORY = Path(__file__).parents[2]


def connect_and_wait(port: int) -> None:
    """Work for a long time, with a connection that closes when the process ends."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.recv(1)


def test_a_killed_process_takes_its_workers_with_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        code = f"from tests.potentials.test_processes import *; start({server.getsockname()[1]})"
        with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY) as parent:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(30)
                parent.kill()
                # closed by the end of the worker, which nobody told to go
                assert connection.recv(1) == b""


@pytest.mark.skipif(sys.platform == "win32", reason="no polite kill")
def test_a_process_that_is_asked_to_end_does_not_wait_for_its_workers() -> None:
    """Neither for what they do nor for what they have not begun."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        code = f"from tests.potentials.test_processes import *; start({server.getsockname()[1]})"
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE
        ) as parent:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(30)
                parent.terminate()
                assert connection.recv(1) == b""
                assert parent.wait(30) == 130
                assert parent.stderr is not None and b"interrupted" in parent.stderr.read()


def start(port: int) -> None:
    """Have a worker work, with more to do, as a command does."""
    with clear_endings(), process_pool(1) as pool:
        for task in [pool.submit(connect_and_wait, port) for _ in range(3)]:
            task.result()


def square(number: int) -> int:
    """End the process at some numbers, as a crash would."""
    if number in (3, 7):
        os._exit(9)
    return number**2


def test_a_task_that_ends_its_process_costs_no_other_task() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    results = in_processes(square, tasks(), 2, lost=lambda number: -number)
    first = next(results)
    assert len(taken) <= 8  # a few at a time
    expected = [-n if n in (3, 7) else n**2 for n in range(12)]
    assert sorted([first, *results]) == sorted(expected)
