"""carbenes-st: singlet and triplet of small carbenes at every geometry, with forces.

A carbene is a small H/C/N/O/F molecule that lost two hydrogens of one saturated carbon. From a
force field geometry both states are relaxed with GFN2-xTB (as in QMspin, whose geometries are of a
lower level than its energies); what rearranged is left out. Around both minima geometries are drawn
from the thermal distribution of the harmonic modes, more of them for the small carbenes, where a
label costs less. Every geometry gets both labels or none.

Two phases, `minima` and `geometries`; each job is a file of its own, so that a run can be stopped,
grow, and move.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers as NUMBER_OF
from ase.data import covalent_radii

from potentials.datasets.frames import Frames, Provenance, make_frames
from potentials.labels.dft import THEORY, dft, program
from potentials.labels.gfn2 import gfn2
from potentials.labels.jobs import results
from potentials.labels.method import Failed, Floats, Integers
from potentials.labels.sampling import hessian, relax, thermal_displacements

NAME = "carbenes-st"
SEED = 20260402
TEMPERATURES_K = (300.0, 600.0)  # in turn
# of each minimum, itself included, by the number of heavy atoms
GEOMETRIES = {1: 240, 2: 96, 3: 26, 4: 3, 5: 2}
STATES = (1, 3)  # multiplicities
BOND = 1.3  # of the sum of covalent radii
PARENTS = tuple(
    smiles
    for line in (
        (
            "C CC CCC CCCC CC(C)C CCCCC CCC(C)C CC(C)(C)C C1CC1 C1CCC1 C1CCCC1 CC1CC1 CC1(C)CC1"
            " CC1CCC1 CCC1CC1"
        ),
        (
            "CC=C CC=CC CCC=C CC(C)=C C=CCC=C CC=CC=C CC(=C)C=C CCC=CC CCCC=C C1=CCC1 C1=CC1"
            " C1=CCCC1 C1C=CC=C1"
        ),
        "CC#C CC#CC CCC#C C#CCC#C CCC#CC CC(C)C#C CCCC#C CC=C=C",
        (
            "CO CCO COC CCCO CC(C)O CCOC CC=O CCC=O CC(C)=O OCC=O OCCO COCO COCOC COC=O CC(=O)O"
            " OCC=C COC=C CC(=O)C=C CCC(C)=O"
        ),
        (
            "COCC=O CC(=O)CO C1CO1 CC1CO1 C1COC1 C1CCOC1 C1COCO1 OC1CC1 COC(C)=O CCOC=O OCC#C COC#C"
            " CC(=O)C#C"
        ),
        (
            "CN CCN CNC CN(C)C CCCN CC(C)N CCNC NCCN NCCO CC=N CNC=O CC(N)=O NCC=O CC#N CCC#N"
            " CCCC#N OCC#N NCC#N COCC#N C1CN1 CC1CN1"
        ),
        "CN1CC1 C1CNC1 C1CCNC1 NCC=C CNC=C NCC#C CN=C CN(C)C=O",
        (
            "CF CCF CCCF CC(C)F FCCF CC(F)F FCF CC(F)(F)F FCC=O FCC=C FCC#C FCC#N FCCO FCCN COCF"
            " CC(=O)F FC1CC1 CC(F)=C CC(C)(F)F"
        ),
        "CC(C)(C)F CCCCF CON CNO CNN CC=NO",
    )
    for smiles in line.split()
)


class Carbene(NamedTuple):
    """A molecule without two hydrogens of one carbon."""

    parent: int  # position in `PARENTS`
    smiles: str  # canonical
    atomic_numbers: tuple[int, ...]
    positions: tuple[tuple[float, float, float], ...]  # Å, of the force field


class Minimum(NamedTuple):
    """A job of the first phase."""

    carbene: Carbene
    multiplicity: int


class Geometry(NamedTuple):
    """A job of the second phase: the minimum for draw 0, a displacement from it for others."""

    minimum: Path
    draw: int
    seed: tuple[int, ...]


def carbenes() -> list[Carbene]:
    """Make every different carbene of the parents, small ones first."""
    found: dict[str, Carbene] = {}
    for number, smiles in enumerate(PARENTS):
        for carbene in _of_parent(number, smiles):
            found.setdefault(carbene.smiles, carbene)
    return sorted(found.values(), key=lambda c: (len(c.atomic_numbers), c.smiles))


def minima(made: list[Carbene]) -> dict[str, Minimum]:
    """Make the jobs of the first phase."""
    return {_key(n, m): Minimum(carbene, m) for n, carbene in enumerate(made) for m in STATES}


def geometries(made: list[Carbene], folder: Path) -> dict[str, Geometry]:
    """Make the jobs of the second phase for the minima that are there.

    They are ordered so that the first ones are a fair sample of the whole.
    """
    jobs = []
    for n, carbene in enumerate(made):
        drawn = GEOMETRIES[sum(z > 1 for z in carbene.atomic_numbers)]
        for m in STATES:
            if (path := folder / f"{_key(n, m)}.npz").is_file():
                jobs += [
                    (
                        draw / drawn,
                        f"{_key(n, m)}-{draw:03d}",
                        Geometry(path, draw, (SEED, n, m, draw)),
                    )
                    for draw in range(drawn)
                ]
    return {key: job for _, key, job in sorted(jobs, key=lambda x: x[:2])}


def find_minimum(job: Minimum) -> dict[str, Any]:
    """Relax one state, and find the Hessian there."""
    numbers = np.array(job.carbene.atomic_numbers)
    start = np.array(job.carbene.positions)
    found = relax(gfn2, numbers, start, 0, job.multiplicity)
    _check_bonds(numbers, start, found)
    stiffness = hessian(gfn2, numbers, found, 0, job.multiplicity)
    return {
        "atomic_numbers": numbers,
        "positions": found,
        "hessian": stiffness,
        "parent": np.array(job.carbene.parent),
    }


def label(job: Geometry) -> dict[str, Any]:
    """Label one geometry in both states."""
    with np.load(job.minimum) as file:
        minimum = dict(file)
    numbers, positions = minimum["atomic_numbers"], minimum["positions"]
    if job.draw:
        rng = np.random.default_rng(job.seed)
        positions = positions + thermal_displacements(
            minimum["hessian"], numbers, TEMPERATURES_K[job.draw % 2], rng
        )
    # what is stored is what is labelled
    positions = positions.astype(np.float32).astype(np.float64)
    labels = [dft(numbers, positions, 0, multiplicity) for multiplicity in STATES]
    return {
        "atomic_numbers": numbers,
        "positions": positions,
        "energy": np.array([x.energy for x in labels]),
        "forces": np.array([x.forces for x in labels]),
        "parent": minimum["parent"],
    }


def collect(folder: Path) -> Frames:
    """Put the labels that are there together.

    Singlet and triplet of each geometry, grouped by parent.
    """
    found = list(
        results(folder / "geometries", list(geometries(carbenes(), folder / "minima"))).values()
    )
    if not found:
        raise ValueError(
            f"`folder` must hold labels of {NAME}; got none in {folder}. Run them first."
        )
    pairs = [(g, k) for g in found for k in range(len(STATES))]
    return make_frames(
        n_atoms=np.array([len(g["atomic_numbers"]) for g, _ in pairs]),
        atomic_numbers=np.concatenate([g["atomic_numbers"] for g, _ in pairs]),
        positions=np.concatenate([g["positions"] for g, _ in pairs]),
        energy=np.array([g["energy"][k] for g, k in pairs]),
        forces=np.concatenate([g["forces"][k] for g, k in pairs]).astype(np.float32),
        multiplicity=np.array([STATES[k] for _, k in pairs]),
        group=np.array([int(g["parent"]) for g, _ in pairs]),
        provenance=PROVENANCE,
    )


def card(name: str, frames: Frames) -> Mapping[str, Any]:
    """Say how the set was made."""
    return {
        "name": name,
        "description": PROVENANCE.description,
        "theory": THEORY,
        "programs": program() | {"tblite": version("tblite"), "rdkit": version("rdkit")},
        "sampling": (
            "minima of both states with GFN2-xTB, and geometries around them from the thermal"
            f" distribution of its modes at {' and '.join(f'{t:g}' for t in TEMPERATURES_K)} K in"
            " turn, modes below 200/cm treated as 200/cm; geometries of a minimum by the number of"
            f" heavy atoms: {GEOMETRIES}"
        ),
        "seed": SEED,
        "labels": len(frames),
        "parents": len(set(frames.group.tolist())) if frames.group is not None else 0,
        "command": "polcalc labels carbenes",
        "licence": "CC0-1.0",
    }


def _of_parent(number: int, smiles: str) -> list[Carbene]:
    """Take two hydrogens from each saturated carbon that has them."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(molecule, randomSeed=SEED % 2**31)
    rdForceFieldHelpers.MMFFOptimizeMolecule(molecule)
    positions = molecule.GetConformer().GetPositions()
    found = []
    for atom in molecule.GetAtoms():
        hydrogens = [n.GetIdx() for n in atom.GetNeighbors() if n.GetAtomicNum() == 1]
        if (
            atom.GetAtomicNum() == 6
            and atom.GetHybridization() == Chem.HybridizationType.SP3
            and len(hydrogens) >= 2
        ):
            edited = Chem.RWMol(molecule)
            edited.GetAtomWithIdx(atom.GetIdx()).SetNumRadicalElectrons(2)
            edited.GetAtomWithIdx(atom.GetIdx()).SetNoImplicit(True)
            for index in sorted(hydrogens[-2:], reverse=True):
                edited.RemoveAtom(index)
            kept = [n for n in range(molecule.GetNumAtoms()) if n not in hydrogens[-2:]]
            symbols = [molecule.GetAtomWithIdx(n).GetSymbol() for n in kept]
            places = tuple((float(x), float(y), float(z)) for x, y, z in positions[kept])
            found.append(
                Carbene(
                    number, Chem.MolToSmiles(edited), tuple(NUMBER_OF[s] for s in symbols), places
                )
            )
    return found


def _check_bonds(numbers: Integers, before: Floats, after: Floats) -> None:
    if not np.array_equal(_bonds(numbers, before), _bonds(numbers, after)):
        raise Failed("it rearranged")


def _bonds(numbers: Integers, positions: Floats) -> Any:
    radii = covalent_radii[numbers]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return distances < BOND * (radii[:, None] + radii[None])


def _key(carbene: int, multiplicity: int) -> str:
    return f"{carbene:03d}-{multiplicity}"


PROVENANCE = Provenance(
    name=NAME,
    description=(
        "small carbenes of H, C, N, O, F, singlet and triplet at every geometry; energies and"
        " forces"
    ),
    theory=THEORY,
    licence="CC0-1.0",
    citation=(
        "M. Schwilk, D. N. Tahchieva, O. A. von Lilienfeld, arXiv 2004.10600, for the idea of"
        " the set"
    ),
    url="https://arxiv.org/abs/2004.10600",
)
