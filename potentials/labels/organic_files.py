"""What the finished jobs of organic-xtb become.

Shards to train on, a test file, a sample, and a card that says how all was made.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from potentials.datasets.checksum import checksum
from potentials.datasets.formats.hdf5 import read_hdf5, write_hdf5
from potentials.datasets.frames import Frames, join, make_frames
from potentials.datasets.sets.organic import (
    COMMAND,
    NAME,
    ORGANIC,
    SAMPLE,
    TEST,
    TRAIN,
)
from potentials.datasets.statistics import states
from potentials.labels import organic
from potentials.labels.gfn2 import program
from potentials.labels.organic import Job
from potentials.labels.organic_molecules import DRAWS
from potentials.labels.work import failures, finished, results

SAMPLE_MOLECULES, SAMPLE_FRAMES = 125, 500
PER_ATOM = {"atomic_numbers": (), "positions": (3,), "forces": (3,), "partial_charges": ()}
PER_FRAME = {
    "n_atoms": (),
    "energy": (),
    "dipole": (3,),
    "total_charge": (),
    "multiplicity": (),
    "group": (),
}


def write_set(jobs: Mapping[str, Job], folder: Path, output: Path) -> dict[str, Any]:
    """Write the files of the set from the jobs that are done; return the card.

    Raises
    ------
    ValueError   no job is done
    """
    done = {key: job for key, job in jobs.items() if finished(folder, key)}
    trained = [key for key, job in done.items() if not job.parent.test]
    counts: Counter[str] = Counter()
    parts = []
    for number, name in enumerate(TRAIN):
        chosen = [key for key in trained if jobs[key].number % len(TRAIN) == number]
        if frames := _frames(folder, chosen, counts, jobs):
            write_hdf5(output / name, frames)
            parts.append(frames)
    test = _frames(folder, [key for key, job in done.items() if job.parent.test], counts)
    if test:
        write_hdf5(output / TEST, test)
    if not parts:
        raise ValueError(
            f"`folder` must hold labels of {NAME}; got none in {folder}. Run them first."
        )
    train = join(parts)
    write_hdf5(output / f"{SAMPLE}.h5", sample(train))
    return _card(
        train,
        test,
        counts,
        failures(folder, list(done)),
        len(jobs) - len(done),
        next(iter(jobs.values())).seed[0],
    )


def collect(jobs: Mapping[str, Job], folder: Path) -> Frames:
    """Put the labels of the jobs that are done together, as many of each as their draw says.

    Raises
    ------
    ValueError   no job is done
    """
    frames = _frames(folder, list(jobs), Counter(), jobs)
    if frames is None:
        raise ValueError(f"`folder` must hold labels; got none in {folder}. Run them first.")
    return frames


def sample_card(about: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Describe the sample that was written."""
    frames = read_hdf5(output / f"{SAMPLE}.h5")
    return {
        "name": SAMPLE,
        "description": (
            f"{len(frames)} frames of {_molecules(frames)} molecules of {NAME}, for tests"
        ),
        **{
            key: about[key]
            for key in (
                "theory",
                "programs",
                "accuracy",
                "sampling",
                "checks",
                "seed",
                "licence",
                "citation",
                "url",
            )
        },
        "labels": len(frames),
        "states": states(frames),
        "command": COMMAND,
        "sha256": checksum(output / f"{SAMPLE}.h5"),
    }


def sample(frames: Frames) -> Frames:
    """Draw a few frames of some molecules: the first ones, whose order has no meaning."""
    rng = np.random.default_rng(organic.SEED)
    assert frames.group is not None
    groups = rng.permutation(np.unique(frames.group))[:SAMPLE_MOLECULES]
    among = np.flatnonzero(np.isin(frames.group, groups))
    return frames.select(np.sort(rng.permutation(among)[:SAMPLE_FRAMES]))


def _frames(
    folder: Path, keys: list[str], counts: Counter[str], thinned: Mapping[str, Job] | None = None
) -> Frames | None:
    """Put jobs together, some of them thinned; add up what they left out."""
    computed = results(folder, keys)
    found = (
        [_thinned(arrays, thinned[key]) for key, arrays in computed.items()]
        if thinned
        else list(computed.values())
    )
    for job in found:
        counts.update(json.loads(str(job["left_out"])))
        counts.update(
            {
                f"scene {name}": int(n)
                for name, n in zip(*np.unique(job["scene"], return_counts=True), strict=True)
            }
        )
    if not found:
        return None
    flat: dict[str, Any] = {
        name: np.concatenate([job[name].reshape(-1, *shape) for job in found])
        for name, shape in (PER_ATOM | PER_FRAME).items()
    }
    return make_frames(**flat, provenance=ORGANIC.provenance)


def _thinned(arrays: dict[str, Any], job: Job) -> dict[str, Any]:
    """Keep the share of the labels of a job that its draw says."""
    draw = organic.DRAWS[job.parent.draw]
    n_atoms, charge, scene = arrays["n_atoms"], arrays["total_charge"], arrays["scene"]
    positions = np.split(arrays["positions"], np.cumsum(n_atoms)[:-1])
    ground: dict[bytes, int] = {}  # charge of the state that was labelled first at a geometry
    far = [
        abs(q - ground.setdefault(x.tobytes(), q)) == 2
        for q, x in zip(charge, positions, strict=True)
    ]
    share = np.where(far, draw.kept_far, 1.0) * np.where(scene == "ion", draw.kept_beside_ion, 1.0)
    kept = np.random.default_rng((*job.seed, 1)).random(len(n_atoms)) < share
    of_atoms = np.repeat(kept, n_atoms)
    rows = {name: of_atoms for name in PER_ATOM} | {name: kept for name in (*PER_FRAME, "scene")}
    return arrays | {name: arrays[name][mask] for name, mask in rows.items()}


def _card(
    train: Frames,
    test: Frames | None,
    counts: Counter[str],
    failed: Mapping[str, str],
    n_left: int,
    seed: int,
) -> dict[str, Any]:
    return {
        "name": NAME,
        **{
            key: getattr(ORGANIC.provenance, key)
            for key in ("description", "theory", "licence", "citation", "url")
        },
        "programs": program(),
        "accuracy": (
            f"{organic.TIGHT.accuracy:g}; {organic.LOOSE.accuracy:g} of molecules past {DRAWS[7]}"
        ),
        "sampling": (
            f"per molecule {len(organic.SCENES)} geometries ({organic.FURTHER_SCENES} past the"
            f" first {DRAWS[0]} molecules, 2 without dynamics past {DRAWS[1]}, one of them relaxed"
            f" from {DRAWS[2]} to {DRAWS[3]}; more ions there; {organic.SCARCE} of smaller"
            f" molecules in all their states past {DRAWS[4]}, with dynamics, neutral ones first,"
            f" ions and radicals past {DRAWS[5]}; 2 as of the first past {DRAWS[6]}, 1 past"
            f" {DRAWS[7]}) of one species (the molecule, or a proton more, a proton less, a"
            f" hydrogen less): Langevin dynamics on the method at {organic.TEMPERATURES_K[0]:g} to"
            f" {organic.TEMPERATURES_K[1]:g} K ({organic.TIMESTEP_FS:g} fs, hydrogens of"
            f" {organic.HYDROGEN_AMU:g} amu, every {organic.EVERY} steps, from a displaced"
            " geometry), thermal displacements along the modes of a force field, a stretched bond,"
            " a close contact, a minimum of the method, pairs with small partners; of each species"
            f" by name {len(organic.NEAR_SCENES)} more geometries at and near its minimum, in all"
            " states"
        ),
        "checks": (
            f"converged; <S²> within {organic.MOST_SPIN_ERROR:g}; forces below"
            f" {organic.MOST_FORCE:g} eV/Å; in one piece; energy within {organic.ENERGY_RANGE} eV"
            " of the first of the molecule, whose forces are checked against differences of"
            f" energies ({organic.DRAWS[2].checked:.0%} of the molecules beyond {DRAWS[1]},"
            f" {organic.DRAWS[4].checked:.0%} beyond {DRAWS[3]}, {organic.DRAWS[7].checked:.0%}"
            f" beyond {DRAWS[6]})"
        ),
        "frames by scene": _picked(counts, "scene "),
        "left out": {name: n for name, n in counts.most_common() if not name.startswith("scene ")},
        "failed jobs": dict(Counter(reason.partition(":")[0] for reason in failed.values())),
        "jobs not done yet": n_left,
        "seed": seed,
        "molecules": _molecules(train),
        "labels": len(train),
        "states": states(train),
        "test molecules": 0 if test is None else _molecules(test),
        "test labels": 0 if test is None else len(test),
        "command": COMMAND,
    }


def _picked(counts: Counter[str], start: str) -> dict[str, int]:
    return {
        name.removeprefix(start): n for name, n in counts.most_common() if name.startswith(start)
    }


def _molecules(frames: Frames) -> int:
    assert frames.group is not None
    return len(np.unique(frames.group))
