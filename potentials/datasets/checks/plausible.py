"""Do the numbers fit their units?

Three quantities have a known size, whatever the molecule; a wrong unit shifts them 2 to 1000 times.

* Atoms touch: the nearest neighbour of an atom is about a sum of covalent radii away (0.8 to 1.1 in
  molecules, salts and metals).
* Total energies lie within a few percent of those of free atoms (1.00 to 1.02 for light elements,
  1.07 with gold). Energies of valence electrons alone, atomisation energies and energies above a
  minimum are smaller in size, never larger.
* Energies and forces belong together: from one structure to its most similar one, the energy
  changes by minus force times way, and the force by some 10 eV/Å² times the way (8 to 17 in
  molecules; 0.7 between rigid ones).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase.data import covalent_radii

from potentials.datasets.checks.pair_distances import nearest_neighbor_ratio
from potentials.datasets.formats.units import BOHR, ENERGIES, HARTREE
from potentials.datasets.frames import Frames
from potentials.datasets.statistics import atom_energies

Array = npt.NDArray[Any]

SAMPLE = 500  # structures that are looked at
NOBLE_GASES = (2, 10, 18, 36, 54, 86)  # do not touch
TOUCHING = (0.65, 1.45)  # sums of covalent radii
HIGHEST_TOTAL_ENERGY = 1.5  # times that of free atoms; the heaviest elements reach 1.2
# eV/Å, root mean square of components; 1.2 at 500 K, 3 in sets with deliberate close contacts
HIGHEST_FORCE = 15.0
# factors between energy change and work; tight where they correlate above STRAIGHT
LOOSE, TIGHT, STRAIGHT = 2.5, 1.25, 0.95
FEWEST_PAIRS, LOWEST_CORRELATION = 10, 0.3
FEWEST_PAIRS_UPHILL, UPHILL = 30, -0.3
SOFT = 2.0  # eV/Å²
IN_HARTREE = (1 / HARTREE, 1.12 / HARTREE)  # times the energy of free atoms
IN_HARTREE_WITHOUT_FORCES = (1 / HARTREE, 1.03 / HARTREE)
LOOKS_LIKE = 0.15  # of a factor, to name a unit


class Work(NamedTuple):
    """How energies and forces agree over pairs of similar structures."""

    ratio: float  # energy change over minus force times way, 1 where units agree
    correlation: float
    stiffness: float  # change of force over way, median; eV/Å²
    n_pairs: int


def check_units(frames: Frames) -> None:
    """Refuse structures whose numbers do not fit their units.

    Raises
    ------
    ValueError   naming the quantity, its size, and the unit that it looks like
    """
    problems = unit_problems(frames)
    if problems:
        raise ValueError(problems[0])


def unit_problems(frames: Frames) -> list[str]:
    """List what does not fit, the most telling first."""
    if not len(frames):
        return []
    sample = frames.select(
        np.unique(np.linspace(0, len(frames) - 1, min(len(frames), SAMPLE)).astype(np.int64))
    )
    return [
        *_lengths(sample),
        *_total_energies(sample),
        *_hartree(sample),
        *_forces(sample),
        *_work(sample),
    ]


def work_ratio(frames: Frames) -> Work:
    """Compare the work between most similar structures with their difference in energy.

    Similar are structures of the same atoms and electronic state.
    """
    found = [] if frames.forces is None else [_change(frames, a, b) for a, b in _similar(frames)]
    found = [change for change in found if np.isfinite(change).all()]  # where forces are known
    if not found:
        return Work(float("nan"), 0.0, float("nan"), 0)
    change, work, stiffness = np.array(found).T
    covariance, spread = float(change @ work), float(np.sqrt(change @ change * (work @ work)))
    return Work(
        # the work is the noisier of the two (large steps, curved paths), so it is regressed on the
        # change
        ratio=float(change @ change) / covariance if covariance else float("nan"),
        correlation=covariance / spread if spread else 0.0,
        stiffness=float(np.median(stiffness)),
        n_pairs=len(found),
    )


def _lengths(frames: Frames) -> Iterator[str]:
    ratio = nearest_neighbor_ratio(frames, covalent_radii)
    ratio = ratio[np.isfinite(ratio) & ~np.isin(frames.atomic_numbers, NOBLE_GASES)]
    if not len(ratio):
        return
    near, far = np.quantile(ratio, (0.25, 0.75))
    if TOUCHING[0] < far and near < TOUCHING[1]:
        return
    typical = float(np.median(ratio))
    guess = _looks_like(
        typical,
        {
            "bohr": 1 / BOHR,
            "nm": 0.1,
            "Å, but was read as bohr": BOHR,
            "Å, but was read as nm": 10.0,
        },
    )
    yield (
        "`positions` must put neighbours about a sum of covalent radii apart; "
        f"got {typical:.2f} sums, read in {frames.provenance.units.length}."
        f"{guess} Declare the unit of length."
    )


def _total_energies(frames: Frames) -> Iterator[str]:
    ratio = float(np.median(frames.energy / _free_atoms(frames)))
    if ratio < HIGHEST_TOTAL_ENERGY:
        return
    read = ENERGIES[frames.provenance.units.energy]
    guess = _looks_like(
        ratio, {unit: read / size for unit, size in ENERGIES.items() if size != read}
    )
    yield (
        f"`energy` must not exceed the total energy of the atoms; got {ratio:.3g} times that, read"
        f" in {frames.provenance.units.energy}.{guess} Declare the unit of energy."
    )


def _hartree(frames: Frames) -> Iterator[str]:
    """Find energies in hartree that are declared as eV; the forces decide, if there are any.

    Without forces, energies of valence electrons in eV look like all-electron energies in hartree.
    """
    ratio = float(np.median(frames.energy / _free_atoms(frames)))
    low, high = IN_HARTREE_WITHOUT_FORCES if frames.forces is None else IN_HARTREE
    if low < ratio < high and (frames.forces is None or work_ratio(frames).stiffness < SOFT):
        yield (
            f"`energy` must fit the atoms; got {ratio:.4f} times their total energy, read in"
            f" {frames.provenance.units.energy}. That looks like hartree. Declare the unit of"
            " energy."
        )


def _forces(frames: Frames) -> Iterator[str]:
    if frames.known_forces is None:
        return
    size = float(np.sqrt(np.mean(frames.known_forces**2)))
    if size > HIGHEST_FORCE:
        units = frames.provenance.units
        yield (
            f"`forces` must be below {HIGHEST_FORCE:g} eV/Å (root mean square of components); got"
            f" {size:.1f} eV/Å, read in {units.energy}/{units.force_length or units.length}. They"
            " look like kcal/mol/Å or kJ/mol/Å. Declare the unit of energy."
        )


def _work(frames: Frames) -> Iterator[str]:
    if frames.forces is None:
        return
    ratio, correlation, _, n_pairs = work_ratio(frames)
    allowed = TIGHT if correlation > STRAIGHT else LOOSE
    if n_pairs >= FEWEST_PAIRS_UPHILL and correlation < UPHILL:
        yield (
            "`forces` must point downhill; got the opposite. They look like gradients. Change their"
            " sign."
        )
    if n_pairs < FEWEST_PAIRS or correlation < LOWEST_CORRELATION or 1 / allowed < ratio < allowed:
        return
    read = ENERGIES[frames.provenance.units.energy]
    free = float(np.median(frames.energy / _free_atoms(frames)))
    guess = _looks_like(
        free, {unit: read / size for unit, size in ENERGIES.items() if size != read}
    )
    guess = guess or " Energies and forces are in different units, or one of them was converted."
    yield (
        f"`energy` must change by minus force times way between similar structures; got {ratio:.3g}"
        f" times that ({n_pairs} pairs).{guess} Declare the units of both."
    )


def _free_atoms(frames: Frames) -> Array:
    """Total energies of the atoms of each structure, apart; eV (S,)."""
    sums: Array = np.add.reduceat(atom_energies(frames.atomic_numbers), frames.first[:-1])
    return sums


def _similar(frames: Frames) -> Iterator[tuple[int, int]]:
    """Pair each structure with the one of the same atoms, cell and state that is most similar.

    Similarity is measured by the distances between all atoms.
    """
    keys = [
        (
            frames.atomic_numbers[frames.slice_of(i)].tobytes(),
            frames.cell[i].tobytes(),
            frames.total_charge[i],
            frames.multiplicity[i],
        )
        for i in range(len(frames))
    ]
    alike: dict[Any, list[int]] = {}
    for index, key in enumerate(keys):
        alike.setdefault(key, []).append(index)
    for members in alike.values():
        if len(members) < 2:
            continue
        positions = np.stack([frames.positions[frames.slice_of(i)] for i in members])  # (M, n, 3)
        i, j = np.triu_indices(positions.shape[1], 1)
        shape = (
            np.linalg.norm(positions[:, i] - positions[:, j], axis=2)
            if len(i)
            else np.zeros((len(members), 1))
        )
        squares = (shape**2).sum(1)
        apart = squares[:, None] + squares - 2 * shape @ shape.T
        np.fill_diagonal(apart, np.inf)
        yield from ((members[a], members[b]) for a, b in enumerate(apart.argmin(1)))


def _change(frames: Frames, a: int, b: int) -> tuple[float, float, float]:
    """Compare two structures, the second turned onto the first.

    Energy change, work by the mean force (eV), stiffness (eV/Å²).
    """
    assert frames.forces is not None
    rows_a, rows_b = frames.slice_of(a), frames.slice_of(b)
    turn = (
        np.eye(3)
        if frames.pbc[a].any()
        else _rotation(frames.positions[rows_a], frames.positions[rows_b])
    )
    way = _centred(frames.positions[rows_b]) @ turn - _centred(frames.positions[rows_a])
    before, after = frames.forces[rows_a], frames.forces[rows_b] @ turn
    stiffness = np.linalg.norm(after - before) / max(float(np.linalg.norm(way)), 1e-9)
    return (
        float(frames.energy[b] - frames.energy[a]),
        -float(((before + after) / 2 * way).sum()),
        float(stiffness),
    )


def _rotation(fixed: Array, moved: Array) -> Array:
    """Rotation R for which ``moved @ R`` lies best on ``fixed`` (Kabsch)."""
    u, _, v = np.linalg.svd(_centred(moved).T @ _centred(fixed))
    turn: Array = (u * [1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    return turn


def _centred(positions: Array) -> Array:
    centred: Array = positions - positions.mean(0)
    return centred


def _looks_like(factor: float, units: dict[str, float]) -> str:
    for unit, size in units.items():
        if abs(factor / size - 1) < LOOKS_LIKE:
            return f" That looks like {unit}."
    return ""
