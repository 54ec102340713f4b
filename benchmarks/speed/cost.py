"""Time and memory per step of every architecture and plug-in, from 9 to 504 atoms.

    pip install -e ".[bench,train]"
    python -m benchmarks.speed.cost --output benchmarks/results/cost.json
    python -m benchmarks.speed.cost --architecture equivariant_transformer --plugin base
        # beside torchmd-net's ET, if it is installed

Sizes are those of the papers. Inference is energy and forces of one structure, eager, tensors
ready; a training step is forward, forces, loss, backward and AdamW on 8 molecules of 9 or 21 atoms,
or one of more. Plug-ins of an architecture, and the peer of the Equivariant Transformer, take turns
in one process, so a busy machine slows all of them. Memory is what a fresh process grew by at its
largest during one step, on a GPU what the allocator held at most. Stopped, the command goes on
where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.measure import (
    Call,
    command_line,
    in_own_process,
    machine,
    prepare_all,
    take_turns,
    write,
)
from benchmarks.science.experiment import merge
from benchmarks.systems import aspirin, cluster, ethanol

SYSTEMS: dict[int, Callable[[], Atoms]] = {
    9: ethanol,
    21: aspirin,
    99: lambda: cluster(11),
    504: lambda: cluster(56),
}
SMALL_ATOMS, SMALL_BATCH = 21, 8  # of a training step on small molecules
MODES = ("inference", "training")
CUTOFF_A = 5.0
BASES: dict[str, dict[str, Any]] = {
    "schnet": {
        "architecture": {"channels": 128, "n_layers": 6},
        "radial": {"name": "gaussian", "n_radial": 50},
    },
    "egnn": {"architecture": {"channels": 128, "n_layers": 7}},
    "equivariant_transformer": {
        "architecture": {"channels": 128, "n_layers": 6, "n_heads": 8},
        "radial": {"name": "exp_normal", "n_radial": 64},
    },
    "equiformer": {"architecture": {"channels": 128, "n_layers": 6}},
    "dimenetpp": {
        "architecture": {"channels": 128, "n_layers": 4},
        "radial": {"name": "bessel", "n_radial": 6},
    },
    "tensornet": {"architecture": {"channels": 128, "n_layers": 2}},
}
PLUGINS: dict[str, dict[str, Any]] = {
    "base": {},
    "learned encoding": {"radial": {"name": "learned"}},
    "moving points, paired": {"points": {"name": "moving", "links": "paired"}},
    "moving points, full": {"points": {"name": "moving", "links": "full"}},
    "charge and multiplicity": {
        "embeddings": [{"name": "species"}, {"name": "total_charge"}, {"name": "multiplicity"}]
    },
}
LIMITS = {"learned encoding": 1.1, "moving points, paired": 2.2}  # times the base
PEER = "torchmd-net's ET"
PEER_SETTINGS = {
    "model": "equivariant-transformer", "embedding_dimension": 128, "num_layers": 6,
    "num_rbf": 64, "rbf_type": "expnorm", "trainable_rbf": False, "activation": "silu",
    "attn_activation": "silu", "num_heads": 8, "distance_influence": "both",
    "neighbor_embedding": True, "vector_cutoff": True, "cutoff_lower": 0.0,
    "cutoff_upper": CUTOFF_A, "max_z": 128, "max_num_neighbors": 64, "box_vecs": None,
    "prior_model": None, "precision": 32, "atom_filter": -1, "derivative": True,
    "reduce_op": "sum", "output_model": "Scalar",
}  # fmt: skip


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__, "--output", "--device")
    parser.add_argument(
        "--architecture",
        action="append",
        choices=tuple(BASES),
        help="repeatable (all that are there)",
    )
    parser.add_argument(
        "--plugin",
        action="append",
        choices=tuple(PLUGINS),
        help="beside the base; repeatable (all)",
    )
    parser.add_argument(
        "--atoms", type=int, action="append", choices=tuple(SYSTEMS), help="repeatable (all)"
    )
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--no-memory", action="store_true", help="time alone: a process less for each"
    )
    arguments = parser.parse_args(given)
    plugins = list(dict.fromkeys(["base", *(arguments.plugin or PLUGINS)]))
    about = machine(arguments.device)
    report: dict[str, Any] = {
        "machine": about,
        "threads": arguments.threads,
        "cutoff_A": CUTOFF_A,
        "rows": [],
    }
    rows = _kept(report, arguments.output)
    for architecture in arguments.architecture or list(BASES):
        for n_atoms in arguments.atoms or list(SYSTEMS):
            for mode in MODES:
                case = {
                    "architecture": architecture,
                    "n_atoms": n_atoms,
                    "mode": mode,
                    "device": arguments.device,
                    "threads": arguments.threads,
                }
                if all(
                    _find([r for r in rows if r["mode"] == mode], architecture, plugin, n_atoms)
                    for plugin in plugins
                ):
                    continue
                rows += _measured(case, plugins, arguments.repeats, memory=not arguments.no_memory)
                report["rows"] = rows
                write(report, text(report), arguments.output)


def _kept(report: Mapping[str, Any], output: Path | None) -> list[dict[str, Any]]:
    """Rows that an interrupted run of the same kind on the same machine has left."""
    if output is None or not output.is_file():
        return []
    before = json.loads(output.read_text())
    same = before["threads"] == report["threads"] and all(
        before["machine"][k] == report["machine"][k] for k in ("processor", "device", "torch")
    )
    return list(before["rows"]) if same else []


def spec(architecture: str, plugin: str) -> dict[str, Any]:
    """Describe an architecture with a plug-in."""
    base = merge(
        {
            "cutoff": CUTOFF_A,
            "architecture": {"name": architecture},
            "radial": {"name": "exp_normal", "n_radial": 32},
        },
        BASES[architecture],
    )
    above = merge(
        PLUGINS[plugin],
        {"radial": {"base": base["radial"]["name"]}} if plugin == "learned encoding" else {},
    )
    return merge(base, above)


def step(architecture: str, plugin: str, n_atoms: int, mode: str, device: str) -> Call:
    """Make one step of ours."""
    import torch

    from potentials.build import build
    from potentials.potential import predict
    from potentials.training.config import LossConfig
    from potentials.training.data import StructureSet
    from potentials.training.loss import Loss, objective

    torch.manual_seed(0)
    potential = build(spec(architecture, plugin)).to(device)
    structures = StructureSet(_labelled(n_atoms, mode), CUTOFF_A, device)
    graph, targets = structures.batch(torch.arange(len(structures)))
    loss = Loss(LossConfig(), 1.0)

    def value() -> Any:
        fresh = graph._replace(positions=graph.positions.detach().requires_grad_())
        return objective(potential, loss, fresh, targets)

    if mode == "training":
        return _optimised(list(potential.parameters()), value)
    return lambda: predict(potential, graph).forces


def peer(n_atoms: int, mode: str, device: str) -> Call:
    """Make one step of torchmd-net's Equivariant Transformer."""
    import torch
    from torchmdnet.models.model import create_model

    torch.manual_seed(0)
    model = create_model(dict(PEER_SETTINGS)).to(device)
    frames = _labelled(n_atoms, mode)
    numbers = torch.tensor(frames.atomic_numbers, device=device)
    start = torch.tensor(frames.positions, dtype=torch.float32, device=device)
    batch = torch.arange(len(frames), device=device).repeat_interleave(
        torch.tensor(frames.n_atoms, device=device)
    )
    energies = torch.tensor(frames.energy, dtype=torch.float32, device=device)[:, None]
    wanted = torch.tensor(frames.forces, dtype=torch.float32, device=device)

    def value() -> Any:
        energy, forces = model(numbers, start.clone().requires_grad_(), batch)
        return (energy - energies).square().mean() + (forces - wanted).square().mean()

    if mode == "training":
        return _optimised(list(model.train().parameters()), value)
    model.eval().requires_grad_(False)
    return lambda: model(numbers, start.clone().requires_grad_(), batch)[1]


def _optimised(parameters: list[Any], value: Call) -> Call:
    import torch

    parameters = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)

    def call() -> None:
        loss = value()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return call


def _labelled(n_atoms: int, mode: str) -> Any:
    from potentials.datasets import make_frames

    rng = np.random.default_rng(0)
    atoms = SYSTEMS[n_atoms]()
    count = SMALL_BATCH if mode == "training" and n_atoms <= SMALL_ATOMS else 1
    return make_frames(
        np.full(count, n_atoms),
        np.tile(atoms.numbers, count),
        np.tile(atoms.positions, (count, 1)) + rng.normal(scale=0.02, size=(count * n_atoms, 3)),
        rng.normal(size=count),
        forces=rng.normal(size=(count * n_atoms, 3)),
    )


def _contestant(architecture: str, contestant: str, n_atoms: int, mode: str, device: str) -> Call:
    call = (
        peer(n_atoms, mode, device)
        if contestant == PEER
        else step(architecture, contestant, n_atoms, mode, device)
    )
    if device == "cpu":
        return call
    import torch

    def finished() -> Any:
        result = call()
        torch.cuda.synchronize()
        return result

    return finished


def _measured(
    case: dict[str, Any], plugins: Sequence[str], repeats: int, *, memory: bool
) -> list[dict[str, Any]]:
    """Rows of one architecture, size and mode."""
    try:
        rows: list[dict[str, Any]] = in_own_process(
            _times, case | {"plugins": list(plugins), "repeats": repeats}, case["threads"]
        )
    except RuntimeError as error:  # the process died, of memory most likely: a result as well
        where = {name: case[name] for name in ("architecture", "n_atoms", "mode")}
        return [
            where | {"contestant": name, "error": str(error).splitlines()[-1][:200]}
            for name in plugins
        ]
    for row in rows if memory else ():
        if "error" not in row:
            try:
                row["memory_MiB"] = in_own_process(
                    _memory, case | {"contestant": row["contestant"]}, case["threads"]
                )
            # its time stands: a step of its own may need memory that a process with others had by
            # then
            except RuntimeError as error:
                row["memory_error"] = str(error).splitlines()[-1]
    return rows


def _times(
    architecture: str,
    n_atoms: int,
    mode: str,
    device: str,
    threads: int,
    plugins: list[str],
    repeats: int,
) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(threads)
    names = [*plugins, PEER] if architecture == "equivariant_transformer" else plugins
    prepare = {
        name: lambda name=name: _contestant(architecture, name, n_atoms, mode, device)
        for name in names
    }
    ready, _, errors = prepare_all(prepare, warm_up=2)
    timings = take_turns(ready, repeats)
    case = {"architecture": architecture, "n_atoms": n_atoms, "mode": mode}
    return [
        case | {"contestant": name} | ({"error": errors[name]} if name in errors else timings[name])
        for name in names
    ]


def _memory(
    architecture: str, contestant: str, n_atoms: int, mode: str, device: str, threads: int
) -> float:
    """Largest growth in MiB during one step, of this process or of the GPU's allocator."""
    import torch

    torch.set_num_threads(threads)
    call = _contestant(architecture, contestant, n_atoms, mode, device)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    held = _status_kib("VmRSS")
    call()
    return (_status_kib("VmHWM") - held) / 1024


def _status_kib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name))


def text(report: Mapping[str, Any]) -> str:
    """Write times relative to the base as Markdown, a table for each mode."""
    lines = [
        (
            "Milliseconds per step, shortest call, and MiB; in brackets times the base of the same"
            f" turn. {json.dumps(report['machine'])}"
        ),
        "",
    ]
    sizes = sorted({row["n_atoms"] for row in report["rows"]})
    for mode in MODES:
        lines += [
            f"**{mode}**",
            "",
            "| architecture | with | " + " | ".join(f"{n} atoms" for n in sizes) + " |",
            "|---" * (2 + len(sizes)) + "|",
        ]
        rows = [row for row in report["rows"] if row["mode"] == mode]
        for architecture, contestant in dict.fromkeys(
            (row["architecture"], row["contestant"]) for row in rows
        ):
            cells = [_cell(rows, architecture, contestant, n) for n in sizes]
            lines.append(f"| {architecture} | {contestant} | " + " | ".join(cells) + " |")
        lines.append("")
    if beyond := [
        f"{r['architecture']}, {r['contestant']}, {r['n_atoms']} atoms, {r['mode']}"
        for r in report["rows"]
        if _exceeds(report["rows"], r)
    ]:
        lines += [f"Beyond the limits {LIMITS} times the base: {'; '.join(beyond)}.", ""]
    failed = [(r, r.get("error", r.get("memory_error"))) for r in report["rows"]]
    lines += [
        f"Not measured: {r['architecture']}, {r['contestant']}, {r['n_atoms']} atoms, {r['mode']}:"
        f" {why}"
        for r, why in failed
        if why
    ]
    return "\n".join(lines) + "\n"


def _cell(
    rows: Sequence[Mapping[str, Any]], architecture: str, contestant: str, n_atoms: int
) -> str:
    own = _find(rows, architecture, contestant, n_atoms)
    if own is None or "error" in own:
        return "–"
    memory = f", {own['memory_MiB']:.0f} MiB" if "memory_MiB" in own else ""
    return f"{own['min_ms']:.3g}{_ratio(rows, own)}{memory}"


def _ratio(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    base = _find(rows, row["architecture"], "base", row["n_atoms"])
    return (
        ""
        if base is None or "error" in base or base is row
        else f" ({row['min_ms'] / base['min_ms']:.2f}x)"
    )


def _exceeds(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> bool:
    limit = LIMITS.get(row["contestant"])
    base = _find(
        [r for r in rows if r["mode"] == row["mode"]], row["architecture"], "base", row["n_atoms"]
    )
    return (
        limit is not None
        and base is not None
        and "error" not in {**base, **row}
        and row["min_ms"] > limit * base["min_ms"]
    )


def _find(
    rows: Sequence[Mapping[str, Any]], architecture: str, contestant: str, n_atoms: int
) -> Mapping[str, Any] | None:
    wanted = (architecture, contestant, n_atoms)
    return next(
        (row for row in rows if (row["architecture"], row["contestant"], row["n_atoms"]) == wanted),
        None,
    )


if __name__ == "__main__":
    main()
