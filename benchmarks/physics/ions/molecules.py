"""Molecules and ions of the benchmark, and how they are put beside each other.

Geometries are those of MMFF94, the same for all who are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from rdkit.Chem.rdMolTransforms import SetDihedralDeg

from benchmarks.speed.far import waters

SEED = 7  # of the coordinates that a relaxation starts from
HYDROGEN = 1
POLAR = ("N", "O", "F", "Cl")  # whose hydrogen is a proton
BOUND = 1.25  # times the sum of two radii


@cache
def _embedded(smiles: str) -> Any:
    with rdBase.BlockLogs():
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        rdDistGeom.EmbedMolecule(molecule, randomSeed=SEED)
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=2000)
    return molecule


def molecule(smiles: str, charge: int | None = None) -> Atoms:
    """Build a molecule in its lowest multiplicity.

    Parameters
    ----------
    charge : int   e, where it is not that of the SMILES: of a radical ion
    """
    found = _embedded(smiles)
    return _in_state(
        found, found.GetConformer().GetPositions(), Chem.GetFormalCharge(found), charge
    )


def stretched(smiles: str) -> Atoms:
    """Build a chain with every bond of its heavy atoms trans."""
    found = Chem.Mol(_embedded(smiles))
    conformer = found.GetConformer()
    distances = Chem.GetDistanceMatrix(found)
    heavy = [a.GetIdx() for a in found.GetAtoms() if a.GetAtomicNum() != HYDROGEN]
    far = max(((i, j) for i in heavy for j in heavy), key=lambda ends: distances[ends])
    path = Chem.GetShortestPath(found, *far)
    for four in zip(path, path[1:], path[2:], path[3:], strict=False):
        SetDihedralDeg(conformer, *four, 180.0)
    return _in_state(found, conformer.GetPositions(), Chem.GetFormalCharge(found), None)


def _in_state(found: Any, positions: np.ndarray, formal: int, charge: int | None) -> Atoms:
    numbers = [atom.GetAtomicNum() for atom in found.GetAtoms()]
    return in_state(Atoms(numbers, positions), formal if charge is None else charge)


def in_state(atoms: Atoms, charge: int) -> Atoms:
    """Give a structure a charge (e) and the lowest multiplicity that goes with it."""
    atoms.info |= {"charge": charge, "multiplicity": 1 + (int(atoms.numbers.sum()) - charge) % 2}
    return atoms


def joined(parts: Sequence[Atoms]) -> Atoms:
    """Take several structures as one, with the sums of charges and of unpaired electrons."""
    both = Atoms(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.positions for part in parts]),
    )
    unpaired = sum(part.info["multiplicity"] - 1 for part in parts)
    charge = sum(part.info["charge"] for part in parts)
    both.info |= {"charge": charge, "multiplicity": 1 + unpaired}
    return both


def apart(parts: Sequence[Atoms], distance_A: float) -> list[Atoms]:
    """Put structures in a row along x, with this distance between the boxes around them."""
    placed, end = [], -distance_A
    for part in parts:
        copy = part.copy()
        copy.positions -= copy.positions.mean(axis=0)
        copy.positions[:, 0] += end + distance_A - copy.positions[:, 0].min()
        end = float(copy.positions[:, 0].max())
        placed.append(copy)
    return placed


def facing(donor: Atoms, acceptor: Atoms, symbol: str, distance_A: float) -> tuple[Atoms, Atoms]:
    """Point a proton of one molecule at an atom of another, from where a bond to it would be.

    Parameters
    ----------
    donor : Atoms    its last hydrogen on N, O, F or Cl lies at the origin, its bond along x
    symbol : str     element of the atom that it points at, the one with the fewest neighbours
    distance_A       between the two
    """
    proton, heavy = donor_of(donor)
    one = donor.copy()
    one.rotate(donor.positions[proton] - donor.positions[heavy], "x")
    one.positions -= one.positions[proton]
    near = _neighbours(acceptor)
    of_kind = np.flatnonzero(acceptor.symbols == symbol).tolist()
    target = min(of_kind, key=lambda n: len(near[n]))
    two = acceptor.copy()
    if near[target]:
        two.rotate(_free_side(acceptor.positions, target, near), "-x")
    two.positions += [distance_A, 0, 0] - two.positions[target]
    return one, two


def donor_of(atoms: Atoms) -> tuple[int, int]:
    """Find the last hydrogen on N, O, F or Cl, and that atom."""
    for proton, near in reversed(list(enumerate(_neighbours(atoms)))):
        if atoms.numbers[proton] == HYDROGEN and near and atoms.symbols[near[0]] in POLAR:
            return proton, near[0]
    raise ValueError(f"`donor` must have a hydrogen on N, O, F or Cl; got {atoms.symbols}.")


def _free_side(positions: np.ndarray, atom: int, near: list[list[int]]) -> np.ndarray:
    """Find the way from an atom to its lone pair: opposite to its neighbours, or 120° from one."""
    ways = positions[near[atom]] - positions[atom]
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    if len(ways) > 1:
        opposite: np.ndarray = -ways.sum(axis=0)
        return opposite
    others = [n for n in near[near[atom][0]] if n != atom]
    aside = positions[others[0]] - positions[atom] if others else np.array([0.3, 0.5, 0.8])
    across = aside - (aside @ ways[0]) * ways[0]
    across /= np.linalg.norm(across)
    found: np.ndarray = -np.cos(np.pi / 3) * ways[0] - np.sin(np.pi / 3) * across
    return found


def _neighbours(atoms: Atoms) -> list[list[int]]:
    """List the atoms that each is bound to."""
    radii = covalent_radii[atoms.numbers]
    bound = atoms.get_all_distances() < BOUND * (radii[:, None] + radii[None])
    np.fill_diagonal(bound, False)
    return [np.flatnonzero(row).tolist() for row in bound]


def drop(n_molecules: int) -> Atoms:
    """Make a drop of water at a minimum of MMFF94."""
    water = Chem.AddHs(Chem.MolFromSmiles(".".join("O" * n_molecules)))
    oxygens = [a.GetIdx() for a in water.GetAtoms() if a.GetAtomicNum() != HYDROGEN]
    order = [x for o in oxygens for x in (o, *_hydrogens(water, o))]
    places = waters(n_molecules).positions
    conformer = Chem.Conformer(len(order))
    for atom, place in zip(order, places, strict=True):
        conformer.SetAtomPosition(atom, place.tolist())
    water.AddConformer(conformer)
    rdForceFieldHelpers.MMFFOptimizeMolecule(water, maxIters=500, ignoreInterfragInteractions=False)
    return _in_state(water, water.GetConformer().GetPositions(), 0, None)


def _hydrogens(molecule: Any, oxygen: int) -> list[int]:
    return [a.GetIdx() for a in molecule.GetAtomWithIdx(oxygen).GetNeighbors()]
