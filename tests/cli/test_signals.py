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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_imports_end_without_a_traceback(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "md_runs.cli.app", "relax", "nothing.xyz"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        time.sleep(1.0)  # torch takes longer
        process.send_signal(number)
        process.wait(timeout=20)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
