"""What every benchmark shares: options, processes of its own, contestants in turns, a report.

`python -m benchmarks.measure MODULE FUNCTION TASK` answers for `in_own_process`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[], Any]
SERIES = 5  # timed calls of one contestant before the next has its turn
SERIES_S = 2.0  # and not much longer than this, where calls are long
ROOT = Path(__file__).parents[1]  # of the repository, where `benchmarks` is imported from
OPTIONS: dict[str, dict[str, Any]] = {
    "--output": {
        "type": Path,
        "help": "JSON with all numbers; the table is written beside it as .md",
    },
    "--figure": {"type": Path, "help": "PNG"},
    "--model": {"default": "ethanol-rmd17", "help": "model file or the name of a shipped model"},
    "--data": {"type": Path, "help": "folder with the files of known sets; else POLCALC_DATA"},
    "--device": {"default": "cpu", "help": "cpu or cuda"},
}


def command_line(description: str | None, *options: str) -> argparse.ArgumentParser:
    """Begin the command line of a benchmark, with those of `OPTIONS` that it takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in options:
        parser.add_argument(name, **OPTIONS[name])
    return parser


def in_own_process(function: Callable[..., Any], task: Mapping[str, Any], threads: int) -> Any:
    """Call a function of a benchmark in a process of its own, with this number of threads.

    Parameters
    ----------
    function : callable   of a module below `benchmarks`
    task : dict           its arguments, plain values; so is its answer
    threads : int

    Raises
    ------
    RuntimeError   the process died; the message ends with its last lines
    """
    module = sys.modules[function.__module__].__spec__  # of a script, __name__ is "__main__"
    assert module is not None
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": path,
    }
    words = [module.name, function.__name__, json.dumps(dict(task))]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure", *words],
        env=environment,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise RuntimeError(f"a worker ended with status {ended.returncode}: {ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def prepare_all(
    contestants: Mapping[str, Callable[[], Call]], warm_up: int = 5
) -> tuple[dict[str, Call], dict[str, Any], dict[str, str]]:
    """Prepare and warm up each contestant.

    Those that run, their answers, and why the others do not.
    """
    ready, answers, errors = {}, {}, {}
    for name, prepare in contestants.items():
        try:
            call = prepare()
            for _ in range(warm_up):
                answers[name] = call()
            ready[name] = call
        except Exception as error:  # a contestant that cannot run is a result
            errors[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return ready, answers, errors


def take_turns(ready: Mapping[str, Call], repeats: int) -> dict[str, dict[str, float]]:
    """Time contestants in turns, a short series of calls each, over and over: milliseconds.

    So a busy machine slows all alike.

    The first call of a series finds the caches as another contestant left them, which no step of
    dynamics does: it is not timed. Where the machine is so busy that calls are interrupted, the
    shortest call and the processor time say more than the median.
    """
    wall: dict[str, list[float]] = {name: [] for name in ready}
    processor: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(-(-repeats // SERIES)):
        for name, call in ready.items():
            begin = time.perf_counter()
            call()
            series = SERIES if time.perf_counter() - begin < SERIES_S else 1
            for _ in range(series):
                start, start_processor = time.perf_counter(), time.process_time()
                call()
                processor[name].append(1e3 * (time.process_time() - start_processor))
                wall[name].append(1e3 * (time.perf_counter() - start))
    return {
        name: {
            "median_ms": float(np.median(wall[name])),
            "min_ms": min(wall[name]),
            "min_processor_ms": min(processor[name]),
            "processor_ms": float(np.median(processor[name])),
        }
        for name in ready
    }


def machine(device: str = "cpu") -> dict[str, Any]:
    """Describe what the numbers were measured on."""
    import torch

    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": model,
        "cores": cores,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "load_average": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
    }


def write(report: Mapping[str, Any], table: str, output: Path | None) -> None:
    """Print the table; keep it as .md beside the numbers as .json."""
    print(table)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=1) + "\n")
        output.with_suffix(".md").write_text(table)


def _answer(module: str, function: str, task: str) -> None:
    answer = getattr(importlib.import_module(module), function)(**json.loads(task))
    print(json.dumps(answer))


if __name__ == "__main__":
    _answer(*sys.argv[1:])
