"""How long ethanol holds together at 500 K, and how well its distances are distributed.

    python -m benchmarks.physics.stability --output benchmarks/results/stability.json
        --figure docs/images/stability.png

Five runs of 300 ps, Nosé-Hoover, steps of 0.5 fs, each from a random frame of the reference. A run
is stable until a bond differs by more than 0.5 Å from its length in the relaxed molecule, in any
frame (every 10 fs). h(r), the distribution of all distances between atoms, is compared with that of
MD17 frames, which were sampled at 500 K too: the frames of rMD17's splits 1 and 2, in the order of
the trajectory that they were taken from. The yardstick is the error between two halves of the
reference: the earlier and the later, which differ as two trajectories of half its length do, and
two random halves, which differ by counting alone.

Two things keep a perfect model from agreeing with these frames at 500 K, and both are mended in a
second comparison. MD17 was sampled with another functional and basis than the labels that the model
was trained on (rMD17): frames are given weights exp(-(E_rMD17 - E_MD17) / kT). And its energies are
those of 500 K counted over 3N degrees of freedom in a molecule that neither drifts nor turns, 500 K
· 27/21 = 643 K: frames of the runs are given weights exp(U/kT - U/kT') to that temperature. The
temperature of the reference is measured too, from the ratio of the histograms of potential energy.

Stopped, the command goes on where it was. Source: Fu et al., arXiv 2210.07237, section 4.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from ase import Atoms, units
from ase.optimize import BFGS
from matplotlib.figure import Figure

from benchmarks.dynamics import RUNS, complete, is_complete, status
from benchmarks.measure import command_line, machine, write
from md_runs.analysis.canonical import slope_test
from md_runs.analysis.distances import histogram, pair_distances
from md_runs.analysis.section import COLOURS, STYLE
from md_runs.analysis.statistics import average
from md_runs.analysis.topology import bond_lengths, find_topology
from md_runs.records.trajectory import OBSERVABLES, PARTICLES, TIME, open_trajectory
from polcalc import PolarizedCalculator
from potentials.datasets import load_frames
from potentials.datasets.catalogue import find_file, part_of

START = "rmd17:ethanol:01:test"
REFERENCE = tuple(
    f"rmd17:ethanol:{split}:{part}" for split in ("01", "02") for part in ("train", "test")
)
BROKEN_A = 0.5
TEMPERATURE_K, TIMESTEP_FS = 500, 0.5
REFERENCE_K = 500 * 27 / 21  # see above
AS_SAMPLED, WEIGHTED = "as sampled", "weighted"
EDGES_A = np.linspace(0.8, 4.8, 201)  # 0.02 Å wide
EQUILIBRATION = 0.02  # of a run, left out of h(r)
RANDOM_HALVES = 50


def main() -> None:
    parser = command_line(__doc__, "--output", "--figure")
    parser.add_argument("--length-ps", type=float, default=300.0, help="of every run")
    parser.add_argument("--seeds", type=int, default=5, help="how many runs")
    parser.add_argument(
        "--runs", type=Path, default=RUNS / "stability", help="where the runs are kept"
    )
    parser.add_argument(
        "--finished-only", action="store_true", help="report what is there, start nothing"
    )
    arguments = parser.parse_args()
    if arguments.finished_only:
        directories = [
            path
            for path in sorted(arguments.runs.glob("seed-*"))
            if path.is_dir() and is_complete(path)
        ]
    else:
        directories = [
            _run(arguments.runs, seed, arguments.length_ps) for seed in range(arguments.seeds)
        ]
    atoms = _relaxed()
    reference, found = _reference(), [_measure(directory, atoms) for directory in directories]
    curves = {
        name: np.array([one["distributions"][name] for one in found]) for name in reference.weights
    }
    energies = np.concatenate([one.pop("energies") for one in found])
    for number, one in enumerate(found):
        del one["distributions"]
        one["error"] = {
            n: _distance(curves[n][number], _weighted(reference.distances, w))
            for n, w in reference.weights.items()
        }
    slope = slope_test(energies, reference.energies, TEMPERATURE_K, REFERENCE_K).slope
    report = {
        "machine": machine(),
        "temperature_K": TEMPERATURE_K,
        "timestep_fs": TIMESTEP_FS,
        "reference_frames": len(reference.distances),
        "effective_frames": {
            name: float(1 / (w**2).sum()) for name, w in reference.weights.items()
        },
        "runs": found,
        "temperature_of_the_reference_K": _temperature(slope.value),
        "temperature_of_the_reference_error_K": (
            _temperature(slope.value + slope.error) - _temperature(slope.value)
        ),
        "error_between_runs": _between(curves[AS_SAMPLED]),
        "errors": {
            name: _errors(curves[name].mean(axis=0), reference.distances, w)
            for name, w in reference.weights.items()
        },
    }
    write(report, _table(report), arguments.output)
    if arguments.figure:
        _draw(curves[WEIGHTED], reference, arguments.figure)


def _run(where: Path, seed: int, length_ps: float) -> Path:
    frames = list(load_frames(START))
    start: Any = frames[np.random.default_rng(seed).integers(len(frames))].copy()
    return complete(
        where / f"seed-{seed}",
        start,
        thermostat="nose-hoover",
        temperature_K=TEMPERATURE_K,
        timestep_fs=TIMESTEP_FS,
        steps=round(length_ps * 1000 / TIMESTEP_FS),
        seed=seed,
        trajectory_every=20,
        log_every=20,
        checkpoint_every=20_000,
    )


def _relaxed() -> Atoms:
    """Return the molecule of the reference, relaxed."""
    atoms: Atoms = next(iter(load_frames(START))).copy()
    atoms.calc = PolarizedCalculator("ethanol-rmd17", device="cpu", dtype="float64")
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=200)
    return atoms


def _temperature(slope: float) -> float:
    """Temperature in K of the hotter of two ensembles, from the slope (1/eV) of their log ratio."""
    return 1 / (1 / TEMPERATURE_K - units.kB * slope)


class Reference(NamedTuple):
    """Frames in the order of their trajectory."""

    energies: np.ndarray  # (F,) eV, labels of rMD17
    distances: np.ndarray  # (F, 36) Å
    weights: dict[str, np.ndarray]  # (F,), their sum is 1


def _reference() -> Reference:
    """Read the frames, each once, and their weights in both ensembles."""
    frames: dict[int, tuple[np.ndarray, float, float]] = {}
    for name in REFERENCE:
        for file in part_of(name)[1].files:
            path = find_file(file)
            if path is None:
                raise FileNotFoundError(
                    f"{file.name} is not on this machine: polcalc data fetch {name}"
                )
            with np.load(path) as a:
                labels, original = (
                    a[key] * units.kcal / units.mol for key in ("energies", "old_energies")
                )
                frames |= dict(
                    zip(
                        a["old_indices"].tolist(),
                        zip(a["coords"], labels, original, strict=True),
                        strict=True,
                    )
                )
    ordered = [frames[index] for index in sorted(frames)]
    positions, labels, original = (np.array(column) for column in zip(*ordered, strict=True))
    weights = {
        AS_SAMPLED: np.ones(len(ordered)),
        WEIGHTED: _boltzmann(labels - original, 1 / REFERENCE_K),
    }
    return Reference(
        labels, pair_distances(positions), {name: w / w.sum() for name, w in weights.items()}
    )


def _boltzmann(energies: np.ndarray, inverse_K: float) -> np.ndarray:
    """Weights exp(-E/k * inverse temperature)."""
    return np.exp(-(energies - energies.mean()) * inverse_K / units.kB)


def _weighted(distances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """h(r) of frames with weights."""
    counts = np.histogram(
        distances, EDGES_A, weights=np.broadcast_to(weights[:, None], distances.shape)
    )[0]
    return counts / (weights.sum() * distances.shape[1] * np.diff(EDGES_A))


def _errors(model: np.ndarray, distances: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Differences of the model, and of halves of the reference."""
    rng, order = np.random.default_rng(0), np.arange(len(distances))
    random = [_halves(distances, weights, rng.permutation(order)) for _ in range(RANDOM_HALVES)]
    return {
        "model": _distance(model, _weighted(distances, weights)),
        "earlier_and_later_half": _halves(distances, weights, order),
        "random_halves": float(np.mean(random)),
    }


def _halves(distances: np.ndarray, weights: np.ndarray, order: np.ndarray) -> float:
    first, second = (_weighted(distances[half], weights[half]) for half in np.array_split(order, 2))
    return _distance(first, second)


def _measure(directory: Path, atoms: Atoms) -> dict[str, Any]:
    """How long the bonds of a run hold, and how its distances are distributed while they do."""
    bonds = find_topology(atoms).bonds
    lengths = bond_lengths(bonds, atoms.positions[None], None)
    with open_trajectory(directory / "trajectory.h5md") as file:
        positions, time_ps = file[PARTICLES]["position/value"][:], file[TIME][:] / 1000
        energies = file[OBSERVABLES]["potential_energy/value"][:]
    deviation = np.abs(bond_lengths(bonds, positions, None) - lengths).max(axis=1)
    broken = np.nonzero(deviation > BROKEN_A)[0]
    stable = slice(
        int(EQUILIBRATION * len(positions)), broken[0] if len(broken) else len(positions)
    )
    distances, warmer = (
        pair_distances(positions[stable]),
        _boltzmann(energies[stable], 1 / REFERENCE_K - 1 / TEMPERATURE_K),
    )
    log = np.genfromtxt(directory / "log.csv", delimiter=",", names=True)
    temperature = average(log["temperature_K"]).mean
    return {
        "run": directory.name,
        "status": status(directory),
        "stable_ps": float(time_ps[broken[0]]) if len(broken) else float(time_ps[-1]),
        "length_ps": float(time_ps[-1]),
        "largest_deviation_A": float(deviation.max()),
        "temperature_K": temperature.value,
        "temperature_error_K": temperature.error,
        "alarms": json.loads((directory / "manifest.json").read_text()).get("alarms", []),
        "effective_frames": float(warmer.sum() ** 2 / (warmer**2).sum()),
        "distributions": {
            AS_SAMPLED: histogram(distances, EDGES_A),
            WEIGHTED: _weighted(distances, warmer),
        },
        "energies": energies[stable][::10],
    }


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Integral of |a - b| over r.

    0 for equal distributions, 2 for distributions without overlap.
    """
    return float(np.abs(a - b).sum() * (EDGES_A[1] - EDGES_A[0]))


def _between(curves: np.ndarray) -> float:
    """Mean over pairs of runs; NaN for one run."""
    pairs = [_distance(a, b) for n, a in enumerate(curves) for b in curves[n + 1 :]]
    return float(np.mean(pairs)) if pairs else float("nan")


def _table(report: dict[str, Any]) -> str:
    lines = [
        (
            f"Ethanol (ethanol-rmd17), {report['temperature_K']} K, Nosé-Hoover, steps of"
            f" {report['timestep_fs']} fs. h(r): integral of the absolute difference from"
            f" {report['reference_frames']} MD17 frames; weighted: frames to the labels of the"
            f" model (as good as {report['effective_frames'][WEIGHTED]:.0f} frames), runs to"
            f" {REFERENCE_K:.0f} K. {json.dumps(report['machine'])}"
        ),
        "",
        (
            "| run | stable ps | of ps | largest bond deviation Å | temperature K | h(r) error |"
            " weighted |"
        ),
        "|---" * 7 + "|",
    ]
    for r in report["runs"]:
        temperature = f"{r['temperature_K']:.1f} ± {r['temperature_error_K']:.1f}"
        cells = (
            f"{r['stable_ps']:.0f}",
            f"{r['length_ps']:.0f}",
            f"{r['largest_deviation_A']:.3f}",
            temperature,
        )
        errors = (f"{r['error'][name]:.4f}" for name in (AS_SAMPLED, WEIGHTED))
        lines.append("| " + " | ".join((r["run"], *cells, *errors)) + " |")
    lines += ["", "| h(r) error | as sampled | weighted |", "|---|---|---|"]
    for key, name in (
        ("model", "all runs against the reference"),
        ("earlier_and_later_half", "earlier against later half of the reference"),
        ("random_halves", "random halves of the reference"),
    ):
        lines.append(
            f"| {name} | {report['errors'][AS_SAMPLED][key]:.4f} |"
            f" {report['errors'][WEIGHTED][key]:.4f} |"
        )
    temperature = (
        f"{report['temperature_of_the_reference_K']:.0f} ±"
        f" {report['temperature_of_the_reference_error_K']:.0f} K"
    )
    lines += [
        "",
        (
            f"One run against another: {report['error_between_runs']:.4f}. Temperature of the"
            f" reference by its energies: {temperature}."
        ),
    ]
    return "\n".join(lines) + "\n"


def _draw(curves: np.ndarray, reference: Reference, path: Path) -> None:
    centres, model = (EDGES_A[1:] + EDGES_A[:-1]) / 2, curves.mean(axis=0)
    weights = reference.weights[WEIGHTED]
    whole = _weighted(reference.distances, weights)
    halves = np.array_split(np.arange(len(weights)), 2)
    earlier, later = (_weighted(reference.distances[half], weights[half]) for half in halves)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        upper.fill_between(
            centres, whole, color="0.8", lw=0, label=f"MD17, 500 K, {len(weights)} frames, weighted"
        )
        upper.plot(
            centres,
            model,
            color=COLOURS[0],
            label=f"ethanol-rmd17, {len(curves)} runs, weighted to {REFERENCE_K:.0f} K",
        )
        upper.set_ylabel("h(r) (1/Å)")
        upper.set_ylim(bottom=0)
        upper.legend()
        lower.plot(
            centres, earlier - later, color="0.6", lw=0.8, label="earlier − later half of MD17"
        )
        lower.plot(centres, model - whole, color=COLOURS[1], lw=1.0, label="ethanol-rmd17 − MD17")
        lower.axhline(0, color="black", lw=0.5)
        lower.set_xlabel("distance (Å)")
        lower.set_ylabel("difference (1/Å)")
        lower.legend(ncols=2)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
