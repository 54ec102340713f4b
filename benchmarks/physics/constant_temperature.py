"""Whether the thermostats sample the canonical ensemble.

Kinetic energy against theory, potential energy at two temperatures.

    python -m benchmarks.physics.constant_temperature
        --output benchmarks/results/constant_temperature.json

Ethanol, runs of 0.5 fs steps for every thermostat, at two temperatures. Kinetic energies must
follow a gamma distribution of half the degrees of freedom and scale kT, whatever the potential.
Potential energies must be proportional to exp(-U/kT) times a density of states that is the same at
both temperatures: the logarithm of the ratio of their histograms is a straight line of slope 1/kT1
- 1/kT2 (Shirts, J. Chem. Theory Comput. 9, 909 (2013)). All p-values count only as many samples as
are independent.

Stopped, the command goes on where it was.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from ase.build import molecule
from ase.optimize import BFGS
from matplotlib.figure import Figure

from benchmarks.dynamics import RUNS, complete
from benchmarks.measure import command_line, machine, write
from benchmarks.physics.spectra import normal_modes
from md_runs.analysis.canonical import kinetic_density, kinetic_test, log_ratio, slope_test
from md_runs.analysis.motion import PER_CM
from md_runs.analysis.runs import Run, read_runs
from md_runs.analysis.section import COLOURS, STYLE
from md_runs.analysis.statistics import Mean
from polcalc import PolarizedCalculator

THERMOSTATS = ("langevin", "bussi", "nose-hoover")
TEMPERATURES_K = (300, 400)
SKIP_PS = 5.0


def main() -> None:
    parser = command_line(__doc__, "--output", "--figure")
    parser.add_argument(
        "--length-ps",
        type=float,
        default=40.0,
        help="of every run; longer than before prolongs what is there",
    )
    parser.add_argument("--timestep-fs", type=float, default=0.5)
    parser.add_argument(
        "--runs", type=Path, default=RUNS / "constant-temperature", help="where the runs are kept"
    )
    arguments = parser.parse_args()
    runs = {
        (thermostat, temperature): _run(
            arguments.runs, thermostat, temperature, arguments.length_ps, arguments.timestep_fs
        )
        for thermostat in THERMOSTATS
        for temperature in TEMPERATURES_K
    }
    found = {key: read_runs([directory], SKIP_PS, 1)[0] for key, directory in runs.items()}
    kinetic = {
        key: kinetic_test(run.sampled("kinetic_energy_eV"), run.degrees_of_freedom, key[1])
        for key, run in found.items()
    }
    slopes = {
        t: slope_test(
            *(found[t, T].sampled("potential_energy_eV") for T in TEMPERATURES_K), *TEMPERATURES_K
        )
        for t in THERMOSTATS
    }
    report = {
        "machine": machine(),
        "length_ps": arguments.length_ps,
        "timestep_fs": arguments.timestep_fs,
        "kinetic": [
            {"thermostat": t, "temperature_K": temperature, **_fields(test)}
            for (t, temperature), test in kinetic.items()
        ],
        "langevin_kinetic_energy_over_theory": _discretisation(arguments.timestep_fs),
        "potential": [{"thermostat": t, **_fields(test)} for t, test in slopes.items()],
    }
    write(report, _table(report), arguments.output)
    if arguments.figure:
        _draw(found, arguments.figure)


def _fields(test: Any) -> dict[str, Any]:
    """Name the fields of a result; a mean becomes value and error."""
    return {
        name: list(value) if isinstance(value, Mean) else value
        for name, value in test._asdict().items()
    }


def _discretisation(timestep_fs: float) -> float:
    """What a finite time step does to the kinetic energy of harmonic modes in Langevin dynamics.

    A mode of frequency w has exact positions, and <p^2> is smaller by (w dt)^2 / 4 at whole steps:
    Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013).
    """
    atoms = molecule("CH3CH2OH")
    atoms.calc = PolarizedCalculator("ethanol-rmd17", device="cpu", dtype="float64")
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=500)
    phase = 2 * np.pi * normal_modes(atoms) / PER_CM * timestep_fs
    return float(1 - (phase**2 / 4).sum() / (3 * len(atoms)))


def _run(
    where: Path, thermostat: str, temperature_K: int, length_ps: float, timestep_fs: float
) -> Path:
    return complete(
        where / f"{thermostat}-{temperature_K}K-{timestep_fs}fs",
        thermostat=thermostat,
        temperature_K=temperature_K,
        timestep_fs=timestep_fs,
        steps=round(1000 * length_ps / timestep_fs),
        relax_first=True,
        log_every=round(5 / timestep_fs),
        trajectory_every=round(50 / timestep_fs),
        checkpoint_every=20_000,
    )


def _table(report: dict[str, Any]) -> str:
    shift = 1 - report["langevin_kinetic_energy_over_theory"]
    lines = [
        (
            f"Ethanol (ethanol-rmd17), {report['length_ps']:g} ps, steps of {report['timestep_fs']}"
            f" fs. {json.dumps(report['machine'])}"
        ),
        "",
        (
            "Kinetic energy against the gamma distribution; p-values of Kolmogorov-Smirnov, mean"
            " and variance:"
        ),
        "",
        (
            "| thermostat | K | independent samples | mean K | variance / theory | p (KS) | p"
            " (mean) | p (variance) |"
        ),
        "|---" * 8 + "|",
    ]
    for r in report["kinetic"]:
        mean, variance = (
            f"{v[0]:.{d}f} ± {v[1]:.{d}f}" for v, d in ((r["temperature"], 1), (r["variance"], 3))
        )
        p_values = " | ".join(
            f"{r[name]:.2g}" for name in ("p_distribution", "p_mean", "p_variance")
        )
        lines.append(
            f"| {r['thermostat']} | {r['temperature_K']} | {r['n_independent']:.0f} | {mean} |"
            f" {variance} | {p_values} |"
        )
    lines += [
        "",
        (
            f"The time step alone makes the kinetic energy of Langevin dynamics {shift:.2%} smaller"
            " (harmonic modes)."
        ),
        "",
        (
            f"Potential energies at {TEMPERATURES_K[0]} and {TEMPERATURES_K[1]} K: slope of the log"
            " ratio of their histograms, 1/eV:"
        ),
        "",
        "| thermostat | slope | theory | p |",
        "|---|---|---|---|",
    ]
    for r in report["potential"]:
        lines.append(
            f"| {r['thermostat']} | {r['slope'][0]:.2f} ± {r['slope'][1]:.2f} | {r['expected']:.2f}"
            f" | {r['p']:.2g} |"
        )
    return "\n".join(lines) + "\n"


def _draw(runs: dict[tuple[str, int], Run], path: Path) -> None:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6))
        axes = figure.subplots(2, len(THERMOSTATS))
        for thermostat, (upper, lower) in zip(THERMOSTATS, axes.T, strict=True):
            for number, temperature in enumerate(TEMPERATURES_K):
                run = runs[thermostat, temperature]
                kinetic = run.sampled("kinetic_energy_eV")
                upper.hist(
                    kinetic,
                    bins=50,
                    density=True,
                    color=COLOURS[number],
                    alpha=0.35,
                    label=f"{temperature} K",
                )
                grid = np.linspace(kinetic.min(), kinetic.max(), 200)
                upper.plot(
                    grid,
                    kinetic_density(grid, run.degrees_of_freedom, temperature),
                    color=COLOURS[number],
                )
            cold, hot = (runs[thermostat, t].sampled("potential_energy_eV") for t in TEMPERATURES_K)
            energy, ratio, error = log_ratio(cold, hot)
            origin = cold.min()
            lower.errorbar(energy - origin, ratio, 2 * error, fmt=".", color="0.4", ms=3, lw=0.7)
            slope = slope_test(cold, hot, *TEMPERATURES_K).expected
            weights = 1 / np.maximum(error, 1e-3) ** 2
            offset = ((ratio - slope * (energy - origin)) * weights).sum() / weights.sum()
            lower.plot(
                energy - origin,
                offset + slope * (energy - origin),
                color="black",
                lw=1,
                label="theory",
            )
            upper.set_title(thermostat)
            upper.set_xlabel("kinetic energy (eV)")
            lower.set_xlabel("potential energy (eV)")
        axes[0, 0].set_ylabel("probability (1/eV)")
        axes[1, 0].set_ylabel("ln P(hot) / P(cold)")
        axes[0, 0].legend()
        axes[1, 0].legend(loc="upper left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
