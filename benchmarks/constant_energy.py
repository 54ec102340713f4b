"""How well constant-energy dynamics conserves energy: the order of the integrator, and the drift of every precision.

    python benchmarks/constant_energy.py --output benchmarks/results/constant_energy.json

Ethanol at 300 K, from two points of thermostatted runs. The energy of velocity Verlet fluctuates with the square of the time
step, if forces are the derivative of the energy; the slope of log(fluctuation) over log(time step) says so. The drift is the slope
of the total energy over 100 ps of 0.5 fs steps: network in float32 and everything else in float64 (`--dtype float32`), all in
float64, and everything in float32, which is not offered and here to see why: positions, momenta, forces and energy are rounded at
every step.

Stopped, the command goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet

sys.path.insert(0, str(Path(__file__).parent))
from polcalc import PolarizedCalculator
from kept_runs import RUNS, complete

TEMPERATURE_K = 300
TIMESTEPS_FS = (0.1, 0.2, 0.4, 0.6, 0.8)
ORDER_PS, DRIFT_PS, DRIFT_STEP_FS = 5.0, 100.0, 0.5
LOG_FS = 5.0  # between the energies of a drift
DRIFT_STARTS = 1


class Energies(NamedTuple):
    """Total energy of a run over time."""

    time_ps: np.ndarray
    energy_eV: np.ndarray


class Rounded(Calculator):
    """A calculator whose results have been through float32."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, inner: PolarizedCalculator) -> None:
        super().__init__()
        self.inner = inner

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": _single(self.inner.get_potential_energy(atoms)), "forces": _single(self.inner.get_forces(atoms))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=2, help="points of the thermostatted runs to start from")
    parser.add_argument("--runs", type=Path, default=RUNS / "constant-energy", help="where the runs are kept")
    parser.add_argument("--output", type=Path, help="JSON with all numbers; the table is written beside it as .md")
    arguments = parser.parse_args()
    starts = [_start(arguments.runs, n) for n in range(arguments.starts)]
    order = {step: [_order_run(arguments.runs, n, atoms, step) for n, atoms in enumerate(starts)] for step in TIMESTEPS_FS}
    drift = {
        precision: [_drift_run(arguments.runs, n, atoms, precision) for n, atoms in enumerate(starts[:DRIFT_STARTS])]
        for precision in ("float64", "mixed", "float32")
    }


def _start(where: Path, seed: int) -> Atoms:
    directory = complete(
        where / f"start-{seed}", thermostat="bussi", temperature_K=TEMPERATURE_K, steps=10_000, seed=seed, relax_first=True
    )
    return ase.io.read(directory / "final.extxyz")


def _order_run(where: Path, number: int, atoms: Atoms, timestep_fs: float) -> Energies:
    directory = complete(
        where / f"order-{number}-{timestep_fs}fs",
        atoms,
        ensemble="nve",
        velocities="structure",
        dtype="float64",
        timestep_fs=timestep_fs,
        steps=round(1000 * ORDER_PS / timestep_fs),
        log_every=1,
        trajectory_every=1000,
    )
    return _energies(directory)


def _drift_run(where: Path, number: int, atoms: Atoms, precision: str) -> Energies:
    directory, steps = where / f"drift-{number}-{precision}", round(1000 * DRIFT_PS / DRIFT_STEP_FS)
    log_every = round(LOG_FS / DRIFT_STEP_FS)
    if precision == "float32":
        return _single_run(directory.with_suffix(".npz"), atoms, steps, log_every)
    dtype = {"mixed": "float32", "float64": "float64"}[precision]
    options = {"ensemble": "nve", "velocities": "structure", "dtype": dtype, "timestep_fs": DRIFT_STEP_FS}
    return _energies(complete(directory, atoms, **options, steps=steps, log_every=log_every, trajectory_every=1000))


def _single_run(path: Path, atoms: Atoms, steps: int, log_every: int) -> Energies:
    """Run in float32 from end to end: what the calculator says, and what the integrator remembers, is rounded at every step."""
    if not path.is_file():
        atoms = atoms.copy()
        atoms.calc = Rounded(PolarizedCalculator("ethanol-rmd17", device="cpu", dtype="float32"))
        dynamics = VelocityVerlet(atoms, timestep=DRIFT_STEP_FS * units.fs)
        energies: list[float] = []

        def look() -> None:
            atoms.arrays["positions"], atoms.arrays["momenta"] = _single(atoms.arrays["positions"]), _single(atoms.arrays["momenta"])
            if dynamics.nsteps % log_every == 0:
                energies.append(_single(atoms.get_potential_energy() + atoms.get_kinetic_energy()))

        dynamics.attach(look)
        dynamics.run(steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, time_ps=np.arange(len(energies)) * LOG_FS / 1000, energy_eV=energies)
        print(path, flush=True)
    with np.load(path) as found:
        return Energies(found["time_ps"], found["energy_eV"])


def _energies(directory: Path) -> Energies:
    rows = np.genfromtxt(directory / "log.csv", delimiter=",", names=True)
    return Energies(rows["time_ps"], rows["total_energy_eV"])


def _single(values: Any) -> Any:
    return np.asarray(values, dtype=np.float32).astype(np.float64)[()]


if __name__ == "__main__":
    main()
