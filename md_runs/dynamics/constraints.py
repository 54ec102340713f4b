"""Fixed atoms and fixed bonds.

From words of the shell or from the structure file to constraints that the integrators obey.

Atoms are counted from 0, as everywhere in ASE. Fixed bonds are solved all at once by Newton's
method: one by one, as ASE does it, six bonds of ethanol cost ten times the model.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.constraints import FixAtoms, FixBondLengths
from ase.geometry import find_mic
from ase.neighborlist import natural_cutoffs, neighbor_list

from md_runs.errors import InputError

Floats = npt.NDArray[np.float64]

HYDROGEN = "hydrogen"
BONDED = 1.25  # of the sum of covalent radii
# of the squared length: bonds hold to 1e-12 Å where float64 coordinates below 1000 Å allow it
TOLERANCE = 1e-12
MAX_ITERATIONS = 30  # four or five do
# smallest eigenvalue of the bonds' matrix, relative to the largest; below it one follows from the
# others
INDEPENDENT = 1e-8
SAME_LENGTH_A = 1e-6
LOST = "the fixed bonds cannot be restored: atoms moved too far in one step."


class RigidBonds(FixBondLengths):
    """Keep distances between pairs of atoms.

    SHAKE for positions, RATTLE for momenta and forces, all bonds at once.

    Parameters
    ----------
    atoms : Atoms               whose distances are kept; fixed atoms count as infinitely heavy
    pairs : (B, 2)              atoms; at least one of each pair free
    lengths : (B,) or None      Å; None keeps those of the structure

    Raises
    ------
    InputError   a distance follows from others already

    Source
    ------
    Andersen, J. Comput. Phys. 52, 24 (1983); differs: all bonds are solved for together.
    """

    def __init__(
        self, atoms: Atoms, pairs: npt.ArrayLike, lengths: npt.ArrayLike | None = None
    ) -> None:
        super().__init__(np.asarray(pairs, dtype=np.int64))  # type: ignore[no-untyped-call]
        first, second = self.pairs.T
        straight = atoms.positions[first] - atoms.positions[second]
        near, found = find_mic(straight, atoms.cell, atoms.pbc)
        self.bondlengths = np.asarray(found if lengths is None else lengths, dtype=np.float64)
        self.images = (
            np.rint((near - straight) @ np.linalg.pinv(atoms.cell.array)) @ atoms.cell.array
        )  # (B, 3) Å
        self.free = (~fixed_atoms(atoms)).astype(np.float64)  # (N,)
        rows = np.arange(len(self.pairs))
        self.ends = np.zeros((len(self.pairs), len(atoms)))
        self.ends[rows, first], self.ends[rows, second] = 1.0, -1.0  # (B, N)
        self.weights = self.free / atoms.get_masses()  # (N,) 1/u
        self.coupling = (self.ends * self.weights) @ self.ends.T  # (B, B) 1/u
        eigenvalues = np.linalg.eigvalsh(self.coupling * (near @ near.T))
        if not eigenvalues[0] > INDEPENDENT * eigenvalues[-1]:
            raise InputError(
                "`--fix-bonds` must name bonds that are independent; one follows from the others"
                " here. Leave one out."
            )

    def adjust_positions(self, atoms: Atoms, new: Floats) -> None:
        """Move new positions (N, 3) along the present bonds to where every length is right."""
        along = self._bonds(atoms.positions)
        square = self.bondlengths**2
        for _ in range(MAX_ITERATIONS):
            bonds = self._bonds(new)
            missing = square - np.einsum("bk,bk->b", bonds, bonds)
            if (np.abs(missing) <= TOLERANCE * square).all():
                return
            pulls = _solve(2 * self.coupling * (bonds @ along.T), missing)
            new += self.weights[:, None] * (self.ends.T @ (pulls[:, None] * along))
        raise ArithmeticError(LOST)

    def adjust_momenta(self, atoms: Atoms, momenta: Floats) -> None:
        """Take away what would change a length from momenta (N, 3), or from forces."""
        along = self._bonds(atoms.positions)
        growth = np.einsum("bk,bk->b", along, self.ends @ (momenta * self.weights[:, None]))
        pulls = _solve(self.coupling * (along @ along.T), growth)
        momenta -= self.free[:, None] * (self.ends.T @ (pulls[:, None] * along))

    def _bonds(self, positions: Floats) -> Floats:
        """Vectors (B, 3) from the second atom of each pair to the first."""
        return np.asarray(self.ends @ positions + self.images)


def constrain(atoms: Atoms, fix_atoms: str | None, fix_bonds: str | None) -> None:
    """Replace the constraints of a structure by ours.

    What its file holds, and what is asked for beside it.

    Raises
    ------
    InputError   a constraint that the integrators do not know; atoms or bonds that are not there
    """
    fixed, bonds = (
        fixed_atoms(atoms),
        [
            pair
            for c in atoms.constraints
            if isinstance(c, FixBondLengths)
            for pair in c.pairs.tolist()
        ],
    )
    if unknown := [
        type(c).__name__ for c in atoms.constraints if not isinstance(c, FixAtoms | FixBondLengths)
    ]:
        raise InputError(
            "`STRUCTURE` must hold no constraints but fixed atoms and bonds; got"
            f" {', '.join(unknown)}. Remove them."
        )
    _check_lengths(atoms)
    fixed[_read_atoms(fix_atoms, len(atoms))] = True
    bonds += _hydrogen_bonds(atoms) if fix_bonds == HYDROGEN else _read_bonds(fix_bonds, len(atoms))
    set_constraints(atoms, np.nonzero(fixed)[0].tolist(), bonds)


def set_constraints(
    atoms: Atoms, fixed: list[int], bonds: list[list[int]], lengths: list[float] | None = None
) -> None:
    """Fix atoms, and bonds at their present lengths.

    A bond between fixed atoms needs no keeping.
    """
    atoms.set_constraint([FixAtoms(fixed)] if fixed else None)
    held = set(fixed)
    pairs = (
        sorted({(min(pair), max(pair)) for pair in bonds if not held.issuperset(pair)})
        if lengths is None
        else bonds
    )
    if pairs:
        atoms.set_constraint([*atoms.constraints, RigidBonds(atoms, pairs, lengths)])


def describe_constraints(atoms: Atoms) -> dict[str, Any]:
    """Collect what `set_constraints` needs to make the same again, as plain values."""
    bonds = [c for c in atoms.constraints if isinstance(c, RigidBonds)]
    found: dict[str, Any] = {
        "fixed": np.nonzero(fixed_atoms(atoms))[0].tolist(),
        "bonds": [],
        "lengths": None,
    }
    return (
        found | {"bonds": bonds[0].pairs.tolist(), "lengths": bonds[0].bondlengths.tolist()}
        if bonds
        else found
    )


def fixed_atoms(atoms: Atoms) -> npt.NDArray[np.bool_]:
    """Say which atoms are fixed: (N,)."""
    mask = np.zeros(len(atoms), dtype=np.bool_)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            mask[constraint.get_indices()] = True
    return mask


def count_bonds(atoms: Atoms) -> int:
    """Count the motions that fixed bonds take away."""
    return sum(len(c.pairs) for c in atoms.constraints if isinstance(c, RigidBonds))


def _solve(matrix: Floats, right: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError as error:
        raise ArithmeticError(LOST) from error


def _check_lengths(atoms: Atoms) -> None:
    """Refuse fixed bonds whose length is not that of the structure.

    It is unclear which one is meant.
    """
    for constraint in atoms.constraints:
        if isinstance(constraint, FixBondLengths) and constraint.bondlengths is not None:
            off = np.abs(constraint.initialize_bond_lengths(atoms) - constraint.bondlengths).max()
            if not off < SAME_LENGTH_A:
                raise InputError(
                    "`STRUCTURE` must have its fixed bonds at their lengths; one is off by"
                    f" {off:.2g} Å. Mend one of them."
                )


def _read_atoms(words: str | None, n_atoms: int) -> list[int]:
    """Read ``0,3,5-8``."""
    found: list[int] = []
    for word in words.split(",") if words else ():
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not first <= last < n_atoms:
            raise InputError(
                f"`--fix-atoms` must be numbers from 0 to {n_atoms - 1}, such as 0,3,5-8; got"
                f" {word!r}. Count from 0."
            )
        found += range(first, last + 1)
    return found


def _read_bonds(words: str | None, n_atoms: int) -> list[list[int]]:
    """Read ``0-1,2-8``."""
    found: list[list[int]] = []
    for word in words.split(",") if words else ():
        match = re.fullmatch(r"\s*(\d+)-(\d+)\s*", word)
        pair = [int(match[1]), int(match[2])] if match else [0, 0]
        if pair[0] == pair[1] or not max(pair) < n_atoms:
            raise InputError(
                f"`--fix-bonds` must be {HYDROGEN}, or pairs of two numbers from 0 to"
                f" {n_atoms - 1}, such as 0-1,2-8; got {word!r}."
            )
        found.append(pair)
    return found


def _hydrogen_bonds(atoms: Atoms) -> list[list[int]]:
    """List the bonds of every hydrogen atom."""
    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=BONDED))
    light = (i < j) & ((atoms.numbers[i] == 1) | (atoms.numbers[j] == 1))
    if not light.any():
        raise InputError(
            f"`--fix-bonds` must find bonds with hydrogen; got {atoms.get_chemical_formula()}"
            " without. Leave it out."
        )
    return [[int(a), int(b)] for a, b in zip(i[light], j[light], strict=True)]
