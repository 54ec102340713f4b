"""How far each engine is from the eager one in float64, on the test frames of rMD17.

    python -m benchmarks.physics.accuracy --data ../data --output benchmarks/results/accuracy.json

Targets for the fast engines: 1e-3 meV/atom and 1e-2 meV/Å, the largest difference over all frames.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import command_line, machine, write

ENERGY_TARGET = 1e-3  # meV/atom
FORCE_TARGET = 1e-2  # meV/Å
MEV = 1e3


def main() -> None:
    parser = command_line(__doc__, "--output", "--model", "--data")
    parser.add_argument(
        "--frames", default="rmd17:ethanol:01:test", help="known set or file of structures"
    )
    parser.add_argument("--n-frames", type=int, default=1000, help="the first so many frames")
    arguments = parser.parse_args()
    rows = _compare(
        arguments.model, _structures(arguments.frames, arguments.data, arguments.n_frames)
    )
    report = {
        "machine": machine(),
        "model": arguments.model,
        "frames": arguments.frames,
        "n_frames": arguments.n_frames,
        "rows": rows,
    }
    write(report, _table(report), arguments.output)


def _structures(frames: str, data: Path | None, n: int) -> list[Any]:
    from polcalc.engines.base import Structure
    from potentials.datasets import load_frames

    return [
        Structure(
            atomic_numbers=atoms.numbers.astype(np.int64),
            positions=atoms.positions,
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            charge=int(atoms.info.get("charge", 0)),
            multiplicity=int(atoms.info.get("multiplicity", 1)),
            partial_charges=None,
        )
        for atoms, _ in zip(load_frames(frames, data=data), range(n), strict=False)
    ]


def _compare(model: str, structures: list[Any]) -> list[dict[str, Any]]:
    import torch

    from polcalc.engines.base import Unavailable
    from polcalc.engines.selector import ENGINES
    from potentials.checkpoint import load

    device = torch.device("cpu")
    loaded = {dtype: load(model, dtype).potential for dtype in (torch.float64, torch.float32)}
    reference = ENGINES["eager"](loaded[torch.float64], device).evaluate_many(structures)
    rows = []
    for dtype, potential in loaded.items():
        for name, make in ENGINES.items():
            row: dict[str, Any] = {"engine": name, "dtype": str(dtype).removeprefix("torch.")}
            rows.append(row)
            try:
                row |= _differences(make(potential, device).evaluate_many(structures), reference)
            except Unavailable as reason:
                row["unavailable"] = str(reason)
    return rows


def _differences(found: list[Any], reference: list[Any]) -> dict[str, float]:
    energy = np.array(
        [
            MEV * abs(a.energy - b.energy) / len(b.forces)
            for a, b in zip(found, reference, strict=True)
        ]
    )
    forces = np.array(
        [MEV * np.abs(a.forces - b.forces) for a, b in zip(found, reference, strict=True)]
    )
    return {
        "energy_max_meV_per_atom": float(energy.max()),
        "energy_mean_meV_per_atom": float(energy.mean()),
        "forces_max_meV_per_A": float(forces.max()),
        "forces_mean_meV_per_A": float(forces.mean()),
    }


def _table(report: dict[str, Any]) -> str:
    lines = [
        (
            f"Difference from eager float64, {report['model']}, {report['n_frames']} frames of"
            f" {report['frames']}. Targets: {ENERGY_TARGET:.0e} meV/atom, {FORCE_TARGET:.0e} meV/Å."
            f" {json.dumps(report['machine'])}"
        ),
        "",
        (
            "| engine | dtype | energy meV/atom: largest | mean | forces meV/Å: largest | mean |"
            " within the targets |"
        ),
        "|---" * 7 + "|",
    ]
    for r in report["rows"]:
        if "unavailable" in r:
            lines.append(f"| {r['engine']} | {r['dtype']} | – | – | – | – | {r['unavailable']} |")
            continue
        verdict = (
            r["energy_max_meV_per_atom"] <= ENERGY_TARGET
            and r["forces_max_meV_per_A"] <= FORCE_TARGET
        )
        numbers = [r[f"{what}"] for what in r if what.endswith(("_per_atom", "_per_A"))]
        lines.append(
            f"| {r['engine']} | {r['dtype']} | "
            + " | ".join(f"{x:.2g}" for x in numbers)
            + f" | {'yes' if verdict else 'no'} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
