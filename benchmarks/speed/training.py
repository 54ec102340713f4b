"""Milliseconds per training step on energies and forces, side by side with torchmd-net.

    pip install -e ".[bench,train]"
    python -m benchmarks.speed.training --output benchmarks/results/training.json

A step is: forward, forces, loss, backward, gradient clip, AdamW. Contestants take turns in one
process. Compilation is not counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.measure import command_line, in_own_process, machine, prepare_all, take_turns, write
from benchmarks.peers import TENSORNET, torchmd_path
from benchmarks.systems import aspirin, ethanol

CASES = [
    {"molecule": "ethanol", "channels": 64, "batch": 8},
    {"molecule": "ethanol", "channels": 128, "batch": 8},
    {"molecule": "aspirin", "channels": 128, "batch": 8},
]
MOLECULES = {"ethanol": ethanol, "aspirin": aspirin}


def main() -> None:
    parser = command_line(__doc__, "--output")
    parser.add_argument(
        "--threads",
        type=int,
        action="append",
        help="numbers of threads to measure; repeatable (1 and 2)",
    )
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    rows = []
    for threads in arguments.threads or [1, 2]:
        for case in CASES:
            rows += in_own_process(
                _worker, {"threads": threads, "repeats": arguments.repeats, **case}, threads
            )
    report = {"machine": machine(), "rows": rows}
    write(report, _table(report), arguments.output)


def _worker(
    molecule: str, channels: int, batch: int, threads: int, repeats: int
) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(threads)
    frames = _frames(MOLECULES[molecule](), batch)
    contestants: dict[str, Callable[[], Callable[[], None]]] = {
        "torchmd-net, plain torch": lambda: _peer(frames, channels, True),
        "torchmd-net, its kernels": lambda: _peer(frames, channels, False),
        "polcalc, eager": lambda: _ours(frames, channels, "autograd"),
        "polcalc, compiled": lambda: _ours(frames, channels, "compiled"),
        "polcalc, native": lambda: _ours(frames, channels, "native"),
    }
    ready, _, errors = prepare_all(contestants, warm_up=3)
    timings = take_turns(ready, repeats)
    case = {"molecule": molecule, "channels": channels, "batch": batch, "threads": threads}
    return [
        case | {"contestant": name} | ({"error": errors[name]} if name in errors else timings[name])
        for name in contestants
    ]


def _frames(atoms: Atoms, n: int) -> list[Atoms]:
    frames = [atoms.copy() for _ in range(n)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
    return frames


def _step(parameters: list[Any], add_gradients: Callable[[], object]) -> Callable[[], None]:
    import torch

    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        add_gradients()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0, foreach=True)
        optimizer.step()

    return step


def _ours(frames: list[Atoms], channels: int, way: str) -> Callable[[], None]:
    import torch

    from polcalc.engines.native.training import GRADIENTS as NATIVE
    from potentials.build import build
    from potentials.datasets import make_frames
    from potentials.training.config import LossConfig
    from potentials.training.data import StructureSet
    from potentials.training.fit import GRADIENTS
    from potentials.training.loss import Loss

    rng = np.random.default_rng(0)
    counts = np.array([len(frame) for frame in frames])
    labelled = make_frames(
        counts,
        np.concatenate([frame.numbers for frame in frames]),
        np.concatenate([frame.positions for frame in frames]),
        rng.normal(size=len(frames)),
        forces=rng.normal(size=(counts.sum(), 3)),
    )
    torch.manual_seed(0)
    potential = build(
        {"cutoff": 4.5, "architecture": {"name": "tensornet", "channels": channels, "n_layers": 2}}
    )
    structures = StructureSet(labelled, 4.5)
    differentiate = (GRADIENTS | NATIVE)[way](potential, Loss(LossConfig(), 1.0))
    numbers = torch.arange(len(frames))
    return _step(
        [p for p in potential.parameters() if p.requires_grad],
        lambda: differentiate(*structures.batch(numbers)),
    )


def _peer(frames: list[Atoms], channels: int, plain: bool) -> Callable[[], None]:
    import torch
    from torchmdnet.models.model import create_model

    torch.manual_seed(0)
    with torchmd_path(plain):
        model = create_model(TENSORNET | {"embedding_dimension": channels}).train()
    n = len(frames[0])
    numbers = torch.tensor(np.concatenate([frame.numbers for frame in frames]))
    positions = torch.tensor(
        np.concatenate([frame.positions for frame in frames]), dtype=torch.float32
    )
    batch = torch.arange(len(frames)).repeat_interleave(n)
    generator = torch.Generator().manual_seed(0)
    energies, forces = (
        torch.randn(len(frames), 1, generator=generator),
        torch.randn(len(positions), 3, generator=generator),
    )

    def evaluate() -> None:
        energy, force = model(numbers, positions.clone().requires_grad_(), batch)
        ((energy - energies).square().mean() + (force - forces).square().mean()).backward()

    return _step([p for p in model.parameters() if p.requires_grad], evaluate)


def _table(report: dict[str, Any]) -> str:
    rows = report["rows"]
    contestants = list(dict.fromkeys(row["contestant"] for row in rows))
    keys = list(
        dict.fromkeys(
            (row["threads"], row["molecule"], row["channels"], row["batch"]) for row in rows
        )
    )
    found = {
        (row["threads"], row["molecule"], row["channels"], row["batch"], row["contestant"]): row
        for row in rows
    }
    lines = [f"Milliseconds per training step, median. {json.dumps(report['machine'])}", ""]
    lines += [
        "| threads | molecule | channels | batch | " + " | ".join(contestants) + " |",
        "|---" * (4 + len(contestants)) + "|",
    ]
    for key in keys:
        cells = [found.get((*key, c), {}) for c in contestants]
        texts = [
            f"{c['median_ms']:.1f}" if "median_ms" in c else c.get("error", "–") for c in cells
        ]
        lines.append(f"| {' | '.join(map(str, key))} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
