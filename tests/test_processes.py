"""Workers end with the process that started them, also when it is killed."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from potentials.processes import process_pool

REPOSITORY = Path(__file__).parents[1]


def connect_and_wait(port: int) -> None:
    """Work for a long time, with a connection that closes when the process ends."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.recv(1)


def test_a_killed_process_takes_its_workers_with_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        code = f"from tests.test_processes import *; start({server.getsockname()[1]})"
        with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY) as parent:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(30)
                parent.kill()
                assert connection.recv(1) == b""  # closed by the end of the worker, which nobody told to go


def start(port: int) -> None:
    """Have a worker work."""
    with process_pool(1) as pool:
        pool.submit(connect_and_wait, port).result()
