"""Labels of pairs and clusters of molecules and ions.

Near and far, hydrogen bonds, halogen bonds, stacks, ions in water, ion pairs. Each cluster is built
molecule by molecule, every one placed beside one that is there; then the teacher follows it a few
steps downhill and in dynamics. Of pairs the distance is scanned besides; hydrogens are moved along
hydrogen bonds. Nothing that is tested on is in them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from potentials.labels.closed_shells import moves, reactions
from potentials.labels.closed_shells.conformers import Shape, conformer, joined, stiffness
from potentials.labels.closed_shells.geometries import Geometry, batch, batches, label
from potentials.labels.closed_shells.partners import (
    ANIONS,
    CATIONS,
    COMMON,
    FLAT,
    HALOGENATED,
    PROTON_SHARING,
    ZWITTERIONS,
)
from potentials.labels.closed_shells.paths import downhill, dynamics
from potentials.labels.closed_shells.substances import (
    SEED,
    Species,
    canonical,
    charge_of,
    count_atoms,
    group,
    small_species,
    species,
)
from potentials.labels.method import Failed
from potentials.labels.teacher import teacher

NAME = "clusters"
CLUSTERS_PER_JOB, JOBS_PER_SORT = 40, 16
LABELS_PER_JOB = 240  # about
EVERY_REACTIONS = 4  # jobs of reactions lie this far apart
MOST_ATOMS = 66
STEPS_DOWNHILL, STEPS_APART, FRAMES, STEPS_MOLECULE = 7, 4, 3, 8
TEMPERATURES_K = (100.0, 600.0)
SHAKEN_K = 300.0
FURTHER_A = (0.3, 1.5), (1.5, 4.5)  # how far the partner of a pair is moved away
TRANSFER_SHARE = 0.35  # of clusters with a hydrogen bond
SOLVENTS = {
    "O": 12,
    "N": 2,
    "F": 2,
    "CO": 3,
    "C#N": 1,
    "S": 1,
    "Cl": 1,
    "NC=O": 1,
    "CC(C)=O": 1,
    "C=O": 1,
    "C": 1,
    "CC#N": 1,
    "CS(C)=O": 1,
}  # weight
NAMED = frozenset((*SOLVENTS, *COMMON, *CATIONS, *ANIONS, *ZWITTERIONS, *FLAT, *HALOGENATED))
KINDS = {  # share of the clusters
    "pair": 0.17,
    "bonded pair": 0.11,
    "species in solvent": 0.12,
    "ion in water": 0.12,
    "water": 0.11,
    "solvent": 0.08,
    "mixed": 0.07,
    "ion pair": 0.07,
    "shared proton": 0.05,
    "stacked": 0.05,
    "halogen": 0.05,
}


class Cluster(NamedTuple):
    """What a cluster is made of, and how each molecule is put beside one of those before."""

    kind: str
    smiles: tuple[str, ...]
    way: str


class Job(NamedTuple):
    """Clusters that are treated together."""

    clusters: tuple[Cluster, ...]
    seed: tuple[int, ...]


def make_jobs(n_labels: int, seed: int = SEED) -> dict[str, Job | reactions.Job]:
    """Make the jobs for about so many labels, and some of reactions beside.

    A larger set begins with a smaller one.
    """
    drawn = species(seed)
    tested = {s.smiles for s in drawn if s.test}
    rest = [*(s for s in drawn if not s.test and s.n_atoms <= 20), *small_species()]
    jobs: dict[str, Job | reactions.Job] = {}
    n_jobs = max(1, round(n_labels / LABELS_PER_JOB))
    for window in range(0, n_jobs, JOBS_PER_SORT):
        rng = np.random.default_rng((seed, 4, window))
        clusters: list[Cluster] = []
        while len(clusters) < CLUSTERS_PER_JOB * JOBS_PER_SORT:
            cluster = _composed(str(rng.choice(list(KINDS), p=list(KINDS.values()))), rest, rng)
            if abs(sum(map(charge_of, cluster.smiles))) <= 1 and tested.isdisjoint(
                map(canonical, cluster.smiles)
            ):
                clusters.append(cluster)
        clusters.sort(key=lambda c: sum(map(count_atoms, c.smiles)))
        order = rng.permutation(JOBS_PER_SORT)
        for n, place in enumerate(order[: n_jobs - window]):
            chosen = clusters[place * CLUSTERS_PER_JOB : (place + 1) * CLUSTERS_PER_JOB]
            number = window + n
            jobs[f"train-{number:05d}"] = Job(tuple(chosen), (seed, 5, number))
            if number % EVERY_REACTIONS == 1:
                jobs[f"reactions-{number:05d}"] = reactions.make_job(number, seed)
    return jobs


def compute(job: Job | reactions.Job) -> dict[str, Any]:
    """Build and label what is in one job: flat arrays, and what was left out why."""
    if isinstance(job, reactions.Job):
        return reactions.compute(job)
    rng = np.random.default_rng(job.seed)
    left_out: Counter[str] = Counter()
    geometries: list[Geometry] = []
    built: list[tuple[Geometry, Shape]] = []
    for cluster in job.clusters:
        try:
            parts = _built(cluster, rng)
        except Failed as error:
            left_out[str(error)] += 1
            continue
        built.append(_merged(cluster, parts))
        geometries += _scanned(cluster, parts, rng)
    for rows in batches([len(geometry.atomic_numbers) for geometry, _ in built]):
        geometries += _followed([built[n] for n in rows], rng, left_out)
    return label(geometries, teacher(), left_out) | {"left_out": np.array(json.dumps(left_out))}


def _composed(kind: str, rest: Sequence[Species], rng: np.random.Generator) -> Cluster:
    """Draw what a cluster of a kind is made of."""

    def one(names: Sequence[str]) -> str:
        return names[int(rng.integers(len(names)))]

    def any_one() -> str:
        return one(COMMON) if rng.random() < 0.5 else rest[int(rng.integers(len(rest)))].smiles

    def many(most: int) -> int:
        share = 1.0 / np.arange(1, most + 1)
        return 1 + int(rng.choice(most, p=share / share.sum()))

    solvent = str(
        rng.choice(list(SOLVENTS), p=np.array(list(SOLVENTS.values())) / sum(SOLVENTS.values()))
    )
    match kind:
        case "pair":
            return Cluster(kind, (any_one(), any_one()), "any")
        case "bonded pair":
            return Cluster(kind, (any_one(), any_one()), "hydrogen")
        case "species in solvent":
            return Cluster(
                kind, (rest[int(rng.integers(len(rest)))].smiles, *[solvent] * many(4)), "hydrogen"
            )
        case "ion in water":
            return Cluster(
                kind,
                (one((*CATIONS, *ANIONS, *ANIONS, *ZWITTERIONS)), *["O"] * many(12)),
                "hydrogen",
            )
        case "water":
            return Cluster(
                kind,
                ("O",) * (1 + many(9) if rng.random() < 0.85 else int(rng.integers(8, 21))),
                "hydrogen",
            )
        case "solvent":
            return Cluster(kind, (solvent,) * (1 + many(6)), "hydrogen")
        case "mixed":
            return Cluster(kind, tuple(one(COMMON[:41]) for _ in range(2 + many(4))), "hydrogen")
        case "ion pair":
            return Cluster(
                kind, (one(CATIONS), one(ANIONS), *["O"] * (many(4) - 1)), one(("hydrogen", "any"))
            )
        case "shared proton":
            acid = one(PROTON_SHARING)
            return Cluster(kind, (acid, one(COMMON[:41]), *["O"] * (many(3) - 1)), "hydrogen")
        case "stacked":
            return Cluster(kind, (one(FLAT), one(FLAT)), "stacked")
        case _:
            return Cluster(kind, (one(HALOGENATED), one((*COMMON, *ANIONS[:5]))), "halogen")


def _built(cluster: Cluster, rng: np.random.Generator) -> list[Shape]:
    """Put the molecules beside each other.

    Raises
    ------
    Failed   no room, too large
    """
    parts: list[Shape] = []
    for smiles in cluster.smiles:
        shape = _molecule(smiles, int(rng.integers(3)))
        shape = shape._replace(
            positions=moves.shaken(shape, shape.positions, SHAKEN_K, rng)
            if rng.random() < 0.5
            else shape.positions
        )
        if parts:
            numbers = np.concatenate([p.atomic_numbers for p in parts])
            if len(numbers) + len(shape.atomic_numbers) > MOST_ATOMS:
                raise Failed("a cluster is too large")
            positions = np.concatenate([p.positions for p in parts])
            try:
                placed = moves.beside(numbers, positions, shape, cluster.way, rng)
            except Failed:
                placed = moves.beside(numbers, positions, shape, "any", rng)
            shape = shape._replace(positions=placed)
        parts.append(shape)
    return parts


def _merged(cluster: Cluster, parts: Sequence[Shape]) -> tuple[Geometry, Shape]:
    """Make one structure of the molecules of a cluster."""
    whole = joined(parts)
    number = group(".".join(sorted(cluster.smiles)))
    numbers, positions, charge, formal, _ = whole
    return Geometry(numbers, positions, charge, formal, number, cluster.kind), whole


def _scanned(cluster: Cluster, parts: list[Shape], rng: np.random.Generator) -> Iterator[Geometry]:
    """Yield a cluster as it was built, and of a pair the same further apart."""
    yield _merged(cluster, parts)[0]._replace(scene=f"{cluster.kind}, rigid")
    if len(parts) == 2:
        here = np.array(parts[0].positions)
        for shift in (rng.uniform(*between) for between in FURTHER_A):
            moved = parts[1]._replace(positions=moves.away(here, parts[1].positions, shift))
            yield _merged(cluster, [parts[0], moved])[0]._replace(scene=f"{cluster.kind}, rigid")


def _followed(
    built: list[tuple[Geometry, Shape]], rng: np.random.Generator, left_out: Counter[str]
) -> Iterator[Geometry]:
    """Yield clusters on their way downhill, in dynamics, and with a hydrogen on its way."""
    start = [geometry for geometry, _ in built]
    springs = [stiffness(shape, shape.positions) for _, shape in built]
    relaxed = _cut(downhill(teacher(), batch(start), springs, STEPS_DOWNHILL), start, "relaxed")
    yield from relaxed
    temperature = rng.uniform(*TEMPERATURES_K, len(built))
    path = dynamics(teacher(), batch(relaxed), temperature, STEPS_APART, rng)
    frames = [_cut(next(path), start, "dynamics") for _ in range(FRAMES)]
    for frame in frames:
        yield from frame
    for geometry in frames[-1]:
        if rng.random() < TRANSFER_SHARE:
            try:
                moved = moves.transferred(geometry.atomic_numbers, geometry.positions, rng)
            except Failed as error:
                left_out[str(error)] += 1
            else:
                yield geometry._replace(
                    positions=moved, scene=geometry.scene.replace("dynamics", "transferred")
                )


def _cut(positions: Any, geometries: list[Geometry], scene: str) -> list[Geometry]:
    return [
        g._replace(positions=x[: len(g.atomic_numbers)], scene=f"{g.scene}, {scene}")
        for g, x in zip(geometries, positions, strict=True)
    ]


@lru_cache(maxsize=3000)
def _molecule(smiles: str, number: int) -> Shape:
    """Make one of a few conformers of a molecule, the same in every job.

    Those by name are relaxed on the teacher.
    """
    shape = conformer(smiles, np.random.default_rng(number))
    start = [
        Geometry(shape.atomic_numbers, shape.positions, shape.charge, shape.formal_charges, 0, "")
    ]
    if smiles not in NAMED or len(shape.atomic_numbers) == 1:
        return shape
    relaxed = downhill(
        teacher(), batch(start), [stiffness(shape, shape.positions)], STEPS_MOLECULE
    )[0]
    return shape._replace(positions=relaxed - relaxed.mean(0))
