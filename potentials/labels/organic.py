"""organic-xtb: GFN2-xTB labels of small organic molecules, ions and radicals in up to nine states.

Each job is one species of one molecule: geometries from short Langevin dynamics on the method
itself, from the modes of a force field, with a stretched bond, with a close contact, and beside a
small partner. Every geometry is labelled in its ground state and in others drawn at random.
Hydrogens are as heavy as 4 amu in the dynamics, so that it may take steps of 2 fs; the distribution
of configurations does not know masses.

A run may be stopped at any time; the order of the jobs has no meaning, so that a part of the set is
a fair sample of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from ase.data import atomic_masses

from potentials.labels.gfn2 import Convergence, Surface
from potentials.labels.method import Failed, Floats, Integers, Label
from potentials.labels.organic_geometries import (
    Species,
    beside,
    contact,
    make_species,
    n_fragments,
    partner,
    stretched,
)
from potentials.labels.organic_molecules import IONS, PARTNERS, WATER, Parent, parents
from potentials.labels.sampling import langevin, relax

SEED = 20261121
N_TRAIN, N_TEST = 292500, 500  # molecules
KINDS = {
    "molecule": 0.62,
    "protonated": 0.13,
    "deprotonated": 0.13,
    "radical": 0.12,
}  # share of the grown molecules
FURTHER_KINDS = {
    "molecule": 0.35,
    "protonated": 0.22,
    "deprotonated": 0.22,
    "radical": 0.21,
}  # states of ions err most on new molecules
LAST_KINDS = {"molecule": 0.25, "protonated": 0.25, "deprotonated": 0.25, "radical": 0.25}
EVEN_KINDS = {
    "molecule": 0.5,
    "protonated": 0.17,
    "deprotonated": 0.17,
    "radical": 0.16,
}  # as many labels of each state
CHARGED_KINDS = {"protonated": 0.34, "deprotonated": 0.33, "radical": 0.33}
SCENES = (
    ("dynamics",) * 4 + ("modes",) * 4 + ("stretched", "contact", "pair", "pair")
)  # of a molecule
SMALL_SCENES = (
    ("dynamics",) * 10 + ("modes",) * 8 + ("stretched",) * 10 + ("contact",) * 4 + ("pair",) * 16
)  # of one by name
NEAR_SCENES = (
    ("relaxed",) + ("near",) * 120
)  # of one by name besides, in all states: partners of pairs are such minima, and neutral there
# of a molecule of the second draw, from those: energies of new molecules want more molecules, not
# more of each
FURTHER_SCENES = 5
LAST_SCENES = (
    ("modes",) * 5 + ("stretched", "contact") + ("pair",) * 3
)  # one of these beside the gentlest: no costly path
HARD_SCENES = (
    ("modes",) * 2 + ("stretched",) * 2 + ("contact",) * 2 + ("pair",) * 4
)  # likewise; they err most
SCARCE = 3  # geometries of a molecule from one of these two: few before, for what they err
SCARCE_SCENES = (
    ("dynamics",) * 6
    + ("modes",) * 3
    + ("ion",) * 4
    + ("pair",) * 3
    + ("stretched",) * 3
    + ("contact",) * 2
)
ION_SCENES = ("dynamics",) * 6 + ("pair",) * 2 + ("stretched", "contact")
THERMAL_SCENES = (
    "dynamics",
    "modes",
)  # one of these, and one of the next: each kind as often as in the first draw
PATH_SHARE, PATH_SCENES = (
    0.2,
    ("dynamics",) * 4,
)  # of the last draw: these, or two of the next, so that a third is dynamics
PATHLESS_SCENES = tuple(scene for scene in SCENES if scene != "dynamics")
ANY_SCENES = (*THERMAL_SCENES, "stretched", "contact", "pair", "pair")
MOST_ATOMS_OF_PAIR = 24
TEMPERATURES_K = (300.0, 1000.0)
EVERY, TIMESTEP_FS, FRICTION_PER_PS, HYDROGEN_AMU = 7, 2.0, 20.0, 4.0
OTHER_STATE = (
    0.55  # chance of a state beside the ground state, of those one electron or one flip away
)
FAR_STATE = 0.12  # of those two electrons away
EASY_STATE, HARD_STATE, HARD_FAR_STATE = (
    0.3,
    0.8,
    0.4,
)  # from the fourth draw on: of doublets, of others, and of those two electrons away
# from the eighth draw on, of those two electrons away, beside all others: about as rare as in the
# first
RARE_FAR_STATE = 0.25
# Share of draws that labelled all states whose far states, and whose states beside an ion, are
# taken: both are rare among those to test on.
KEPT = (0.2, 0.3)
ON_GROUND_STATE = 0.6  # share of the dynamics
TIGHT, TIGHT_PATH = Convergence(0.1), Convergence(1.0)
SOONER = Convergence(0.1, cycles=75)  # given up: 2 % fewer labels in 15 % less time
LOOSE = Convergence(
    10.0, cycles=75, guess=1
)  # 28 % less time again; no model is as good as these labels
MOST_FORCE = 30.0  # eV/Å
MOST_SPIN_ERROR = 0.25  # of <S²>
ENERGY_RANGE = (-20.0, 30.0)  # eV, of any label above the first of its molecule
FORCE_CHECK, CHECK_STEP = (
    0.02,
    0.002,
)  # eV/Å and Å: forces along a random way against differences of energies
RELAXED_FMAX, RELAXED_STEPS = 0.05, 40  # eV/Å


class Labelling(Protocol):
    """A method on one molecule in one state, as `potentials.labels.gfn2.Surface`."""

    def __init__(
        self, atomic_numbers: Integers, charge: int, multiplicity: int, convergence: Convergence
    ) -> None: ...

    def label(self, positions: Floats) -> Label:
        """Compute a label from a fresh guess."""

    def follow(self, positions: Floats) -> Label:
        """Compute energy and forces near the geometry before."""


class Draw(NamedTuple):
    """How molecules of one draw are labelled.

    A seed gives the same labels as long as numbers are drawn in this order.
    """

    kinds: dict[str, float]
    scenes: Callable[[np.random.Generator], Sequence[str]]  # of one molecule
    chance: Callable[
        [int, bool], float
    ]  # of a state of a multiplicity, far or not, beside the ground state
    checked: float  # share of the molecules whose forces are checked
    convergence: Convergence = TIGHT  # of labels
    path: Convergence = TIGHT_PATH  # of dynamics and relaxations
    kept_far: float = 1.0  # share of the labels two electrons away that are trained on
    kept_beside_ion: float = 1.0  # likewise of those of the scene "ion"


def _always(multiplicity: int, far: bool) -> float:
    return 1.0


def _evenly(multiplicity: int, far: bool) -> float:
    return FAR_STATE if far else OTHER_STATE


def _where_molecules_count(multiplicity: int, far: bool) -> float:
    """Prefer states that err more on new molecules than on known ones.

    Triplets, and the singlets of ions and radicals.
    """
    if multiplicity == 2:
        return EASY_STATE
    return HARD_FAR_STATE if far else HARD_STATE


def _unless_far(multiplicity: int, far: bool) -> float:
    return RARE_FAR_STATE if far else 1.0


def _path_or_two(rng: np.random.Generator) -> Sequence[str]:
    return (
        PATH_SCENES
        if rng.random() < PATH_SHARE
        else rng.choice(PATHLESS_SCENES, 2, replace=False).tolist()
    )


DRAWS = (
    Draw(KINDS, lambda rng: SCENES, _evenly, 1.0),
    Draw(
        FURTHER_KINDS,
        lambda rng: rng.choice(SCENES, FURTHER_SCENES, replace=False).tolist(),
        _evenly,
        1.0,
    ),
    # the gentlest geometry first: energies are counted from it
    Draw(FURTHER_KINDS, lambda rng: ("modes", str(rng.choice(LAST_SCENES))), _evenly, 0.2),
    Draw(
        LAST_KINDS,
        lambda rng: ("relaxed", str(rng.choice(LAST_SCENES))),
        _where_molecules_count,
        0.2,
    ),
    Draw(
        LAST_KINDS, lambda rng: ("modes", str(rng.choice(HARD_SCENES))), _where_molecules_count, 0.1
    ),
    # neutral molecules in all their states: of these there was least for what they err
    Draw(
        {"molecule": 1.0},
        lambda rng: rng.choice(SCARCE_SCENES, SCARCE).tolist(),
        _always,
        0.1,
        SOONER,
        TIGHT_PATH,
        *KEPT,
    ),
    Draw(
        CHARGED_KINDS,
        lambda rng: rng.choice(ION_SCENES, SCARCE).tolist(),
        _always,
        0.1,
        SOONER,
        TIGHT_PATH,
        *KEPT,
    ),
    # as the first, whose kin are to be judged, but of many molecules
    Draw(
        EVEN_KINDS,
        lambda rng: [str(rng.choice(scenes)) for scenes in (THERMAL_SCENES, ANY_SCENES)],
        _unless_far,
        0.05,
        SOONER,
    ),
    # the same of more molecules still, one geometry of each
    Draw(EVEN_KINDS, lambda rng: [str(rng.choice(SCENES))], _unless_far, 0.05, LOOSE, LOOSE),
    # as large as those to judge by, and later on their paths
    Draw(EVEN_KINDS, _path_or_two, _unless_far, 0.05, LOOSE, LOOSE),
)


class Job(NamedTuple):
    """One species of one molecule."""

    number: int
    parent: Parent
    seed: tuple[int, ...]


class Frame(NamedTuple):
    """A label, with where it belongs."""

    atomic_numbers: Integers
    positions: Floats
    charge: int
    multiplicity: int
    scene: str
    label: Label


def make_jobs(n_train: int = N_TRAIN, n_test: int = N_TEST, seed: int = SEED) -> dict[str, Job]:
    """Make the jobs, in an order without meaning."""
    return {
        f"{n:05d}": Job(n, parent, (seed, 1, n))
        for n, parent in enumerate(parents(n_train, n_test, seed))
    }


def compute(job: Job, method: type[Labelling] = Surface) -> dict[str, Any]:
    """Draw and label the geometries of one job.

    Flat arrays, and how many were left out for which reason.
    """
    rng = np.random.default_rng(job.seed)
    draw = DRAWS[job.parent.draw]
    kind = (
        "molecule"
        if job.parent.small
        else str(rng.choice(list(draw.kinds), p=list(draw.kinds.values())))
    )
    try:
        species = make_species(job.parent, kind, rng)
    except Failed:
        species = make_species(job.parent, "molecule", rng)
    left_out: Counter[str] = Counter()
    scenes = SMALL_SCENES if job.parent.small else draw.scenes(rng)
    check_forces = draw.checked == 1 or rng.random() < draw.checked
    frames = list(_labelled(method, species, scenes, draw, check_forces, rng, left_out))
    if job.parent.small:
        frames += _labelled(
            method, species, NEAR_SCENES, draw._replace(chance=_always), check_forces, rng, left_out
        )
    if not frames:
        raise Failed(f"no frame is left: {dict(left_out)}")
    return _arrays(frames, job.number) | {"left_out": np.array(json.dumps(left_out))}


def _labelled(
    method: type[Labelling],
    species: Species,
    scenes: Sequence[str],
    draw: Draw,
    check_forces: bool,
    rng: np.random.Generator,
    left_out: Counter[str],
) -> Iterator[Frame]:
    """Label every geometry in its states.

    The first label is where energies are counted from, and forces are checked on it.
    """
    floor: dict[tuple[int, ...], float] = {}
    for scene, (numbers, drawn, charge, multiplicity) in _geometries(
        method, species, scenes, draw.path, rng, left_out
    ):
        positions = (
            (drawn - drawn.mean(0)).astype(np.float32).astype(np.float64)
        )  # what is stored is what is labelled
        if (
            scene in ("dynamics", "modes", "near", "relaxed")
            and n_fragments(numbers, positions) != 1
        ):
            left_out["fell apart"] += 1
            continue
        for state in _states(charge, multiplicity, draw.chance, rng):
            try:
                surface = method(numbers, *state, draw.convergence)
                label = surface.label(positions)
                if check_forces and not floor and state == (charge, multiplicity):
                    _check_forces(surface, positions, label, rng)
                _check(label, state[1], floor.setdefault(tuple(np.sort(numbers)), label.energy))
            except Failed as error:
                left_out[str(error)] += 1
            else:
                yield Frame(numbers, positions, *state, scene, label)


def _geometries(
    method: type[Labelling],
    species: Species,
    scenes: Sequence[str],
    convergence: Convergence,
    rng: np.random.Generator,
    left_out: Counter[str],
) -> Iterator[tuple[str, tuple[Integers, Floats, int, int]]]:
    """Yield scene, atomic numbers, positions, charge and multiplicity of the ground state."""
    state = species.charge, species.multiplicity
    path = _path(method, species, convergence, rng) if len(species.positions) > 1 else iter(())
    for scene in scenes:
        numbers, positions, (charge, multiplicity) = (
            species.atomic_numbers,
            species.displaced(rng.uniform(*TEMPERATURES_K), rng),
            state,
        )
        try:
            match scene:
                case "dynamics":
                    positions = next(path, positions)
                case "near":
                    positions = species.positions + rng.uniform() * (positions - species.positions)
                case "relaxed":
                    positions = _relaxed(method, species, convergence)
                case "stretched":
                    positions = stretched(numbers, positions, rng)
                case "contact":
                    positions = contact(numbers, positions, rng)
                case "pair" | "ion":
                    other = _partner(species, PARTNERS if scene == "pair" else IONS, rng)
                    numbers, positions = beside(numbers, positions, other, rng)
                    charge += other.charge
        except Failed as error:
            left_out[str(error)] += 1
            continue
        yield scene, (numbers, positions, charge, multiplicity)


def _path(
    method: type[Labelling], species: Species, convergence: Convergence, rng: np.random.Generator
) -> Iterator[Floats]:
    """Run dynamics on the ground state, or on another.

    The ions and triplets want their own geometries.
    """
    numbers, temperature = species.atomic_numbers, rng.uniform(*TEMPERATURES_K)
    others = [state for state, far in other_states(species.charge, species.multiplicity) if not far]
    state = (
        (species.charge, species.multiplicity)
        if rng.random() < ON_GROUND_STATE
        else others[rng.integers(len(others))]
    )
    surface = method(numbers, *state, convergence)
    masses = np.where(numbers == 1, HYDROGEN_AMU, atomic_masses[numbers])
    start = species.displaced(temperature, rng)
    steps = langevin(
        lambda _, x, *__: surface.follow(x),
        numbers,
        start,
        *state,
        temperature,
        EVERY,
        rng,
        TIMESTEP_FS,
        FRICTION_PER_PS,
        masses,
    )
    try:
        yield from steps
    except Failed:
        return


def _relaxed(method: type[Labelling], species: Species, convergence: Convergence) -> Floats:
    """Relax the ground state from the minimum of the force field, whose Hessian saves steps."""
    surface = method(species.atomic_numbers, species.charge, species.multiplicity, convergence)
    left = (3 * species.kept[:, None] + np.arange(3)).ravel()
    return relax(
        lambda _, x, *__: surface.follow(x),
        species.atomic_numbers,
        species.positions,
        species.charge,
        species.multiplicity,
        RELAXED_FMAX,
        species.stiffness[np.ix_(left, left)],
        RELAXED_STEPS,
    )


def _partner(species: Species, candidates: Sequence[str], rng: np.random.Generator) -> Species:
    """Choose a partner: water for half of the ions, and nothing that makes a charge beyond one."""
    if species.charge and rng.random() < 0.5:
        return partner(WATER)
    chosen = partner(candidates[int(rng.integers(len(candidates)))])
    if (
        abs(chosen.charge + species.charge) > 1
        or len(chosen.positions) + len(species.positions) > MOST_ATOMS_OF_PAIR
    ):
        raise Failed("the partner does not fit")
    return chosen


def _states(
    charge: int, multiplicity: int, chance: Callable[[int, bool], float], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw states for a geometry: the ground state, and others (charge, multiplicity)."""
    others = other_states(charge, multiplicity)
    return [
        (charge, multiplicity),
        *(state for state, far in others if rng.random() < chance(state[1], far)),
    ]


def other_states(charge: int, multiplicity: int) -> list[tuple[tuple[int, int], bool]]:
    """List the other states of charge -1, 0, +1 and multiplicity 1, 2, 3, and whether they are far.

    Only those that the number of electrons allows.
    """
    found = [
        (q, m)
        for q in (-1, 0, 1)
        for m in (1, 2, 3)
        if (q - charge + m - multiplicity) % 2 == 0 and (q, m) != (charge, multiplicity)
    ]
    return [(state, abs(state[0] - charge) == 2) for state in found]


def _check(label: Label, multiplicity: int, floor: float) -> None:
    spin = (multiplicity - 1) / 2
    assert label.spin_squared is not None
    if not np.isfinite(label.energy) or not np.isfinite(label.forces).all():
        raise Failed("not finite")
    if np.abs(label.forces).max() > MOST_FORCE:
        raise Failed(f"a force beyond {MOST_FORCE:g} eV/Å")
    if abs(label.spin_squared - spin * (spin + 1)) > MOST_SPIN_ERROR:
        raise Failed("<S²> is not that of the multiplicity")
    if not ENERGY_RANGE[0] <= label.energy - floor <= ENERGY_RANGE[1]:
        raise Failed("an energy out of range")


def _check_forces(
    surface: Labelling, positions: Floats, label: Label, rng: np.random.Generator
) -> None:
    way = rng.normal(size=positions.shape)
    way /= np.linalg.norm(way)
    ahead, behind = (surface.label(positions + s * CHECK_STEP * way).energy for s in (1, -1))
    if abs((behind - ahead) / (2 * CHECK_STEP) - float((label.forces * way).sum())) > FORCE_CHECK:
        raise Failed("forces are not the gradient of the energy")


def _arrays(frames: list[Frame], number: int) -> dict[str, Any]:
    return {
        "n_atoms": np.array([len(f.atomic_numbers) for f in frames]),
        "atomic_numbers": np.concatenate([f.atomic_numbers for f in frames]).astype(np.uint8),
        "positions": np.concatenate([f.positions for f in frames]).astype(np.float32),
        "energy": np.array([f.label.energy for f in frames]),
        "forces": np.concatenate([f.label.forces for f in frames]).astype(np.float32),
        "partial_charges": np.concatenate([f.label.charges for f in frames]).astype(np.float32),
        "dipole": np.array([f.label.dipole for f in frames], dtype=np.float32),
        "total_charge": np.array([f.charge for f in frames]),
        "multiplicity": np.array([f.multiplicity for f in frames]),
        "group": np.full(len(frames), number),
        "scene": np.array([f.scene for f in frames]),
        "spin_squared": np.array([f.label.spin_squared for f in frames]),
    }
