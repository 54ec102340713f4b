"""Labels of reactions: atoms that will be bound are pulled together on the teacher.

Cycloadditions, additions, substitutions, rings that open and close, protons handed around a ring of
hydrogen bonds. The distances that a reaction changes are led in steps from reactants to products,
and everything else follows downhill. Atoms lag behind what leads them: slow reactions end near
their barriers.

Reactants are SMILES with numbers at the atoms that take part. Of two molecules equal numbers meet;
of one, 1 and 2. Where 1 is missing it is a hydrogen of 2.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from ase.data import covalent_radii
from rdkit import Chem

from potentials.labels.closed_shells import moves
from potentials.labels.closed_shells.conformers import Shape, conformer, joined, stiffness
from potentials.labels.closed_shells.geometries import Geometry, batch, batches, label
from potentials.labels.closed_shells.paths import Guide, downhill
from potentials.labels.closed_shells.reactants import (
    ADDENDS,
    CLOSING,
    DIENES,
    DIENOPHILES,
    DIPOLES,
    ELECTROPHILES,
    HANDED_ON,
    NUCLEOPHILES,
    OPENING,
)
from potentials.labels.closed_shells.substances import SEED, canonical, group, species
from potentials.labels.method import Failed, Floats
from potentials.labels.teacher import Structures, teacher

PER_JOB = 16
KINDS = {  # share of the reactions
    "dipole": 0.2,
    "diene": 0.16,
    "addition": 0.2,
    "substitution": 0.2,
    "closing": 0.08,
    "opening": 0.08,
    "protons": 0.08,
}
N_STEPS, DOWNHILL_A_STEP, DOWNHILL_FIRST = 9, 4, 6
APART_A = 2.9  # between atoms that will be bound
OPEN_A = 3.0  # between atoms that were
PULL = 25.0  # eV/Å^2
EARLY = 0.7, 1.4  # exponents: one bond may be ahead of the other
SHAKEN_K = 50.0, 600.0
CHANGED = "reaction"  # in the name of every scene


class Reaction(NamedTuple):
    """What reacts."""

    kind: str
    smiles: tuple[str, ...]


class Job(NamedTuple):
    """Reactions that are treated together."""

    reactions: tuple[Reaction, ...]
    seed: tuple[int, ...]


class Led(NamedTuple):
    """A structure with distances that are led from one length to another."""

    shape: Shape
    pairs: tuple[tuple[int, int], ...]
    start: Floats  # (K,) Å
    end: Floats  # (K,) Å
    early: Floats  # (K,)

    def lengths(self, share: float) -> Floats:
        """Where the distances (K,) Å are so far on the way."""
        return self.start + (self.end - self.start) * share**self.early


class Pulled:
    """The teacher, and springs that hold distances."""

    def __init__(self, teacher: Guide, led: Sequence[Led], share: float) -> None:
        self._teacher, self._led = teacher, led
        self._lengths = [one.lengths(share) for one in led]

    def follow(self, structures: Structures) -> Floats:
        """Compute forces (S, N, 3) eV/Å."""
        forces = self._teacher.follow(structures).astype(np.float64)
        for n, (one, lengths) in enumerate(zip(self._led, self._lengths, strict=True)):
            x = structures.positions[n]
            for (i, j), length in zip(one.pairs, lengths, strict=True):
                way = (x[j] - x[i]).astype(np.float64)
                distance = float(np.linalg.norm(way))
                pull = PULL * (distance - length) * way / max(distance, 1e-6)
                forces[n, i] += pull
                forces[n, j] -= pull
        return forces


def make_job(number: int, seed: int = SEED) -> Job:
    """Draw the reactions of one job; none is of what is tested on."""
    rng = np.random.default_rng((seed, 8, number))
    tested = {s.smiles for s in species(seed) if s.test}
    reactions: list[Reaction] = []
    while len(reactions) < PER_JOB:
        drawn = _drawn(str(rng.choice(list(KINDS), p=list(KINDS.values()))), rng)
        charge = sum(Chem.GetFormalCharge(_molecule(s)) for s in drawn.smiles)
        if abs(charge) <= 1 and tested.isdisjoint(canonical(plain(s)) for s in drawn.smiles):
            reactions.append(drawn)
    return Job(tuple(reactions), (seed, 9, number))


def compute(job: Job) -> dict[str, Any]:
    """Lead and label the reactions of one job: flat arrays, and what was left out why."""
    rng = np.random.default_rng(job.seed)
    left_out: Counter[str] = Counter()
    led: list[tuple[Led, int, str]] = []
    for reaction in job.reactions:
        try:
            started = BEGIN[reaction.kind](reaction, rng)
        except Failed as error:
            left_out[str(error)] += 1
            continue
        number = group(".".join(sorted(canonical(plain(s)) for s in reaction.smiles)))
        led.append((started, number, f"{CHANGED}, {reaction.kind}"))
    geometries: list[Geometry] = []
    for rows in batches([len(one.shape.atomic_numbers) for one, _, _ in led]):
        geometries += _followed([led[n] for n in rows], rng)
    return label(geometries, teacher(), left_out) | {"left_out": np.array(json.dumps(left_out))}


def plain(smiles: str) -> str:
    """Return SMILES without the numbers."""
    molecule = Chem.Mol(_molecule(smiles))
    for atom in molecule.GetAtoms():
        atom.SetAtomMapNum(0)
    return Chem.MolToSmiles(molecule)


def _followed(led: list[tuple[Led, int, str]], rng: np.random.Generator) -> Iterator[Geometry]:
    """Yield every step of the reactions of one batch, as it is and shaken."""
    shapes = [one.shape for one, _, _ in led]
    now = [
        Geometry(s.atomic_numbers, s.positions, s.charge, s.formal_charges, number, scene)
        for s, (_, number, scene) in zip(shapes, led, strict=True)
    ]
    for step in range(N_STEPS + 1):
        pulled = Pulled(teacher(), [one for one, _, _ in led], step / N_STEPS)
        springs = [_held(one, g.positions) for (one, _, _), g in zip(led, now, strict=True)]
        n_downhill = DOWNHILL_A_STEP if step else DOWNHILL_FIRST
        moved = downhill(pulled, batch(now), springs, n_downhill)
        now = [
            g._replace(positions=x[: len(g.atomic_numbers)])
            for g, x in zip(now, moved, strict=True)
        ]
        yield from now
        for shape, g in zip(shapes, now, strict=True):
            yield g._replace(
                positions=moves.shaken(shape, g.positions, rng.uniform(*SHAKEN_K), rng),
                scene=f"{g.scene}, shaken",
            )


def _held(one: Led, positions: Floats) -> Floats:
    """Guess a Hessian (3N, 3N) eV/Å^2 with the springs that pull."""
    hessian = stiffness(one.shape, positions)
    for i, j in one.pairs:
        way = positions[j] - positions[i]
        way /= max(float(np.linalg.norm(way)), 1e-6)
        block = PULL * np.outer(way, way)
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            hessian[3 * a : 3 * a + 3, 3 * b : 3 * b + 3] += sign * block
    return hessian


def _drawn(kind: str, rng: np.random.Generator) -> Reaction:
    def one(names: Sequence[str]) -> str:
        return names[int(rng.integers(len(names)))]

    match kind:
        case "dipole":
            return Reaction(kind, (one(DIPOLES), one(DIENOPHILES)))
        case "diene":
            return Reaction(kind, (one(DIENES), one(DIENOPHILES)))
        case "addition":
            return Reaction(kind, (one(DIENOPHILES), one(ADDENDS)))
        case "substitution":
            return Reaction(kind, (one(ELECTROPHILES), one(NUCLEOPHILES)))
        case "closing":
            return Reaction(kind, (one(CLOSING),))
        case "opening":
            return Reaction(kind, (one(OPENING),))
        case _:
            return Reaction("protons", (one(HANDED_ON),) * int(rng.integers(2, 6)))


def _meeting(reaction: Reaction, rng: np.random.Generator) -> Led:
    """Put two molecules face to face, atoms of one number above each other."""
    first, second = (conformer(s, rng) for s in reaction.smiles)
    ends = [_ends(s, shape) for s, shape in zip(reaction.smiles, (first, second), strict=True)]
    (a, b), (c, d) = ends if rng.random() < 0.5 else (ends[0], ends[1][::-1])
    own, its = _frame(first.positions, a, b), _frame(second.positions, c, d)
    if rng.random() < 0.5:
        its = its * np.array([[1.0], [-1.0], [-1.0]])  # the other face
    middle = 0.5 * (first.positions[a] + first.positions[b]) + APART_A * own[2]
    centre = 0.5 * (second.positions[c] + second.positions[d])
    placed = (second.positions - centre) @ its.T @ own + middle
    return _led(joined([first, second._replace(positions=placed)]), first, [(a, c), (b, d)], rng)


def _attacked(reaction: Reaction, rng: np.random.Generator) -> Led:
    """Put an atom of one molecule beside one of the other, where there is most room."""
    first, second = (conformer(s, rng) for s in reaction.smiles)
    target, attacker = (_numbered(s)[1] for s in reaction.smiles)
    here = first.positions - first.positions[target]
    directions = rng.normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    others = np.delete(here, target, axis=0)
    room = np.linalg.norm(APART_A * directions[:, None] - others[None], axis=-1).min(1)
    way = directions[np.argsort(room)[-rng.integers(1, 12)]]
    own = second.positions - second.positions[attacker]
    outward = own.mean(0)
    turned = moves.rotation(rng)
    if np.linalg.norm(outward) > 0.1:
        turned = moves.aligned(outward / np.linalg.norm(outward), way)
    placed = first.positions[target] + APART_A * way + own @ turned.T
    merged = joined([first, second._replace(positions=placed)])
    return _led(merged, first, [(target, attacker)], rng)


def _within(reaction: Reaction, rng: np.random.Generator) -> Led:
    """Lead two atoms of one molecule together, or apart if they are bound."""
    (smiles,) = reaction.smiles
    shape = conformer(smiles, rng)
    pair = _ends(smiles, shape)
    now = float(np.linalg.norm(shape.positions[pair[0]] - shape.positions[pair[1]]))
    bound = shape.bonds_apart[pair] == 1
    end = OPEN_A if bound else _bond(shape, *pair)
    return Led(shape, (pair,), np.array([now]), np.array([end]), np.ones(1))


def _around(reaction: Reaction, rng: np.random.Generator) -> Led:
    """Make a ring of equal molecules that hand a proton on, all at once."""
    n = len(reaction.smiles)
    parts, pairs = list[Shape](), list[tuple[int, int]]()
    owners, hydrogens = list[int](), list[int]()
    first = 0
    radius = (1.25 if n == 2 else 2.6 / (2 * np.sin(np.pi / n))) + rng.uniform(-0.1, 0.3)
    for k, smiles in enumerate(reaction.smiles):
        shape = conformer(smiles, rng)
        hydrogen, owner = _ends(smiles, shape)
        place = radius * np.array([np.cos(2 * np.pi * k / n), np.sin(2 * np.pi * k / n), 0.0])
        after = radius * np.array(
            [np.cos(2 * np.pi * (k + 1) / n), np.sin(2 * np.pi * (k + 1) / n), 0.0]
        )
        inward = -place / np.linalg.norm(place)
        to_next = after - place + (0.6 * inward if n == 2 else 0.0) * (1 if k % 2 else -1)
        own = shape.positions - shape.positions[owner]
        bond = own[hydrogen] / np.linalg.norm(own[hydrogen])
        turned = moves.aligned(bond, to_next / np.linalg.norm(to_next))
        parts.append(shape._replace(positions=place + own @ turned.T))
        owners.append(first + owner)
        hydrogens.append(first + hydrogen)
        first += len(own)
    merged = joined(parts)
    for k in range(n):
        pairs += [(hydrogens[k], owners[k]), (hydrogens[k], owners[(k + 1) % n])]
    short = covalent_radii[1] + covalent_radii[merged.atomic_numbers[owners[0]]]
    # the middle of the way is where all protons are shared; more would be the same again
    start = np.array([short, short + rng.uniform(0.6, 1.0)] * n)
    end = np.full(2 * n, short + rng.uniform(0.18, 0.35))
    return Led(merged, tuple(pairs), start, end, np.ones(2 * n))


BEGIN = {
    "dipole": _meeting,
    "diene": _meeting,
    "addition": _meeting,
    "substitution": _attacked,
    "closing": _within,
    "opening": _within,
    "protons": _around,
}


def _led(
    merged: Shape, first: Shape, across: Sequence[tuple[int, int]], rng: np.random.Generator
) -> Led:
    """Lead atoms of two molecules to the length of a bond."""
    size = len(first.atomic_numbers)
    pairs = tuple((i, size + j) for i, j in across)
    ends = np.array([_bond(merged, i, j) for i, j in pairs])
    return Led(merged, pairs, np.full(len(pairs), APART_A), ends, rng.uniform(*EARLY, len(pairs)))


def _bond(shape: Shape, i: int, j: int) -> float:
    return float(covalent_radii[shape.atomic_numbers[[i, j]]].sum())


def _ends(smiles: str, shape: Shape) -> tuple[int, int]:
    """Find the atoms 1 and 2."""
    numbered = _numbered(smiles)
    if 1 in numbered:
        return numbered[1], numbered[2]
    hydrogens = (shape.bonds_apart[numbered[2]] == 1) & (shape.atomic_numbers == 1)
    return int(np.flatnonzero(hydrogens)[0]), numbered[2]


def _frame(positions: Floats, a: int, b: int) -> Floats:
    """Make axes (3, 3), rows: along two atoms, in the plane that fits best, and across it."""
    along = positions[b] - positions[a]
    along = along / np.linalg.norm(along)
    across = np.linalg.svd(positions - positions.mean(0), full_matrices=True)[2][2]
    across = across - (across @ along) * along
    if np.linalg.norm(across) < 0.1:
        across = np.cross(along, np.eye(3)[np.abs(along).argmin()])
    across = across / np.linalg.norm(across)
    return np.stack([along, np.cross(across, along), across])


@cache
def _molecule(smiles: str) -> Any:
    return Chem.MolFromSmiles(smiles)


@cache
def _numbered(smiles: str) -> dict[int, int]:
    """Find the atoms that have numbers."""
    return {
        a.GetAtomMapNum(): a.GetIdx() for a in _molecule(smiles).GetAtoms() if a.GetAtomMapNum()
    }
