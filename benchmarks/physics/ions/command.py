"""Size consistency, ion pairs, zwitterions and salts: models of choice beside others.

    python -m benchmarks.physics.ions --model organic --output benchmarks/results/ions.json

`--model AIMNet2` asks the teacher, whose shares of the charge go by f²; `--beside` puts the numbers
of an earlier report into the tables. Molecules far apart must have the sum of their energies and
the Coulomb energy of the charges that each has alone; ions keep ±1 e; from 8 Å on ion pairs have
the Coulomb energy of the two; forces on every path change without a jump.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import command_line, machine, write
from benchmarks.physics.ions import apart, crowds, paths
from benchmarks.physics.ions.contestants import Contestant, contestants
from benchmarks.physics.ions.tables import text

PARTS = {
    "apart": apart.measure,
    "pairs": paths.measure_pairs,
    "handovers": paths.measure_handovers,
    "crowds": crowds.measure,
    "boxes": crowds.measure_boxes,
}


def main(given: Sequence[str] | None = None) -> None:
    """Ask every contestant; the report grows with each."""
    parser = command_line(__doc__, "--output")
    parser.add_argument("--model", action="append", help="name, file, or AIMNet2; repeatable")
    parser.add_argument("--beside", action="append", type=Path, default=[], help="earlier JSON")
    arguments = parser.parse_args(given)
    found: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for path in arguments.beside:
        others |= json.loads(path.read_text())["contestants"]
    for contestant in contestants(arguments.model or ["organic"]):
        found[contestant.name] = measure(contestant)
        report = {"machine": machine(), "contestants": found | others}
        write(report, text(report), arguments.output)


def measure(contestant: Contestant) -> dict[str, Any]:
    """Ask one contestant for everything."""
    start = time.perf_counter()
    found = {name: part(contestant) for name, part in PARTS.items()}
    print(f"{contestant.name}: {time.perf_counter() - start:.0f} s", flush=True)
    return found
