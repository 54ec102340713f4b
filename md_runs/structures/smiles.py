"""Structures from a SMILES: conformers of a molecule, or of ions and molecules side by side.

RDKit embeds and its force fields relax: a place to start from, no result. RDKit is imported when
a structure is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from md_runs.errors import InputError, as_input_error
from md_runs.readable import readable
from md_runs.records.output import check_new
from md_runs.records.structures import write_structures
from md_runs.screen import screen
from polcalc.calculator.electrons import resolve
from potentials.datasets.formats.isotopes import set_isotopes
from potentials.labels.closed_shells.conformers import force_field
from potentials.labels.method import Failed

Floats = npt.NDArray[np.float64]

TRIED = 10  # conformers embedded at once at least
DIFFERENT_A = 0.2  # root mean square distance: nearer ones are the same conformer
# RDKit multiplies the seed by the number of the conformer, in 32 bits
SEEDS = 2**20
CONTACT = 0.85  # of the sum of van der Waals radii: between hydrogen bonds, ion pairs and the rest
TURNS = 200  # places and orientations tried for each part beside the first


@readable
class Built(NamedTuple):
    """What became of a SMILES."""

    frames: list[Atoms]  # the lowest first; charge, multiplicity and SMILES in ``info``
    n_open: int  # stereocentres and double bonds that the SMILES leaves open
    n_parts: int  # molecules and ions that no bond connects

    def summary(self) -> dict[str, str]:
        """Say what was built."""
        first = self.frames[0]
        return {
            "formula": first.get_chemical_formula("hill"),
            "charge": f"{first.info['charge']:+d}",
            "multiplicity": str(first.info["multiplicity"]),
            "conformers": str(len(self.frames)),
            "parts": str(self.n_parts),
            "open stereocentres": str(self.n_open) if self.n_open else "",
        }


FORMATS = (".xyz", ".extxyz")


def build_file(
    smiles: str,
    output: Path,
    conformers: int = 1,
    multiplicity: int | None = None,
    seed: int = 0,
) -> None:
    """Make a three-dimensional structure of a SMILES.

    Conformers come from ETKDG and are relaxed with MMFF94, or UFF where that has no parameters:
    good to start from, no result. Molecules and ions that no bond connects are placed side by side.
    Charge and multiplicity are written into the file, where every command finds them.

    Raises
    ------
    InputError   as `build`; the file exists, or would not keep charge and multiplicity
    """
    if output.suffix.lower() not in FORMATS:
        raise InputError(
            f"`--output` must end in {' or '.join(FORMATS)}, which keep charge and multiplicity;"
            f" got {output}. Rename it."
        )
    check_new(output)
    frames, n_open, n_parts = build(smiles, conformers, seed, multiplicity)
    with as_input_error():
        output.parent.mkdir(parents=True, exist_ok=True)
        write_structures(output, frames)
    first = frames[0]
    number = "" if conformers == 1 else f", {len(frames)} different conformers"
    if n_parts > 1:
        number += f", {n_parts} parts side by side"
    state = f"charge {first.info['charge']:+d}, multiplicity {first.info['multiplicity']}"
    source = "of the SMILES" if multiplicity is None else "of the SMILES and --multiplicity"
    screen.print(
        f"{output}: {first.get_chemical_formula('hill')}, {len(first)} atoms, {state} ({source})"
        f"{number}",
    )
    if n_open:
        screen.print(
            f"{n_open} stereocentres or double bonds that the SMILES leaves open were chosen by the"
            " seed",
        )


def build(
    smiles: str, conformers: int = 1, seed: int = 0, multiplicity: int | None = None
) -> Built:
    """Make conformers of a SMILES.

    Parameters
    ----------
    conformers : int             different ones at most
    multiplicity : int or None   2S+1; None: that of all radical electrons in parallel

    Raises
    ------
    InputError   RDKit is missing; not a SMILES; no geometry, no force field; an impossible
                 multiplicity
    """
    check_rdkit()
    from rdkit import Chem

    molecule = read_smiles(smiles)
    radicals = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    info = {"charge": Chem.GetFormalCharge(molecule), "multiplicity": multiplicity or radicals + 1}
    n_open = sum(
        found.specified == Chem.StereoSpecified.Unspecified
        for found in Chem.FindPotentialStereo(molecule)
    )
    molecule = Chem.AddHs(molecule)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    isotopes = {n: z for n, atom in enumerate(molecule.GetAtoms()) if (z := atom.GetIsotope())}
    with as_input_error():
        resolve(Atoms(numbers, info=info))  # an impossible number of electrons
    rng = np.random.default_rng(seed)
    places: list[tuple[int, ...]] = []
    parts = Chem.GetMolFrags(molecule, asMols=True, fragsMolAtomMapping=places)
    found = [_conformers(part, conformers, int(rng.integers(1, SEEDS)), smiles) for part in parts]
    order = np.argsort(np.concatenate(places))
    frames = []
    for n in range(max(map(len, found))):
        chosen = [positions[n % len(positions)] for positions in found]
        x = _side_by_side(parts, chosen, rng)[order]
        frames.append(Atoms(numbers, x - x.mean(0), info=info | {"smiles": smiles}))
        set_isotopes(frames[-1], isotopes)
    return Built(frames, n_open, len(parts))


def check_rdkit() -> None:
    """Refuse what needs RDKit where it is not installed.

    Raises
    ------
    InputError
    """
    if find_spec("rdkit") is None:
        raise InputError(
            "`rdkit` must be installed to read SMILES. Run: pip install 'polcalc[chemistry]'."
        )


def read_smiles(smiles: str) -> Any:
    """Read a SMILES, without its hydrogens.

    Raises
    ------
    InputError
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if molecule is None:
        reason = _complaint(smiles)
        raise InputError(
            f"`SMILES` must be one that RDKit reads; got {smiles!r}{reason}. Correct it; mind the"
            " quotes of the shell."
        )
    return molecule


def _complaint(smiles: str) -> str:
    """Say which rule of valence or aromaticity is broken, if it is one."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        raw = Chem.MolFromSmiles(smiles, sanitize=False) if smiles.strip() else None
        problems = Chem.DetectChemistryProblems(raw) if raw is not None else []
    return f" ({problems[0].Message().rstrip('.')})" if problems else ""


def _conformers(molecule: Any, n_wanted: int, seed: int, smiles: str) -> list[Floats]:
    """Embed and relax until enough differ or no new ones come: positions (N, 3) Å, lowest first."""
    from rdkit import Chem

    rng = np.random.default_rng(seed)
    pool = Chem.Mol(molecule)
    energies: dict[int, float] = {}  # of each conformer in the pool
    kept: list[int] = []
    while len(kept) < n_wanted:
        embedded = embed(molecule, max(n_wanted, TRIED), int(rng.integers(1, SEEDS)), smiles)
        for conformer in list(embedded.GetConformers()):
            energy = _relax(embedded, conformer.GetId(), smiles)
            energies[pool.AddConformer(conformer, assignId=True)] = energy
        before, kept = kept, _different(pool, sorted(energies, key=energies.__getitem__), n_wanted)
        if len(kept) == len(before):
            break
    return [pool.GetConformer(n).GetPositions() for n in kept]


def embed(molecule: Any, n_tried: int, seed: int, smiles: str) -> Any:
    """Return a copy of a molecule with conformers of ETKDG.

    Raises
    ------
    InputError   there is none
    """
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    embedded = Chem.Mol(molecule)
    if not list(rdDistGeom.EmbedMultipleConfs(embedded, n_tried, parameters)):
        parameters.useRandomCoords = True  # slower; finds cages and large rings
        rdDistGeom.EmbedMultipleConfs(embedded, n_tried, parameters)
    if not embedded.GetNumConformers():
        raise InputError(
            f"`SMILES` must have a geometry; RDKit finds none for {smiles!r}. Check its rings and"
            " stereocentres."
        )
    return embedded


def _relax(molecule: Any, conformer: int, smiles: str) -> float:
    """Relax a conformer in place; return its energy in kcal/mol."""
    if molecule.GetNumAtoms() == 1:
        return 0.0
    try:
        field = force_field(molecule, conformer)
    except Failed as error:
        raise InputError(
            f"`SMILES` must have elements and valences that MMFF94 or UFF know; got {smiles!r}."
            " Draw it otherwise."
        ) from error
    field.Minimize(maxIts=5000)
    return float(field.CalcEnergy())


def _different(molecule: Any, order: list[int], n_wanted: int) -> list[int]:
    """Pick the first conformers of an order that are not like one before, symmetry considered.

    Of a molecule that is its own mirror image, a conformer and its reflection are alike: they have
    the same energy and the same spectra.
    """
    from rdkit.Chem import rdMolAlign

    if n_wanted == 1:
        return order[:1]
    images = [without_carbon_hydrogens(molecule)]
    if is_achiral(molecule):
        images.append(reflected(images[0]))
    kept: list[int] = []
    for number in order:
        distances = (
            rdMolAlign.GetBestRMS(image, images[0], number, other)
            for other in kept
            for image in images
        )
        if all(distance > DIFFERENT_A for distance in distances):
            kept.append(number)
            if len(kept) == n_wanted:
                break
    return kept


def is_achiral(molecule: Any) -> bool:
    """Whether a molecule is its own mirror image: without or with open centres, or meso."""
    from rdkit import Chem

    mirrored = Chem.Mol(molecule)
    for atom in mirrored.GetAtoms():
        atom.InvertChirality()
    same: bool = Chem.MolToSmiles(mirrored) == Chem.MolToSmiles(molecule)
    return same


def reflected(molecule: Any) -> Any:
    """Copy a molecule with its conformers reflected."""
    from rdkit import Chem

    mirrored = Chem.Mol(molecule)
    for conformer in mirrored.GetConformers():
        conformer.SetPositions(conformer.GetPositions() * [-1.0, 1.0, 1.0])
    return mirrored


def without_carbon_hydrogens(molecule: Any) -> Any:
    """Copy what tells conformers apart: heavy atoms, and hydrogens that turn hydrogen bonds."""
    from rdkit import Chem

    left = Chem.RWMol(molecule)
    left.BeginBatchEdit()
    for bond in molecule.GetBonds():
        first, second = bond.GetBeginAtom(), bond.GetEndAtom()
        for atom, other in ((first, second), (second, first)):
            if atom.GetAtomicNum() == 1 and other.GetAtomicNum() == 6:
                left.RemoveAtom(atom.GetIdx())
    left.CommitBatchEdit()
    return left.GetMol()


def _side_by_side(
    parts: Sequence[Any], chosen: Sequence[Floats], rng: np.random.Generator
) -> Floats:
    """Put parts beside each other: each touches those before it where charges attract it most.

    Without charges the most compact place wins.

    Returns
    -------
    (N, 3)   Å, one part after another
    """
    charges = [_formal_charges(part) for part in parts]
    radii = [_radii(part) for part in parts]
    placed, placed_charges, placed_radii = chosen[0] - chosen[0].mean(0), charges[0], radii[0]
    for positions, charge, radius in zip(chosen[1:], charges[1:], radii[1:], strict=True):
        contact = CONTACT * (placed_radii[:, None] + radius)  # (M, N) Å
        tried = []
        for turn, way in zip(Rotation.random(TURNS, rng), _directions(TURNS, rng), strict=True):
            x = _touching(placed, turn.apply(positions - positions.mean(0)), way, contact)
            attraction = float((placed_charges[:, None] * charge / cdist(placed, x)).sum())
            tried.append((attraction, float(cdist(placed, x).mean()), x))
        best = min(tried, key=lambda entry: entry[:2])[2]
        placed = np.concatenate([placed, best])
        placed_charges = np.concatenate([placed_charges, charge])
        placed_radii = np.concatenate([placed_radii, radius])
    return np.asarray(placed)


def _touching(placed: Floats, x: Floats, way: Floats, contact: Floats) -> Floats:
    """Move a part in from far away along a direction until its first atom touches.

    Of each pair of atoms the distance is the contact at the larger root t of |d + t way| = contact.
    """
    difference = x[None] - placed[:, None]  # (M, N, 3) Å
    along = difference @ way
    beside = (difference**2).sum(-1) - along**2
    reach = contact**2 - beside  # Å^2, negative for pairs that pass each other
    roots = np.where(reach > 0, np.sqrt(np.maximum(reach, 0)) - along, -np.inf)
    nearest = roots.max()
    return np.asarray(x + (nearest if np.isfinite(nearest) else 0.0) * way)


def _directions(count: int, rng: np.random.Generator) -> Floats:
    drawn = rng.normal(size=(count, 3))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def _formal_charges(part: Any) -> Floats:
    return np.array([float(atom.GetFormalCharge()) for atom in part.GetAtoms()])


def _radii(part: Any) -> Floats:
    from rdkit.Chem import GetPeriodicTable

    table = GetPeriodicTable()
    return np.array([table.GetRvdw(atom.GetAtomicNum()) for atom in part.GetAtoms()])
