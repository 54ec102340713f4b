"""What the default model must do on molecules that it has never seen.

Errors, relaxed geometries, stability, ionisation, speed.

    python benchmarks/organic.py --data runs/organic-xtb --output benchmarks/results/organic.json

Everything is measured against GFN2-xTB through tblite, of which the model is a surrogate. The
molecules are those of the test file of organic-xtb, each in its ground state and its lowest frame.
Stopped, the command goes on where it was: relaxations and runs are kept in the folder of the runs,
one of each model. Small species, which the model was trained on, are asked for the energies of
their states alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS

sys.path.insert(0, str(Path(__file__).parent))
from kept_runs import RUNS, complete, status
from measure import in_process, machine, take_turns, write

from polcalc import PolarizedCalculator
from polcalc.calculator.calculator import DEFAULT
from polcalc.calculator.domain import ExtrapolationWarning
from potentials.checkpoint import Model, load, store_card
from potentials.datasets import Frames, load_frames
from potentials.datasets.gaps import geometry_key
from potentials.labels.gfn2 import Convergence, Surface, gfn2
from potentials.labels.method import Failed
from potentials.labels.organic import other_states
from potentials.labels.organic_geometries import make_species
from potentials.labels.organic_molecules import SMALL, Parent, canonical
from potentials.training.data import StructureSet
from potentials.training.evaluate import errors

FMAX, MOST_STEPS = 0.01, 500  # eV/Å
KNOWN_ERROR_EV = 0.5  # a user is told of larger ones
HEAVY = 12  # atoms of the molecule that speed is measured on
THREADS = (1, 2)  # of both; the target is of the better number of each
TIMESTEP_FS = 1.0
TARGETS = {
    "forces_mae_meV_per_A": "at most 60; not resolved above 120",
    "energy_mae_meV_per_atom": "at most 2; not resolved above 4",
    "worst_state_over_average": "at most 2, of the forces",
    "median_rmsd_A": "at most 0.05",
    "not_converged": "at most 5 of 100",
    "not_stable": "none of 100",
    "ip_mae_eV": "at most 0.15",
    "ea_mae_eV": "at most 0.15",
    "small_mae_eV": "at most 0.15, as of the larger ones",
    "small_beyond_1_eV": "none",
    "tblite_over_model": "at least 20, each on its better number of threads",
}


class TBLite(Calculator):
    """GFN2-xTB for ASE's optimisers.

    Charges are taken over from step to step, as its own users do.
    """

    implemented_properties = ["energy", "forces"]

    def __init__(self, atoms: Atoms, accuracy: float = 0.1) -> None:
        super().__init__()
        self._surface = Surface(
            atoms.numbers, atoms.info["charge"], atoms.info["multiplicity"], Convergence(accuracy)
        )

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        label = self._surface.follow(atoms.positions)
        self.results = {"energy": label.energy, "forces": label.forces}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default=DEFAULT, help="model file or the name of a shipped model"
    )
    parser.add_argument(
        "--frames",
        default="organic-xtb:test",
        help="known set or file of labelled structures, grouped by molecule",
    )
    parser.add_argument(
        "--data", type=Path, help="folder with the files of known sets; else POLCALC_DATA"
    )
    parser.add_argument("--molecules", type=int, default=100, help="to relax and to run")
    parser.add_argument("--length-ps", type=float, default=20.0, help="of every run")
    parser.add_argument("--repeats", type=int, default=200, help="timed calls")
    parser.add_argument(
        "--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="what to measure"
    )
    parser.add_argument(
        "--runs", type=Path, default=RUNS / "organic", help="where relaxations and runs are kept"
    )
    parser.add_argument(
        "--store",
        action="store_true",
        help="tell users of small species that err by eV: in the card of the model",
    )
    parser.add_argument(
        "--output", type=Path, help="JSON with all numbers; the table is written beside it as .md"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.store and "small" not in arguments.parts:
        parser.error("`--store` keeps what the part `small` finds. Add `small` to --parts.")
    if arguments.worker:
        print(json.dumps(_times(**json.loads(arguments.worker))))
        return
    warnings.simplefilter(
        "ignore", ExtrapolationWarning
    )  # of stretched bonds and close contacts, which are there on purpose
    frames = load_frames(arguments.frames, data=arguments.data)
    folder = arguments.runs / load(arguments.model).sha256[:12]
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for part in arguments.parts:
        found |= PARTS[part](frames, folder, arguments)
    if arguments.store:
        _store_known_errors(load(arguments.model), found["small"])
    report = {
        "machine": machine(),
        "model": arguments.model,
        "frames": arguments.frames,
        "n_frames": len(frames),
    } | found
    write(report, _table(report), arguments.output)


def _errors(frames: Frames, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Errors of all frames by electronic state, and of vertical ionisation energies and electron affinities."""
    potential = load(arguments.model).potential
    found = errors(potential, StructureSet(frames, potential.cutoff))
    average = found["forces_mae_meV_per_A"]
    worst = max(state["forces_mae_meV_per_A"] / average for state in found["by_state"])
    return {"errors": found, "worst_state_over_average": worst} | {
        name: found[name] for name in ("forces_mae_meV_per_A", "energy_mae_meV_per_atom")
    }


def _ionisation(frames: Frames, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """IP = E(+1, doublet) - E(0, singlet) and EA = E(0, singlet) - E(-1, doublet), where both labels are there at one geometry."""
    calculator = PolarizedCalculator(arguments.model, device="cpu")
    predicted = np.array(
        [
            result["energy"]
            for part in _parts(list(frames))
            for result in calculator.calculate_many(part)
        ]
    )
    states: dict[bytes, dict[tuple[int, int], int]] = {}
    for n, atoms in enumerate(frames):
        key = geometry_key(atoms.numbers, atoms.positions, atoms.cell.array)
        states.setdefault(key, {})[atoms.info["charge"], atoms.info["multiplicity"]] = n
    report: dict[str, Any] = {}
    for name, ion, sign in (("ip", (1, 2), 1), ("ea", (-1, 2), -1)):
        pairs = np.array(
            [
                (there[0, 1], there[ion])
                for there in states.values()
                if {(0, 1), ion} <= there.keys()
            ]
        )
        wanted, got = (
            sign * (energy[pairs[:, 1]] - energy[pairs[:, 0]])
            for energy in (frames.energy, predicted)
        )
        report |= {
            f"{name}_mae_eV": float(np.abs(got - wanted).mean()),
            f"{name}_n_geometries": len(pairs),
        }
        report[f"{name}_spread_eV"] = float(wanted.std())  # what a constant would err by
    return report


def _relaxed(frames: Frames, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Relax molecules with the model and with tblite from the same start, with the same optimiser, and superpose."""
    rows = []
    for number, atoms in _molecules(frames, arguments.molecules):
        path = folder / f"relaxed-{number:05d}.json"
        if not path.is_file():
            path.write_text(json.dumps(_relax_both(atoms, arguments.model)))
        rows.append(json.loads(path.read_text()))
    rmsd = np.array([row["rmsd_A"] for row in rows if row["converged"] and row["tblite_converged"]])
    return {
        "n_relaxed": len(rows),
        "not_converged": sum(not row["converged"] for row in rows),
        "median_rmsd_A": float(np.median(rmsd)) if len(rmsd) else None,
        "rmsd_90_percent_A": float(np.quantile(rmsd, 0.9)) if len(rmsd) else None,
        "relaxations": rows,
    }


def _relax_both(atoms: Atoms, model: str) -> dict[str, Any]:
    ends, converged = [], []
    for calculator in (PolarizedCalculator(model, device="cpu", dtype="float64"), TBLite(atoms)):
        moving = atoms.copy()
        moving.calc = calculator
        try:
            converged.append(bool(BFGS(moving, logfile=None).run(fmax=FMAX, steps=MOST_STEPS)))
        except Exception:  # whatever a calculator says of an absurd geometry
            converged.append(False)
        ends.append(moving)
    minimize_rotation_and_translation(ends[1], ends[0])
    rmsd = float(np.sqrt(((ends[0].positions - ends[1].positions) ** 2).sum(1).mean()))
    about = {"formula": atoms.get_chemical_formula("hill"), **atoms.info}
    return about | {"converged": converged[0], "tblite_converged": converged[1], "rmsd_A": rmsd}


def _stable(frames: Frames, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run molecules at 300 K.

    A run is stable where no guard ends it: no bond breaks or forms, no absurd energy or force.
    """
    broken = []
    for number, atoms in _molecules(frames, arguments.molecules):
        directory = complete(
            folder / f"run-{number:05d}",
            atoms,
            model=arguments.model,
            relax_first=True,
            temperature_K=300,
            timestep_fs=TIMESTEP_FS,
            steps=round(1000 * arguments.length_ps / TIMESTEP_FS),
            seed=number,
            trajectory_every=200,
            log_every=200,
        )
        if status(directory) != "finished":
            broken.append(
                {"number": number, "formula": atoms.get_chemical_formula("hill"), **atoms.info}
            )
    return {
        "n_run": arguments.molecules,
        "length_ps": arguments.length_ps,
        "not_stable": len(broken),
        "broken": broken,
    }


def _small(frames: Frames, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Energies of the states of small species above their ground state, at its minimum, each species alone."""
    rows = []
    for smiles, multiplicity in SMALL:
        try:
            species = make_species(
                Parent(canonical(smiles), multiplicity, small=True),
                "molecule",
                np.random.default_rng(0),
            )
        except Failed:
            continue
        atoms = Atoms(species.atomic_numbers, species.positions)
        atoms.calc = PolarizedCalculator(arguments.model, device="cpu")
        ground, found = (species.charge, species.multiplicity), {}
        for state in (ground, *(other for other, _ in other_states(*ground))):
            atoms.info.update(charge=state[0], multiplicity=state[1])
            try:
                found[state] = (
                    gfn2(species.atomic_numbers, species.positions, *state).energy,
                    atoms.get_potential_energy(),
                )
            except Failed:
                continue
        for state in found.keys() - {ground} if ground in found else ():
            wanted, got = (found[state][k] - found[ground][k] for k in (0, 1))
            formula = atoms.get_chemical_formula("hill")
            about = {
                "smiles": smiles,
                "formula": formula,
                "charge": state[0],
                "multiplicity": state[1],
            }
            rows.append(about | {"gap_eV": wanted, "error_eV": got - wanted})
    rows.sort(key=lambda row: -abs(row["error_eV"]))
    errors_eV = np.array([abs(row["error_eV"]) for row in rows])
    return {
        "small_mae_eV": float(errors_eV.mean()),
        "small_median_eV": float(np.median(errors_eV)),
        "small_n_gaps": len(rows),
        "small_beyond_1_eV": int((errors_eV > 1).sum()),
        "small": rows,
    }


def _store_known_errors(model: Model, rows: list[dict[str, Any]]) -> None:
    """Keep the worst error of each formula and state in the card, where it is large."""
    worst: dict[tuple[str, int, int], float] = {}
    for row in sorted(rows, key=lambda row: abs(row["error_eV"])):
        if abs(row["error_eV"]) > KNOWN_ERROR_EV:
            worst[row["formula"], row["charge"], row["multiplicity"]] = round(row["error_eV"], 1)
    store_card(
        model.path,
        replace(model.card, known_errors=[[*key, error] for key, error in sorted(worst.items())]),
    )


def _speed(frames: Frames, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time energy and forces of a molecule of twelve heavy atoms, each number of threads in a process of its own."""
    task = {
        "model": arguments.model,
        "frames": arguments.frames,
        "data": str(arguments.data or "") or None,
        "repeats": arguments.repeats,
    }
    speed = {f"{threads} threads": in_process(__file__, task, threads) for threads in THREADS}
    best = {
        name: min(times[name]["median_ms"] for times in speed.values())
        for name in ("model", "tblite")
    }
    return {"speed": speed, "tblite_over_model": best["tblite"] / best["model"]}


def _times(model: str, frames: str, data: str | None, repeats: int) -> dict[str, Any]:
    """Time both in turns, the molecule a little moved at every call, with as many threads as this process has."""
    molecules = _molecules(load_frames(frames, data=data), None)
    atoms = next(
        a for _, a in molecules if (a.numbers > 1).sum() == HEAVY and a.info["multiplicity"] == 1
    )
    rng, start = np.random.default_rng(0), atoms.positions.copy()

    def moving(calculator: Calculator) -> Callable[[], Any]:
        mine = atoms.copy()
        mine.calc = calculator

        def call() -> Any:
            mine.positions = start + rng.normal(scale=0.005, size=start.shape)
            return mine.get_forces()

        return call

    ours = PolarizedCalculator(model, device="cpu")
    calls = {"model": moving(ours), "tblite": moving(TBLite(atoms, accuracy=1.0))}
    for call in calls.values():
        call()
    times = take_turns(calls, repeats)
    about = {
        "formula": atoms.get_chemical_formula("hill"),
        "engine": str(ours.engine),
        "tblite_accuracy": 1.0,
        **atoms.info,
    }
    return (
        about
        | times
        | {"tblite_over_model": times["tblite"]["median_ms"] / times["model"]["median_ms"]}
    )


PARTS: dict[str, Callable[[Frames, Path, argparse.Namespace], dict[str, Any]]] = {
    "errors": _errors,
    "ionisation": _ionisation,
    "small": _small,
    "speed": _speed,
    "relaxed": _relaxed,
    "stable": _stable,
}


def _molecules(frames: Frames, n_wanted: int | None) -> Iterable[tuple[int, Atoms]]:
    """Yield molecules by their number.

    Of each the frame of lowest energy in its ground state, without a partner.
    """
    assert frames.group is not None
    groups = np.random.default_rng(0).permutation(np.unique(frames.group))
    for group in groups[:n_wanted]:
        mine = np.flatnonzero(frames.group == group)
        single = mine[frames.n_atoms[mine] == frames.n_atoms[mine].min()]  # pairs are larger
        states = [
            (float(q), int(m))
            for q, m in zip(frames.total_charge[single], frames.multiplicity[single], strict=True)
        ]
        ground = max(set(states), key=states.count)  # every geometry is labelled in it
        chosen = single[[state == ground for state in states]]
        atoms = frames.atoms(int(chosen[np.argmin(frames.energy[chosen])]))
        atoms.calc = None
        yield int(group), atoms


def _parts(structures: list[Atoms], size: int = 256) -> Iterable[list[Atoms]]:
    return (structures[n : n + size] for n in range(0, len(structures), size))


def _table(report: dict[str, Any]) -> str:
    lines = [
        (
            f"{report['model']} against GFN2-xTB on {report['frames']}, {report['n_frames']}"
            f" frames. {json.dumps(report['machine'])}"
        ),
        "",
        "| | measured | wanted |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {report[name]:.3g} | {wanted} |"
        for name, wanted in TARGETS.items()
        if report.get(name) is not None
    ]
    if "errors" in report:
        lines += [
            "",
            "| charge | multiplicity | frames | energy meV/atom | forces meV/Å |",
            "|---|---|---|---|---|",
        ]
        for s in report["errors"]["by_state"]:
            errors_of = f"{s['energy_mae_meV_per_atom']:.1f} | {s['forces_mae_meV_per_A']:.0f}"
            lines.append(
                f"| {s['charge']:+d} | {s['multiplicity']} | {s['n_frames']} | {errors_of} |"
            )
    if "small" in report:
        lines += [
            "",
            f"Small species, {report['small_n_gaps']} energies above the ground state; the worst:",
            "",
        ]
        lines += ["| | charge | multiplicity | GFN2-xTB, eV | error, eV |", "|---|---|---|---|---|"]
        for s in report["small"][:12]:
            lines.append(
                f"| {s['smiles']} | {s['charge']:+d} | {s['multiplicity']} | {s['gap_eV']:.2f} |"
                f" {s['error_eV']:+.2f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
