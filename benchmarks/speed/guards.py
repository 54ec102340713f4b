"""What the live checks of a run cost, against the step they look at.

Ethanol and cubes of it, velocity Verlet, one thread.

    python -m benchmarks.speed.guards --output benchmarks/results/guards.json

Processor time, medians over many steps of a run as `polcalc md` does it, each check timed on its
own. Target: 2 % of a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ase import units
from ase.md.verlet import VelocityVerlet

from benchmarks.measure import command_line, machine, write
from benchmarks.systems import ethanol
from md_runs.dynamics.guards import EVERY, Guards
from md_runs.dynamics.momenta import start_thermal
from polcalc import PolarizedCalculator

SPACING_A = 6.0


def measure(n_molecules: int, model: str, steps: int) -> dict[str, Any]:
    one = ethanol()
    atoms = one.copy()
    side = round(n_molecules ** (1 / 3))
    for n in range(1, n_molecules):
        moved = one.copy()
        moved.translate(SPACING_A * np.array([n % side, n // side % side, n // side**2]))
        atoms += moved
    atoms.calc = PolarizedCalculator(model, dtype="float32")
    start_thermal(atoms, 300, np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    dynamics.run(20)
    guards = Guards(atoms, 3 * len(atoms) - 6, 300.0, atoms.calc.model.card, 50, bonds=True)
    works: dict[str, Callable[[], Any]] = {
        "step": lambda: (dynamics.step(), atoms.get_forces()),
        "clock": lambda: None,  # what reading the clock twice takes
        "look": lambda: guards.look(0),
        "inspect": lambda: guards.inspect(0, 0.0),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(steps):
        for name, work in works.items():
            began = time.process_time()
            work()
            times[name].append(1e6 * (time.process_time() - began))
    clock = float(np.median(times.pop("clock")))
    found = {f"{name}_us": float(np.median(values)) - clock for name, values in times.items()}
    percent = 100 * (found["look_us"] + found["inspect_us"] / EVERY) / found["step_us"]
    return {
        "atoms": len(atoms),
        "engine": atoms.calc.engine.name,
        **found,
        "percent_of_a_step": percent,
    }


def main() -> None:
    parser = command_line(__doc__, "--output", "--model")
    parser.add_argument("--steps", type=int, default=1000)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(n, chosen.model, chosen.steps // n) for n in (1, 8, 27)]
    table = (
        f"| atoms | engine | step (µs) | every step (µs) | every {EVERY} steps (µs) | % of a step"
        " |\n|---|---|---|---|---|---|\n"
    )
    for r in rows:
        cells = (f"{r[name]:.1f}" for name in ("step_us", "look_us", "inspect_us"))
        table += (
            f"| {r['atoms']} | {r['engine']} | {' | '.join(cells)} |"
            f" {r['percent_of_a_step']:.2f} |\n"
        )
    write(
        {"machine": machine(), "model": chosen.model, "steps": chosen.steps, "rows": rows},
        table,
        chosen.output,
    )


if __name__ == "__main__":
    main()
