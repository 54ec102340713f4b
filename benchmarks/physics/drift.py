"""Energy drift of constant-energy dynamics.

Ethanol from 300 K, steps of 0.5 fs, the same start for every engine and length; of a model that
knows ions, ion pairs and 64 periodic waters as well, by the native engine alone.

    python -m benchmarks.physics.drift --length-ps 50 --output benchmarks/results/drift.json
    python -m benchmarks.physics.drift --model organic --length-ps 20 --engine native
        --system ethanol --system "ion pair" --system "proton in a pair"
        --system "64 waters, periodic" --output benchmarks/results/drift-organic.json

The drift is the slope of the total energy over time; its error comes from means over blocks longer
than any vibration.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.optimize import BFGS

from benchmarks.measure import command_line, in_own_process, machine, write
from benchmarks.systems import ethanol

RUNS = {  # engines and precisions of each system
    "ethanol": (("native", "float32"), ("native", "float64"), ("eager", "float64")),
    "ion pair": (("native", "float32"),),
    "proton in a pair": (("native", "float32"),),
    "64 waters, periodic": (("native", "float32"),),
}
N_WATERS = 64
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
    parser.add_argument("--system", action="append", choices=list(RUNS), help="repeatable")
    parser.add_argument("--engine", choices=["native", "eager"], help="of the runs; else all")
    arguments = parser.parse_args()
    options = {"model": arguments.model, "length_ps": arguments.length_ps, "seed": arguments.seed}
    rows: list[dict[str, Any]] = []
    for system in arguments.system or ["ethanol"]:
        for engine, dtype in RUNS[system]:
            if arguments.engine not in (None, engine):
                continue
            task = options | {"system": system, "engine": engine, "dtype": dtype}
            rows.append({"system": system, **in_own_process(_worker, task, threads=1)})
            report = {"machine": machine(), **options, "rows": rows}
            write(report, _table(report), arguments.output)


def _worker(
    model: str, length_ps: float, seed: int, system: str, engine: str, dtype: str
) -> dict[str, Any]:
    import torch
    from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
    from ase.md.verlet import VelocityVerlet

    from polcalc import PolarizedCalculator

    torch.set_num_threads(1)
    atoms = STARTS[system]()
    preparing = "eager" if system == "ethanol" else "native"
    atoms.calc = PolarizedCalculator(model, device="cpu", dtype="float64", engine=preparing)
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=100)
    thermalize_momenta(atoms, temperature_K=TEMPERATURE_K, rng=np.random.default_rng(seed))
    Stationary(atoms)
    if not atoms.pbc.any():
        ZeroRotation(atoms)
    atoms.calc = PolarizedCalculator(model, device="cpu", dtype=dtype, engine=engine)
    dynamics = VelocityVerlet(atoms, timestep=TIMESTEP_FS * units.fs)
    energies: list[float] = []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    atoms.get_forces()  # compiled and compared with the eager engine
    start = time.perf_counter()
    dynamics.run(round(1000 * length_ps / TIMESTEP_FS))
    seconds = time.perf_counter() - start
    drift, error = _drift(MEV * np.array(energies) / len(atoms))
    return {
        "engine": engine,
        "dtype": dtype,
        "n_atoms": len(atoms),
        "final_K": float(atoms.get_temperature()),
        "drift_meV_per_atom_per_ps": drift,
        "error_meV_per_atom_per_ps": error,
        "fluctuation_meV_per_atom": float(MEV * np.std(energies) / len(atoms)),
        "seconds": seconds,
        "ms_per_step": 1e3 * seconds / len(energies),
        "ns_per_day": 86.4 * length_ps / seconds,
    }


def _ion_pair() -> Atoms:
    """Tetramethylammonium and chloride."""
    from benchmarks.physics.ions.molecules import apart, joined, molecule

    return joined(apart([molecule("C[N+](C)(C)C"), molecule("[Cl-]")], 2.5))


def _shared_proton() -> Atoms:
    """Ammonium and acetate, which hand a proton to and fro."""
    from benchmarks.physics.ions.molecules import facing, joined, molecule

    return joined(facing(molecule("[NH4+]"), molecule("CC(=O)[O-]"), "O", 1.7))


def _water() -> Atoms:
    from benchmarks.speed.far import waters

    atoms = waters(N_WATERS)
    atoms.pbc = True
    return atoms


STARTS: dict[str, Callable[[], Atoms]] = {
    "ethanol": ethanol,
    "ion pair": _ion_pair,
    "proton in a pair": _shared_proton,
    "64 waters, periodic": _water,
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
    lines = [
        (
            f"Constant energy ({report['model']}), {TEMPERATURE_K:.0f} K at the start,"
            f" {report['length_ps']:g} ps in steps of {TIMESTEP_FS} fs. Target: at most {TARGET}"
            f" meV/atom/ps. {json.dumps(report['machine'])}"
        ),
        "",
        (
            "| system | engine | dtype | drift meV/atom/ps | fluctuation meV/atom | K at the end |"
            " ms per step | ns/day |"
        ),
        "|---" * 8 + "|",
    ]
    for r in report["rows"]:
        drift, error = r["drift_meV_per_atom_per_ps"], r["error_meV_per_atom_per_ps"]
        lines.append(
            f"| {r['system']} | {r['engine']} | {r['dtype']} | {drift:+.5f} ± {error:.5f} |"
            f" {r['fluctuation_meV_per_atom']:.4f} | {r['final_K']:.0f} | {r['ms_per_step']:.3f} |"
            f" {r['ns_per_day']:.3g} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
