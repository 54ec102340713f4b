"""Parts on energies: public reactions, amino acids in water, size consistency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule

from benchmarks.science.organic.contestants import Contestant
from benchmarks.science.organic.settings import KCAL_PER_MOL, Missing, Settings
from md_runs.models.reactions import errors_by_set, judge
from potentials.datasets.catalogue import find_file
from potentials.datasets.recipe import RemoteFile
from potentials.datasets.sets.gscdb import read_reactions
from potentials.datasets.sets.spice import read_spice

COULOMB = 14.399645  # eV Å
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


def gscdb(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Errors against reference energies of reactions, in kcal/mol."""

    def energies(structures: Sequence[Atoms]) -> list[float | str]:
        answers = contestant.evaluate(structures)
        return [answer if isinstance(answer, str) else answer.energy for answer in answers]

    sets = errors_by_set(judge(read_reactions("gscdb:all"), energies))
    return {name: found for name, found in sets.items() if found["n"]}


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


def _part(name: str, symbols: str, positions: Any, charge: int) -> Atoms:
    atoms = molecule(name) if name else Atoms(symbols, positions)
    atoms.set_initial_magnetic_moments(None)
    atoms.set_initial_charges(None)
    atoms.positions -= atoms.get_center_of_mass()
    atoms.info = {"charge": charge, "multiplicity": 1}
    return atoms
