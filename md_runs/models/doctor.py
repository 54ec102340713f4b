"""``polcalc doctor``: is this model fit for this structure, and how should it be run?

Every check is one function that returns a `Finding`; `examine` runs them in order. Exactness is
checked in float64, where a difference means an error of the model or the engine and not rounding;
speed and drift in the precision that will run.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from rich.table import Table
from rich.text import Text

from md_runs import session
from md_runs.analysis.statistics import fit_line
from md_runs.dynamics.momenta import start_thermal
from md_runs.errors import NotConverged
from md_runs.records.manifest import made_with
from md_runs.records.output import to_json
from md_runs.screen import screen
from md_runs.session import ModelOptions
from polcalc import PolarizedCalculator
from polcalc.calculator.domain import ExtrapolationWarning
from polcalc.calculator.electrons import StateWarning
from polcalc.calculator.uncertainty import term_of

Floats = npt.NDArray[np.float64]

STEP_A = 1e-3  # of finite differences, where truncation and rounding in float64 meet
STRAIN = 1e-4
EXACT = 1e-6  # eV and eV/Å, times the largest force where that is above 1
DIFFERENCE = 1e-4  # likewise, for finite differences
ROUNDING = 2e-4  # eV per atom and eV/Å: float32 against float64
# of the forces, drawn at random; fewer where components times atoms would be above this
N_COMPONENTS, N_MOVED = 30, 1000
HESSIAN_LIMIT = 60  # atoms; above it the highest mode is not looked for
# of the fastest vibration: velocity Verlet is then off by less than 1 % in its frequency, and
# 0.5 fs suffices up to 3,900 1/cm, all that hydrogen does but in H2
STEPS_PER_PERIOD = 17
DRIFT_STEPS, TIMESTEP_FS, TEMPERATURE_K = 400, 0.5, 300.0
DRIFT_MEV_PER_ATOM = 5.0  # the conserved energy stays this near to its line, which stays level
CM = units._c * 100 * 1e-15  # 1/fs of one 1/cm

COLORS = {"ok": "green", "warning": "yellow", "failure": "red", "skipped": "dim"}


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Literal["ok", "warning", "failure", "skipped"]
    text: str
    numbers: dict[str, float | str | None]


@dataclass(frozen=True)
class Patient:
    """A structure, with a calculator as it will run and one in float64."""

    atoms: Atoms
    fast: PolarizedCalculator
    exact: PolarizedCalculator

    def energies(self, frames: list[Atoms]) -> Floats:
        """Energies in eV, in float64."""
        return np.array([result["energy"] for result in self.exact.calculate_many(frames)])


def doctor(
    structure: Path,
    model: str | None = None,
    frame: int | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    engine: str = "auto",
    json: bool = False,
) -> None:
    """Check a model on a structure before a long run, in less than a minute.

    Exit code 1 when a check fails, 2 when the model cannot evaluate the structure at all.
    """
    chosen = ModelOptions(model, device, dtype, engine, charge, multiplicity)
    findings = examine(session.read_structure(structure, frame), chosen)
    failed = [finding.check for finding in findings if finding.verdict == "failure"]
    if json:
        found = {"passed": not failed, "findings": [asdict(finding) for finding in findings]}
        print(to_json(found | report_of(chosen)), end="")
    else:
        screen.print(findings_table(findings))
    if failed:
        raise NotConverged(f"the model is not fit for this structure: {', '.join(failed)}.")


def report_of(chosen: ModelOptions) -> dict[str, Any]:
    """Collect what a report of a problem needs beside findings: model, versions, machine."""
    calculator = session.make_calculator(chosen)
    model = {name: calculator.parameters[name] for name in ("model", "sha256", "device", "dtype")}
    return {"model": model} | made_with()


def examine(atoms: Atoms, chosen: ModelOptions) -> list[Finding]:
    """Run every check.

    Raises
    ------
    InputError   the model cannot evaluate the structure
    """
    atoms = atoms.copy()
    atoms.set_constraint()
    fast = session.make_calculator(chosen)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ExtrapolationWarning)
        warnings.simplefilter("always", StateWarning)
        atoms.calc = fast
        session.evaluate_first(atoms)
    state = fast.state
    assert state is not None
    exact = session.make_calculator(
        replace(
            chosen,
            dtype="float64",
            engine="eager",
            charge=state.charge,
            multiplicity=state.multiplicity,
        )
    )
    patient = Patient(atoms, fast, exact)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)  # told once, in the first finding
        return [
            _domain(patient, [str(w.message) for w in told]),
            *(check(patient) for check in CHECKS if _applies(check, patient)),
        ]


def _domain(patient: Patient, told: list[str]) -> Finding:
    """Elements, state and contacts against the card.

    Impossible electron counts and unknown elements never come here.
    """
    card, state = patient.fast.model.card, patient.fast.state
    text = f"{patient.atoms.get_chemical_formula()}, {state}"
    if told:
        return Finding("training data", "warning", f"{text}. {' '.join(told)}", {})
    known = (
        "elements, state, size and distances are those of the training; kinds of bonds were not"
        " compared"
        if card.states and card.closest_distances_A
        else "the card of the model does not say more"
    )
    return Finding("training data", "ok" if card.states else "warning", f"{text}: {known}", {})


def _certainty(patient: Patient) -> Finding:
    """Tell how far a calibrated model says that it may be off here."""
    fast, name = patient.fast, "certainty"
    term = term_of(fast.model.potential)
    if term is None:
        return Finding(name, "skipped", "the model was not calibrated (polcalc calibrate)", {})
    fast.get_forces(patient.atoms)
    bars, limit = fast.uncertainty, float(term.warn_above)
    largest = float(bars.forces_eV_per_A.max())
    return Finding(
        name,
        "ok" if largest <= limit else "warning",
        f"68 % of errors of new molecules like those of the training within {bars.energy_eV:.2g} eV"
        f" and {largest:.2g} eV/Å, for the force on the atom that is least sure; in 99.5 % of them"
        f" that is below {limit:.2g}",
        {
            "energy_uncertainty_eV": bars.energy_eV,
            "forces_uncertainty_max_eV_per_A": largest,
            "warn_above_eV_per_A": limit,
        },
    )


def _forces(patient: Patient) -> Finding:
    atoms = patient.atoms
    forces = patient.exact.calculate_many([atoms])[0]["forces"]
    rng = np.random.default_rng(0)
    places = rng.permutation(forces.size)[: min(N_COMPONENTS, max(3, N_MOVED // len(atoms)))]
    frames = [_moved(atoms, place, sign * STEP_A) for place in places for sign in (1, -1, 2, -2)]
    e = patient.energies(frames).reshape(-1, 4)
    numerical = -(8 * (e[:, 0] - e[:, 1]) - (e[:, 2] - e[:, 3])) / (12 * STEP_A)
    error = float(np.abs(numerical - forces.ravel()[places]).max())
    return _judged(
        "forces", error, DIFFERENCE * _scale(forces), "eV/Å from finite differences of the energy"
    )


def _stress(patient: Patient) -> Finding:
    atoms = patient.atoms
    stress = patient.exact.calculate_many([atoms])[0]["stress"]
    frames = []
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += sign * STRAIN / 2
            strain[b, a] += sign * STRAIN / 2
            frame = atoms.copy()
            frame.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            frames.append(frame)
    e = patient.energies(frames).reshape(-1, 2)
    error = float(
        np.abs((e[:, 0] - e[:, 1]) / (2 * STRAIN) / atoms.get_volume() - stress).max()
        * atoms.get_volume()
        / len(atoms)
    )
    return _judged("stress", error, DIFFERENCE, "eV per atom from finite strains")


def _symmetry(patient: Patient) -> Finding:
    """Rotate and reflect, renumber, and put the structure beside another one in a batch."""
    atoms, rng = patient.atoms, np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(atoms))
    turned, shuffled, other = atoms.copy(), atoms[order], _moved(atoms, 0, 0.05)
    shuffled.info = dict(atoms.info)
    turned.set_cell(atoms.cell.array @ rotation)
    turned.positions = atoms.positions @ rotation
    alone = patient.exact.calculate_many([atoms])[0]
    _, batched, _ = patient.exact.calculate_many([other, atoms, other])
    turned_result, shuffled_result = (
        patient.exact.calculate_many([frame])[0] for frame in (turned, shuffled)
    )
    differences = {
        "rotation": _difference(turned_result, alone["energy"], alone["forces"] @ rotation),
        "permutation": _difference(shuffled_result, alone["energy"], alone["forces"][order]),
        "batch": _difference(batched, alone["energy"], alone["forces"]),
    }
    limit = EXACT * _scale(alone["forces"])
    worst = max(differences, key=lambda name: differences[name])
    verdict: Literal["ok", "failure"] = "ok" if differences[worst] <= limit else "failure"
    return Finding(
        "symmetry",
        verdict,
        f"off by {differences[worst]:.1e} eV, eV/Å at most ({worst}; limit {limit:.0e})",
        dict(differences),
    )


def _precision(patient: Patient) -> Finding:
    atoms = patient.atoms
    alone = patient.exact.calculate_many([atoms])[0]
    found = {
        "energy": patient.fast.get_potential_energy(atoms) / len(atoms),
        "forces": patient.fast.get_forces(atoms),
    }
    error = _difference(found, alone["energy"] / len(atoms), alone["forces"])
    return _judged(
        "precision",
        error,
        ROUNDING * _scale(alone["forces"]),
        f"eV per atom, eV/Å: {patient.fast.parameters['dtype']} from float64",
    )


def _time_step(patient: Patient) -> Finding:
    """Advise from the highest normal mode here."""
    atoms = patient.atoms
    if len(atoms) > HESSIAN_LIMIT:
        return Finding(
            "time step",
            "skipped",
            f"more than {HESSIAN_LIMIT} atoms: 0.5 fs is usual with hydrogen, 1 fs without",
            {},
        )
    frames = [
        _moved(atoms, place, sign * 10 * STEP_A)
        for place in range(3 * len(atoms))
        for sign in (1, -1)
    ]
    forces = np.array([result["forces"].ravel() for result in patient.exact.calculate_many(frames)])
    hessian = -(forces[::2] - forces[1::2]) / (20 * STEP_A)
    root = np.repeat(atoms.get_masses(), 3) ** -0.5
    highest = float(
        np.linalg.eigvalsh(root[:, None] * (hessian + hessian.T) / 2 * root[None, :])[-1]
    )
    if not highest > 0:
        return Finding(
            "time step", "warning", "no vibration here: the structure is far from a minimum", {}
        )
    per_fs = highest**0.5 / (2 * np.pi) * units.fs
    advised = max(0.05, np.floor(20 / per_fs / STEPS_PER_PERIOD) / 20)
    text = (
        f"at most {advised:.2f} fs: the fastest vibration here has {per_fs / CM:.0f} 1/cm,"
        f" {1 / per_fs:.1f} fs"
    )
    return Finding(
        "time step", "ok", text, {"advised_fs": float(advised), "highest_mode_per_cm": per_fs / CM}
    )


def _drift(patient: Patient) -> Finding:
    """Run a little at constant energy, with the engine that will run, and time it."""
    atoms = patient.atoms.copy()
    atoms.calc = patient.fast
    start_thermal(atoms, TEMPERATURE_K, np.random.default_rng(2))
    dynamics, energies = VelocityVerlet(atoms, TIMESTEP_FS * units.fs), []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    began = time.perf_counter()
    try:
        dynamics.run(DRIFT_STEPS)
    except ValueError as error:
        return Finding(
            "dynamics",
            "failure",
            f"broke down at step {dynamics.nsteps}: {' '.join(str(error).split())}",
            {},
        )
    wall_ms = 1000 * (time.perf_counter() - began) / DRIFT_STEPS
    line = fit_line(
        TIMESTEP_FS / 1000 * np.arange(len(energies)), 1000 * np.array(energies) / len(atoms)
    )
    ns_per_day = TIMESTEP_FS * 86400 / wall_ms / 1000
    text = (
        f"drift {line.slope:+.2g} meV/atom/ps, fluctuation {line.residual:.2g} meV/atom over"
        f" {DRIFT_STEPS * TIMESTEP_FS / 1000:g} ps at {TIMESTEP_FS} fs; {wall_ms:.2f} ms/step,"
        f" {ns_per_day:.3g} ns/day; {patient.fast.engine}"
    )
    numbers = {
        "drift_meV_per_atom_per_ps": line.slope,
        "fluctuation_meV_per_atom": line.residual,
        "ms_per_step": wall_ms,
    }
    rise = abs(line.slope) * DRIFT_STEPS * TIMESTEP_FS / 1000
    steady = max(line.residual, rise) <= DRIFT_MEV_PER_ATOM
    verdict: Literal["ok", "failure"] = "ok" if steady else "failure"
    return Finding(
        "dynamics",
        verdict,
        text,
        {**numbers, "ns_per_day": ns_per_day, "engine": patient.fast.engine.name},
    )


CHECKS: tuple[Callable[[Patient], Finding], ...] = (
    _certainty,
    _forces,
    _stress,
    _symmetry,
    _precision,
    _time_step,
    _drift,
)


def _applies(check: Callable[[Patient], Finding], patient: Patient) -> bool:
    return check is not _stress or bool(patient.atoms.cell.rank == 3 and patient.atoms.pbc.all())


def _judged(name: str, error: float, limit: float, what: str) -> Finding:
    verdict: Literal["ok", "failure"] = "ok" if error <= limit else "failure"  # a NaN fails
    return Finding(
        name, verdict, f"{error:.1e} {what} (limit {limit:.0e})", {"error": error, "limit": limit}
    )


def _difference(result: dict[str, Any], energy: float, forces: Floats) -> float:
    return float(max(abs(result["energy"] - energy), np.abs(result["forces"] - forces).max()))


def _scale(forces: Floats) -> float:
    return max(1.0, float(np.abs(forces).max()))


def _moved(atoms: Atoms, place: int, by_A: float) -> Atoms:
    """Copy a structure with one coordinate moved."""
    frame: Atoms = atoms.copy()
    frame.positions[place // 3, place % 3] += by_A
    return frame


def findings_table(findings: list[Finding]) -> Table:
    """Lay findings out for a person."""
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        table.add_row(
            Text(finding.verdict, COLORS[finding.verdict]),
            Text(finding.check, "bold"),
            finding.text,
        )
    return table
