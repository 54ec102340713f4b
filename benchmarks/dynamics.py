"""Runs of `polcalc md` that the physics benchmarks measure.

Each is made once, goes on where it was stopped, and is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import molecule

from md_runs.records.structures import write_structures

RUNS = Path("runs")  # where all of them lie: gigabytes, not part of the repository
ALARMED = 3  # exit code of a run that a guard stopped: a result too


def complete(directory: Path, atoms: Atoms | None = None, **options: Any) -> Path:
    """Make a run of one thread, or go on with it, also with one that is shorter than asked for now.

    Return its directory.

    Parameters
    ----------
    directory : Path
    atoms : Atoms   where it starts, with its momenta if it has any; None is ethanol as ASE builds
                    it
    options         of `polcalc md`: ``temperature_K=300`` is ``--temperature-K 300``,
                    ``relax_first=True`` is ``--relax-first``

    Raises
    ------
    RuntimeError    it failed; what it said is in the message
    """
    if is_complete(directory, options["steps"]):
        return directory
    if (directory / "checkpoint.npz").is_file():
        words = ["--restart", str(directory), "--steps", str(options["steps"])]
    else:
        shutil.rmtree(directory, ignore_errors=True)
        structure = directory.with_suffix(".extxyz")
        structure.parent.mkdir(parents=True, exist_ok=True)
        write_structures(structure, [molecule("CH3CH2OH") if atoms is None else atoms])
        words = [
            str(structure),
            "--output",
            str(directory),
            *_words({"model": "ethanol-rmd17", "device": "cpu"} | options),
        ]
    start = time.perf_counter()
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MPLBACKEND": "Agg",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "md_runs.cli.app", "md", *words],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, ALARMED):
        raise RuntimeError(
            f"{directory} ended with status {done.returncode}: {done.stderr[-2000:]}"
        )
    print(f"{directory}: {time.perf_counter() - start:.0f} s", flush=True)
    return directory


def is_complete(directory: Path, steps: int = 0) -> bool:
    """Whether nothing is left to do up to a number of steps."""
    found = status(directory)
    if found != "finished":
        return found == "alarmed"
    return bool(json.loads((directory / "manifest.json").read_text())["options"]["steps"] >= steps)


def status(directory: Path) -> str:
    """How far a run is: finished, alarmed, or anything else."""
    path = directory / "manifest.json"
    if not path.is_file():
        return "missing"
    manifest = json.loads(path.read_text())
    return (
        "alarmed"
        if manifest.get("alarms") and manifest["status"] == "failed"
        else str(manifest["status"])
    )


def _words(options: dict[str, Any]) -> list[str]:
    """Spell options as the shell wants them."""
    words: list[str] = []
    for name, value in options.items():
        words += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    return words
