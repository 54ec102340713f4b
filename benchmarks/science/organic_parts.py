"""What the benchmark of the default model measures: one function for each part."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.build import minimize_rotation_and_translation, molecule
from ase.optimize import BFGS
from ase.units import kcal, mol

from benchmarks.dynamics import complete, status
from benchmarks.measure import take_turns
from benchmarks.science.contestants import TEACHER, Answer, Contestant, key_of, one_network
from benchmarks.systems import hordenine
from md_runs.models.reactions import errors_by_set, judge
from md_runs.models.validation import Comparison, metrics
from potentials.datasets import Frames
from potentials.datasets.catalogue import find_file
from potentials.datasets.gaps import geometry_key
from potentials.datasets.recipe import RemoteFile
from potentials.datasets.sets.gscdb import read_reactions
from potentials.datasets.sets.spice import read_spice

KCAL_PER_MOL = kcal / mol  # eV
COULOMB = 14.399645  # eV Å
FMAX, MOST_STEPS = 0.01, 500  # eV/Å
TIMESTEP_FS = 1.0
OTHER_ZERO = 1000.0  # meV/atom; energies that differ by more are of another zero
APART_A = 30.0  # between centres of mass
SOLVATED = RemoteFile("solvated-amino-acids.hdf5", "")


NH4 = 0.59  # Å, of each coordinate
AMMONIUM = [[0, 0, 0], [NH4, NH4, NH4], [-NH4, -NH4, NH4], [-NH4, NH4, -NH4], [NH4, -NH4, -NH4]]
PARTS_APART = {
    "water": ("H2O", "", None, 0),
    "benzene": ("C6H6", "", None, 0),
    "ammonium": ("", "NH4", AMMONIUM, 1),
    "chloride": ("", "Cl", [[0, 0, 0]], -1),
}  # of ASE by name, or symbols and positions; charge


class Settings(NamedTuple):
    """What all parts are told."""

    frames: Frames | None  # closed shells that no model learnt, grouped by molecule
    open_shells: Frames | None  # likewise
    conformations: int  # of each solvated amino acid
    molecules: int  # to relax and to run
    length_ps: float
    repeats: int  # timed calls
    store: Path


class Missing(Exception):
    """The data of a part are not on this machine."""


def gscdb(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Errors against reference energies of reactions, in kcal/mol."""

    def energies(structures: Sequence[Atoms]) -> list[float | str]:
        answers = contestant.evaluate(structures)
        return [answer if isinstance(answer, str) else answer.energy for answer in answers]

    sets = errors_by_set(judge(read_reactions("gscdb:all"), energies))
    return {name: found for name, found in sets.items() if found["n"]}


def labels(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Errors on labels of molecules that no model learnt, neutral ones and ions apart."""
    return _on_labels(contestant, _there(settings.frames, "--frames"))


def open_shells(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Errors on our own DFT of radicals, their ions and triplets: forces and vertical energies."""
    return _on_labels(contestant, _there(settings.open_shells, "--open-shells"))


def solvated(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Forces, and energies of conformations, of amino acids in twenty waters against DFT."""
    path = find_file(SOLVATED)
    if path is None:
        raise Missing(f"{SOLVATED.name} is in no folder of POLCALC_DATA")
    frames = read_spice([path], "solvated-amino-acids")
    group = frames.group
    assert group is not None
    first = [np.flatnonzero(group == g)[: settings.conformations] for g in np.unique(group)]
    frames = frames.select(np.concatenate(first))
    structures = list(frames)
    answers = contestant.evaluate(structures)
    forces, energies = [], defaultdict(list)
    for atoms, answer, g in zip(structures, answers, frames.group.tolist(), strict=True):
        if isinstance(answer, str):
            continue
        wanted = atoms.calc.results
        forces.append(np.abs(answer.forces - wanted["forces"]).ravel())
        energies[g].append(answer.energy - wanted["energy"])
    relative = np.concatenate(
        [np.subtract(errors, np.mean(errors)) for errors in energies.values()]
    )
    return {
        "n_frames": len(forces),
        "forces_mae_meV_per_A": 1000 * float(np.concatenate(forces).mean()),
        "conformations_mae_kcal_per_mol": float(np.abs(relative).mean()) / KCAL_PER_MOL,
    }


def relaxed(everybody: Sequence[Contestant], settings: Settings) -> dict[str, Any]:
    """Relax molecules, and superpose each on what the teacher relaxed from the same start."""
    frames = _there(settings.frames, "--frames")
    closed = frames.select(frames.multiplicity == 1)
    molecules = list(_molecules(closed, settings.molecules))
    teacher = next(contestant for contestant in everybody if contestant.name == TEACHER)
    found = {}
    for contestant in everybody:
        rmsd, failed = [], 0
        for start in molecules:
            mine, its = (_minimum(c, start, settings) for c in (contestant, teacher))
            failed += mine is None
            if mine is not None and its is not None:
                rmsd.append(_rmsd(mine, its))
        found[contestant.name] = {
            "n_relaxed": len(molecules),
            "not_converged": failed,
            "median_rmsd_A": float(np.median(rmsd)) if rmsd else None,
            "rmsd_90_percent_A": float(np.quantile(rmsd, 0.9)) if rmsd else None,
        }
    return found


def stable(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Run molecules at 300 K, four fifths closed shells: no guard may end a run."""
    n_open = 0 if settings.open_shells is None else settings.molecules // 5
    molecules = list(_molecules(_there(settings.frames, "--frames"), settings.molecules - n_open))
    if settings.open_shells is not None:
        molecules += _molecules(settings.open_shells, n_open)
    broken = []
    for seed, atoms in enumerate(molecules):
        directory = complete(
            settings.store / f"runs-{contestant.identity[:12]}" / key_of([atoms]),
            atoms,
            model=contestant.path,
            relax_first=True,
            temperature_K=300,
            timestep_fs=TIMESTEP_FS,
            steps=round(1000 * settings.length_ps / TIMESTEP_FS),
            seed=seed,
            trajectory_every=200,
            log_every=200,
        )
        if status(directory) != "finished":
            broken.append({"formula": atoms.get_chemical_formula("hill"), **atoms.info})
    n_stable = len(molecules) - len(broken)
    return {
        "n_run": len(molecules),
        "n_stable": n_stable,
        "length_ps": settings.length_ps,
        "broken": broken,
    }


def speed(everybody: Sequence[Contestant], settings: Settings) -> dict[str, Any]:
    """Time energy and forces of 27 atoms on one thread, in turns, each call a little elsewhere."""
    start = hordenine()
    start.info = {"charge": 0, "multiplicity": 1}
    rng = np.random.default_rng(0)

    def moving(make: Callable[[Atoms], Any]) -> Callable[[], Any]:
        atoms = start.copy()
        atoms.calc = make(atoms)

        def call() -> Any:
            atoms.positions = start.positions + rng.normal(scale=0.005, size=start.positions.shape)
            return atoms.get_forces()

        return call

    makers = {c.name: one_network if c.name == TEACHER else c.calculator for c in everybody}
    calls = {name: moving(make) for name, make in makers.items()}
    for call in calls.values():
        call()
    return take_turns(calls, settings.repeats)


def size(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Energies of two molecules 30 Å apart, less those of each and their Coulomb energy: meV."""
    parts = {name: _part(*described) for name, described in PARTS_APART.items()}
    pairs = {f"{a} … {b}": (parts[a], parts[b]) for a, b in combinations(parts, 2)}
    found: dict[str, float | None] = {}
    for name, (a, b) in pairs.items():
        moved = b.copy()
        moved.positions += [APART_A, 0, 0]
        joined = a + moved
        charges = a.info["charge"], b.info["charge"]
        joined.info = {"charge": sum(charges), "multiplicity": 1}
        answers = contestant.evaluate([joined, a, b])
        if any(isinstance(answer, str) for answer in answers):
            found[name] = None
            continue
        both, first, second = (answer.energy for answer in answers)
        coulomb = COULOMB * charges[0] * charges[1] / APART_A
        found[name] = 1000 * (both - first - second - coulomb)
    errors = [abs(error) for error in found.values() if error is not None]
    return {"worst_meV": max(errors) if errors else None, "pairs_meV": found}


def _on_labels(contestant: Contestant, frames: Frames) -> dict[str, Any]:
    """Errors overall, by state, and of differences between states at one geometry."""
    structures = list(frames)
    answers = contestant.evaluate(structures)
    compared = [
        _comparison(atoms, answer)
        for atoms, answer in zip(structures, answers, strict=True)
        if not isinstance(answer, str)
    ]
    if not compared:
        raise Missing(f"{contestant.name} answers for none of these states")
    report: dict[str, Any] = {"source": frames.provenance.name, "n_frames": len(compared)}
    for name, chosen in (
        ("neutral", [c for c in compared if c.charge == 0]),
        ("ions", [c for c in compared if c.charge != 0]),
        ("all", compared),
    ):
        if chosen:
            report |= {f"{key}_{name}": value for key, value in _errors(metrics(chosen)).items()}
    states = [
        {key: state[key] for key in ("charge", "multiplicity", "n_frames")} | _errors(state)
        for state in metrics(compared)["by_state"]
    ]
    return report | _vertical(compared) | {"by_state": states}


def _errors(found: Mapping[str, Any]) -> dict[str, float]:
    """Pick forces, and energies unless their zero is another than that of the labels."""
    errors = {"forces_meV_per_A": found["forces_mae_meV_per_A"]}
    if found["energy_mae_meV_per_atom"] < OTHER_ZERO:
        errors["energy_meV_per_atom"] = found["energy_mae_meV_per_atom"]
    return errors


def _vertical(compared: Sequence[Comparison]) -> dict[str, Any]:
    """Errors in eV of gaps, ionisation energies and electron affinities at one geometry."""
    there: dict[bytes, list[Comparison]] = defaultdict(list)
    for c in compared:
        there[c.geometry].append(c)
    errors: dict[str, list[float]] = {"gap": [], "ip": [], "ea": []}
    for states in there.values():
        for a, b in combinations(sorted(states, key=lambda c: (c.charge, c.multiplicity)), 2):
            apart = b.charge - a.charge, abs(b.multiplicity - a.multiplicity)
            kind = {(0, 2): "gap", (1, 1): "ip" if a.charge == 0 else "ea"}.get(apart)
            if kind:
                wanted, got = (b.energies[k] - a.energies[k] for k in (0, 1))
                errors[kind].append(abs(got - wanted))
    found = {f"{kind}_mae_eV": float(np.mean(values)) for kind, values in errors.items() if values}
    return found | {f"{kind}_n": len(values) for kind, values in errors.items() if values}


def _comparison(atoms: Atoms, answer: Answer) -> Comparison:
    wanted = atoms.calc.results
    return Comparison(
        int(atoms.info["charge"]),
        int(atoms.info["multiplicity"]),
        (wanted["energy"], answer.energy),
        (wanted["forces"], answer.forces),
        len(atoms),
        geometry_key(atoms.numbers, atoms.positions, atoms.cell.array),
    )


def _minimum(contestant: Contestant, start: Atoms, settings: Settings) -> Atoms | None:
    """Relax, or read what was relaxed before; None where that did not converge."""
    path = settings.store / f"relaxed-{contestant.identity[:12]}" / f"{key_of([start])}.json"
    if not path.is_file():
        moving = start.copy()
        moving.calc = contestant.calculator(moving)
        try:
            converged = bool(BFGS(moving, logfile=None).run(fmax=FMAX, steps=MOST_STEPS))
        except Exception:  # whatever a calculator says of an absurd geometry
            converged = False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"converged": converged, "positions": moving.positions.tolist()})
        )
    read = json.loads(path.read_text())
    if not read["converged"]:
        return None
    return Atoms(start.numbers, read["positions"])


def _rmsd(a: Atoms, b: Atoms) -> float:
    """Distance of atoms after superposition in Å, root mean square."""
    minimize_rotation_and_translation(b, a)
    return float(np.sqrt(((a.positions - b.positions) ** 2).sum(1).mean()))


def _molecules(frames: Frames, n_wanted: int) -> Iterable[Atoms]:
    """Yield molecules: the frame of lowest energy in the ground state, without a partner."""
    assert frames.group is not None
    groups = np.random.default_rng(0).permutation(np.unique(frames.group))
    for group in groups[:n_wanted]:
        mine = np.flatnonzero(frames.group == group)
        single = mine[frames.n_atoms[mine] == frames.n_atoms[mine].min()]  # pairs are larger
        states = list(zip(frames.total_charge[single], frames.multiplicity[single], strict=True))
        ground = max(states, key=states.count)  # every geometry is labelled in it
        chosen = single[[state == ground for state in states]]
        atoms = frames.atoms(int(chosen[np.argmin(frames.energy[chosen])]))
        atoms.calc = None
        yield atoms


def _part(name: str, symbols: str, positions: Any, charge: int) -> Atoms:
    atoms = molecule(name) if name else Atoms(symbols, positions)
    atoms.set_initial_magnetic_moments(None)
    atoms.set_initial_charges(None)
    atoms.positions -= atoms.get_center_of_mass()
    atoms.info = {"charge": charge, "multiplicity": 1}
    return atoms


def _there(frames: Frames | None, option: str) -> Frames:
    if frames is None:
        raise Missing(f"no labels: pass {option}")
    return frames
