"""Milliseconds per energy + force call, side by side with torchmd-net's TensorNet: same weights, structures and threads.

    pip install -e ".[bench]"
    python benchmarks/inference.py --threads 1 --threads 2 --output benchmarks/results/inference.json

Both sides get the same weights: torchmd-net makes and saves a model, and `polcalc import-torchmd` reads it. Contestants take turns
on each structure, so that a busy machine slows all of them; the table shows medians. The peer's plain-torch path is chosen in a
process of its own (its kernels are switched on at import). A contestant that fails is listed with its error.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

sys.path.insert(0, str(Path(__file__).parent))
from systems import SYSTEMS

SETTINGS = {
    "model": "tensornet",
    "embedding_dimension": 128,
    "num_layers": 2,
    "num_rbf": 32,
    "rbf_type": "expnorm",
    "trainable_rbf": False,
    "activation": "silu",
    "cutoff_lower": 0.0,
    "cutoff_upper": 4.5,
    "max_z": 128,
    "max_num_neighbors": 128,
    "equivariance_invariance_group": "O(3)",
    "prior_model": None,
    "precision": 32,
    "atom_filter": -1,
    "derivative": True,
    "reduce_op": "sum",
    "output_model": "Scalar",
    "check_errors": False,
    "static_shapes": False,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, action="append", help="numbers of threads to measure; repeatable (1 and 2)")
    parser.add_argument("--repeats", type=int, default=30, help="timed calls per contestant and structure")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="JSON with all numbers; the table is written beside it as .md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(_worker(**json.loads(arguments.worker))))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, __file__, "--worker", json.dumps({"task": "make", "folder": folder})], check=True, stdout=subprocess.DEVNULL
        )
        for threads in arguments.threads or [1, 2]:
            for plain in (True, False):
                task = {
                    "task": "time",
                    "folder": folder,
                    "threads": threads,
                    "plain": plain,
                    "repeats": arguments.repeats,
                    "device": arguments.device,
                }
                environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
                command = [sys.executable, __file__, "--worker", json.dumps(task)]
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                results += json.loads(done.stdout.splitlines()[-1])
    report = {"machine": _machine(arguments.device), "settings": SETTINGS, "rows": results}
    table = _table(report)
    print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")
        arguments.output.with_suffix(".md").write_text(table)


def _worker(task: str, folder: str, **options: Any) -> Any:
    return _make(Path(folder)) if task == "make" else _time_all(Path(folder), **options)


def _make(folder: Path) -> None:
    """Let torchmd-net make and save a model; import it."""
    import torch
    from torchmdnet.models.model import create_model

    from potentials.import_torchmd import import_checkpoint

    torch.manual_seed(1)
    model = create_model(dict(SETTINGS))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    torch.save({"state_dict": {f"model.{k}": v for k, v in model.state_dict().items()}, "hyper_parameters": SETTINGS}, folder / "peer.ckpt")
    import_checkpoint(folder / "peer.ckpt", folder / "ours.pt", energy_unit="eV", length_unit="angstrom")


def _time_all(folder: Path, threads: int, plain: bool, repeats: int, device: str) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(threads)
    rows = []
    for name, make in SYSTEMS.items():
        atoms = make()
        contestants: dict[str, Callable[[], Callable[[], np.ndarray]]] = {
            f"torchmd-net, {'plain torch' if plain else 'its kernels'}": lambda atoms=atoms: _peer(folder, atoms, plain, device)
        }
        if not plain:
            for engine in _engines():
                contestants[f"polcalc, {engine}"] = lambda engine=engine, atoms=atoms: _ours(folder, atoms, engine, device)
        timings, forces, errors = _take_turns(contestants, repeats)
        for contestant in contestants:
            row: dict[str, Any] = {"system": name, "threads": threads, "contestant": contestant}
            if contestant in errors:
                row["error"] = errors[contestant]
            else:
                row |= {"median_ms": float(np.median(timings[contestant])), "min_ms": float(np.min(timings[contestant]))}
                row["force_norm"] = float(np.linalg.norm(forces[contestant]))
            rows.append(row)
    return rows


def _engines() -> list[str]:
    from polcalc.engine import ENGINES

    return list(ENGINES)


def _take_turns(contestants: dict[str, Any], repeats: int) -> tuple[dict[str, list[float]], dict[str, Any], dict[str, str]]:
    ready, forces, errors = {}, {}, {}
    for name, prepare in contestants.items():
        try:
            ready[name] = prepare()
            for _ in range(5):
                forces[name] = ready[name]()
        except Exception as error:  # a contestant that cannot run is a result
            ready.pop(name, None)
            errors[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    timings: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(repeats):
        for name, call in ready.items():
            start = time.perf_counter()
            call()
            timings[name].append(1e3 * (time.perf_counter() - start))
    return timings, forces, errors


def _ours(folder: Path, atoms: Atoms, engine: str, device: str) -> Callable[[], np.ndarray]:
    """Time the whole calculator; every call sees moved positions, as in dynamics."""
    from polcalc import PolarizedCalculator

    atoms = atoms.copy()
    atoms.calc = PolarizedCalculator(folder / "ours.pt", device=device, engine=engine, charge=0, multiplicity=1)
    start, count = atoms.positions.copy(), [0]

    def call() -> np.ndarray:
        count[0] += 1
        atoms.positions = start + 1e-6 * (count[0] % 7)
        return atoms.get_forces()

    return call


def _peer(folder: Path, atoms: Atoms, plain: bool, device: str) -> Callable[[], np.ndarray]:
    """Time the module alone, energy and forces, tensors ready: its best case."""
    import torch

    if plain:  # make the import of its kernels fail, as on a machine without them
        sys.modules.setdefault("torchmdnet.extensions.warp_ops", None)  # type: ignore[arg-type]
    tensornet = importlib.import_module("torchmdnet.models.tensornet")
    if plain == bool(tensornet.OPT):
        raise RuntimeError("torchmd-net did not take the path asked for")
    from torchmdnet.models.model import create_model

    model = create_model(dict(SETTINGS))
    state = torch.load(folder / "peer.ckpt", weights_only=True)["state_dict"]
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items()})
    model = model.to(device).eval()
    numbers = torch.tensor(atoms.numbers, device=device)
    start = torch.tensor(atoms.positions, dtype=torch.float32, device=device)
    batch = torch.zeros_like(numbers)
    box = torch.tensor(atoms.cell.array, dtype=torch.float32, device=device) if atoms.pbc.any() else None
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    def call() -> np.ndarray:
        positions = start.clone().requires_grad_()
        _, forces = model(numbers, positions, batch, box=box)
        return forces.detach().cpu().numpy()

    return call


def _machine(device: str) -> dict[str, Any]:
    import torch

    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        model = next(
            (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), model
        )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "device": device,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "load_average": os.getloadavg()[0],
    }


def _table(report: dict[str, Any]) -> str:
    rows = report["rows"]
    threads = sorted({row["threads"] for row in rows})
    systems = list(dict.fromkeys(row["system"] for row in rows))
    contestants = list(dict.fromkeys(row["contestant"] for row in rows))
    by_key = {(row["system"], row["threads"], row["contestant"]): row for row in rows}
    lines = [f"Milliseconds per energy + force call, median of repeats. {json.dumps(report['machine'])}", ""]
    for n in threads:
        lines += [
            f"{n} thread{'s' if n > 1 else ''}",
            "",
            "| system | " + " | ".join(contestants) + " |",
            "|---" * (len(contestants) + 1) + "|",
        ]
        for system in systems:
            cells = [by_key.get((system, n, c), {}) for c in contestants]
            lines.append(
                f"| {system} | " + " | ".join(f"{c['median_ms']:.2f}" if "median_ms" in c else c.get("error", "–") for c in cells) + " |"
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
