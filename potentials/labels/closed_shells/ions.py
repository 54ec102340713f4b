"""Protonation states of a molecule, and the formal charge of each atom.

A state is a molecule with a proton more or less on one group, a hydride less, or a zwitterion.
Patterns say which groups, and how often: the usual acids and bases first, a few carbanions and
carbocations last.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

ACIDS = {  # the atom that gives its proton: weight
    "[OX2H][CX3]=[O,S]": 10,
    "[OX2H][S,P]": 10,
    "[SX2H]": 6,
    "[OX2H][c,$(C=C)]": 6,
    "[OX2H][CX4]": 3,
    "[OX2H][N,O]": 2,
    "[NX3;H1,H2]S(=O)=O": 4,
    "[nH]": 4,
    "[NX3H](C=O)C=O": 4,
    "[NX3;H1,H2][CX3]=[O,S]": 1,
    "[NX3;H2]c": 1,
    "[CX4;H1,H2,H3][$(C=O),$(C#N),$([N+](=O)[O-]),$(S=O)]": 1,
    "[CX2H]#C": 1,
    "[PX3;H1,H2]": 1,
}
BASES = {  # the atom that takes a proton: weight
    "[NX3;!$(N-[C,S,P,N]=*);!$(N-[c,C;$(C=C)]);!$(N-C#N)]": 8,
    "[NX3;!$(N-[C,S,P]=*);$(N-[c])]": 2,
    "[nX2]": 5,
    "[NX2]=[CX3]": 6,
    "[NX2]=N": 1,
    "[NX1]#C": 1,
    "[OX1]=[CX3,S,P]": 2,
    "[OX2;H1,H2;!$(OC=O)]": 1,
    "[OX2;H0;!$(OC=O)]([#6])[#6]": 1,
    "[SX2;!$(S-C=O)]([#6,H])[#6,H]": 1,
    "[PX3]": 3,
}
STRONG_ACIDS = tuple(ACIDS)[:2]
STRONG_BASES = (next(iter(BASES)), "[NX2]=[CX3]([N,C])N", "[nX2]1c[nH]cc1")
CARBOCATIONS = (
    "[CX4;H1;$(C([#6])([#6])[#6]),$(C[c,O,N,$(C=C)])]"  # the carbon that gives its hydride
)
CENTRES = (  # of a group that shares its charge, then the atom that carries it in the SMILES
    "[CX3]([O-])=[O,S]",
    "[CX3](=[N+])[NX3]",
    "[c]([nX3])[n+]",
    "[SX4](=O)[O-]",
    "[SX3](=O)[O-]",
    "[PX4](=O)[O-]",
    "[NX3+0](=O)[O-]",
    "[NX2](=O)[O-]",
    "[NX3+](=O)([O-])[O-]",
    "[NX2+](=[N-])=[N-]",
    "[Cl;X3,X4][O-]",
)


def ion(molecule: Any, kind: str, rng: np.random.Generator) -> str | None:
    """Make the "cation", "anion" or "zwitterion" of a molecule; None where there is no such group.

    Parameters
    ----------
    molecule : RDKit's, without explicit hydrogens

    Returns
    -------
    str   canonical SMILES
    """
    changed = Chem.RWMol(molecule)
    if kind == "zwitterion":
        steps = [(STRONG_ACIDS, -1), (STRONG_BASES, 1)]
    elif kind == "anion":
        steps = [(tuple(ACIDS), -1)]
    else:
        steps = [(tuple(BASES), 1)]
    for patterns, charge in steps:
        site = _site(changed, patterns, ACIDS if charge < 0 else BASES, rng)
        if site is None:
            return _carbocation(molecule, rng) if kind == "cation" else None
        _shift_proton(changed.GetAtomWithIdx(site), charge, charge)
    return _smiles(changed)


def formal_charges(molecule: Any) -> NDArray[np.int8]:
    """Say which atoms carry a charge (N,) e.

    Opposite charges of neighbours cancel (nitro, N-oxides, ylides); what a group shares sits on its
    centre (the carbon of a carboxylate or a guanidinium, the sulfur of a sulfonate); all other
    atoms carry 0. The sum is the charge of the molecule.
    """
    charges = np.array([atom.GetFormalCharge() for atom in molecule.GetAtoms()], dtype=np.int8)
    for bond in molecule.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if charges[i] * charges[j] < 0:
            smaller = min(abs(charges[i]), abs(charges[j]))
            charges[i] -= np.sign(charges[i]) * smaller
            charges[j] -= np.sign(charges[j]) * smaller
    for pattern in map(_pattern, CENTRES):
        for centre, *others in molecule.GetSubstructMatches(pattern):
            for other in others:
                if charges[other] and not charges[centre]:
                    charges[centre], charges[other] = charges[other], 0
    return charges


def _carbocation(molecule: Any, rng: np.random.Generator) -> str | None:
    if (site := _site(molecule, (CARBOCATIONS,), {}, rng)) is None:
        return None
    changed = Chem.RWMol(molecule)
    _shift_proton(changed.GetAtomWithIdx(site), -1, 1)
    return _smiles(changed)


def _site(
    molecule: Any, patterns: tuple[str, ...], weights: dict[str, int], rng: np.random.Generator
) -> int | None:
    """Choose an uncharged atom that a pattern begins with, by the weight of the pattern."""
    sites = {
        match[0]: weights.get(pattern, 1)
        for pattern in reversed(patterns)
        for match in molecule.GetSubstructMatches(_pattern(pattern))
        if molecule.GetAtomWithIdx(match[0]).GetFormalCharge() == 0
    }
    if not sites:
        return None
    atoms = sorted(sites)
    share = np.array([sites[n] for n in atoms], dtype=float)
    return int(atoms[rng.choice(len(atoms), p=share / share.sum())])


def _shift_proton(atom: Any, hydrogens: int, charge: int) -> None:
    total = atom.GetTotalNumHs() + hydrogens
    atom.SetNoImplicit(True)
    atom.SetNumExplicitHs(max(total, 0))
    atom.SetFormalCharge(charge)


def _smiles(molecule: Any) -> str | None:
    with rdBase.BlockLogs():
        if Chem.SanitizeMol(molecule, catchErrors=True):
            return None
        again = Chem.MolFromSmiles(Chem.MolToSmiles(molecule, isomericSmiles=False))
    if again is None or any(atom.GetNumRadicalElectrons() for atom in again.GetAtoms()):
        return None
    smiles: str = Chem.MolToSmiles(again)
    return smiles


@cache
def _pattern(smarts: str) -> Any:
    return Chem.MolFromSmarts(smarts)
