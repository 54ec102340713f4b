"""Which molecules: public lists, what is combined from pieces, small ones by name.

RDKit brings the lists; molecules of theirs that are too large are cut into fragments. A substance
is a neutral molecule, or an ion by name; its protonation states belong to it. Substances are there
once, by canonical SMILES without stereochemistry. What is tested on is chosen by the hash of that
SMILES, and never trained on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rdkit
from rdkit import Chem, rdBase
from rdkit.Chem import BRICS, rdMolDescriptors
from rdkit.Chem.MolStandardize import rdMolStandardize

from potentials.labels.closed_shells.fragments import (
    AMINO_ACIDS,
    BASES,
    FLEXIBLE,
    SCAFFOLDS,
    SMALL_IONS,
    SMALL_NEUTRAL,
    SUBSTITUENTS,
    SUGARS,
)
from potentials.labels.closed_shells.ions import ion

SEED = 20261130
N_TEST = 500  # molecules
MOST_HEAVY = 14
ELEMENTS = frozenset((1, 6, 7, 8, 9, 15, 16, 17, 35, 53))
LISTS = (  # files of the package, and the column of the SMILES
    ("Data/NCI/first_5K.smi", "\t", 0),
    ("Data/Pains/test_data/wehi_mols.csv", ",", 0),
    ("Contrib/SA_Score/data/zim.100.txt", "\t", 0),
    ("Contrib/Fastcluster/cdk2.smi", "\t", 1),
    ("Contrib/fraggle/data/ChEMBL_11265_actives.smi", " ", 0),
    ("Contrib/FreeWilson/data/CHEMBL2321810.smi", " ", 0),
    ("Contrib/mmpa/data/sample.smi", " ", 0),
)
N_COMBINED = 36_000  # scaffolds with substituents
N_SUBSTITUENTS = {0: 1, 1: 6, 2: 9, 3: 6}  # weight
SIZE_SHARE = {
    2: 1,
    3: 1,
    4: 1,
    5: 1,
    6: 1,
    7: 1,
    8: 1,
    9: 0.8,
    10: 0.7,
    11: 0.5,
    12: 0.4,
    13: 0.3,
    14: 0.25,
}  # of those that are combined
LEAST_ROTATABLE = 3  # bonds of what counts as flexible
MOST_HEAVY_TAUTOMER, MOST_TAUTOMERS = 10, 4
# chance of a state beside the neutral one, where there is one
KINDS = {"cation": 0.3, "anion": 0.3, "zwitterion": 0.5}


class Species(NamedTuple):
    """One protonation state of a substance."""

    smiles: str  # canonical
    group: int  # of its substance; the same in every set
    n_atoms: int
    test: bool = False  # never trained on
    small: bool = False  # by name


@cache
def substances(seed: int = SEED) -> tuple[str, ...]:
    """Collect the substances but for the small ones: lists first, then what is combined."""
    rng = np.random.default_rng((seed, 0))
    known: dict[str, None] = {}
    with rdBase.BlockLogs():
        for smiles in _listed():
            known.setdefault(smiles)
        for smiles in (*AMINO_ACIDS, *SUGARS, *BASES):
            known.setdefault(_canonical(Chem.MolFromSmiles(smiles)))
        wanted = len(known) + N_COMBINED
        while len(known) < wanted:
            if (combined := _combined(rng)) is not None:
                known.setdefault(combined)
    for smiles in small():
        known.pop(smiles, None)
    return tuple(known)


@cache
def species(seed: int = SEED) -> tuple[Species, ...]:
    """List the species of all substances, in an order without meaning."""
    tested = set(sorted(substances(seed), key=_digest)[:N_TEST])
    found: dict[str, Species] = {}
    with rdBase.BlockLogs():
        for smiles in sorted(substances(seed), key=lambda s: _digest(s + "order")):
            rng = np.random.default_rng((seed, 1, group(smiles)))
            for state in _states(smiles, rng):
                found.setdefault(
                    state, Species(state, group(smiles), count_atoms(state), smiles in tested)
                )
    return tuple(found.values())


def flexible_species(seed: int = SEED) -> list[Species]:
    """List flexible molecules: some by name, then the others with rotatable bonds."""
    drawn = [s for s in species(seed) if not s.test]
    tested = {s.group for s in species(seed) if s.test}
    named = (canonical(smiles) for smiles in FLEXIBLE)
    return [
        *(Species(s, group(s), count_atoms(s)) for s in named if group(s) not in tested),
        *(s for s in drawn if _rotatable(s.smiles) >= LEAST_ROTATABLE),
    ]


def tautomers(per_job: int, seed: int = SEED) -> Iterator[tuple[Species, ...]]:
    """Yield so many species at a time: molecules with tautomers, all of a molecule together."""
    tested = {s.group for s in species(seed) if s.test}
    enumerator = rdMolStandardize.TautomerEnumerator()
    enumerator.SetMaxTautomers(8)
    enumerator.SetMaxTransforms(40)
    some: list[Species] = []
    for one in species(seed):
        molecule = _parsed(one.smiles)
        if one.test or molecule.GetNumHeavyAtoms() > MOST_HEAVY_TAUTOMER:
            continue
        with rdBase.BlockLogs():
            found = sorted({_canonical(t) for t in enumerator.Enumerate(molecule)})
        found = [s for s in found if group(s) not in tested][:MOST_TAUTOMERS]
        if len(found) < 2:
            continue
        some += [Species(s, one.group, count_atoms(s)) for s in found]
        if len(some) >= per_job:
            yield tuple(some)
            some = []


def small_species() -> list[Species]:
    """List the small species by name."""
    return [Species(smiles, group(smiles), count_atoms(smiles), small=True) for smiles in small()]


@cache
def small() -> tuple[str, ...]:
    """List the canonical SMILES of small molecules and ions by name."""
    return tuple(
        dict.fromkeys(_canonical(Chem.MolFromSmiles(s)) for s in SMALL_NEUTRAL + SMALL_IONS)
    )


def group(smiles: str) -> int:
    """Number a substance by the hash of its canonical SMILES: 62 bits."""
    return int(_digest(smiles)[:16], 16) >> 2


def charge_of(smiles: str) -> int:
    """Add up the formal charges."""
    return int(Chem.GetFormalCharge(_parsed(smiles)))


@cache
def canonical(smiles: str) -> str:
    """Return the canonical SMILES without stereochemistry."""
    return _canonical(Chem.MolFromSmiles(smiles))


def _states(smiles: str, rng: np.random.Generator) -> Iterator[str]:
    yield smiles
    molecule = Chem.MolFromSmiles(smiles)
    for kind, chance in KINDS.items():
        if rng.random() < chance and (state := ion(molecule, kind, rng)) is not None:
            yield state


def _listed() -> Iterator[str]:
    """Read the lists: their molecules that are small enough, and the fragments of the others."""
    folder = Path(rdkit.__file__).parent
    for name, separator, column in LISTS:
        if not (folder / name).is_file():
            continue
        with (folder / name).open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file, delimiter=separator):
                if len(row) > column and (molecule := Chem.MolFromSmiles(row[column])) is not None:
                    yield from _pieces(molecule)


def _pieces(molecule: Any) -> Iterator[str]:
    for part in Chem.GetMolFrags(molecule, asMols=True, sanitizeFrags=True):
        for piece in (part, *_fragments(part)):
            if is_wanted(piece):
                yield _canonical(piece)


def _fragments(molecule: Any) -> Iterable[Any]:
    """Cut a molecule where retrosynthesis would, with hydrogen at the ends."""
    if molecule.GetNumHeavyAtoms() > 60:
        return []
    cut = Chem.RWMol(BRICS.BreakBRICSBonds(molecule))  # type: ignore[no-untyped-call]
    for atom in cut.GetAtoms():
        if atom.GetAtomicNum() == 0:
            atom.SetAtomicNum(1)
            atom.SetIsotope(0)
    try:
        return [Chem.RemoveHs(piece) for piece in Chem.GetMolFrags(cut, asMols=True)]
    except Chem.MolSanitizeException:
        return []


def is_wanted(molecule: Any) -> bool:
    """Whether a molecule is neutral, closed-shell, small enough and of known elements."""
    atoms = molecule.GetAtoms()
    return (
        1 < molecule.GetNumHeavyAtoms() <= MOST_HEAVY
        and Chem.GetFormalCharge(molecule) == 0
        and all(
            a.GetAtomicNum() in ELEMENTS and a.GetNumRadicalElectrons() == 0 and a.GetIsotope() == 0
            for a in atoms
        )
    )


def _combined(rng: np.random.Generator) -> str | None:
    """Put substituents on a scaffold at random."""
    molecule = Chem.RWMol(_parsed(SCAFFOLDS[rng.integers(len(SCAFFOLDS))]))
    counts = list(N_SUBSTITUENTS)
    share = np.array(list(N_SUBSTITUENTS.values()), dtype=float)
    for _ in range(counts[rng.choice(len(counts), p=share / share.sum())]):
        if not _attach(molecule, _parsed(SUBSTITUENTS[rng.integers(len(SUBSTITUENTS))]), rng):
            return None
    if Chem.SanitizeMol(molecule, catchErrors=True) or not is_wanted(molecule):
        return None
    if rng.random() > SIZE_SHARE[molecule.GetNumHeavyAtoms()]:
        return None
    return _canonical(molecule)


def _attach(molecule: Any, substituent: Any, rng: np.random.Generator) -> bool:
    """Bind the first atom of a substituent in the place of a hydrogen."""
    molecule.UpdatePropertyCache(strict=False)
    places = [a.GetIdx() for a in molecule.GetAtoms() if a.GetTotalNumHs()]
    if not places:
        return False
    place, n_before = int(rng.choice(places)), molecule.GetNumAtoms()
    molecule.InsertMol(substituent)
    molecule.AddBond(place, n_before, Chem.BondType.SINGLE)
    for index in (place, n_before):
        atom = molecule.GetAtomWithIdx(index)
        atom.SetNumExplicitHs(max(atom.GetNumExplicitHs() - 1, 0))
    return True


def _canonical(molecule: Any) -> str:
    smiles: str = Chem.MolToSmiles(
        Chem.MolFromSmiles(Chem.MolToSmiles(molecule, isomericSmiles=False))
    )
    return smiles


def _rotatable(smiles: str) -> int:
    return int(rdMolDescriptors.CalcNumRotatableBonds(_parsed(smiles)))


@cache
def count_atoms(smiles: str) -> int:
    """Count the atoms with hydrogens."""
    molecule = _parsed(smiles)
    return int(molecule.GetNumAtoms() + sum(a.GetTotalNumHs() for a in molecule.GetAtoms()))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@cache
def _parsed(smiles: str) -> Any:
    return Chem.MolFromSmiles(smiles)
