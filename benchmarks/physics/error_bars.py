"""Are error bars and p-values of runs what they claim, also of short runs?

    python -m benchmarks.physics.error_bars --output benchmarks/results/error_bars.json

How often does the true value lie within the error (it should: 68.3 % of the time), how often is p
below 0.01 where the ensemble is canonical (it should: 1 %), and how often where it is not (it
should: always)? Asked of

* kinetic energies made of random numbers: with one memory, with a slow tail under fast noise, with
  oscillations, at known numbers of independent samples (of the slowest memory);
* coupled oscillators in a Langevin bath, whose dynamics is solved exactly;
* molecular dynamics of atoms in anharmonic wells, a thousand copies side by side, in a Langevin
  bath and with stochastic velocity rescaling; and with what is not canonical: the wrong
  temperature, Berendsen's thermostat, Langevin and Berendsen at once, a flying ice cube;
* the integrators of `polcalc md` in the same wells, one run after another.

Each is made once as long as the longest; shorter ones are its beginning. The true mean of a
potential energy that has no closed form is the mean over all copies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from scipy.linalg import expm
from scipy.signal import lfilter

from benchmarks.measure import command_line, machine, write
from md_runs.analysis.canonical import kinetic_test, slope_test
from md_runs.analysis.series import fit_drift
from md_runs.analysis.statistics import LEAST, ONE_SIGMA, average
from md_runs.dynamics.integrators import INTEGRATORS, Bath

Floats = npt.NDArray[np.float64]
REPEATS = {"canonical": 1000, "not canonical": 250, "runs": 42}
LENGTHS = {  # independent samples
    "canonical": (10, 20, 40, 80, 200),
    "not canonical": (10, 20, 40, 80, 200),
    "runs": (20,),
}
LONGEST = 200
ALARM = 0.01
DEGREES = 12
COLD, HOT = 1.0, 4 / 3  # kT in eV, so that energies are of the order of 1
ROWS = 8  # of a log per independent sample, of random numbers
STEP, EVERY = 0.1, 5  # of time, and steps between rows, where masses and stiffnesses are about 1
FRICTION = 0.4
MEMORY = 2.4  # correlation time of the kinetic energy in these wells, in rows


class Series(NamedTuple):
    """Energies of many runs at two temperatures, and what their means are in truth."""

    cold: Floats  # (R, F) kinetic energy
    cold_potential: Floats  # (R, F)
    hot_potential: Floats  # (R, F)

    def beginning(self, share: float) -> Series:
        """Return this part of all."""
        return Series(*(energies[:, : round(share * energies.shape[1])] for energies in self))


def main() -> None:
    parser = command_line(__doc__, "--output")
    parser.add_argument("--only", nargs="*", help="some of the series; the file keeps the others")
    arguments = parser.parse_args()
    parts = {"canonical": CANONICAL, "not canonical": NOT_CANONICAL, "runs": INTEGRATED}
    report: dict[str, Any] = {name: {} for name in parts}
    if arguments.output and arguments.output.is_file():
        report = json.loads(arguments.output.read_text())
    report["machine"] = machine()
    for part, makers in parts.items():
        for name, make in makers.items():
            if arguments.only is None or name in arguments.only:
                report[part][name] = judge_lengths(make, part)
        report[part] = {name: report[part][name] for name in makers if name in report[part]}
    write(report, table(report), arguments.output)


def judge_lengths(make: Callable[[int], Series], part: str) -> dict[str, dict[str, float]]:
    """Judge series of one kind by their number of independent samples."""
    longest = make(REPEATS[part])
    return {str(n): judge(longest.beginning(n / LENGTHS[part][-1])) for n in LENGTHS[part]}


def judge(series: Series) -> dict[str, float]:
    """Count how often error bars hold the truth and tests raise an alarm, in %."""
    tests = [kinetic_test(run, DEGREES, COLD / units.kB) for run in series.cold]
    slopes = [
        slope_test(*pair, COLD / units.kB, HOT / units.kB)
        for pair in zip(series.cold_potential, series.hot_potential, strict=True)
    ]
    drifts = [fit_drift(np.arange(len(run)), run) for run in series.cold]
    potentials = [average(run) for run in series.cold_potential]
    truth, n = series.cold_potential.mean(), len(potentials)
    kinetic = [(t.temperature.value * units.kB, t.temperature.error * units.kB) for t in tests]
    # the mean of all holds the run itself
    offsets = [(p.value - truth) * (n / (n - 1)) ** 0.5 for p in potentials]
    p_values = [(t.p_mean, t.p_variance, t.p_distribution) for t in tests]
    return {
        "error bars": percent(np.isfinite(error) for _, error in kinetic),
        "kinetic": covered((value - COLD, error) for value, error in kinetic),
        "potential": covered((x, p.mean.error) for x, p in zip(offsets, potentials, strict=True)),
        "drift": covered(drifts),
        "judged": percent(t.n_independent >= LEAST for t in tests),
        "mean": percent(p[0] < ALARM for p in p_values),
        "variance": percent(p[1] < ALARM for p in p_values),
        "distribution": percent(p[2] < ALARM for p in p_values),
        "slope": percent(s.p < ALARM for s in slopes),
        "any": percent(
            min(*p, s.p) < ALARM
            for p, s in zip(np.nan_to_num(p_values, nan=1.0), slopes, strict=True)
        ),
    }


def covered(means: Iterable[tuple[float, float]]) -> float:
    """Of those that have an error bar."""
    return percent(abs(value) < error for value, error in means if np.isfinite(error))


def percent(happened: Iterable[bool]) -> float:
    return round(100 * float(np.mean(list(happened))), 1)


# --- random numbers ---


def memory_of(rows: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """x_n = a x_(n-1) + noise, stationary, of variance 1 and this correlation time."""
    a = np.exp(-1 / rows)
    noise = rng.normal(size=shape)
    noise[..., 1:] *= np.sqrt(1 - a * a)
    return np.asarray(lfilter([1], [1, -a], noise))


def slow_tail(rows: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    return 0.8 * memory_of(1.0, shape, rng) + 0.6 * memory_of(rows, shape, rng)


def oscillating(rows: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    phase = 0.9 * np.arange(shape[-1])
    waves = memory_of(rows, shape, rng) * np.cos(phase)
    waves += memory_of(rows, shape, rng) * np.sin(phase)
    return np.asarray(0.8 * waves + 0.6 * memory_of(rows, shape, rng))


def random_series(make: Callable[..., Floats], repeats: int) -> Series:
    """Sums of squares of normal variables; squares of these remember half as long."""
    rng = np.random.default_rng(0)
    shape = (repeats, ROWS * LONGEST)

    def energy(kT: float) -> Floats:
        return np.asarray(0.5 * kT * sum(make(ROWS, shape, rng) ** 2 for _ in range(DEGREES)))

    cold = energy(COLD)
    return Series(cold, cold, energy(HOT))


def oscillators(repeats: int) -> Series:
    """Twelve masses on a chain of springs in a Langevin bath: dz = -M z dt + noise, solved exactly.

    Of z = (positions, momenta) the covariance is C = kT diag(1/K, 1), and z(t) = exp(-M t) z(0) +
    noise of covariance C - exp(-M t) C exp(-M t)ᵀ.
    """
    stiffness = 2.2 * np.eye(DEGREES) - np.eye(DEGREES, k=1) - np.eye(DEGREES, k=-1)
    zero, one = np.zeros((DEGREES, DEGREES)), np.eye(DEGREES)
    move = expm(EVERY * STEP * np.block([[zero, one], [-stiffness, -FRICTION * one]]))
    shape = np.block([[np.linalg.inv(stiffness), zero], [zero, one]])
    noise = np.linalg.cholesky(shape - move @ shape @ move.T + 1e-12 * np.eye(2 * DEGREES))
    start = np.linalg.cholesky(shape)
    # of the kinetic energy the correlation is the sum of squares of those of the momenta
    correlations, power = [], np.eye(2 * DEGREES)
    for _ in range(400):
        correlations.append(((power @ shape)[DEGREES:, DEGREES:] ** 2).sum() / DEGREES)
        power = move @ power
    rows = round(2 * (sum(correlations) - 0.5) * LONGEST)
    rng = np.random.default_rng(0)

    def energies(kT: float) -> tuple[Floats, Floats]:
        z = rng.normal(size=(repeats, 2 * DEGREES)) @ start.T
        kinetic, potential = np.empty((2, repeats, rows))
        for row in range(rows):
            x, p = z[:, :DEGREES], z[:, DEGREES:]
            kinetic[:, row] = 0.5 * kT * (p * p).sum(axis=1)
            potential[:, row] = 0.5 * kT * ((x @ stiffness) * x).sum(axis=1)
            z = z @ move.T + rng.normal(size=z.shape) @ noise.T
        return kinetic, potential

    cold, hot = energies(COLD), energies(HOT)
    return Series(*cold, hot[1])


# --- molecular dynamics ---


def wells(x: Floats) -> tuple[Floats, Floats]:
    """Potential energy (R) and forces (R, 4, 3) of four atoms around their sites.

    Harmonic and quartic wells, springs between neighbours; masses are 1.
    """
    stretch = np.diff(x, axis=1)
    energy = (0.5 * x**2 + 0.1 * x**4).sum(axis=(1, 2)) + 0.5 * (stretch**2).sum(axis=(1, 2))
    force = -x - 0.4 * x**3
    force[:, :-1] += stretch
    force[:, 1:] -= stretch
    return energy, force


Thermostat = Callable[[Floats, float, np.random.Generator], Floats]


def langevin(p: Floats, kT: float, rng: np.random.Generator) -> Floats:
    kept = np.exp(-FRICTION * STEP)
    return np.asarray(kept * p + np.sqrt(kT * (1 - kept**2)) * rng.normal(size=p.shape))


def rescaling(p: Floats, kT: float, rng: np.random.Generator) -> Floats:
    """Source: Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007), eq. A7."""
    kept = np.exp(-2 * FRICTION * STEP)
    share = (1 - kept) * kT / (p**2).sum(axis=(1, 2))
    first, others = rng.normal(size=len(p)), rng.chisquare(DEGREES - 1, size=len(p))
    square = kept + share * (first**2 + others) + 2 * first * np.sqrt(kept * share)
    return np.asarray(p * np.sqrt(square)[:, None, None])


def berendsen(p: Floats, kT: float, rng: np.random.Generator) -> Floats:
    ratio = DEGREES * kT / (p**2).sum(axis=(1, 2))
    return np.asarray(p * np.sqrt(1 + 2 * FRICTION * STEP * (ratio - 1))[:, None, None])


def both(p: Floats, kT: float, rng: np.random.Generator) -> Floats:
    return berendsen(langevin(p, kT, rng), kT, rng)


def dynamics(
    thermostat: Thermostat, repeats: int, factor: float = 1.0, cold_parts: int = 0
) -> Series:
    """Run copies of the wells side by side, velocity Verlet with a thermostat after each step.

    Parameters
    ----------
    factor : float      between the temperature of the bath and the one that is claimed
    cold_parts : int    Cartesian components of the atoms that begin without energy
    """
    rows = round(2 * MEMORY * LONGEST)
    rng = np.random.default_rng(0)

    def energies(kT: float) -> tuple[Floats, Floats]:
        warm = np.repeat([0.0, 1.0], [cold_parts, DEGREES - cold_parts]).reshape(4, 3)
        scale = np.sqrt(kT * DEGREES / (DEGREES - cold_parts)) * warm
        x, p = scale * rng.normal(size=(2, repeats, 4, 3))
        x *= 0.7
        _, force = wells(x)
        kinetic, potential = np.empty((2, repeats, rows))
        for step in range(-40 * EVERY, rows * EVERY):
            p += 0.5 * STEP * force
            x += STEP * p
            energy, force = wells(x)
            p = thermostat(p + 0.5 * STEP * force, kT, rng)
            if step >= 0 and step % EVERY == 0:
                kinetic[:, step // EVERY] = 0.5 * (p**2).sum(axis=(1, 2))
                potential[:, step // EVERY] = energy
        return kinetic, potential

    cold, hot = energies(factor * COLD), energies(HOT)
    return Series(*cold, hot[1])


class Wells(Calculator):
    """The same for the integrators of `polcalc md`."""

    implemented_properties: ClassVar = ["energy", "forces"]  # type: ignore[misc]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert atoms is not None
        energy, force = wells(atoms.positions[None])
        self.results = {"energy": float(energy[0]), "forces": force[0]}


def integrated(thermostat: str, n_runs: int) -> Series:
    """Run the wells once per seed with an integrator of `polcalc md`."""
    rows = round(2 * MEMORY * LENGTHS["runs"][-1])

    def energies(kT: float, seed: int) -> Floats:
        rng = np.random.default_rng(seed)
        atoms = Atoms("H4", positions=0.7 * np.sqrt(kT) * rng.normal(size=(4, 3)))
        atoms.set_masses(np.ones(4))
        atoms.set_momenta(np.sqrt(kT) * rng.normal(size=(4, 3)))
        atoms.calc = Wells()  # type: ignore[no-untyped-call]
        bath = Bath(kT / units.kB, 1 / FRICTION, DEGREES, rng)
        integrator = INTEGRATORS[thermostat, None](atoms, STEP, bath)
        logged = np.empty((rows, 2))
        integrator.dynamics.run(40 * EVERY)
        for row in range(rows):
            integrator.dynamics.run(EVERY)
            logged[row] = atoms.get_kinetic_energy(), atoms.get_potential_energy()
        return logged

    cold = np.stack([energies(COLD, seed) for seed in range(n_runs)])
    hot = np.stack([energies(HOT, 10_000 + seed) for seed in range(n_runs)])
    return Series(cold[..., 0], cold[..., 1], hot[..., 1])


CANONICAL: dict[str, Callable[[int], Series]] = {
    "one memory": partial(random_series, memory_of),
    "slow tail": partial(random_series, slow_tail),
    "oscillating": partial(random_series, oscillating),
    "oscillators in a bath": oscillators,
    "dynamics, Langevin": partial(dynamics, langevin),
    "dynamics, rescaling": partial(dynamics, rescaling),
}
NOT_CANONICAL: dict[str, Callable[[int], Series]] = {
    "10 % too hot": partial(dynamics, langevin, factor=1.1),
    "20 % too hot": partial(dynamics, langevin, factor=1.2),
    "Berendsen": partial(dynamics, berendsen),
    "Langevin and Berendsen": partial(dynamics, both),
    "flying ice cube": partial(dynamics, berendsen, cold_parts=9),
}


INTEGRATED: dict[str, Callable[[int], Series]] = {
    name: partial(integrated, name) for name in ("langevin", "bussi", "nose-hoover")
}


# --- report ---


def table(report: dict[str, Any]) -> str:
    canonical, wrong, runs = (rows(report[name]) for name in REPEATS)
    wide, narrow = (error(share, REPEATS["canonical"]) for share in (ONE_SIGMA, ALARM))
    lines = [
        f"In %. Error bars (of kinetic energy, potential energy, drift; of those series that have"
        f" one) should hold the truth {100 * ONE_SIGMA:.1f} % of the time, alarms at p < {ALARM}"
        f" come {100 * ALARM:g} % of the time: in the mean, the variance, the distribution of the"
        " kinetic energy, the slope of two temperatures; any: of these four. Series that are not"
        f" judged (fewer than {LEAST} independent samples by their own count) raise none.",
        "",
        f"Canonical, {REPEATS['canonical']} series each: ± {wide:.1f} and ± {narrow:.1f} % by"
        " chance.",
        "",
        *canonical,
        "",
        f"Not canonical, {REPEATS['not canonical']} series each; alarms should come always.",
        "",
        *wrong,
        "",
        f"Integrators of `polcalc md`, {REPEATS['runs']} runs each: ±"
        f" {error(ONE_SIGMA, REPEATS['runs']):.0f} and ± {error(ALARM, REPEATS['runs']):.1f} % by"
        " chance.",
        "",
        *runs,
    ]
    return "\n".join(lines) + "\n"


def rows(part: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    names = list(next(iter(next(iter(part.values())).values()))) if part else []
    return [
        "| series | independent samples | " + " | ".join(names) + " |",
        "|---" * (2 + len(names)) + "|",
        *(
            f"| {series} | {n} | " + " | ".join(f"{found[name]:g}" for name in names) + " |"
            for series, lengths in part.items()
            for n, found in lengths.items()
        ),
    ]


def error(share: float, n: int) -> float:
    """Standard error in % of a share that was counted n times."""
    return float(100 * np.sqrt(share * (1 - share) / n))


if __name__ == "__main__":
    main()
