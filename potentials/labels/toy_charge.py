"""toy-charge-A and toy-charge-B: the degeneracy of charges, small enough to train on in minutes.

A: methanol, each geometry at charge 0 and +1, half of the geometries from either surface. B: 16
ions, radicals and molecules of H, C, N and O whose compositions and charges (-1, 0, +1) overlap.
Thermal geometries by Langevin dynamics on GFN2-xTB itself. Partial charges are those of the relaxed
geometry of each molecule and charge: fixed, as a network needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.build import molecule

from potentials.datasets.frames import Frames, Provenance, make_frames
from potentials.labels import gfn2
from potentials.labels.jobs import results
from potentials.labels.method import Floats, Integers
from potentials.labels.sampling import langevin, relax

SETS = ("toy-charge-A", "toy-charge-B")
SEED = 20260401
TEMPERATURE_K = 500.0
EVERY = 30  # steps of 0.5 fs between samples
SETTLE = 20  # samples left out at the start of each piece
PIECE = 60  # samples of one job


class Species(NamedTuple):
    """A molecule and a charge.

    The start geometry is a molecule of ASE, with a proton added where one is wanted.
    """

    base: str  # in ase.build.molecule
    charge: int
    proton: tuple[float, float, float] | None = None  # H added, Å


IONS: dict[str, Species] = {
    "OH-": Species("OH", -1),
    "OH": Species("OH", 0),
    "H2O": Species("H2O", 0),
    "H2O+": Species("H2O", 1),
    "H3O+": Species("H2O", 1, proton=(0.5, 0.0, 0.9)),
    "NH2-": Species("NH2", -1),
    "NH2": Species("NH2", 0),
    "NH3": Species("NH3", 0),
    "NH3+": Species("NH3", 1),
    "NH4+": Species("NH3", 1, proton=(0.0, 0.0, 1.1)),
    "CH3O-": Species("CH3O", -1),
    "CH3O": Species("CH3O", 0),
    "CH3OH": Species("CH3OH", 0),
    "CH3OH+": Species("CH3OH", 1),
    "CH3OH2+": Species("CH3OH", 1, proton=(-0.4, 1.4, 0.7)),
    "CH3+": Species("CH3", 1),
}


class Piece(NamedTuple):
    """One stretch of dynamics: where it starts, and the charges to label its geometries with."""

    species: Species
    label_charges: tuple[int, ...]
    n_samples: int
    seed: tuple[int, ...]
    group: int  # number of the first geometry, or -1


def jobs(name: str, n_pieces: int = 0) -> dict[str, Piece]:
    """Make the pieces of a set; ``n_pieces`` of each start, by default as many as the set has."""
    if name == "toy-charge-A":
        starts = [Species("CH3OH", 0), Species("CH3OH", 1)]
        each = n_pieces or 10
        return {
            f"A-{k:02d}-{n:03d}": Piece(
                species, (0, 1), PIECE, (SEED, 0, k, n), PIECE * (k * each + n)
            )
            for k, species in enumerate(starts)
            for n in range(each)
        }
    each = n_pieces or 3
    return {
        f"B-{k:02d}-{n:03d}": Piece(species, (species.charge,), PIECE, (SEED, 1, k, n), -1)
        for k, species in enumerate(IONS.values())
        for n in range(each)
    }


def compute(piece: Piece) -> dict[str, Any]:
    """Run one piece: the flat arrays of its labels."""
    atomic_numbers, start = _start(piece.species)
    charge = piece.species.charge
    relaxed = {
        q: relax(gfn2.gfn2, atomic_numbers, start, q, lowest(atomic_numbers, q))
        for q in piece.label_charges
    }
    fixed = {
        q: gfn2.gfn2(atomic_numbers, x, q, lowest(atomic_numbers, q)).charges.round(6)
        for q, x in relaxed.items()
    }
    rng = np.random.default_rng(piece.seed)
    path = langevin(
        gfn2.gfn2,
        atomic_numbers,
        relaxed[charge],
        charge,
        lowest(atomic_numbers, charge),
        TEMPERATURE_K,
        EVERY,
        rng,
    )
    samples = islice(path, SETTLE, SETTLE + piece.n_samples)
    rows: dict[str, list[Any]] = {
        k: []
        for k in (
            "positions",
            "energy",
            "forces",
            "charge",
            "multiplicity",
            "partial_charges",
            "group",
        )
    }
    for n, sample in enumerate(samples):
        # what is stored is what is labelled
        positions = sample.astype(np.float32).astype(np.float64)
        for q in piece.label_charges:
            label = gfn2.gfn2(atomic_numbers, positions, q, lowest(atomic_numbers, q))
            values = (
                positions,
                label.energy,
                label.forces,
                q,
                lowest(atomic_numbers, q),
                fixed[q],
                piece.group + n,
            )
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)
    return {"atomic_numbers": np.tile(atomic_numbers, (len(rows["energy"]), 1))} | {
        k: np.array(v) for k, v in rows.items()
    }


def collect(name: str, folder: Path) -> Frames:
    """Put the finished pieces of a set together."""
    pieces = list(results(folder, list(jobs(name))).values())
    if not pieces:
        raise ValueError(
            f"`folder` must hold finished pieces of {name}; got none in {folder}. Run them first."
        )
    flat = {
        key: np.concatenate([p[key].reshape(-1, *shape) for p in pieces])
        for key, shape in SHAPES.items()
    }
    return make_frames(
        n_atoms=np.concatenate(
            [np.full(len(p["energy"]), p["positions"].shape[1]) for p in pieces]
        ),
        atomic_numbers=flat["atomic_numbers"],
        positions=flat["positions"],
        energy=flat["energy"],
        forces=flat["forces"].astype(np.float32),
        total_charge=flat["charge"],
        multiplicity=flat["multiplicity"],
        partial_charges=flat["partial_charges"],
        group=flat["group"] if name == "toy-charge-A" else None,
        provenance=PROVENANCE[name],
    )


def lowest(atomic_numbers: Integers, charge: int) -> int:
    """Lowest multiplicity of this charge: a doublet where the electron count asks for it."""
    return 1 + (int(atomic_numbers.sum()) - charge) % 2


def card(name: str, frames: Frames) -> Mapping[str, Any]:
    """Say how a set was made."""
    return {
        "name": name,
        "description": PROVENANCE[name].description,
        "theory": PROVENANCE[name].theory,
        "programs": gfn2.program(),
        "accuracy": gfn2.ACCURACY,
        "sampling": (
            f"Langevin dynamics at {TEMPERATURE_K:g} K on the same method, 0.5 fs, 20/ps, a sample"
            f" every {EVERY} steps after {SETTLE * EVERY} steps, {PIECE} samples a piece"
        ),
        "seed": SEED,
        "labels": len(frames),
        "command": f"polcalc labels toy-charge {name[-1]}",
        "licence": "CC0-1.0",
    }


def _start(species: Species) -> tuple[Integers, Floats]:
    atoms = molecule(species.base)
    numbers, positions = list(atoms.numbers), list(atoms.positions)
    if species.proton is not None:
        heavy = positions[int(np.argmax(np.where(np.isin(numbers, (7, 8)), numbers, 0)))]
        numbers, positions = [*numbers, 1], [*positions, heavy + np.array(species.proton)]
    return np.array(numbers, dtype=np.int64), np.array(positions, dtype=np.float64)


SHAPES: dict[str, tuple[int, ...]] = {
    "atomic_numbers": (), "positions": (3,), "energy": (), "forces": (3,), "charge": (),
    "multiplicity": (), "partial_charges": (), "group": (),
}  # fmt: skip
PROVENANCE = {
    name: Provenance(
        name=name,
        description=description,
        theory=gfn2.THEORY,
        licence="CC0-1.0",
        citation=(
            "C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019), for the"
            " method"
        ),
        url="https://doi.org/10.1021/acs.jctc.8b01176",
    )
    for name, description in {
        "toy-charge-A": (
            "methanol at charge 0 and +1, both at every geometry; energies, forces, fixed partial"
            " charges"
        ),
        "toy-charge-B": (
            "16 ions, radicals and molecules of H, C, N, O with charge -1, 0, +1; energies, forces,"
            " fixed partial charges"
        ),
    }.items()
}
