"""Energy drift of constant-energy dynamics.

Ethanol from 300 K, steps of 0.5 fs, the same start for every engine and length.

    python -m benchmarks.physics.drift --length-ps 50 --output benchmarks/results/drift.json

The drift is the slope of the total energy over time; its error comes from means over blocks longer
than any vibration. Target: the native engine drifts no more than 0.01 meV/atom/ps above eager
float64.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from ase import units
from ase.optimize import BFGS

from benchmarks.measure import command_line, in_own_process, machine, write
from benchmarks.systems import ethanol

RUNS = (("native", "float32"), ("native", "float64"), ("eager", "float64"))
REFERENCE = ("eager", "float64")
TARGET = 0.01  # meV/atom/ps
TIMESTEP_FS = 0.5
TEMPERATURE_K = 300.0
BLOCKS = 20
MEV = 1e3


def main() -> None:
    parser = command_line(__doc__, "--output", "--model")
    parser.add_argument(
        "--length-ps",
        type=float,
        default=10.0,
        help="of every run; eager takes half a minute per ps",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the velocities")
    arguments = parser.parse_args()
    options = {"model": arguments.model, "length_ps": arguments.length_ps, "seed": arguments.seed}
    rows = [
        in_own_process(_worker, options | {"engine": engine, "dtype": dtype}, threads=1)
        for engine, dtype in RUNS
    ]
    report = {"machine": machine(), **options, "rows": rows}
    write(report, _table(report), arguments.output)


def _worker(model: str, length_ps: float, seed: int, engine: str, dtype: str) -> dict[str, Any]:
    import torch
    from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
    from ase.md.verlet import VelocityVerlet

    from polcalc import PolarizedCalculator

    torch.set_num_threads(1)
    atoms = ethanol()
    atoms.calc = PolarizedCalculator(model, device="cpu", dtype="float64", engine="eager")
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=100)
    thermalize_momenta(atoms, temperature_K=TEMPERATURE_K, rng=np.random.default_rng(seed))
    Stationary(atoms)
    ZeroRotation(atoms)
    atoms.calc = PolarizedCalculator(model, device="cpu", dtype=dtype, engine=engine)
    dynamics = VelocityVerlet(atoms, timestep=TIMESTEP_FS * units.fs)
    energies: list[float] = []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    start = time.perf_counter()
    dynamics.run(round(1000 * length_ps / TIMESTEP_FS))
    seconds = time.perf_counter() - start
    drift, error = _drift(MEV * np.array(energies) / len(atoms))
    return {
        "engine": engine,
        "dtype": dtype,
        "drift_meV_per_atom_per_ps": drift,
        "error_meV_per_atom_per_ps": error,
        "fluctuation_meV_per_atom": float(MEV * np.std(energies) / len(atoms)),
        "seconds": seconds,
        "ms_per_step": 1e3 * seconds / len(energies),
        "ns_per_day": 86.4 * length_ps / seconds,
    }


def _drift(energies: np.ndarray) -> tuple[float, float]:
    """Slope per ps of a line through block means, and its standard error."""
    n = len(energies) // BLOCKS
    means = energies[: n * BLOCKS].reshape(BLOCKS, n).mean(axis=1)
    times = (np.arange(BLOCKS) + 0.5) * n * TIMESTEP_FS / 1000
    offset = times - times.mean()
    slope = offset @ means / (offset @ offset)
    residuals = means - means.mean() - slope * offset
    return float(slope), float(np.sqrt(residuals @ residuals / (BLOCKS - 2) / (offset @ offset)))


def _table(report: dict[str, Any]) -> str:
    rows = {(r["engine"], r["dtype"]): r for r in report["rows"]}
    reference = abs(rows[REFERENCE]["drift_meV_per_atom_per_ps"])
    lines = [
        (
            f"Constant energy, ethanol ({report['model']}), {TEMPERATURE_K:.0f} K at the start,"
            f" {report['length_ps']:g} ps in steps of {TIMESTEP_FS} fs. Target: at most {TARGET}"
            f" meV/atom/ps above eager float64. {json.dumps(report['machine'])}"
        ),
        "",
        (
            "| engine | dtype | drift meV/atom/ps | above eager float64 | fluctuation meV/atom | ms"
            " per step | ns/day |"
        ),
        "|---" * 7 + "|",
    ]
    for (engine, dtype), r in rows.items():
        drift, error = r["drift_meV_per_atom_per_ps"], r["error_meV_per_atom_per_ps"]
        cells = [
            f"{drift:.5f} ± {error:.5f}",
            f"{abs(drift) - reference:.5f}",
            f"{r['fluctuation_meV_per_atom']:.4f}",
        ]
        lines.append(
            f"| {engine} | {dtype} | "
            + " | ".join(cells)
            + f" | {r['ms_per_step']:.3f} | {r['ns_per_day']:.3g} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
