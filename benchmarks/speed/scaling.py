"""Time and memory from 9 to 30,000 atoms.

Liquid ethanol, periodic, single-threaded unless told otherwise.

    python -m benchmarks.speed.scaling --output benchmarks/results/scaling.json

Each size runs in a process of its own. A call is energy, forces and stress with the pair list of
the call before, as in most steps of dynamics; the search of a new list is timed apart. Processor
time does not count what other programs took. Memory is what the process grew by at its largest,
over what it held with the model loaded. The model is an untrained TensorNet (C = 128, 2 layers, 4.5
Å), or `--model`.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import command_line, in_own_process, machine, take_turns, write
from benchmarks.systems import liquid, untrained

MOLECULES = (1, 8, 27, 64, 216, 512, 1331, 3375)  # cubes: the same density at every size
# molecules; the others keep every intermediate for autograd
LARGEST = {"native": 3375, "tabulated": 216}
LARGE_ATOMS = 500  # from here on time must be proportional to the number of atoms
KIB_PER_MIB = 1024
COLUMNS = (
    "pairs_per_atom",
    "median_ms",
    "processor_us_per_atom",
    "search_processor_ms",
    "memory_MiB",
    "memory_KiB_per_atom",
)


def main() -> None:
    parser = command_line(__doc__, "--output")
    parser.add_argument("--model", type=Path, help="model file instead of an untrained one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10, help="timed calls per size")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or untrained(Path(folder) / "model.pt")
        for engine, largest in LARGEST.items():
            for n in MOLECULES:
                if n <= largest:
                    task = {
                        "model": str(model),
                        "engine": engine,
                        "n_molecules": n,
                        "repeats": arguments.repeats,
                    }
                    rows.append(
                        in_own_process(
                            _worker, task | {"threads": arguments.threads}, arguments.threads
                        )
                    )
    report = {
        "machine": machine(),
        "model": str(arguments.model or "untrained, C = 128"),
        "threads": arguments.threads,
        "rows": rows,
    }
    write(report, _table(report), arguments.output)


def _worker(
    model: str, engine: str, n_molecules: int, repeats: int, threads: int
) -> dict[str, Any]:
    import torch

    from polcalc.engines.base import Structure
    from polcalc.engines.selector import ENGINES
    from potentials.checkpoint import load

    torch.set_num_threads(threads)
    device = torch.device("cpu")
    atoms = liquid(n_molecules)
    evaluator = ENGINES[engine](load(model).potential, device)
    structure = Structure(
        atomic_numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        charge=0,
        multiplicity=1,
        partial_charges=None,
    )
    before = _restart_peak_mib()
    evaluator.evaluate(structure)
    evaluator.neighbors.reset()
    start = time.process_time()
    evaluator.neighbors.update(structure.positions, structure.cell, structure.pbc)
    search_ms = 1e3 * (time.process_time() - start)
    count = [0]

    def call() -> None:
        count[0] += 1
        evaluation = evaluator.evaluate(
            structure._replace(positions=structure.positions + 1e-6 * (count[0] % 7))
        )
        assert np.isfinite(evaluation.energy)
        assert np.isfinite(evaluation.forces).all()

    call()
    timing = take_turns({"call": call}, repeats)["call"]
    grown = _memory_mib("VmHWM") - before
    return {
        "engine": engine,
        "n_atoms": len(atoms),
        "pairs_per_atom": (
            len(evaluator.neighbors.within(structure.positions, structure.cell)[0]) / len(atoms)
        ),
        **timing,
        "processor_us_per_atom": 1e3 * timing["processor_ms"] / len(atoms),
        "search_processor_ms": search_ms,
        "memory_MiB": grown,
        "memory_KiB_per_atom": KIB_PER_MIB * grown / len(atoms),
    }


def _restart_peak_mib() -> float:
    """Let the process's largest memory count from here (Linux), and return what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mib("VmRSS")


def _memory_mib(name: str) -> float:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
    )
    return int(line.split()[1]) / KIB_PER_MIB


def _table(report: dict[str, Any]) -> str:
    threads = report["threads"]
    lines = [
        (
            f"Liquid ethanol, {threads} thread{'s' if threads > 1 else ''}, {report['model']}."
            f" {json.dumps(report['machine'])}"
        ),
        "",
    ]
    lines += [
        "| engine | atoms | pairs per atom | ms per call | processor µs per atom | ms per pair"
        " search | memory MiB | KiB per atom |"
    ]
    lines += ["|---" * 8 + "|"]
    for r in report["rows"]:
        numbers = [r[key] for key in COLUMNS]
        lines.append(
            f"| {r['engine']} | {r['n_atoms']:,} | "
            + " | ".join(f"{x:.3g}" if x < 1000 else f"{x:.0f}" for x in numbers)
            + " |"
        )
    for engine in LARGEST:
        large = [r for r in report["rows"] if r["engine"] == engine and r["n_atoms"] >= LARGE_ATOMS]
        if len(large) > 1:
            exponent = np.polyfit(
                np.log([r["n_atoms"] for r in large]), np.log([r["processor_ms"] for r in large]), 1
            )[0]
            lines += ["", f"{engine}, from {LARGE_ATOMS} atoms on: time grows as N^{exponent:.2f}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
