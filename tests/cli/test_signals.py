"""Ctrl-C and polite kills: within two seconds, in any computation, without a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WITHIN_S = 2.0
# seconds in one call that hears nothing; what is said before it
LAPACK = """
import sys
from pathlib import Path
import numpy as np
from md_runs.errors import clear_endings
from md_runs.records.output import recorded
with clear_endings(), recorded(Path(sys.argv[1]), {"command": "test"}):
    matrix = np.random.default_rng(0).normal(size=(6000, 6000))
    matrix += matrix.T
    print("ready", flush=True)
    np.linalg.eigh(matrix)
"""
PYTHON = """
import sys, time
from pathlib import Path
from md_runs.errors import clear_endings
from md_runs.records.output import recorded
with clear_endings(), recorded(Path(sys.argv[1]), {"command": "test"}):
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("script", [LAPACK, PYTHON], ids=["within LAPACK", "within Python"])
def test_a_signal_ends_the_work_and_the_manifest_says_so(
    script: str, number: signal.Signals, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=20) == 130
        assert time.monotonic() - started < WITHIN_S + 2  # a busy machine
        said = process.stderr.read()
    assert said.startswith("interrupted") and len(said.splitlines()) == 1
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["status"] == "interrupted"


COMMAND = """
import sys
from md_runs.cli.__main__ import main
print("ready", flush=True)
sys.argv = ["polcalc", "relax", "nothing.xyz"]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.05, 0.3, 0.6])  # torch takes longer
def test_imports_end_without_a_traceback(
    number: signal.Signals, after_s: float, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after_s)
        process.send_signal(number)
        assert process.wait(timeout=20) == 130
        said = process.stderr.read()
    assert said == "" or (said.startswith("interrupted") and len(said.splitlines()) == 1)


POOL = """
import os, signal, sys, time
from md_runs.errors import clear_endings
from potentials.processes import process_pool
if __name__ == "__main__":
    with clear_endings(), process_pool(2) as pool:
        print("ready", flush=True)
        pool.submit(time.sleep, 60).result()
"""


def test_processes_that_begin_do_not_hear_ctrl_c_themselves(tmp_path: Path) -> None:
    """A terminal sends it to all of them; each would print a traceback."""
    (tmp_path / "pool.py").write_text(POOL)
    with subprocess.Popen(
        [sys.executable, "pool.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read().splitlines() == [
            "interrupted: the files hold everything up to here"
        ]


AT_THE_END = """
import atexit, sys
import md_runs.cli.app as app
from md_runs.cli.__main__ import main
atexit.register(print, "tidied up")
app.main = lambda: sys.exit(int(sys.argv[1]))
main()
"""


@pytest.mark.parametrize(("code", "said"), [(130, ""), (1, "tidied up\n")])
def test_an_interrupted_command_does_not_wait_for_libraries_to_tidy_up(
    code: int, said: str
) -> None:
    """That of torch takes two seconds after a pool."""
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END, str(code)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (code, said)
