"""How well constant-energy dynamics conserves energy.

The order of the integrator, and the drift of every precision.

    python -m benchmarks.physics.constant_energy --output benchmarks/results/constant_energy.json

Ethanol at 300 K, from the ends of four thermostatted runs. The energy of velocity Verlet fluctuates
with the square of the time step, if forces are the derivative of the energy; the slope of
log(fluctuation) over log(time step) says so. It is taken from the first 0.5 ps, in which runs with
different time steps stay together; later each has its own history of stretches excited more or
less, and fluctuations that differ for that reason. The drift is the slope of the total energy over
100 ps of 0.5 fs steps, from one start: network in float32 and everything else in float64 (`--dtype
float32`), all in float64, and everything in float32, which is not offered: positions, momenta,
forces and energy are rounded at every step.

Stopped, the command goes on where it was.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import ase.io
import matplotlib
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet
from matplotlib.figure import Figure

from benchmarks.dynamics import RUNS, complete
from benchmarks.measure import command_line, machine, write
from md_runs.analysis.section import COLOURS, STYLE
from md_runs.analysis.series import blocks_of, fit_drift
from md_runs.analysis.statistics import Mean, fit_line
from polcalc import PolarizedCalculator

TEMPERATURE_K = 300
TIMESTEPS_FS = (0.1, 0.2, 0.4, 0.6, 0.8)
ORDER_PS, DRIFT_PS, DRIFT_STEP_FS = 0.5, 100.0, 0.5
LOG_FS = 5.0  # between the energies of a drift
DRIFT_STARTS = 1
PRECISIONS = {
    "float64": "float64",
    "mixed": "network in float32, the rest in float64 (`--dtype float32`)",
    "float32": "float32 throughout (not offered)",
}
N_ATOMS, MEV = 9, 1000.0


class Energies(NamedTuple):
    """Total energy of a run over time."""

    time_ps: np.ndarray
    energy_eV: np.ndarray


class Rounded(Calculator):
    """A calculator whose results have been through float32."""

    implemented_properties: ClassVar = ["energy", "forces"]

    def __init__(self, inner: PolarizedCalculator) -> None:
        super().__init__()
        self.inner = inner

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": _single(self.inner.get_potential_energy(atoms)),
            "forces": _single(self.inner.get_forces(atoms)),
        }


def main() -> None:
    parser = command_line(__doc__, "--output", "--figure")
    parser.add_argument(
        "--starts", type=int, default=4, help="points of the thermostatted runs to start from"
    )
    parser.add_argument(
        "--runs", type=Path, default=RUNS / "constant-energy", help="where the runs are kept"
    )
    arguments = parser.parse_args()
    starts = [_start(arguments.runs, n) for n in range(arguments.starts)]
    fluctuations = [
        [_fluctuation(_order_run(arguments.runs, n, atoms, step)) for step in TIMESTEPS_FS]
        for n, atoms in enumerate(starts)
    ]
    drifts = {
        p: [
            _drift(_drift_run(arguments.runs, n, atoms, p))
            for n, atoms in enumerate(starts[:DRIFT_STARTS])
        ]
        for p in PRECISIONS
    }
    exponents = np.array(
        [fit_line(np.log(TIMESTEPS_FS), np.log(row)).slope for row in fluctuations]
    )
    report = {
        "machine": machine(),
        "timesteps_fs": TIMESTEPS_FS,
        "fluctuation_meV_per_atom": fluctuations,
        "exponents": exponents.tolist(),
        "exponent": float(exponents.mean()),
        "drift_meV_per_atom_per_ps": {
            p: [drift.value for drift in found] for p, found in drifts.items()
        },
        "drift_error_meV_per_atom_per_ps": {
            p: [drift.error for drift in found] for p, found in drifts.items()
        },
    }
    write(report, _table(report), arguments.output)
    if arguments.figure:
        _draw(
            report,
            [_drift_run(arguments.runs, 0, starts[0], p) for p in PRECISIONS],
            arguments.figure,
        )


def _fluctuation(run: Energies) -> float:
    """Root mean square of the total energy around a straight line: meV/atom."""
    return fit_line(run.time_ps, MEV / N_ATOMS * run.energy_eV).residual


def _drift(run: Energies) -> Mean:
    return fit_drift(run.time_ps, MEV / N_ATOMS * run.energy_eV)


def _start(where: Path, seed: int) -> Atoms:
    directory = complete(
        where / f"start-{seed}",
        thermostat="bussi",
        temperature_K=TEMPERATURE_K,
        steps=10_000,
        seed=seed,
        relax_first=True,
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
    run = _energies(directory)
    return Energies(*(column[run.time_ps <= ORDER_PS] for column in run))


def _drift_run(where: Path, number: int, atoms: Atoms, precision: str) -> Energies:
    directory, steps = where / f"drift-{number}-{precision}", round(1000 * DRIFT_PS / DRIFT_STEP_FS)
    log_every = round(LOG_FS / DRIFT_STEP_FS)
    if precision == "float32":
        return _single_run(directory.with_suffix(".npz"), atoms, steps, log_every)
    dtype = {"mixed": "float32", "float64": "float64"}[precision]
    options = {
        "ensemble": "nve",
        "velocities": "structure",
        "dtype": dtype,
        "timestep_fs": DRIFT_STEP_FS,
    }
    return _energies(
        complete(
            directory, atoms, **options, steps=steps, log_every=log_every, trajectory_every=1000
        )
    )


def _single_run(path: Path, atoms: Atoms, steps: int, log_every: int) -> Energies:
    """Run in float32 from end to end.

    What the calculator says, and what the integrator remembers, is rounded at every step.
    """
    if not path.is_file():
        atoms = atoms.copy()
        atoms.calc = Rounded(PolarizedCalculator("ethanol-rmd17", device="cpu", dtype="float32"))
        dynamics = VelocityVerlet(atoms, timestep=DRIFT_STEP_FS * units.fs)
        energies: list[float] = []

        def look() -> None:
            atoms.arrays["positions"], atoms.arrays["momenta"] = (
                _single(atoms.arrays["positions"]),
                _single(atoms.arrays["momenta"]),
            )
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


def _table(report: dict[str, Any]) -> str:
    steps = report["timesteps_fs"]
    lines = [
        (
            f"Constant energy, ethanol (ethanol-rmd17), {TEMPERATURE_K} K."
            f" {json.dumps(report['machine'])}"
        ),
        "",
        (
            f"Fluctuation of the total energy in {ORDER_PS:g} ps, meV/atom, float64; exponent of"
            " the time step:"
        ),
        "",
        "| start | " + " | ".join(f"{step} fs" for step in steps) + " | exponent |",
        "|---" * (len(steps) + 2) + "|",
    ]
    for number, (row, exponent) in enumerate(
        zip(report["fluctuation_meV_per_atom"], report["exponents"], strict=True)
    ):
        lines.append(
            f"| {number} | " + " | ".join(f"{value:.5f}" for value in row) + f" | {exponent:.3f} |"
        )
    lines += [
        "",
        f"Drift of the total energy in {DRIFT_PS:g} ps, steps of {DRIFT_STEP_FS} fs:",
        "",
        "| precision | meV/atom/ps |",
        "|---|---|",
    ]
    for precision, name in PRECISIONS.items():
        values = zip(
            report["drift_meV_per_atom_per_ps"][precision],
            report["drift_error_meV_per_atom_per_ps"][precision],
            strict=True,
        )
        lines.append(
            f"| {name} | "
            + "; ".join(f"{value:+.1e} ± {error:.0e}" for value, error in values)
            + " |"
        )
    return "\n".join(lines) + "\n"


def _draw(report: dict[str, Any], runs: list[Energies], path: Path) -> None:
    steps = np.array(report["timesteps_fs"])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.8))
        left, right = figure.subplots(1, 2)
        for number, row in enumerate(report["fluctuation_meV_per_atom"]):
            left.loglog(steps, row, "o", color=COLOURS[number], ms=4, label=f"start {number}")
        line = np.exp(np.mean(np.log(report["fluctuation_meV_per_atom"]) - 2 * np.log(steps)))
        left.loglog(steps, line * steps**2, color="black", lw=0.8, label="∝ (time step)²")
        left.set_xticks(steps, [f"{step:g}" for step in steps])
        left.minorticks_off()
        left.set_xlabel("time step (fs)")
        left.set_ylabel("energy fluctuation (meV/atom)")
        left.legend()
        labels = ("float64", "network float32, rest float64", "float32 throughout")[: len(runs)]
        for number, (run, label) in reversed(list(enumerate(zip(runs, labels, strict=True)))):
            # of a picosecond: what fluctuates faster is no drift
            blocks = blocks_of(len(run.energy_eV), round(DRIFT_PS))
            means = MEV / N_ATOMS * np.array([run.energy_eV[block].mean() for block in blocks])
            moments = [run.time_ps[block].mean() for block in blocks]
            right.plot(moments, means - means[0], color=COLOURS[number], label=label)
        right.set_xlabel("time (ps)")
        right.set_ylabel("mean of 1 ps − start (meV/atom)")
        low, high = right.get_ylim()
        right.set_ylim(low - 0.45 * (high - low), high)  # room for the legend
        right.legend(loc="lower left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)


def _single(values: Any) -> Any:
    return np.asarray(values, dtype=np.float32).astype(np.float64)[()]


if __name__ == "__main__":
    main()
