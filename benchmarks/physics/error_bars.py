"""Are error bars and p-values of runs what they claim?

    python -m benchmarks.physics.error_bars --runs runs/ethanol-* --output FILE.json

Synthetic kinetic energies of a canonical ensemble, with one memory, with a slow tail under fast
noise, and with oscillations, each 200 times at several lengths; and runs of one system at one
temperature that differ in their seeds. How often does the true value lie within the error (it
should: 68.3 % of the time), and how often is p below 0.01 (it should: 1 %)? Of real runs the
temperature is known, and the mean potential energy is taken from all runs together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from scipy.signal import lfilter

from benchmarks.measure import command_line, machine, write
from md_runs.analysis.canonical import kinetic_test, slope_test
from md_runs.analysis.runs import read_runs
from md_runs.analysis.series import fit_drift
from md_runs.analysis.statistics import ONE_SIGMA, Average, average

REPEATS = 200
DEGREES, COLD_K, HOT_K = 12, 300.0, 400.0
ALARM = 0.01
LENGTHS = {20: (60, 2400), 40: (50, 4000), 100: (20, 4000), 1000: (2, 4000)}  # memory, samples


def main() -> None:
    parser = command_line(__doc__, "--output")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="directories of runs")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    rows = [
        {
            "series": kind,
            "independent": independent,
            **judge(make, *LENGTHS[independent], arguments.repeats),
        }
        for kind, make in KINDS.items()
        for independent in LENGTHS
    ]
    report: dict[str, Any] = {"machine": machine(), "repeats": arguments.repeats, "synthetic": rows}
    if arguments.runs:
        report["runs"] = judge_runs(arguments.runs)
    write(report, table(report), arguments.output)


def memory_of(samples: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """x_n = a x_(n-1) + noise, stationary, of variance 1 and this correlation time."""
    a = np.exp(-1 / samples)
    noise = rng.normal(size=shape)
    noise[1:] *= np.sqrt(1 - a * a)
    return np.asarray(lfilter([1], [1, -a], noise, axis=0))


def plain(samples: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return memory_of(samples, shape, rng)


def slow_tail(samples: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    fast, slow = memory_of(1.0, shape, rng), memory_of(samples, shape, rng)
    return np.asarray(0.8 * fast + 0.6 * slow)


def oscillating(samples: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    phase = 0.9 * np.arange(shape[0])[:, None]
    waves = memory_of(samples, shape, rng) * np.cos(phase)
    waves += memory_of(samples, shape, rng) * np.sin(phase)
    return np.asarray(0.8 * waves + 0.6 * memory_of(samples, shape, rng))


KINDS: dict[str, Callable[..., np.ndarray]] = {
    "one memory": plain,
    "slow tail": slow_tail,
    "oscillating": oscillating,
}


def judge(
    make: Callable[..., np.ndarray], samples: float, length: int, repeats: int
) -> dict[str, float]:
    """Count how often error bars hold the truth and tests raise an alarm, in %."""
    covered: list[bool] = []
    alarms: dict[str, list[bool]] = {}
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        # squares of these remember half as long
        cold, hot = (
            0.5 * units.kB * t * (make(2 * samples, (length, DEGREES), rng) ** 2).sum(axis=1)
            for t in (COLD_K, HOT_K)
        )
        truth = DEGREES / 2 * units.kB * COLD_K
        found = average(cold)
        test = kinetic_test(cold, DEGREES, COLD_K)
        line = fit_drift(np.arange(length), cold)
        covered.append(within(found, truth))
        for name, p in {
            "mean": test.p_mean,
            "variance": test.p_variance,
            "distribution": test.p_distribution,
            "slope": slope_test(cold, hot, COLD_K, HOT_K).p,
        }.items():
            alarms.setdefault(name, []).append(p < ALARM)
        alarms.setdefault("drift within error", []).append(abs(line.value) < line.error)
    return {"coverage": percent(covered)} | {name: percent(a) for name, a in alarms.items()}


def judge_runs(directories: list[Path]) -> dict[str, Any]:
    """Judge runs of one system at one temperature, which differ in their seeds."""
    runs = read_runs(directories, None, 1)
    tests = [
        kinetic_test(r.sampled("kinetic_energy_eV"), r.degrees_of_freedom, float(r.bath_K or 0))
        for r in runs
    ]
    potentials = [average(r.sampled("potential_energy_eV")) for r in runs]
    together = float(np.mean([p.value for p in potentials]))
    n = len(runs)
    return {
        "n_runs": n,
        "temperature coverage": percent(
            abs(t.temperature.value - float(r.bath_K or 0)) < t.temperature.error
            for t, r in zip(tests, runs, strict=True)
        ),
        "potential coverage": percent(  # the mean of all contains the run itself
            abs(p.value - together) * (n / (n - 1)) ** 0.5 < p.mean.error for p in potentials
        ),
        "temperature scatter K": float(np.std([t.temperature.value for t in tests], ddof=1)),
        "temperature error K": float(np.mean([t.temperature.error**2 for t in tests]) ** 0.5),
        "mean": percent(t.p_mean < ALARM for t in tests),
        "variance": percent(t.p_variance < ALARM for t in tests),
        "distribution": percent(t.p_distribution < ALARM for t in tests),
    }


def within(found: Average, truth: float) -> bool:
    return abs(found.value - truth) < found.mean.error


def percent(happened: Iterator[bool] | list[bool]) -> float:
    return round(100 * float(np.mean(list(happened))), 1)


def table(report: dict[str, Any]) -> str:
    names = [n for n in report["synthetic"][0] if n not in ("series", "independent")]
    lines = [
        f"Error bars hold the truth and alarms at p < {ALARM}, in %, of {report['repeats']} series"
        f" each. Right: {100 * ONE_SIGMA:.1f} and {100 * ALARM:g}.",
        "",
        "| series | independent samples | " + " | ".join(names) + " |",
        "|---" * (len(names) + 2) + "|",
        *(
            f"| {r['series']} | {r['independent']} | "
            + " | ".join(f"{r[n]:g}" for n in names)
            + " |"
            for r in report["synthetic"]
        ),
    ]
    if "runs" in report:
        lines += ["", *(f"* {name}: {value:g}" for name, value in report["runs"].items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
