"""Paths of lowest energy between two structures; `md_runs.surfaces.neb` is the command.

ASE's nudged elastic band with the improved tangent, started from an IDPP interpolation. All images
are evaluated in one batch. The band is first brought near its path, then the highest image climbs
to the saddle point.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.geometry import find_mic
from ase.mep import NEB
from ase.mep.neb import idpp_interpolate
from ase.neighborlist import natural_cutoffs, neighbor_list

from md_runs.dynamics.constraints import fixed_atoms
from md_runs.errors import InputError
from md_runs.readable import readable
from md_runs.surfaces.relax import OPTIMIZERS, choose_optimizer
from polcalc import PolarizedCalculator

Array = npt.NDArray[np.float64]

CLIMB_BELOW = (
    5.0  # of the final largest force: the highest image climbs once the band is this near its path
)
HALVED = 0.5  # of the largest force, in the second half of a search that still gets better
AT_REST_EV_PER_A = 0.05  # larger forces at an end make a path that leads downhill first
DIFFERENT_A = 0.05  # the atom that moves most moves at least so far
ON_LINE_A = 0.1  # atoms this near a line are on it
SAME_PLACE_A = 1e-3  # for fixed atoms
BONDED = 1.2  # of the sum of covalent radii


@dataclass(frozen=True)
class Search:
    """How to look for a path."""

    images: int = 9  # between the ends
    climb: bool = (
        True  # let the highest image climb to the saddle point, once the band is near its path
    )
    spring_eV_per_A2: float = 0.1
    optimizer: str = "fire"
    fmax_eV_per_A: float = 0.02  # converged below this
    steps: int = 1000


class Step(NamedTuple):
    """One step of the search."""

    step: int
    highest_energy_eV: float  # over the start
    fmax_eV_per_A: float  # on the band, springs included
    climbing: bool


@readable
class Band(NamedTuple):
    """What was found."""

    images: list[Atoms]  # ends included, each with energy and forces
    converged: bool
    steps: list[Step]
    band_forces: Array  # (I,) eV/Å, largest on each image, springs included; zero at the ends

    def summary(self) -> dict[str, str]:
        """Say how high the barrier is, and whether that is settled."""
        barrier = "none" if self.saddle is None else f"{self.energies[self.saddle]:.4f} eV"
        search = "converged" if self.converged else "not converged"
        return {
            "formula": self.images[0].get_chemical_formula(),
            "images": str(len(self.images)),
            "barrier": barrier,
            "end": f"{self.energies[-1]:+.4f} eV",
            "search": f"{search} in {len(self.steps)} steps",
            "largest force": f"{self.band_forces.max():.3g} eV/Å",
        }

    @property
    def energies(self) -> Array:
        """Energies over that of the start in eV, (I,)."""
        energies = np.array([image.get_potential_energy() for image in self.images])
        return np.asarray(energies - energies[0])

    @property
    def saddle(self) -> int | None:
        """Number of the highest image; None where an end is the highest."""
        highest = int(np.argmax(self.energies))
        return highest if 0 < highest < len(self.images) - 1 else None


class BatchedNEB(NEB):
    """A band whose images are evaluated together, and superposed where they are free to turn."""

    def __init__(
        self,
        images: list[Atoms],
        calculator: PolarizedCalculator,
        free: bool,
        spring_eV_per_A2: float,
    ) -> None:
        super().__init__(images, k=spring_eV_per_A2, method="improvedtangent")  # type: ignore[no-untyped-call]
        self.calculator, self.free = calculator, free
        self.highest = self.fmax = float("nan")  # eV over the start, eV/Å
        self.largest = np.zeros(len(images))  # eV/Å on each image

    def get_forces(self) -> Array:
        """Forces on the inner images (I N, 3), springs included."""
        if self.free:
            for fixed, turned in pairwise(self.images):
                minimize_rotation_and_translation(fixed, turned)
        evaluate(self.images, self.calculator)
        forces: Array = super().get_forces()  # type: ignore[no-untyped-call]
        energies = np.asarray(self.energies)
        self.highest, self.fmax = (
            float(energies.max() - energies[0]),
            float(np.linalg.norm(forces, axis=1).max()),
        )
        sizes = np.linalg.norm(forces, axis=1).reshape(len(self.images) - 2, -1)
        self.largest[1:-1] = sizes.max(axis=1)
        return forces

    @property
    def has_top(self) -> bool:
        """Whether an image between the ends was the highest.

        Climbing from a slope would lead out of the band.
        """
        return 0 < int(np.argmax(np.asarray(self.energies))) < len(self.images) - 1


def find_path(start: Atoms, end: Atoms, calculator: PolarizedCalculator, search: Search) -> Band:
    """Search the path between two structures of the same atoms in the same order, at rest."""
    images = interpolated(start, end, search.images)
    band = BatchedNEB(images, calculator, is_free(start), search.spring_eV_per_A2)
    name = "fire" if search.optimizer == "auto" else search.optimizer
    name = choose_optimizer(name, search.images * len(start))
    table: list[Step] = []
    stages = [(False, CLIMB_BELOW), (True, 1.0)] if search.climb else [(False, 1.0)]
    converged = False
    for climbing, looseness in stages:
        band.climb = climbing and band.has_top
        optimizer = OPTIMIZERS[name](band, logfile=None)

        def record() -> None:
            table.append(Step(len(table), band.highest, band.fmax, band.climb))

        optimizer.attach(record)
        converged = bool(
            optimizer.run(fmax=looseness * search.fmax_eV_per_A, steps=search.steps - len(table))
        )
    evaluate(images, calculator)
    return Band(images, converged, table, band.largest)


def interpolated(start: Atoms, end: Atoms, n_images: int) -> list[Atoms]:
    """Make a first path by interpolating distances (IDPP), so that no two atoms come too close.

    Forces on a line never leave it. Where all atoms of both ends lie on one, each goes round in a
    half circle.
    """
    images = [start.copy(), *(start.copy() for _ in range(n_images)), aligned(start, end)]
    periodic = bool(start.pbc.any())
    band = NEB(images, method="aseneb")
    band.interpolate(mic=periodic)
    if (aside := across_line(images[0], images[-1])) is not None:
        radii = np.linalg.norm(path_step(images[0], images[-1]), axis=1, keepdims=True) / 2
        for number, image in enumerate(images[1:-1], start=1):
            image.positions += np.sin(np.pi * number / (n_images + 1)) * radii * aside
    idpp_interpolate(band, traj=None, log=None, mic=periodic)
    return images


def across_line(start: Atoms, end: Atoms) -> Array | None:
    """Return a direction (3,) across the line on which all atoms lie; None where there is none."""
    if not is_free(start) or len(start) < 3:
        return None
    both = np.concatenate([start.positions, end.positions])
    _, sizes, axes = np.linalg.svd(both - both.mean(0), full_matrices=False)
    return np.asarray(axes[2]) if sizes[1] < ON_LINE_A else None


def evaluate(images: Sequence[Atoms], calculator: PolarizedCalculator) -> None:
    """Give every image its energy and forces, all from one batch."""
    for image, results in zip(images, calculator.calculate_many(images), strict=True):
        image.calc = SinglePointCalculator(
            image, energy=results["energy"], forces=results["forces"]
        )


def check_ends(start: Atoms, end: Atoms) -> None:
    """Refuse two structures that no path can join.

    Raises
    ------
    InputError   other atoms, another order, another cell, other fixed atoms, the same structure
    """
    formula, other = start.get_chemical_formula(), end.get_chemical_formula()
    if formula != other:
        raise InputError(
            f"`END` must hold the atoms of `START`, {formula}; got {other}. Take other files."
        )
    for number, (a, b) in enumerate(zip(start.symbols, end.symbols, strict=True)):
        if a != b:
            raise InputError(
                f"`END` must have its atoms in the order of `START`; atom {number} is {b}, not {a}."
                " Reorder one of them."
            )
    if (start.pbc != end.pbc).any() or (
        start.pbc.any() and not np.allclose(start.cell.array, end.cell.array, atol=1e-6)
    ):
        raise InputError(
            "`END` must have the cell of `START`. A band moves atoms, not lattice vectors; take the"
            " same cell."
        )
    if not all(
        isinstance(constraint, FixAtoms)
        for atoms in (start, end)
        for constraint in atoms.constraints
    ):
        raise InputError(
            "`START` and `END` must hold no constraints but fixed atoms. Remove the others."
        )
    fixed, others = fixed_atoms(start), fixed_atoms(end)
    if (fixed != others).any() or np.abs(path_step(start, end)[fixed]).max(
        initial=0.0
    ) > SAME_PLACE_A:
        raise InputError(
            "`END` must have the fixed atoms of `START`, in the same places. Fix the same ones in"
            " both."
        )
    moved = furthest_move(start, end)
    if moved < DIFFERENT_A:
        raise InputError(
            f"`END` must be another structure than `START`; no atom moves by more than {moved:.2g}"
            " Å. Take other files."
        )


def furthest_move(start: Atoms, end: Atoms) -> float:
    """How far the atom that moves most moves, in Å."""
    return float(np.linalg.norm(path_step(start, aligned(start, end)), axis=1).max())


def aligned(start: Atoms, end: Atoms) -> Atoms:
    """Copy the end, turned and moved onto the start where it is free to."""
    turned: Atoms = end.copy()
    if is_free(start):
        minimize_rotation_and_translation(start, turned)
    return turned


def is_free(atoms: Atoms) -> bool:
    """Whether drift and rotation of the whole mean nothing."""
    return not atoms.pbc.any() and not atoms.constraints


def path_step(first: Atoms, second: Atoms) -> Array:
    """Displacements (N, 3) in Å, the shortest ones in a periodic cell."""
    return np.asarray(find_mic(second.positions - first.positions, first.cell, first.pbc)[0])


def remarks(start: Atoms, end: Atoms, relaxed: Collection[str] = ()) -> list[str]:
    """Say what of the ends, of which some were relaxed, a chemist may not have meant."""
    told = []
    if across_line(start, aligned(start, end)) is not None:
        told.append("all atoms of both ends lie on one line; the search began beside it.")
    for name, atoms in (("START", start), ("END", end)):
        fmax = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        if not fmax <= AT_REST_EV_PER_A:
            told.append(
                f"{name} is not at rest: its largest force is {fmax:.2g} eV/Å."
                f"{'' if name in relaxed else ' Leave out --no-relax-ends.'}"
            )
    broken, formed = bonds(start) - bonds(end), bonds(end) - bonds(start)
    for change, pairs in (("broken", broken), ("formed", formed)):
        if pairs:
            listed = ", ".join(
                f"{start.symbols[i]}{i}-{start.symbols[j]}{j}" for i, j in sorted(pairs)
            )
            told.append(
                f"bonds {change} on the way: {listed}. If no reaction is meant, like atoms of END"
                " are in another order."
            )
    return told


def what_to_try(found: Band, search: Search) -> str:
    """Say where a search that did not converge is stuck, and what may help."""
    worst = int(found.band_forces.argmax())
    fmax = [step.fmax_eV_per_A for step in found.steps]
    half = len(fmax) // 2
    better = half > 0 and min(fmax[half:]) < HALVED * min(fmax[:half])
    if better:
        advice = f"It was still getting better: --steps {2 * search.steps}."
    elif found.saddle is None and search.climb:
        advice = "No image is above the ends: there may be no barrier, so --no-climb."
    else:
        advice = (
            f"It is stuck: --images {2 * search.images + 1}, or a structure between the two as END"
            " and then as START."
        )
    return f"The largest force is on image {worst} of {len(found.images) - 1}. {advice}"


def bonds(atoms: Atoms) -> set[tuple[int, int]]:
    """Pairs of atoms nearer than their covalent radii allow for strangers."""
    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=BONDED))
    return {(int(a), int(b)) for a, b in zip(i, j, strict=True) if a < b}
