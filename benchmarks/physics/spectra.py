"""The vibrational density of states of ethanol beside its harmonic modes.

    python -m benchmarks.physics.spectra --output benchmarks/results/spectra.json

Constant-energy runs from the relaxed molecule, at a mean of 30 K, where motion is nearly harmonic,
and at 300 K. Modes: finite differences of the forces in float64. A peak at 30 K should stand where
a mode is; at 300 K the stretches are lower, because bonds are anharmonic.

Stopped, the command goes on where it was.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.optimize import BFGS
from matplotlib.figure import Figure

from benchmarks.dynamics import RUNS, complete
from benchmarks.measure import command_line, machine, write
from md_runs.analysis.motion import PER_CM, vibrational_density
from md_runs.analysis.runs import read_runs
from md_runs.analysis.section import COLOURS, STYLE
from polcalc import PolarizedCalculator

TEMPERATURES_K = (30, 300)
RESOLUTION_PER_CM = 4.0
DISPLACED_A = 0.005


def main() -> None:
    parser = command_line(__doc__, "--output", "--figure")
    parser.add_argument(
        "--length-ps",
        type=float,
        default=10.0,
        help="of every run; longer than before prolongs what is there",
    )
    parser.add_argument("--seeds", type=int, default=2, help="runs at each temperature")
    parser.add_argument(
        "--runs", type=Path, default=RUNS / "spectra", help="where the runs are kept"
    )
    arguments = parser.parse_args()
    runs = {
        t: [_run(arguments.runs, t, seed, arguments.length_ps) for seed in range(arguments.seeds)]
        for t in TEMPERATURES_K
    }
    atoms = molecule("CH3CH2OH")
    atoms.calc = PolarizedCalculator("ethanol-rmd17", device="cpu", dtype="float64")
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=500)
    modes = normal_modes(atoms)
    spectra = {t: _spectrum(directories) for t, directories in runs.items()}
    peaks = {
        str(t): [_nearest_peak(*spectrum, mode) for mode in modes]
        for t, spectrum in spectra.items()
    }
    report = {"machine": machine(), "modes_per_cm": modes.tolist(), "peaks_per_cm": peaks}
    write(report, _table(report), arguments.output)
    if arguments.figure:
        _draw(modes, spectra, arguments.figure)


def normal_modes(atoms: Atoms) -> np.ndarray:
    """Wavenumbers (3N - 6,) of a relaxed molecule in 1/cm, by differences of its forces."""
    size = 3 * len(atoms)
    hessian = np.zeros((size, size))
    for n in range(size):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions.flat[n] += sign * DISPLACED_A
            hessian[n] -= sign * moved.get_forces().ravel() / (2 * DISPLACED_A)
    root = np.sqrt(np.repeat(atoms.get_masses(), 3))
    squares = np.linalg.eigvalsh((hessian + hessian.T) / 2 / np.outer(root, root))[6:]
    return np.sqrt(squares) / (2 * np.pi) * units.fs * PER_CM


def _spectrum(directories: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Density of states, averaged over runs: wavenumbers and modes per wavenumber."""
    found = []
    for run in (read_runs([directory], 1.0, 1)[0] for directory in directories):
        masses, trajectory = run.atoms.get_masses(), run.trajectory
        spectrum = vibrational_density(
            trajectory.velocities,
            masses,
            trajectory.interval_fs,
            run.degrees_of_freedom,
            RESOLUTION_PER_CM,
        )
        found.append(spectrum.density.sum(axis=1))
    return spectrum.wavenumber, np.mean(found, axis=0)


def _nearest_peak(wavenumber: np.ndarray, density: np.ndarray, mode: float) -> float:
    """Find the local maximum nearest to a mode, of those higher than a hundredth of the highest."""
    inner = density[1:-1]
    top = (inner > density[:-2]) & (inner > density[2:]) & (inner > 0.01 * density.max())
    places = wavenumber[1:-1][top]
    return float(places[np.abs(places - mode).argmin()])


def _table(report: dict[str, Any]) -> str:
    lines = [
        (
            "Ethanol (ethanol-rmd17): harmonic modes and the nearest peaks of the density of"
            f" states, 1/cm, resolution {RESOLUTION_PER_CM:g}. {json.dumps(report['machine'])}"
        ),
        "",
        "| mode | " + " | ".join(f"peak at {t} K" for t in report["peaks_per_cm"]) + " |",
        "|---" * (1 + len(report["peaks_per_cm"])) + "|",
    ]
    for row in zip(report["modes_per_cm"], *report["peaks_per_cm"].values(), strict=True):
        lines.append("| " + " | ".join(f"{value:.0f}" for value in row) + " |")
    return "\n".join(lines) + "\n"


def _draw(modes: np.ndarray, spectra: dict[int, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.6))
        axes = figure.subplots(len(spectra), 1, sharex=True)
        for number, (ax, (temperature, (wavenumber, density))) in enumerate(
            zip(axes, spectra.items(), strict=True)
        ):
            ax.vlines(modes, 0, 1.05 * density.max(), color="0.75", lw=0.8, label="harmonic modes")
            ax.plot(
                wavenumber,
                density,
                color=COLOURS[number],
                lw=1,
                label=f"density of states, {temperature} K",
            )
            ax.set_xlim(0, 4000)
            ax.set_ylim(0, 1.05 * density.max())
            ax.set_ylabel("modes per cm⁻¹")
            ax.legend(loc="upper center", bbox_to_anchor=(0.54, 1))
        axes[-1].set_xlabel("wavenumber (cm⁻¹)")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)


def _run(where: Path, temperature_K: int, seed: int, length_ps: float) -> Path:
    return complete(
        where / f"{temperature_K}K-seed-{seed}",
        ensemble="nve",
        temperature_K=2 * temperature_K,  # half of it becomes potential energy
        relax_first=True,
        timestep_fs=0.25,
        steps=round(length_ps * 4000),
        seed=seed,
        trajectory_every=8,
        log_every=20,
        checkpoint_every=20_000,
    )


if __name__ == "__main__":
    main()
