"""``polcalc build``: a structure from a SMILES, with the charge and multiplicity that the SMILES says."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from ase import Atoms
from rich.console import Console

from md_runs.errors import InputError, as_input_error
from md_runs.records.structures import write_structures
from polcalc.calculator.electrons import resolve
from potentials.labels.method import Failed
from potentials.labels.organic_geometries import force_field

screen = Console(highlight=False, soft_wrap=True)
TRIED = 10  # conformers embedded at least: the lowest are kept
DIFFERENT_A = 0.2  # root mean square distance of heavy atoms: nearer ones are the same conformer
FORMATS = (".xyz", ".extxyz")


def command(
    smiles: Annotated[
        str,
        typer.Argument(
            metavar="SMILES",
            help='Of one molecule or ion, in quotes: "CCO", "CC(=O)[O-]", "[CH3]".',
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="New file, .xyz or .extxyz.")
    ],
    conformers: Annotated[
        int,
        typer.Option(
            "--conformers", min=1, help="Conformers at most, one frame each, the lowest first."
        ),
    ] = 1,
    multiplicity: Annotated[
        int | None,
        typer.Option(
            "--multiplicity",
            min=1,
            help="Spin multiplicity 2S+1. Default: of the radical electrons of the SMILES.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            help="Of the conformers, and of stereocentres that the SMILES leaves open.",
        ),
    ] = 0,
) -> None:
    """Make a three-dimensional structure of a SMILES.

    Conformers come from ETKDG and are relaxed with MMFF94, or UFF where that has no parameters:
    good to start from, no result. Charge and multiplicity are written into the file, where every
    command finds them.
    """
    if output.suffix.lower() not in FORMATS:
        raise InputError(
            f"`--output` must end in {' or '.join(FORMATS)}, which keep charge and multiplicity;"
            f" got {output}. Rename it."
        )
    if output.exists():
        raise InputError(
            f"`--output` must be a new file; got {output}, which exists. Choose another name."
        )
    frames, n_open = build(smiles, conformers, seed, multiplicity)
    with as_input_error():
        output.parent.mkdir(parents=True, exist_ok=True)
        write_structures(output, frames)
    first = frames[0]
    number = "" if conformers == 1 else f", {len(frames)} different conformers"
    state = f"charge {first.info['charge']:+d}, multiplicity {first.info['multiplicity']}"
    screen.print(
        f"{output}: {first.get_chemical_formula('hill')}, {len(first)} atoms, {state}{number}",
        markup=False,
    )
    if n_open:
        screen.print(
            f"{n_open} stereocentres or double bonds that the SMILES leaves open were chosen by the"
            " seed",
            markup=False,
        )


def build(
    smiles: str, conformers: int = 1, seed: int = 0, multiplicity: int | None = None
) -> tuple[list[Atoms], int]:
    """Make conformers of a SMILES.

    Returns
    -------
    frames : list of Atoms   the lowest first; charge, multiplicity and SMILES in ``info``
    n_open : int             stereocentres and double bonds that the SMILES leaves open

    Raises
    ------
    InputError               RDKit is missing; not a SMILES, not one molecule; no geometry, no force
                             field; an impossible multiplicity
    """
    if find_spec("rdkit") is None:
        raise InputError(
            "`rdkit` must be installed to read SMILES. Run: pip install 'polcalc[chemistry]'."
        )
    from rdkit import Chem

    molecule = _read(smiles)
    radicals = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    info = {"charge": Chem.GetFormalCharge(molecule), "multiplicity": multiplicity or radicals + 1}
    n_open = sum(
        found.specified == Chem.StereoSpecified.Unspecified
        for found in Chem.FindPotentialStereo(molecule)
    )
    molecule = Chem.AddHs(molecule)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    with as_input_error():
        resolve(Atoms(numbers, info=info))  # an impossible number of electrons
    positions = _conformers(molecule, conformers, seed, smiles)
    return [
        Atoms(numbers, x - x.mean(0), info=info | {"smiles": smiles}) for x in positions
    ], n_open


def _read(smiles: str) -> Any:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if molecule is None:
        reason = _complaint(smiles)
        raise InputError(
            f"`SMILES` must be one that RDKit reads; got {smiles!r}{reason}. Correct it; mind the"
            " quotes of the shell."
        )
    if (parts := len(Chem.GetMolFrags(molecule))) != 1:
        raise InputError(
            f"`SMILES` must be of one molecule; got {parts} in {smiles!r}. Build them one by one."
        )
    return molecule


def _complaint(smiles: str) -> str:
    """Say which rule of valence or aromaticity is broken, if it is one."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        raw = Chem.MolFromSmiles(smiles, sanitize=False) if smiles.strip() else None
        problems = Chem.DetectChemistryProblems(raw) if raw is not None else []
    return f" ({problems[0].Message().rstrip('.')})" if problems else ""


def _conformers(molecule: Any, n_wanted: int, seed: int, smiles: str) -> list[np.ndarray]:
    """Embed, relax, and keep the lowest that differ: positions (N, 3) Å of each."""
    from rdkit.Chem import rdDistGeom

    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    numbers = list(rdDistGeom.EmbedMultipleConfs(molecule, max(n_wanted, TRIED), parameters))
    if not numbers:
        parameters.useRandomCoords = True  # slower; finds cages and large rings
        numbers = list(rdDistGeom.EmbedMultipleConfs(molecule, max(n_wanted, TRIED), parameters))
    if not numbers:
        raise InputError(
            f"`SMILES` must have a geometry; RDKit finds none for {smiles!r}. Check its rings and"
            " stereocentres."
        )
    try:
        energies = [_relax(force_field(molecule, n)) for n in numbers]
    except Failed as error:
        raise InputError(
            f"`SMILES` must have elements and valences that MMFF94 or UFF know; got {smiles!r}."
            " Draw it otherwise."
        ) from error
    order = [numbers[k] for k in np.argsort(energies, kind="stable")]
    return [molecule.GetConformer(n).GetPositions() for n in _different(molecule, order, n_wanted)]


def _relax(field: Any) -> float:
    field.Minimize(maxIts=5000)
    return float(field.CalcEnergy())


def _different(molecule: Any, order: list[int], n_wanted: int) -> list[int]:
    """Pick the first conformers of an order that are not like one before, symmetry considered."""
    from rdkit import Chem
    from rdkit.Chem import rdMolAlign

    if n_wanted == 1:
        return order[:1]
    heavy = Chem.RemoveHs(molecule)
    kept: list[int] = []
    for number in order:
        if all(rdMolAlign.GetBestRMS(heavy, heavy, number, other) > DIFFERENT_A for other in kept):
            kept.append(number)
    return kept[:n_wanted]
