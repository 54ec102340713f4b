"""Ways to move the atoms of a geometry, and to put one molecule beside another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase.data import covalent_radii, vdw_radii
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from potentials.labels.closed_shells.conformers import Shape, stiffness
from potentials.labels.method import Failed, Floats, Integers
from potentials.labels.sampling import thermal_displacements

STRETCH = (0.82, 1.65)  # of the length of a bond
# of the sum of van der Waals radii: atoms that are not bound, pushed together
CONTACT = (0.55, 0.95)
# of the sum of van der Waals radii: closer nothing is put, but for hydrogen bonds
CLASH, CLASH_OF_HYDROGEN_BOND = 0.72, 0.45
SOFT = 500.0  # 1/cm: softer modes of the springs are treated as this stiff
TRANSFER_REACH = 3.4  # Å, from a hydrogen to the atom that it moves to
DONORS, ACCEPTORS = (7, 8, 9, 16, 17, 35, 53), (7, 8, 9, 15, 16, 17, 35, 53)
HYDROGEN_BOND, HALOGEN_BOND = (1.45, 2.6), (2.5, 3.8)  # Å, H…Y of Y = N, O, F; X…Y of X = Cl, Br, I
STACKED = (3.0, 4.6)  # Å between the planes
# Å more where the acceptor is of a later row
LARGER = {15: 0.5, 16: 0.45, 17: 0.4, 35: 0.5, 53: 0.75}

Flags = NDArray[np.bool_]


def shaken(
    shape: Shape, positions: Floats, temperature_K: float, rng: np.random.Generator
) -> Floats:
    """Displace all atoms along the modes of springs between them, as the temperature says."""
    if len(positions) < 3:
        return positions + rng.normal(size=positions.shape) * 0.03
    return positions + thermal_displacements(
        stiffness(shape, positions), shape.atomic_numbers, temperature_K, rng, SOFT
    )


def stretched(shape: Shape, positions: Floats, rng: np.random.Generator) -> Floats:
    """Stretch or compress one bond; what hangs on its smaller end moves along."""
    i, j = _bond(shape, shape.bonds_apart == 1, rng)
    way = (rng.uniform(*STRETCH) - 1) * (positions[j] - positions[i])
    moved: Floats = positions + _beyond(shape, i, j)[:, None] * way
    return moved


def turned(shape: Shape, positions: Floats, rng: np.random.Generator) -> Floats:
    """Turn one end of a molecule about a bond that is in no ring, by any angle."""
    inner = (shape.bonds_apart == 1) & np.outer(*2 * [(shape.bonds_apart == 1).sum(1) > 1])
    i, j = _bond(shape, inner, rng)
    moving = _beyond(shape, i, j)
    if moving.sum() == 1:
        raise Failed("the bond is in a ring")
    axis = (positions[j] - positions[i]) / np.linalg.norm(positions[j] - positions[i])
    rotation = _about(axis, rng.uniform(0, 2 * np.pi))
    return np.where(
        moving[:, None], (positions - positions[j]) @ rotation.T + positions[j], positions
    )


def contact(shape: Shape, positions: Floats, rng: np.random.Generator) -> Floats:
    """Push two atoms, more than two bonds apart, towards each other; their neighbours follow."""
    i, j = _bond(shape, shape.bonds_apart > 2, rng)
    way = positions[j] - positions[i]
    distance = float(np.linalg.norm(way))
    wanted = min(rng.uniform(*CONTACT) * _radii(shape.atomic_numbers[[i, j]]).sum(), distance)
    near = np.exp(
        -np.sum((positions[:, None] - positions[[i, j]]) ** 2, axis=-1) / 2
    )  # (N, 2) in Å
    moved: Floats = positions + (near[:, :1] - near[:, 1:]) * 0.5 * (1 - wanted / distance) * way
    return moved


def transferred(numbers: Integers, positions: Floats, rng: np.random.Generator) -> Floats:
    """Move a hydrogen part of the way, or all of it, to another heavy atom nearby."""
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    heavy, hydrogens = np.flatnonzero(numbers > 1), np.flatnonzero(numbers == 1)
    if len(heavy) < 2 or not len(hydrogens):
        raise Failed("there is no hydrogen to move")
    owner = heavy[distances[np.ix_(hydrogens, heavy)].argmin(1)]
    pairs = [
        (h, x, y)
        for h, x in zip(hydrogens, owner, strict=True)
        for y in heavy
        if y != x and distances[h, y] < TRANSFER_REACH
    ]
    if not pairs:
        raise Failed("there is no place for a hydrogen")
    polar = np.array(
        [
            (1 + 4 * (numbers[x] in DONORS)) * (1 + 4 * (numbers[y] in ACCEPTORS))
            for _, x, y in pairs
        ],
        dtype=float,
    )
    h, x, y = pairs[rng.choice(len(pairs), p=polar / polar.sum())]
    bond = covalent_radii[1] + covalent_radii[numbers[y]]
    way = positions[h] - positions[y]
    end = positions[y] + bond * way / np.linalg.norm(way)
    share = rng.uniform(0.15, 1.0)
    moved = positions.copy()
    moved[h] = positions[h] + share * (end - positions[h])
    if (gap := np.linalg.norm(moved[h] - positions[x])) < 0.9 * (
        bond_x := covalent_radii[1] + covalent_radii[numbers[x]]
    ):
        # around the atom that it leaves, not through it
        moved[h] = positions[x] + (moved[h] - positions[x]) * 0.9 * bond_x / gap
    # both ends come nearer where parts are free to
    approach = rng.uniform(0.0, 0.25) * (positions[y] - positions[x])
    part = connected_components(_bound(numbers, positions), directed=False)[1]
    if part[x] != part[y]:
        moved[part == part[y]] -= approach
    return moved


def beside(
    numbers: Integers, positions: Floats, partner: Shape, way: str, rng: np.random.Generator
) -> Floats:
    """Place a partner (M, 3) Å.

    Parameters
    ----------
    way : str   "hydrogen" or "halogen" bonded, "stacked", or "any": turned and at some distance

    Raises
    ------
    Failed   there is no room, or no such bond
    """
    for _ in range(12):
        placed = PLACES[way](numbers, positions, partner, rng)
        reach = _radii(numbers)[:, None] + _radii(partner.atomic_numbers)[None]
        gaps = np.linalg.norm(positions[:, None] - placed[None], axis=-1) / reach
        if (gaps > _clash(numbers, partner.atomic_numbers)).all():
            return placed
    raise Failed("there is no room for a partner")


def away(positions: Floats, placed: Floats, shift_A: float) -> Floats:
    """Move a partner further away, along the line between the centres."""
    way = placed.mean(0) - positions.mean(0)
    moved: Floats = placed + shift_A * way / max(float(np.linalg.norm(way)), 1e-6)
    return moved


def rotation(rng: np.random.Generator) -> Floats:
    """Draw a rotation matrix, all alike."""
    drawn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    proper: Floats = drawn * np.sign(np.linalg.det(drawn))
    return proper


def _any(numbers: Integers, positions: Floats, partner: Shape, rng: np.random.Generator) -> Floats:
    placed = partner.positions @ rotation(rng).T
    placed += positions[rng.integers(len(positions))] - placed.mean(0)
    direction = _direction(rng)
    factor = rng.uniform(0.78, 1.3) if rng.random() < 0.65 else rng.uniform(1.3, 2.6)
    reach = factor * (_radii(numbers)[:, None] + _radii(partner.atomic_numbers)[None])
    steps = np.arange(0.0, 20.0, 0.1)
    between = positions[:, None] - placed[None]  # (N, M, 3)
    squared = (
        (between**2).sum(-1)
        - 2 * steps[:, None, None] * (between @ direction)
        + steps[:, None, None] ** 2
    )
    free = (squared > reach**2).all((1, 2))
    too_close = np.flatnonzero(~free)
    first = min(too_close[-1] + 1, len(steps) - 1) if len(too_close) else 0
    moved: Floats = placed + steps[first] * direction
    return moved


def _hydrogen(
    numbers: Integers, positions: Floats, partner: Shape, rng: np.random.Generator
) -> Floats:
    return _linked(numbers, positions, partner, rng, (1,), DONORS, HYDROGEN_BOND)


def _halogen(
    numbers: Integers, positions: Floats, partner: Shape, rng: np.random.Generator
) -> Floats:
    return _linked(
        numbers, positions, partner, rng, (17, 35, 53), (1, 6, 7, 8, 9, 17, 35, 53), HALOGEN_BOND
    )


def _linked(
    numbers: Integers,
    positions: Floats,
    partner: Shape,
    rng: np.random.Generator,
    bridges: tuple[int, ...],
    owners: tuple[int, ...],
    distance: tuple[float, float],
) -> Floats:
    """Put an acceptor of one molecule behind a bond of the other."""
    own = partner.positions @ rotation(rng).T
    sides = [
        (numbers, positions, partner.atomic_numbers, own),
        (partner.atomic_numbers, own, numbers, positions),
    ]
    for first in rng.permutation(2):
        z, x, other_z, other_x = sides[first]
        bonds = [(n, m) for n, m in np.argwhere(_bound(z, x)) if z[n] in bridges and z[m] in owners]
        acceptors = [n for n in range(len(other_z)) if other_z[n] in ACCEPTORS]
        if not bonds or not acceptors:
            continue
        bridge, owner = bonds[rng.integers(len(bonds))]
        acceptor = acceptors[rng.integers(len(acceptors))]
        direction = x[bridge] - x[owner]
        direction = direction / np.linalg.norm(direction) + rng.normal(size=3) * 0.12
        length = rng.uniform(*distance) + LARGER.get(int(other_z[acceptor]), 0.0)
        shift = x[bridge] + length * direction / np.linalg.norm(direction) - other_x[acceptor]
        linked: Floats = own + shift if first == 0 else own - shift
        return linked
    raise Failed("there is no such bond")


def _stacked(
    numbers: Integers, positions: Floats, partner: Shape, rng: np.random.Generator
) -> Floats:
    """Put the planes that fit both best on top of each other, shifted and turned."""
    own, normal = _plane(positions)
    other, its_normal = _plane(partner.positions)
    placed = aligned(its_normal, normal * rng.choice([-1, 1])) @ (partner.positions - other).T
    placed = (_about(normal, rng.uniform(0, 2 * np.pi)) @ placed).T
    shift = rng.normal(size=3)
    shift -= (shift @ normal) * normal
    thickness = (
        np.abs((positions - own) @ normal).max()
        + np.abs((partner.positions - other) @ its_normal).max()
    )
    height = rng.uniform(*STACKED) + min(float(thickness), 4.0) * 0.5
    stacked: Floats = placed + own + height * normal + shift
    return stacked


PLACES: dict[str, Callable[[Integers, Floats, Shape, np.random.Generator], Floats]] = {
    "any": _any,
    "hydrogen": _hydrogen,
    "halogen": _halogen,
    "stacked": _stacked,
}


def _bond(shape: Shape, which: Flags, rng: np.random.Generator) -> tuple[int, int]:
    pairs = np.argwhere(which)  # both ways
    if not len(pairs):
        raise Failed("there is no such pair of atoms")
    i, j = pairs[rng.integers(len(pairs))]
    return int(i), int(j)


def _beyond(shape: Shape, i: int, j: int) -> Flags:
    """Which atoms are on the side of j of a bond (N,) bool; in a ring j alone."""
    rest = shape.bonds_apart == 1
    rest[i, j] = rest[j, i] = False
    part = connected_components(rest, directed=False)[1]
    moving: Flags = part == part[j] if part[i] != part[j] else np.arange(len(part)) == j
    return moving


def _bound(numbers: Integers, positions: Floats) -> Flags:
    radii = covalent_radii[numbers]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    bound: Flags = (distances < 1.25 * (radii[:, None] + radii[None])) & ~np.eye(
        len(numbers), dtype=bool
    )
    return bound


def _clash(numbers: Integers, others: Integers) -> Floats:
    bridged = (numbers == 1)[:, None] & np.isin(others, ACCEPTORS)[None]
    bridged |= np.isin(numbers, ACCEPTORS)[:, None] & (others == 1)[None]
    return np.where(bridged, CLASH_OF_HYDROGEN_BOND, CLASH)


def _radii(numbers: Integers) -> Floats:
    radii: Floats = vdw_radii[numbers]
    return radii


def _direction(rng: np.random.Generator) -> Floats:
    direction = rng.normal(size=3)
    unit: Floats = direction / np.linalg.norm(direction)
    return unit


def _about(axis: Floats, angle: float) -> Floats:
    """Rotate about a unit vector (Rodrigues)."""
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    matrix: Floats = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix


def aligned(one: Floats, other: Floats) -> Floats:
    """Rotate one unit vector onto another."""
    axis = np.cross(one, other)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        return (
            np.eye(3)
            if one @ other > 0
            else 2 * np.outer(perpendicular := _across(one), perpendicular) - np.eye(3)
        )
    return _about(axis / sine, float(np.arctan2(sine, one @ other)))


def _across(one: Floats) -> Floats:
    across = np.cross(one, np.eye(3)[np.abs(one).argmin()])
    unit: Floats = across / np.linalg.norm(across)
    return unit


def _plane(positions: Floats) -> tuple[Floats, Floats]:
    """Find the centre and the normal of the plane that fits best."""
    centre = positions.mean(0)
    return centre, np.linalg.svd(positions - centre, full_matrices=True)[2][2]
