"""Labels of single molecules, their ions and zwitterions: near minima and away from them.

A job takes some tens of species of much the same size through the same steps, so that the teacher
sees them as one batch: a conformer, a few steps downhill, dynamics at 300 to 1,000 K (some hotter),
and from these displaced atoms, a stretched bond, a turned group, two atoms pushed together, a
hydrogen on its way to another atom. Beside these jobs there are some of many conformers of flexible
molecules, and some of molecules with their tautomers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from potentials.labels.closed_shells import moves
from potentials.labels.closed_shells.conformers import Shape, conformer, stiffness
from potentials.labels.closed_shells.geometries import Geometry, batch, batches, label
from potentials.labels.closed_shells.paths import downhill, dynamics
from potentials.labels.closed_shells.substances import (
    SEED,
    Species,
    flexible_species,
    small_species,
    species,
    tautomers,
)
from potentials.labels.method import Failed, Floats
from potentials.labels.teacher import teacher

NAME = "molecules"
SPECIES_PER_JOB = 48
JOBS_PER_SORT = 20  # as many jobs share their species out by size
LABELS_PER_JOB = 300  # about
# species by name, each with so many conformers, in so many jobs
SMALL_PER_JOB, SMALL_COPIES, SMALL_ROUNDS = 8, 6, 2
EVERY_TEST, EVERY_SMALL = 20, 6  # such jobs lie this far apart
FLEXIBLE_PER_JOB, FLEXIBLE_COPIES, EVERY_FLEXIBLE, EVERY_TAUTOMERS = 12, 5, 8, 8
STEPS_DOWNHILL, STEPS_APART, FRAMES = 7, 5, 2
TEMPERATURES_K, HOT_K, HOT_SHARE = (300.0, 1000.0), (1000.0, 2500.0), 0.1
SHAKEN_K = (50.0, 900.0)
# share of those that follow
SCENES = {"stretched": 0.35, "transferred": 0.27, "turned": 0.21, "contact": 0.17}
N_SCENES = 3  # of these for each species, beside one that is shaken
# half of them go so many steps downhill
SETTLED, STEPS_SETTLED = ("transferred", "turned", "contact"), 3


class Job(NamedTuple):
    """Species that are treated together."""

    species: tuple[Species, ...]
    seed: tuple[int, ...]
    n_scenes: int = N_SCENES


def make_jobs(n_labels: int, seed: int = SEED) -> dict[str, Job]:
    """Make the jobs for about so many labels, and some of conformers and of tautomers beside.

    A larger set begins with a smaller one.
    """
    drawn = species(seed)
    trained = _sorted_by_size([s for s in drawn if not s.test], SPECIES_PER_JOB, seed)
    tested = _sorted_by_size([s for s in drawn if s.test], SPECIES_PER_JOB, seed)
    named = small_species()
    small = [
        tuple(s for s in named[first : first + SMALL_PER_JOB] for _ in range(SMALL_COPIES))
        for _ in range(SMALL_ROUNDS)
        for first in range(0, len(named), SMALL_PER_JOB)
    ]
    flexible = [
        tuple(s for s in chosen for _ in range(FLEXIBLE_COPIES))
        for chosen in _sorted_by_size(flexible_species(seed), FLEXIBLE_PER_JOB, seed)
    ]
    beside = {
        ("flexible", EVERY_FLEXIBLE, 3, 0): iter(flexible),
        ("tautomers", EVERY_TAUTOMERS, 4, 1): tautomers(SPECIES_PER_JOB, seed),
    }
    jobs: dict[str, Job] = {}
    sources = {"test": iter(tested), "small": iter(small), "train": iter(trained)}
    for number in range(max(1, round(n_labels / LABELS_PER_JOB))):
        turn = (
            ["test"] * (number % EVERY_TEST == 0)
            + ["small"] * (number % EVERY_SMALL == 1)
            + ["train"]
        )
        for kind in turn:
            if (chosen := next(sources[kind], None)) is not None:
                jobs[f"{kind}-{number:05d}"] = Job(chosen, (seed, 2, number))
                break
        for n, ((kind, every, turn_of, n_scenes), source) in enumerate(beside.items()):
            if number % every == turn_of and (chosen := next(source, None)) is not None:
                jobs[f"{kind}-{number:05d}"] = Job(chosen, (seed, 6 + n, number), n_scenes)
    return jobs


def compute(job: Job) -> dict[str, Any]:
    """Draw and label the geometries of one job: flat arrays, and what was left out why."""
    rng = np.random.default_rng(job.seed)
    left_out: Counter[str] = Counter()
    shapes: list[tuple[Species, Shape]] = []
    for one in job.species:
        try:
            shapes.append((one, conformer(one.smiles, rng)))
        except Failed as error:
            left_out[str(error)] += 1
    geometries = [
        geometry
        for chosen in batches([len(shape.atomic_numbers) for _, shape in shapes])
        for geometry in _drawn([shapes[n] for n in chosen], job.n_scenes, rng, left_out)
    ]
    return label(geometries, teacher(), left_out) | {"left_out": np.array(json.dumps(left_out))}


def _drawn(
    shapes: list[tuple[Species, Shape]],
    n_scenes: int,
    rng: np.random.Generator,
    left_out: Counter[str],
) -> Iterator[Geometry]:
    """Yield the geometries of the species of one batch."""
    start = [_geometry(*one, one[1].positions, "relaxed") for one in shapes]
    springs = [stiffness(shape, shape.positions) for _, shape in shapes]
    relaxed = _cut(downhill(teacher(), batch(start), springs, STEPS_DOWNHILL), start)
    yield from relaxed
    hot = rng.random(len(shapes)) < HOT_SHARE
    temperature = np.where(
        hot, rng.uniform(*HOT_K, len(shapes)), rng.uniform(*TEMPERATURES_K, len(shapes))
    )
    moved = [
        g._replace(
            positions=moves.shaken(shape, g.positions, min(t, 1000.0), rng), scene="dynamics"
        )
        for g, (_, shape), t in zip(relaxed, shapes, temperature, strict=True)
    ]
    path = dynamics(teacher(), batch(moved), temperature, STEPS_APART, rng)
    frames = [_cut(next(path), moved) for _ in range(FRAMES)]
    for frame in frames:
        yield from frame
    settling: list[tuple[Geometry, Floats]] = []
    for n, (_, shape) in enumerate(shapes):
        for scene in (
            "shaken",
            *rng.choice(list(SCENES), n_scenes, replace=False, p=list(SCENES.values())),
        ):
            base = (relaxed, *frames)[rng.integers(1 + FRAMES)][n]
            try:
                drawn = base._replace(
                    positions=SCENE[str(scene)](shape, base.positions, rng), scene=str(scene)
                )
            except Failed:
                left_out[f"no such scene: {scene}"] += 1
                continue
            if scene in SETTLED and rng.random() < 0.5:
                settling.append((drawn, springs[n]))
            else:
                yield drawn
    for rows in batches([len(g.atomic_numbers) for g, _ in settling]):
        some = [settling[n][0] for n in rows]
        yield from _cut(
            downhill(teacher(), batch(some), [settling[n][1] for n in rows], STEPS_SETTLED), some
        )


SCENE: dict[str, Callable[[Shape, Floats, np.random.Generator], Floats]] = {
    "stretched": moves.stretched,
    "turned": moves.turned,
    "contact": moves.contact,
    "transferred": lambda shape, positions, rng: moves.transferred(
        shape.atomic_numbers, positions, rng
    ),
    "shaken": lambda shape, positions, rng: moves.shaken(
        shape, positions, rng.uniform(*SHAKEN_K), rng
    ),
}


def _geometry(one: Species, shape: Shape, positions: Floats, scene: str) -> Geometry:
    return Geometry(
        shape.atomic_numbers, positions, shape.charge, shape.formal_charges, one.group, scene
    )


def _cut(positions: Floats, geometries: list[Geometry]) -> list[Geometry]:
    """Give geometries the positions of a padded batch."""
    return [
        g._replace(positions=x[: len(g.atomic_numbers)])
        for g, x in zip(geometries, positions, strict=True)
    ]


def _sorted_by_size(drawn: list[Species], per_job: int, seed: int) -> Iterator[tuple[Species, ...]]:
    """Yield the species of one job after the other: alike in size, in an order without meaning."""
    rng = np.random.default_rng((seed, 3))
    window = per_job * JOBS_PER_SORT
    for first in range(0, len(drawn), window):
        some = sorted(drawn[first : first + window], key=lambda s: s.n_atoms)
        jobs = [tuple(some[n : n + per_job]) for n in range(0, len(some), per_job)]
        yield from (jobs[n] for n in rng.permutation(len(jobs)))
