"""Label open shells that no model learnt: the test of radicals, their ions and triplets.

    python -m benchmarks.science.new_open_shells --folder runs/new-open-shells

Species of two and three heavy atoms that `organic-open-shells` lacks, radicals and closed shells
in turn, each at one geometry: its minimum by GFN2-xTB, displaced as modes are at 300 K. All
its states are labelled there, so that gaps, ionisation energies and electron affinities are
vertical and forces are not zero. Level of theory and scale of energies are those of
`organic-open-shells`. Goes on where it was stopped; `--count` species take minutes each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dynamics import RUNS
from benchmarks.measure import command_line
from potentials.datasets import load_frames
from potentials.datasets.checksum import checksum
from potentials.datasets.formats.hdf5 import write_hdf5
from potentials.datasets.frames import make_frames
from potentials.datasets.sets.own import SHIPPED, card
from potentials.datasets.statistics import states
from potentials.files import write_text
from potentials.labels.gfn2 import gfn2
from potentials.labels.jobs import results, run_jobs
from potentials.labels.method import Failed, Label
from potentials.labels.open_shells.geometries import PROVENANCE, embedded
from potentials.labels.open_shells.species import Species, species
from potentials.labels.sampling import hessian, relax, thermal_displacements
from potentials.labels.wb97m import wb97m

LEARNT = "organic-open-shells"
SEED, TEMPERATURE_K = 20261201, 300.0
HEAVY_ATOMS = (2, 3)
FILE = SHIPPED / "organic-open-shells-test.h5"
SAME = ("theory", "programs", "charges", "scale", "shifts_eV", "licence", "citation", "url")


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__)
    parser.add_argument("--folder", type=Path, default=RUNS / "new-open-shells", help="of the jobs")
    parser.add_argument("--count", type=int, default=60, help="species to label")
    parser.add_argument("--output", type=Path, default=FILE, help="HDF5; its card beside it")
    arguments = parser.parse_args(given)
    chosen = {f"{s.number:08x}": s for s in new_species(arguments.count)}
    for key, failed in run_jobs(chosen, label, arguments.folder):
        print(chosen[key].smiles, failed, flush=True)
    write_set(chosen, arguments.folder, arguments.output)


def new_species(count: int) -> list[Species]:
    """Draw species without rare elements of which no label was learnt, radicals in every second."""
    group = load_frames(LEARNT).group
    assert group is not None
    learnt = set(group.tolist())
    new = [
        s
        for s in species()
        if s.n_heavy in HEAVY_ATOMS and not s.charge and not s.n_rare and s.number not in learnt
    ]
    order = np.random.default_rng(SEED).permutation(len(new))
    radicals = [new[k] for k in order if new[k].electrons % 2]
    closed = [new[k] for k in order if new[k].electrons % 2 == 0 and len(new[k].states) > 1]
    pairs = chain.from_iterable(zip_longest(radicals, closed))
    return [s for s in pairs if s is not None][:count]


def label(found: Species) -> dict[str, Any]:
    """Label one geometry in all its states.

    Raises
    ------
    Failed   it has no minimum, or fewer than two of its states are there
    """
    numbers, start, _ = embedded(found)
    minimum = relax(gfn2, numbers, start, *found.states[0], fmax=0.02)
    stiffness = hessian(gfn2, numbers, minimum, *found.states[0])
    moved = minimum + thermal_displacements(
        stiffness, numbers, TEMPERATURE_K, np.random.default_rng((SEED, found.number))
    )
    positions = moved.astype(np.float32).astype(np.float64)  # what is stored is what is labelled
    labels: dict[tuple[int, int], Label] = {}
    for state in found.states:
        try:
            labels[state] = wb97m(numbers, positions, *state)
        except (Failed, ArithmeticError, LookupError, RuntimeError, ValueError):
            continue  # PySCF has no error of its own
    if len(labels) < 2:
        raise Failed("fewer than two states are there")
    every = list(labels.values())
    return {
        "atomic_numbers": numbers,
        "positions": positions.astype(np.float32),
        "total_charge": np.array([charge for charge, _ in labels]),
        "multiplicity": np.array([multiplicity for _, multiplicity in labels]),
        "energy": np.array([x.energy for x in every]),
        "forces": np.array([x.forces for x in every]),
        "partial_charges": np.array([x.charges for x in every]),
        "magmoms": np.array([x.magmoms for x in every]),
        "dipole": np.array([x.dipole for x in every]),
        "spin_squared": np.array([x.spin_squared for x in every]),
    }


def write_set(chosen: dict[str, Species], folder: Path, output: Path) -> None:
    """Put the labels that are there together, with a card; its shifts are of what was learnt."""
    found = results(folder, list(chosen))
    each = [(chosen[k], a, n) for k, a in found.items() for n in range(len(a["energy"]))]
    of_atoms = ("forces", "partial_charges", "magmoms")
    of_structures = ("energy", "total_charge", "multiplicity", "dipole", "spin_squared")
    arrays: dict[str, Any] = {
        name: np.concatenate([a[name][n] for _, a, n in each]) for name in of_atoms
    }
    arrays |= {name: np.array([a[name][n] for _, a, n in each]) for name in of_structures}
    frames = make_frames(
        n_atoms=np.array([len(a["atomic_numbers"]) for _, a, _ in each]),
        atomic_numbers=np.concatenate([a["atomic_numbers"] for _, a, _ in each]),
        positions=np.concatenate([a["positions"] for _, a, _ in each]).astype(np.float64),
        group=np.array([s.number for s, _, _ in each]),
        provenance=replace(PROVENANCE, name=output.stem),
        **arrays,
    )
    write_hdf5(output, frames)
    learnt = card(LEARNT)
    about = {
        "name": output.stem,
        "description": f"species of two and three heavy atoms that {LEARNT} lacks, all states at "
        "one geometry each; a test, never to be trained on",
        "labels": len(frames),
        "species": [chosen[key].smiles for key in found],
        "states": states(frames),
        "command": "python -m benchmarks.science.new_open_shells",
        **{name: learnt[name] for name in SAME},
        "sha256": checksum(output),
    }
    write_text(output.with_suffix(".json"), json.dumps(about, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
