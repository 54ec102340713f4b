"""Curves of two atoms in one state, from pressed together to apart, by the DFT of the labels.

Each curve is walked twice, every field from the one before: out from the minimum, and in from
atoms far apart whose unpaired electrons point against each other (broken symmetry, Noodleman, J.
Chem. Phys. 74, 5737 (1981)). The lower of both is kept, so that bonds end in the atoms and not in
ions. Where even that lies above atoms whose electrons all point the same way, the energy of these
is taken: the spins of atoms apart do not feel each other, and one determinant cannot couple them.
A state between the two (O2, triplet) takes the lower of both once the atoms have their spins back,
and has no label where it is neither yet. States that atoms in their ground
states cannot form (NF, singlet) and ions are labelled where their field is of that state alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from potentials.datasets.formats.units import BOHR, HARTREE
from potentials.labels import wb97m
from potentials.labels.method import Failed, Floats, Integers, Label

APART = 1.6  # of the bond length: from here on the spins of atoms may be coupled freely
BETWEEN = 1.44  # the same of states that one determinant cannot be
PAIRED = 1.5  # of the bond length: farther the electrons of ions are not to be paired
DECOUPLED = 0.75  # of the <S²> that spins against each other have, atoms apart
SAME = 2e-4  # hartree: two fields of one kind
LOWER = 5e-3  # hartree, by which atoms of parallel spins must lie lower
NEAR, PURE = 1.2, 0.5  # of the bond length: up to there <S²> is off by no more than this
# unpaired electrons of the ground state
UNPAIRED = {1: 1, 6: 2, 7: 3, 8: 2, 9: 1, 15: 3, 16: 2, 17: 1, 35: 1, 53: 1}


class Point(NamedTuple):
    """A field at one distance."""

    field: Any
    spin_squared: float

    @property
    def energy(self) -> float:
        """Total energy, hartree."""
        return float(self.field.e_tot)


def curve(
    atomic_numbers: Integers,
    distances: Sequence[float],
    equilibrium: float,
    charge: int,
    multiplicity: int,
) -> dict[float, Label]:
    """Label two atoms on the z axis at each distance, where the state is there.

    Parameters
    ----------
    distances : D floats    Å, rising
    equilibrium : float     Å

    Raises
    ------
    Failed   no label at all
    """
    first = int(np.argmin(np.abs(np.asarray(distances) - equilibrium)))
    out = _walk(atomic_numbers, distances[first:], charge, multiplicity)
    found = dict(out)
    if first and distances[first] in found:
        inner = distances[first - 1 :: -1]
        start = found[distances[first]].field
        found |= dict(_walk(atomic_numbers, inner, charge, multiplicity, start))
    _lower(found, atomic_numbers, distances, charge, multiplicity, SAME)
    coupled = _coupled(atomic_numbers) if charge == 0 else ()
    if multiplicity in coupled:
        between = multiplicity not in (coupled[0], coupled[-1])
        from_here = (BETWEEN if between else APART) * equilibrium
        apart = [r for r in distances if r >= from_here]
        for other in {coupled[-1], coupled[0] if between else coupled[-1]} - {multiplicity}:
            _lower(found, atomic_numbers, apart, charge, other, LOWER)
        if between:
            found = {r: p for r, p in found.items() if r < from_here or _is_apart(p, coupled)}
    spin = (multiplicity - 1) / 2
    excess = {r: point.spin_squared - spin * (spin + 1) for r, point in found.items()}
    # two electrons that do not pair at the minimum: one determinant is no singlet there
    unpaired = multiplicity == 1 and excess.get(distances[first], 0.0) > PURE
    sound = {r for r in found if abs(excess[r]) < PURE and not unpaired}
    if multiplicity in coupled:
        sound |= {r for r in found if r >= APART * equilibrium}
        sound |= {r for r in found if r > NEAR * equilibrium and not unpaired}
    elif charge and multiplicity == 1:
        sound = {r for r in sound if r <= PAIRED * equilibrium}
    labels = {}
    for r in sorted(found):
        if r in sound:
            try:
                labels[r] = _label(found[r], atomic_numbers, charge, multiplicity)
            except Failed:
                continue
    if not labels:
        raise Failed("no distance at which this state is there")
    return labels


def _lower(
    found: dict[float, Point],
    numbers: Integers,
    distances: Sequence[float],
    charge: int,
    multiplicity: int,
    by: float,
) -> None:
    """Walk in from atoms apart, and keep what lies lower until it does no more."""
    start = _atoms(numbers, distances[-1], charge, multiplicity) if distances else None
    for r, point in _walk(numbers, distances[::-1], charge, multiplicity, start):
        if r in found and point.energy > found[r].energy - by:
            if r < 0.8 * distances[-1]:
                return
        else:
            found[r] = point


def _walk(
    numbers: Integers,
    distances: Sequence[float],
    charge: int,
    multiplicity: int,
    start: Any = None,
) -> Iterator[tuple[float, Point]]:
    """Find a field at each distance, each from the density of the one before."""
    density = start if start is None or isinstance(start, np.ndarray) else start.make_rdm1()
    for r in distances:
        positions = np.array([[0.0, 0.0, -r / 2], [0.0, 0.0, r / 2]])
        field = wb97m.unrestricted(numbers, positions, charge, multiplicity)
        try:
            field.kernel(dm0=density)
            field = wb97m.converged(field)
        except (Failed, ArithmeticError, ValueError, np.linalg.LinAlgError):
            density = None if start is None else density
            continue
        density = field.make_rdm1()
        yield r, Point(field, float(field.spin_square()[0]))


def _coupled(numbers: Integers) -> tuple[int, ...]:
    """List the multiplicities that two atoms in their ground states can have."""
    a, b = (UNPAIRED[int(z)] for z in numbers)
    return tuple(range(abs(a - b) + 1, a + b + 2, 2))


def _is_apart(point: Point, coupled: tuple[int, ...]) -> bool:
    """Whether a field is of atoms that have their spins, or of the state itself."""
    lowest, highest = ((m - 1) / 2 for m in (coupled[0], coupled[-1]))
    if point.field.mol.spin != coupled[0] - 1:
        return True
    return point.spin_squared > lowest * (lowest + 1) + DECOUPLED * (highest - lowest)


def _atoms(numbers: Integers, distance: float, charge: int, multiplicity: int) -> Floats:
    """Put the densities (2, n, n) of two atoms side by side, spins against each other or along."""
    parts = [_atom(int(z)) for z in numbers]
    if multiplicity < _coupled(numbers)[-1]:  # the fewer unpaired electrons point down
        fewer = int(UNPAIRED[int(numbers[0])] >= UNPAIRED[int(numbers[1])])
        parts[fewer] = parts[fewer][::-1]
    second = parts[1]
    n = parts[0].shape[1]
    density = np.zeros((2, n + second.shape[1], n + second.shape[1]))
    density[:, :n, :n], density[:, n:, n:] = parts[0], second
    return density * (1 - charge / sum(int(z) for z in numbers))


@cache
def _atom(number: int) -> Floats:
    """Make the density (2, n, n) of an atom: unpaired electrons along the bond first."""
    unpaired = UNPAIRED[number]
    field = wb97m.unrestricted(np.array([number]), np.zeros((1, 3)), 0, unpaired + 1)
    field.kernel()
    density = np.asarray(field.make_rdm1())
    shells = _shells(field.mol)
    even = np.zeros_like(density)  # the same in all directions
    for l_a, a in shells:
        for l_b, b in shells:
            if l_a == l_b:
                even[:, a, b] = density[:, a, b].mean(axis=1, keepdims=True)
    up = unpaired if number == 6 else 3  # electrons in the outer p shell
    down = 0 if number == 6 else 3 - unpaired
    shifts = ((range(2, 2 - up, -1), up), (range(down), down)) if number > 1 else ()
    p_shells = [a for momentum, a in shells if momentum == 1]
    single = 3 / unpaired * (even[0] - even[1])  # one electron of that shell in each direction
    for spin, (filled, count) in enumerate(shifts):
        for axis in range(3):
            rows = np.array([a[axis] for a in p_shells])
            block = np.ix_(rows, rows)
            even[spin][block] += ((axis in filled) - count / 3) * single[block]
    return even


def _shells(molecule: Any) -> list[tuple[int, Integers]]:
    """List angular momentum and functions of each contracted shell; p is x, y, z."""
    found, first = [], 0
    for shell in range(molecule.nbas):
        momentum = molecule.bas_angular(shell)
        for _ in range(molecule.bas_nctr(shell)):
            found.append((momentum, np.arange(first, first + 2 * momentum + 1)))
            first += 2 * momentum + 1
    return found


def _label(point: Point, numbers: Integers, charge: int, multiplicity: int) -> Label:
    field = point.field
    if charge < 0:
        wb97m.check_bound(field)
    up, down = wb97m.populations(field)
    magmoms = up - down
    if field.mol.spin != multiplicity - 1:
        magmoms = _shares(numbers, multiplicity)
    return Label(
        energy=point.energy * HARTREE,
        forces=wb97m.forces(field),
        charges=field.mol.atom_charges() - up - down,
        dipole=np.asarray(field.dip_moment(unit="AU", verbose=0)) * BOHR,
        spin_squared=point.spin_squared,
        magmoms=magmoms,
    )


def _shares(numbers: Integers, multiplicity: int) -> Floats:
    """Share unpaired electrons (2,) out between atoms apart whose spins are coupled (Landé)."""
    total = (multiplicity - 1) / 2
    if not total:
        return np.zeros(2)
    a, b = (UNPAIRED[int(z)] / 2 * (UNPAIRED[int(z)] / 2 + 1) for z in numbers)
    part = (a - b) / (2 * total * (total + 1))
    return 2 * total * np.array([0.5 + part, 0.5 - part])
