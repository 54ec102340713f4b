"""A batch on a cluster: killed workers, a killed scheduler, molecules that kill."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write
from typer.testing import CliRunner

from md_runs.batch.run import JOURNAL
from md_runs.cli.app import app
from tests.small import write_small_model

pytest.importorskip("distributed")

FROM_HERE = {"PYTHONPATH": str(Path(__file__).parents[2])}
MOLECULES = 320


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    frames = []
    for n in range(MOLECULES):
        atoms = molecule(("CH3CH2OH", "H2O", "CH3OH")[n % 3])
        atoms.rattle(0.05, seed=n)
        atoms.info["name"] = f"molecule {n}"
        frames.append(atoms)
    write("many.extxyz", frames)
    return tmp_path


@contextmanager
def started(*words: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", *words]
    with (
        (cwd / "err.txt").open("a") as said,
        subprocess.Popen(command, env=os.environ | FROM_HERE, cwd=cwd, stderr=said) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def wait_for(found, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@contextmanager
def cluster(folder: Path, n_workers: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A scheduler, known by scheduler.json, and workers in a directory of their own."""
    file = folder / "scheduler.json"
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0")
    worker = ("distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", "--no-dashboard")
    known = ("--scheduler-file", str(file))
    with ExitStack() as stack:
        running = [
            stack.enter_context(started(*scheduler, "--no-dashboard", *known, cwd=elsewhere))
        ]
        wait_for(file.is_file)
        for _ in range(n_workers):
            running.append(stack.enter_context(started(*worker, *known, cwd=elsewhere)))
        yield running
    file.unlink()


def lines(folder: Path) -> int:
    journal = folder / "out" / JOURNAL
    return len(journal.read_bytes().splitlines()) if journal.is_file() else 0


def names(folder: Path) -> list[str]:
    table = (folder / "out" / "results.csv").read_text()
    return [row["name"] for row in csv.DictReader(table.splitlines()) if not row["problem"]]


def test_killed_workers_and_a_killed_scheduler_lose_nothing(folder):
    """Two of three workers, then the scheduler; another cluster does the rest."""
    line = "batch energy many.extxyz --model m.pt --dask scheduler.json --output out"
    words = line.split()
    with (
        cluster(folder, 3) as (scheduler, *workers),
        started("md_runs.cli.app", *words, cwd=folder) as command,
    ):
        wait_for(lambda: lines(folder) > 1)
        for worker in workers[:2]:
            worker.send_signal(signal.SIGKILL)
        before = lines(folder)
        wait_for(lambda: lines(folder) > before + 1)
        scheduler.send_signal(signal.SIGKILL)
        assert command.wait(240) == 1
        assert "gone" in (folder / "err.txt").read_text()
    assert 0 < lines(folder) <= MOLECULES // 32
    with cluster(folder, 1):
        result = CliRunner().invoke(app, [*words, "--resume"])
        assert result.exit_code == 0, result.output
    assert names(folder) == [f"molecule {n}" for n in range(MOLECULES)]


def test_no_scheduler_is_said_in_one_line(folder, monkeypatch):
    monkeypatch.setattr("md_runs.batch.cluster.CONNECT_S", 1)
    line = "batch energy many.extxyz --model m.pt --dask tcp://127.0.0.1:9 --output out"
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2 and "`--dask`" in result.stderr
    assert not (folder / "out").exists()


SBATCH = """#!/bin/sh
cp "$1" job-$$.sh  # which is taken away after this
setsid sh job-$$.sh > job-$$.log 2>&1 &
echo $! >> jobs.txt
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo "$@" >> cancelled.txt
for job in "$@"; do kill -- "-$job"; done
"""


@pytest.mark.slow
def test_jobs_of_a_queue_compute_and_are_cancelled(folder, monkeypatch):
    """SLURM's two commands, played by scripts: jobs are real, what they compute is all there."""
    pytest.importorskip("dask_jobqueue")
    bin_ = folder / "bin"
    bin_.mkdir()
    for name, script in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (bin_ / name).write_text(script)
        (bin_ / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__INTERFACE", "lo")
    line = "batch energy many.extxyz --model m.pt --dask slurm --jobs 2 --output out"
    with started("md_runs.cli.app", *line.split(), cwd=folder) as command:
        assert command.wait(120) == 0, (folder / "err.txt").read_text()
    assert names(folder) == [f"molecule {n}" for n in range(MOLECULES)]
    jobs = (folder / "jobs.txt").read_text().split()
    assert len(jobs) >= 2
    assert set((folder / "cancelled.txt").read_text().split()) == set(jobs)


def test_a_queue_that_is_not_installed_is_said_in_one_line(folder, monkeypatch):
    monkeypatch.setattr("md_runs.batch.queues.find_spec", lambda name: None)
    line = "batch energy many.extxyz --model m.pt --dask slurm --output out"
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2 and "polcalc[slurm]" in result.stderr
    assert not (folder / "out").exists()
