"""Run many small jobs, in several processes, that can be stopped at any time and go on later.

Each finished job is one file ``KEY.npz`` in the folder of the run, written at once or not at all; a
job that failed leaves ``KEY.failed`` with the reason. What is there is not done again, by whatever
process or machine sees the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from potentials.files import replacing, write_text
from potentials.labels.method import Failed
from potentials.processes import process_pool

Arrays = Mapping[str, NDArray[Any]]
Job = TypeVar("Job")


def run_jobs(
    jobs: Mapping[str, Job], work: Callable[[Job], Arrays], folder: Path, processes: int = 1
) -> Iterator[tuple[str, str]]:
    """Do what is not done yet; yield the key of each finished job, and why it failed if it did."""
    folder.mkdir(parents=True, exist_ok=True)
    left = [key for key in jobs if not finished(folder, key)]
    if processes == 1:
        for key in left:
            yield key, _do(key, jobs[key], work, folder)
        return
    with process_pool(processes) as pool:
        running = {pool.submit(_do, key, jobs[key], work, folder): key for key in left}
        for future in as_completed(running):
            yield running[future], future.result()


def finished(folder: Path, key: str) -> bool:
    """Whether a job has a result, or a reason for having none."""
    return (folder / f"{key}.npz").is_file() or (folder / f"{key}.failed").is_file()


def results(folder: Path, keys: Sequence[str]) -> dict[str, dict[str, NDArray[Any]]]:
    """Read the results that are there, in the order of the keys."""
    found = {}
    for key in keys:
        if (path := folder / f"{key}.npz").is_file():
            with np.load(path) as file:
                found[key] = dict(file)
    return found


def failures(folder: Path, keys: Sequence[str]) -> dict[str, str]:
    """Read why jobs failed."""
    paths = {key: folder / f"{key}.failed" for key in keys}
    return {key: path.read_text(encoding="utf-8") for key, path in paths.items() if path.is_file()}


def _do(key: str, job: Job, work: Callable[[Job], Arrays], folder: Path) -> str:
    try:
        arrays = work(job)
    except Failed as error:
        write_text(folder / f"{key}.failed", str(error))
        return str(error) or "failed"
    with (
        replacing(folder / f"{key}.npz") as temporary,
        temporary.open("wb") as file,
    ):  # an open file keeps its name
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's own keyword comes first
    return ""
