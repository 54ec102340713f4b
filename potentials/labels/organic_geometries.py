"""Geometries of a species: force-field minimum, harmonic modes, stretched bonds, contacts, pairs.

A species is a molecule of `organic_molecules`, or its ion or radical: without one hydrogen, or with
a proton more. Its force field is that of the molecule with all hydrogens; what is removed is
removed from the geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from ase.data import covalent_radii
from scipy.sparse.csgraph import connected_components

from potentials.labels.gfn2 import gfn2
from potentials.labels.method import Failed, Floats, Integers, Label
from potentials.labels.organic_molecules import Parent, protonated, removable_hydrogen
from potentials.labels.sampling import hessian, relax, thermal_displacements

BOND = 1.3  # of the sum of covalent radii
KCAL = 0.0433641153  # eV
STRETCH = (0.85, 1.8)  # of the length of a bond
CONTACT = (
    0.55,
    0.95,
)  # of the sum of van der Waals radii: atoms that are not bound, pushed together
APART = (0.75, 1.6)  # of the sum of van der Waals radii: the closest atoms of a pair
# 1/cm: softer modes are treated as this stiff: turning groups move along straight lines here
SOFT = 250.0
VAN_DER_WAALS = {
    1: 1.10,
    6: 1.70,
    7: 1.55,
    8: 1.52,
    9: 1.47,
    16: 1.80,
    17: 1.75,
}  # Å; Mantina et al., J. Phys. Chem. A 113, 5806 (2009)


class Species(NamedTuple):
    """What geometries are drawn of: a minimum and the harmonic modes around it."""

    atomic_numbers: Integers  # (N,)
    positions: Floats  # (N, 3) Å
    charge: int
    multiplicity: int  # of the ground state
    stiffness: Floats  # (3M, 3M) eV/Å^2, of the M atoms before one was removed
    all_numbers: Integers  # (M,)
    kept: Integers  # (N,) which of them are left

    def displaced(self, temperature_K: float, rng: np.random.Generator) -> Floats:
        """Draw a geometry (N, 3) Å from the thermal distribution of the modes."""
        moved = thermal_displacements(
            self.stiffness, self.all_numbers, temperature_K, rng, lowest_per_cm=SOFT
        )
        return self.positions + moved[self.kept]


def make_species(parent: Parent, kind: str, rng: np.random.Generator) -> Species:
    """Make a molecule, or its "protonated", "deprotonated" or "radical" form.

    Raises
    ------
    Failed   no such form, no geometry, no force field
    """
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(parent.smiles)
    if kind == "protonated":
        molecule = protonated(molecule, rng)
    molecule = _embedded(Chem.AddHs(molecule), rng)
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()])
    charge, kept = Chem.GetFormalCharge(molecule), np.arange(len(numbers))
    positions = molecule.GetConformer().GetPositions()
    if parent.small:
        positions = (
            relax(gfn2, numbers, positions, charge, parent.multiplicity, fmax=0.05)
            if len(numbers) > 1
            else positions
        )
        stiffness = hessian(gfn2, numbers, positions, charge, parent.multiplicity)
        return Species(numbers, positions, charge, parent.multiplicity, stiffness, numbers, kept)
    stiffness = hessian(_forces(molecule), numbers, positions, 0, 1)
    multiplicity = 1
    if kind in ("deprotonated", "radical"):
        kept = np.delete(kept, removable_hydrogen(molecule, kind == "deprotonated", rng))
        charge, multiplicity = (charge - 1, 1) if kind == "deprotonated" else (charge, 2)
    return Species(numbers[kept], positions[kept], charge, multiplicity, stiffness, numbers, kept)


def stretched(numbers: Integers, positions: Floats, rng: np.random.Generator) -> Floats:
    """Stretch or compress one bond; what hangs on its smaller end moves along."""
    pairs = np.argwhere(np.triu(bonds(numbers, positions)))
    if not len(pairs):
        return positions
    i, j = pairs[rng.integers(len(pairs))]
    rest = bonds(numbers, positions)
    rest[i, j] = rest[j, i] = False
    part = connected_components(rest, directed=False)[1]
    moving = (
        part == part[j] if part[i] != part[j] else np.arange(len(numbers)) == j
    )  # in a ring one atom moves
    moved: Floats = positions + moving[:, None] * (rng.uniform(*STRETCH) - 1) * (
        positions[j] - positions[i]
    )
    return moved


def contact(numbers: Integers, positions: Floats, rng: np.random.Generator) -> Floats:
    """Push two atoms that are not bound, nor to the same atom, towards each other."""
    bound = bonds(numbers, positions).astype(int) + np.eye(len(numbers), dtype=int)
    pairs = np.argwhere(np.triu(bound @ bound == 0))
    if not len(pairs):
        return positions
    i, j = pairs[rng.integers(len(pairs))]
    way = positions[j] - positions[i]
    distance = float(np.linalg.norm(way))
    wanted = min(rng.uniform(*CONTACT) * (_radius(numbers[i]) + _radius(numbers[j])), distance)
    moved = positions.copy()
    near = np.exp(
        -np.sum((positions[:, None] - positions[[i, j]]) ** 2, axis=-1) / 2
    )  # (N, 2): neighbours follow, in Å
    moved += (near[:, :1] - near[:, 1:]) * 0.5 * (1 - wanted / distance) * way
    return moved


def beside(
    numbers: Integers, positions: Floats, partner: Species, rng: np.random.Generator
) -> tuple[Integers, Floats]:
    """Put a partner, turned at random, next to a molecule at a random distance of contact."""
    turned = partner.positions @ _rotation(rng).T
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    factor = rng.uniform(*APART)
    closest = factor * (
        np.array([_radius(z) for z in numbers])[:, None]
        + np.array([_radius(z) for z in partner.atomic_numbers])[None]
    )
    centre = positions.mean(0)
    for way in np.arange(0.0, 30.0, 0.05):  # outwards until nothing is too close
        placed = turned - turned.mean(0) + centre + way * direction
        if (np.linalg.norm(positions[:, None] - placed[None], axis=-1) > closest).all():
            return np.concatenate([numbers, partner.atomic_numbers]), np.concatenate(
                [positions, placed]
            )
    raise Failed("there is no room for a partner")


def bonds(numbers: Integers, positions: Floats) -> Any:
    """Which atoms are bound, by their distance: (N, N) bool, none to itself."""
    radii = covalent_radii[numbers]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return (distances < BOND * (radii[:, None] + radii[None])) & ~np.eye(len(numbers), dtype=bool)


def n_fragments(numbers: Integers, positions: Floats) -> int:
    """Count the parts that no bond connects."""
    return int(connected_components(bonds(numbers, positions), directed=False)[0])


@cache
def partner(smiles: str) -> Species:
    """Make a small species of pairs; the same in every job."""
    return make_species(Parent(smiles, small=True), "molecule", np.random.default_rng(0))


def _embedded(molecule: Any, rng: np.random.Generator) -> Any:
    from rdkit.Chem import rdDistGeom

    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = int(rng.integers(2**31))
    parameters.maxIterations = 20
    if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
        raise Failed("there is no conformer")
    if (
        force_field(molecule).Minimize(maxIts=2000, forceTol=1e-4) < 0
    ):  # moves the atoms of the molecule
        raise Failed("the force field finds no minimum")
    return molecule


def force_field(molecule: Any, conformer: int = -1) -> Any:
    """Make the force field of a molecule with a geometry.

    MMFF94, or UFF where that has no parameters and for radicals: MMFF94 takes CH2 for an alkyne.

    Raises
    ------
    Failed   neither has them
    """
    from rdkit.Chem import rdForceFieldHelpers as helpers

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


def _forces(molecule: Any) -> Callable[[Integers, Floats, int, int], Label]:
    """Make a method of the force field of a molecule."""
    field = force_field(molecule)

    def method(numbers: Integers, positions: Floats, charge: int, multiplicity: int) -> Label:
        places = positions.ravel().tolist()
        energy = field.CalcEnergy(
            places
        )  # first: the gradient takes the distances of the last energy
        return Label(
            KCAL * energy,
            -KCAL * np.array(field.CalcGrad(places)).reshape(-1, 3),
            np.zeros(len(numbers)),
        )

    return method


def _rotation(rng: np.random.Generator) -> Floats:
    found = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation: Floats = found * np.sign(np.linalg.det(found))
    return rotation


def _radius(number: int) -> float:
    return VAN_DER_WAALS[int(number)]
