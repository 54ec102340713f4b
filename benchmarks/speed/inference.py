"""Milliseconds per energy + force call, side by side with the peers.

Same structures, same threads, and for TensorNet the same weights.

    pip install -e ".[bench]"
    python -m benchmarks.speed.inference --output benchmarks/results/inference.json

torchmd-net makes and saves a TensorNet (C = 128, 2 layers, 4.5 Å) and `polcalc import-torchmd`
reads it, so both must give the same forces; the run fails if they do not. polcalc is timed as a
whole ASE calculator, with positions that move. MACE small and AIMNet2 have random weights: only
their time is meant. Contestants take turns, medians are shown; one that fails is listed with its
error.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks import peers
from benchmarks.measure import (
    Call,
    command_line,
    in_own_process,
    machine,
    prepare_all,
    take_turns,
    write,
)
from benchmarks.systems import SYSTEMS

COMPILED_ATOMS = 21  # above it compiling takes minutes, and is slower on a CPU than not compiling
FORCES_AGREE = 1e-4  # of the largest force, float32 on both sides
PEERS = ("torchmd-net", "AIMNet2", "MACE")


def main() -> None:
    parser = command_line(__doc__, "--output", "--device")
    parser.add_argument(
        "--threads",
        type=int,
        action="append",
        help="numbers of threads to measure; repeatable (1 and 2)",
    )
    parser.add_argument(
        "--repeats", type=int, default=30, help="timed calls per contestant and structure"
    )
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="also torchmd-net's compiled path; minutes to compile, up to 21 atoms",
    )
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        in_own_process(_make, {"folder": folder}, threads=1)
        for threads in arguments.threads or [1, 2]:
            for system in SYSTEMS:
                task = {
                    "folder": folder,
                    "system": system,
                    "threads": threads,
                    "compiled": arguments.compiled,
                }
                rows += in_own_process(
                    _time_all,
                    task | {"repeats": arguments.repeats, "device": arguments.device},
                    threads,
                )
    report = {"machine": machine(arguments.device), "settings": peers.TENSORNET, "rows": rows}
    write(report, _table(report), arguments.output)
    if disagreeing := [r for r in rows if r.get("force_difference", 0.0) > FORCES_AGREE]:
        sys.exit(f"forces disagree by more than {FORCES_AGREE} of the largest: {disagreeing}")


def _make(folder: str) -> None:
    """Let torchmd-net make and save a model; import it."""
    from potentials.checkpoint import save
    from potentials.import_torchmd import convert, read

    theirs, ours = Path(folder) / "peer.ckpt", Path(folder) / "ours.pt"
    peers.save_torchmd_net(theirs)
    potential, card = convert(read(theirs), energy_unit="eV", length_unit="Angstrom")
    save(ours, potential, card)


def _time_all(
    folder: str, system: str, threads: int, repeats: int, device: str, compiled: bool
) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(threads)
    atoms = SYSTEMS[system]()
    contestants = _torchmd_net(Path(folder), atoms, device, compiled)
    contestants |= {
        "AIMNet2": lambda: peers.aimnet2(atoms, device),
        "MACE small": lambda: peers.mace_small(atoms, device),
    }
    contestants |= _ours(Path(folder), atoms, device)
    ready, forces, errors = prepare_all(contestants)
    timings = take_turns(ready, repeats)
    reference = forces["polcalc, eager"]
    rows = []
    for name in contestants:
        row: dict[str, Any] = {
            "system": system,
            "n_atoms": len(atoms),
            "threads": threads,
            "contestant": name,
        }
        row |= {"error": errors[name]} if name in errors else timings[name]
        if name in ready:
            row["force_norm"] = float(np.linalg.norm(forces[name]))
        if name in ready and name.startswith(("torchmd-net", "polcalc")):
            row["force_difference"] = float(
                np.abs(forces[name] - reference).max() / np.abs(reference).max()
            )
        rows.append(row)
    return rows


def _torchmd_net(
    folder: Path, atoms: Atoms, device: str, compiled: bool
) -> dict[str, Callable[[], Call]]:
    path = folder / "peer.ckpt"
    ways = {"plain torch": {"plain": True}, "its kernels": {}}
    if compiled and len(atoms) <= COMPILED_ATOMS:
        ways["compiled"] = {"compiled": True}
    return {
        f"torchmd-net, {name}": lambda way=way: peers.torchmd_net(path, atoms, device, **way)
        for name, way in ways.items()
    }


def _ours(folder: Path, atoms: Atoms, device: str) -> dict[str, Callable[[], Call]]:
    from polcalc import PolarizedCalculator
    from polcalc.engines.selector import ENGINES

    def prepare(engine: str) -> Call:
        return peers.moving(
            atoms,
            PolarizedCalculator(
                folder / "ours.pt", device=device, engine=engine, charge=0, multiplicity=1
            ),
        )

    elsewhere = "cuda-graph" if device == "cpu" else "native"
    return {
        f"polcalc, {engine}": lambda engine=engine: prepare(engine)
        for engine in reversed(ENGINES)
        if engine != elsewhere
    }


def _table(report: dict[str, Any]) -> str:
    rows = report["rows"]
    systems, threads, contestants = (
        list(dict.fromkeys(row[key] for row in rows)) for key in ("system", "threads", "contestant")
    )
    lines = [f"Milliseconds per energy + force call, median. {json.dumps(report['machine'])}"]
    for n in threads:
        found = {
            (row["system"], row["contestant"]): row
            for row in rows
            if row["threads"] == n and "error" not in row
        }
        cells = {
            s: [f"{found[s, c]['median_ms']:.3g}" if (s, c) in found else "–" for c in contestants]
            for s in systems
        }
        lines += ["", f"{n} thread{'s' if n > 1 else ''}", "", *_rows(contestants, cells)]
        ratios = {s: [_ratio(found, s, peer) for peer in PEERS] for s in systems}
        lines += [
            "",
            "Times polcalc's fastest engine (by the shortest calls; by processor time)",
            "",
        ]
        lines += _rows([f"{peer}'s best" for peer in PEERS], ratios)
    worst = max((row.get("force_difference", 0.0) for row in rows), default=0.0)
    lines += [
        "",
        f"All that have the same weights give the same forces, to {worst:.0e} of the largest.",
    ]
    lines += sorted(
        {
            f"{row['contestant']} does not run {row['system']}: {row['error']}."
            for row in rows
            if "error" in row
        }
    )
    return "\n".join(lines) + "\n"


def _rows(columns: list[str], cells: dict[str, list[str]]) -> list[str]:
    head = ["| system | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return head + [f"| {system} | " + " | ".join(row) + " |" for system, row in cells.items()]


def _ratio(found: dict[tuple[str, str], dict[str, Any]], system: str, peer: str) -> str:
    """How many times as long the best of a peer takes, by each measure."""

    def best(whose: str, measure: str) -> float:
        return min(
            (row[measure] for (s, c), row in found.items() if s == system and c.startswith(whose)),
            default=np.nan,
        )

    median, shortest, processor = (
        best(peer, m) / best("polcalc", m) for m in ("median_ms", "min_ms", "processor_ms")
    )
    return "–" if np.isnan(median) else f"{median:.1f} ({shortest:.1f}; {processor:.1f})"


if __name__ == "__main__":
    main()
