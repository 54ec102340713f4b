"""Thermal geometries of one molecule in one state, labelled with GFN2-xTB.

Many cheap labels to start a training from.

A network that has seen them needs fewer labels of the method that is wanted. Geometries come from
Langevin dynamics on the method itself, so that none of the wanted method's is looked at. A piece is
one stretch of dynamics with a seed of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from potentials.datasets.frames import Frames, Provenance, make_frames
from potentials.labels import gfn2
from potentials.labels.jobs import results
from potentials.labels.method import Floats, Integers, Label
from potentials.labels.sampling import langevin, relax

PIECE = 500  # labels of one job
SETTLE = 100  # samples left out at the start of each piece
EVERY, TIMESTEP_FS, FRICTION_PER_PS = 8, 0.5, 5.0
CONVERGENCE = gfn2.Convergence(0.1)


class Piece(NamedTuple):
    """One stretch of dynamics."""

    atomic_numbers: Integers  # (N,)
    positions: Floats  # (N, 3) Å, relaxed before the dynamics
    charge: int  # e
    multiplicity: int  # 2S + 1
    temperature_K: float
    n_samples: int
    seed: tuple[int, int]


def jobs(
    atoms: Atoms, charge: int, multiplicity: int, temperature_K: float, n_labels: int, seed: int
) -> dict[str, Piece]:
    """Cut the work into pieces.

    Raises
    ------
    ValueError   no label or no temperature is asked for, or the structure is periodic
    """
    if n_labels < 1:
        raise ValueError(f"`labels` must be at least 1; got {n_labels}. Ask for some thousands.")
    if not temperature_K > 0:
        raise ValueError(
            f"`temperature_K` must be positive; got {temperature_K} K. Take that of the runs to"
            " come, or a little more."
        )
    if atoms.pbc.any():
        raise ValueError(
            "`atoms` must be a molecule in open space; got periodic directions"
            f" {atoms.pbc.tolist()}. Remove the cell."
        )
    shared = (
        np.array(atoms.numbers, dtype=np.int64),
        np.array(atoms.positions, dtype=np.float64),
        charge,
        multiplicity,
        temperature_K,
    )
    counts = [min(PIECE, n_labels - first) for first in range(0, n_labels, PIECE)]
    return {f"{n:05d}": Piece(*shared, count, (seed, n)) for n, count in enumerate(counts)}


def compute(piece: Piece) -> dict[str, Any]:
    """Relax, run and label one piece.

    Raises
    ------
    Failed   the method does not converge, or there is no minimum near the start
    """
    numbers, charge, multiplicity = piece.atomic_numbers, piece.charge, piece.multiplicity
    surface = gfn2.Surface(numbers, charge, multiplicity, CONVERGENCE)

    def follow(_: Integers, positions: Floats, *__: int) -> Label:
        return surface.follow(positions)

    start = relax(follow, numbers, piece.positions, charge, multiplicity, fmax=0.05)
    rng = np.random.default_rng(piece.seed)
    path = langevin(
        follow,
        numbers,
        start,
        charge,
        multiplicity,
        piece.temperature_K,
        EVERY,
        rng,
        TIMESTEP_FS,
        FRICTION_PER_PS,
    )
    for _ in range(SETTLE):
        next(path)
    # what is stored is what is labelled
    positions = np.array([next(path) for _ in range(piece.n_samples)]).astype(np.float32)
    labels = [surface.label(x.astype(np.float64)) for x in positions]
    return {
        "positions": positions,
        "energy": np.array([label.energy for label in labels]),
        "forces": np.array([label.forces for label in labels], dtype=np.float32),
    }


def collect(made: Mapping[str, Piece], folder: Path, name: str) -> Frames:
    """Put the finished pieces together, a group each: neighbours in time stay together in a split.

    Raises
    ------
    ValueError   none is finished
    """
    pieces = results(folder, list(made))
    if not pieces:
        raise ValueError(
            f"`folder` must hold finished pieces; got none in {folder}. Look at the reasons in its"
            " .failed files."
        )
    first = next(iter(made.values()))
    sizes = [len(piece["energy"]) for piece in pieces.values()]
    n_atoms = len(first.atomic_numbers)
    return make_frames(
        n_atoms=np.full(sum(sizes), n_atoms),
        atomic_numbers=np.tile(first.atomic_numbers, sum(sizes)),
        positions=np.concatenate([p["positions"] for p in pieces.values()]).reshape(-1, 3),
        energy=np.concatenate([p["energy"] for p in pieces.values()]),
        forces=np.concatenate([p["forces"] for p in pieces.values()]).reshape(-1, 3),
        total_charge=np.full(sum(sizes), first.charge),
        multiplicity=np.full(sum(sizes), first.multiplicity),
        group=np.repeat(np.arange(len(sizes)), sizes),
        provenance=Provenance(
            name=name,
            description=(
                f"{name} at {first.temperature_K:g} K, charge {first.charge:+d}, multiplicity"
                f" {first.multiplicity}"
            ),
            theory=gfn2.THEORY,
            licence="CC0-1.0",
            citation=(
                "C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019), for"
                " the method"
            ),
            url="https://doi.org/10.1021/acs.jctc.8b01176",
        ),
    )


def card(made: Mapping[str, Piece], frames: Frames, seed: int) -> dict[str, Any]:
    """Say how a set was made."""
    first = next(iter(made.values()))
    return {
        "name": frames.provenance.name,
        "description": frames.provenance.description,
        "theory": gfn2.THEORY,
        "programs": gfn2.program(),
        "accuracy": CONVERGENCE.accuracy,
        "sampling": (
            f"Langevin dynamics at {first.temperature_K:g} K on the same method from its minimum,"
            f" {TIMESTEP_FS:g} fs, {FRICTION_PER_PS:g}/ps, a sample every {EVERY} steps after"
            f" {SETTLE * EVERY} steps, {PIECE} samples a piece"
        ),
        "seed": seed,
        "labels": len(frames),
        "licence": "CC0-1.0",
    }
