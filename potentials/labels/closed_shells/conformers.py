"""Geometries of a molecule to start from: conformers of RDKit, relaxed by a force field."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from rdkit.Chem import rdForceFieldHelpers as helpers

from potentials.labels.closed_shells.ions import formal_charges
from potentials.labels.method import Failed, Floats, Integers

STIFFNESS = {1: 80.0, 2: 10.0, 3: 1.2}  # eV/Å^2, of two atoms so many bonds apart
WEAK = 0.05  # of all others


class Shape(NamedTuple):
    """A molecule with a geometry."""

    atomic_numbers: Integers  # (N,)
    positions: Floats  # (N, 3) Å
    charge: int
    formal_charges: NDArray[np.int8]  # (N,) e
    bonds_apart: Integers  # (N, N), 0 on the diagonal; large between parts


def conformer(smiles: str, rng: np.random.Generator) -> Shape:
    """Draw a conformer.

    Raises
    ------
    Failed   there is none
    """
    with rdBase.BlockLogs():
        topology = _topology(smiles)
        molecule = Chem.Mol(topology)
        parameters: Any = rdDistGeom.ETKDGv3()
        parameters.randomSeed = int(rng.integers(2**31))
        parameters.maxIterations = 5
        if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
            parameters.useRandomCoords = True
            if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
                raise Failed("there is no conformer")
        with suppress(Failed):  # exotic ones start from what distance geometry says
            force_field(molecule).Minimize(maxIts=100, forceTol=1e-2)  # moves the atoms
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()])
    apart = np.minimum(Chem.GetDistanceMatrix(topology), 99).astype(np.int64)
    positions = molecule.GetConformer().GetPositions()
    return Shape(
        numbers,
        positions - positions.mean(0),
        Chem.GetFormalCharge(molecule),
        formal_charges(topology),
        apart,
    )


def joined(parts: Sequence[Shape]) -> Shape:
    """Make one shape of several."""
    sizes = [len(part.atomic_numbers) for part in parts]
    apart = np.full((sum(sizes), sum(sizes)), 99)
    for first, part in zip(np.cumsum([0, *sizes[:-1]]), parts, strict=True):
        apart[first : first + len(part.bonds_apart), first : first + len(part.bonds_apart)] = (
            part.bonds_apart
        )
    return Shape(
        np.concatenate([part.atomic_numbers for part in parts]),
        np.concatenate([part.positions for part in parts]),
        sum(part.charge for part in parts),
        np.concatenate([part.formal_charges for part in parts]),
        apart,
    )


def force_field(molecule: Any, conformer: int = -1) -> Any:
    """Make the force field of a molecule with a geometry: MMFF94, or UFF where that has none.

    Radicals have UFF's: MMFF94 takes a carbene for an alkyne and makes it linear.

    Raises
    ------
    Failed   neither has them
    """
    radical = any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    if not radical and helpers.MMFFHasAllMoleculeParams(molecule):
        field = helpers.MMFFGetMoleculeForceField(
            molecule, helpers.MMFFGetMoleculeProperties(molecule), confId=conformer
        )
    elif helpers.UFFHasAllMoleculeParams(molecule):
        field = helpers.UFFGetMoleculeForceField(molecule, confId=conformer)
    else:
        raise Failed("there is no force field")
    field.Initialize()
    return field


def stiffness(shape: Shape, positions: Floats) -> Floats:
    """Guess a Hessian (3N, 3N) eV/Å^2: springs, the stiffer the fewer bonds lie between."""
    n_atoms = len(positions)
    way = positions[:, None] - positions[None]
    way /= np.linalg.norm(way, axis=-1, keepdims=True) + np.eye(n_atoms)[..., None]
    springs = np.select(
        [shape.bonds_apart == n for n in STIFFNESS], list(STIFFNESS.values()), WEAK
    ) * (1 - np.eye(n_atoms))
    blocks = -springs[..., None, None] * way[..., :, None] * way[..., None, :]  # (N, N, 3, 3)
    blocks[np.arange(n_atoms), np.arange(n_atoms)] -= blocks.sum(1)
    hessian: Floats = blocks.transpose(0, 2, 1, 3).reshape(3 * n_atoms, 3 * n_atoms)
    return hessian


@cache
def _topology(smiles: str) -> Any:
    return Chem.AddHs(Chem.MolFromSmiles(smiles))
