"""Which small species: the molecules that valences allow, these without hydrogens, some by name.

A molecule grows atom by atom, by a single bond in the place of a hydrogen; then bonds are raised
and rings closed where two hydrogens can be spared. What remains is there once, by its canonical
SMILES.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from itertools import combinations
from typing import Any, NamedTuple

from potentials.structure.graph import State

ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
LARGEST = 4  # heavy atoms
UNWANTED = (  # of three and more heavy atoms
    "[F,Cl,Br,I]~[!#6]",  # halogens on anything but carbon
    "[O,S]~[O,S]",
    "[!#6]~[!#6]~[!#6]",
    "[!#6]1~[!#6]~*1",
    "[R]#*",
    "[r3]=[!#6]",
    "[P]=,#[!#6]",
)
THIRD_ROW = "[P,S,Cl,Br,I]"
MOST_THIRD_ROW = 1  # of them in three and more heavy atoms
HEAVY = "[P,Br,I]"  # not in the largest molecules
ACCEPTING = (
    "[!#1;!#6]~[P,S,Cl,Br,I]",
    "[N,O]=,#[N,O]",
    "*=,#*~*=,#*",
)  # beside carbenes and their like
UNSATURATED = "*=,#*"
RARE = frozenset({15, 35, 53})
CARBENES = 2  # heavy atoms at most
NAMED = tuple(
    smiles
    for line in (
        "[H][H] [C-]#[O+] [C-]#[S+] [O-][O+]=O O=S=O N#[N+][O-] [N-]=[N+]=N [N]=[N+]=[N-] ON=O",
        "[O]N=O FN=O ClN=O BrN=O FOF ClOCl FSF ClSCl FNF F[N]F F[P]F Cl[P]Cl O=[P]=O OO[O] N[N]N",
        "[C-]#[N+]C FC(F)F F[C](F)F ClC(Cl)Cl Cl[C](Cl)Cl FP(F)F ClP(Cl)Cl FN(F)F BrC(Br)Br",
        "Br[C](Br)Br O=C(F)F FC(F)(F)F O=S(=O)=O O[N+](=O)[O-] [O][N+](=O)[O-] C[S]=O CS(C)=O",
        "C[N+](=O)[O-] [CH2][N+](=O)[O-] CO[O] COO C[O+]=C SC#N [S]C#N OC#N [O]C#N FOO O=C=C=O",
        "C=C=C=C N#CC#N C[P]C CP(C)C CN(C)C F[C]F F[C]Cl Cl[C]Cl Br[C]Br F[CH]Cl O[C]F N[C]N",
        "C[C]F C[C]C C[C]O [CH]C#C [CH]C=C [CH]C#N ClCCl Cl[CH]Cl BrCBr Br[CH]Br ICI I[CH]I ClCBr",
        "Cl[CH]Br S=C=S SC=S SCCl S=CCl P=C=S SCS C[N]C OP FP=O O=C(Cl)Cl",
    )
    for smiles in line.split()
)
CATIONS = tuple(
    smiles
    for line in (
        "[NH4+] [OH3+] [SH3+] [PH4+] [FH2+] [ClH2+] C[NH3+] C=[NH2+] C[OH2+] C[SH2+] N#[O+]",
        "C#[NH+] C=[OH+] C[PH3+] [NH3+]N [NH3+]O [OH2+]O N#[NH+] CC#[NH+] C[NH2+]C CC=[NH2+]",
        "CC=[OH+] NC=[OH+]",
    )
    for smiles in line.split()
)
ATOMS: dict[str, tuple[State, ...]] = {  # the ground states of the atom, its cation and its anion
    "H": ((0, 2), (-1, 1)),
    "C": ((0, 3), (1, 2), (-1, 4)),
    "N": ((0, 4), (1, 3), (-1, 3)),
    "O": ((0, 3), (1, 4), (-1, 2)),
    "F": ((0, 2), (1, 3), (-1, 1)),
    "P": ((0, 4), (1, 3), (-1, 3)),
    "S": ((0, 3), (1, 4), (-1, 2)),
    "Cl": ((0, 2), (1, 3), (-1, 1)),
    "Br": ((0, 2), (1, 3), (-1, 1)),
    "I": ((0, 2), (1, 3), (-1, 1)),
}


class Species(NamedTuple):
    """What is bound to what; its electrons are not told."""

    smiles: str  # canonical
    n_atoms: int
    n_heavy: int
    charge: int  # of the SMILES
    electrons: int  # of the SMILES
    n_rare: int  # atoms of P, Br, I
    unsaturated: bool  # multiple bonds, or two electrons that no bond holds
    accepting: bool  # whether it may bind an electron more, though all of its own are paired
    polar: bool  # whether an electron that no bond holds is not of carbon: its cation has two more

    @property
    def number(self) -> int:
        """Number the species, the same in every run and every list."""
        return int(sha256(self.smiles.encode()).hexdigest()[:8], 16)

    @property
    def states(self) -> tuple[State, ...]:
        """Name the states that are looked at, the one of the SMILES first."""
        if self.n_atoms == 1:
            return ATOMS[self.smiles.strip("[]")]
        if self.charge:
            return ((self.charge, 1),)
        if self.electrons % 2:
            return ((0, 2), (1, 1), (-1, 1), (1, 3)) if self.polar else ((0, 2), (1, 1), (-1, 1))
        triplet = self.unsaturated or self.n_atoms == 2
        return ((0, 1), *[(0, 3)] * triplet, (1, 2), *[(-1, 2)] * self.accepting)


@cache
def species() -> tuple[Species, ...]:
    """Make every species, small ones first."""
    from rdkit import Chem

    smiles = {f"[{symbol}]" for symbol in ATOMS} | {_canonical(s) for s in (*NAMED, *CATIONS)}
    grown = [
        Chem.MolFromSmiles(f"[{symbol}H{n}]")
        for symbol, n in zip(ELEMENTS, (4, 3, 2, 1, 3, 2, 1, 1, 1), strict=True)
    ]
    for n_heavy in range(1, LARGEST + 1):
        if n_heavy > 1:
            grown = _grown(grown, n_heavy)
        for molecule in grown:
            smiles |= {Chem.MolToSmiles(molecule), *_without_hydrogens(molecule, 1)}
            if n_heavy <= CARBENES:
                smiles |= _without_hydrogens(molecule, 2)
    found = [_species(s) for s in smiles]
    return tuple(sorted(found, key=lambda s: (s.n_heavy, s.n_atoms, s.smiles)))


def _grown(molecules: list[Any], n_heavy: int) -> list[Any]:
    """Add an atom wherever there is a hydrogen, then raise bonds and close rings."""
    found: dict[str, Any] = {}
    for molecule in molecules:
        for atom in molecule.GetAtoms():
            for symbol in ELEMENTS:
                if atom.GetTotalNumHs():
                    _keep(_with_atom(molecule, atom.GetIdx(), symbol), found)
    new = list(found.values())
    while new:
        raised: dict[str, Any] = {}
        for molecule in new:
            for closed in _with_bond(molecule):
                _keep(closed, raised)
        new = [m for s, m in raised.items() if s not in found]
        found |= raised
    return [m for m in found.values() if n_heavy < 3 or _wanted(m, n_heavy)]


def _keep(molecule: Any, found: dict[str, Any]) -> None:
    from rdkit import Chem

    smiles = Chem.MolToSmiles(molecule)
    if smiles not in found:
        found[smiles] = Chem.MolFromSmiles(smiles)


def _with_atom(molecule: Any, index: int, symbol: str) -> Any:
    from rdkit import Chem

    edited = _plain(molecule)
    edited.AddBond(index, edited.AddAtom(Chem.Atom(symbol)), Chem.BondType.SINGLE)
    Chem.SanitizeMol(edited)
    return edited.GetMol()


def _with_bond(molecule: Any) -> Iterator[Any]:
    """Bind each two atoms with hydrogens once more."""
    from rdkit import Chem

    higher = {
        None: Chem.BondType.SINGLE,
        Chem.BondType.SINGLE: Chem.BondType.DOUBLE,
        Chem.BondType.DOUBLE: Chem.BondType.TRIPLE,
    }
    spare = [a.GetIdx() for a in molecule.GetAtoms() if a.GetTotalNumHs()]
    for i, j in combinations(spare, 2):
        bond = molecule.GetBondBetweenAtoms(i, j)
        order = higher.get(bond.GetBondType() if bond else None)
        if order is None:
            continue
        edited = _plain(molecule)
        if bond:
            edited.RemoveBond(i, j)
        edited.AddBond(i, j, order)
        Chem.SanitizeMol(edited)
        yield edited.GetMol()


def _plain(molecule: Any) -> Any:
    """Copy a molecule whose hydrogens follow from the valences."""
    from rdkit import Chem

    edited = Chem.RWMol(molecule)
    Chem.Kekulize(edited, clearAromaticFlags=True)
    for atom in edited.GetAtoms():
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)
    return edited


def _wanted(molecule: Any, n_heavy: int) -> bool:
    from rdkit import Chem

    third_row = len(molecule.GetSubstructMatches(Chem.MolFromSmarts(THIRD_ROW)))
    if third_row > MOST_THIRD_ROW or not _has(molecule, "[#6]"):
        return False
    if n_heavy == LARGEST and _has(molecule, HEAVY):
        return False
    return not any(_has(molecule, pattern) for pattern in UNWANTED)


def _without_hydrogens(molecule: Any, count: int) -> set[str]:
    """Take hydrogens from one atom, two only where that leaves a carbene or its like."""
    from rdkit import Chem

    found = set()
    for atom in molecule.GetAtoms():
        if atom.GetTotalNumHs() >= count:
            edited = Chem.RWMol(molecule)
            Chem.Kekulize(edited, clearAromaticFlags=True)
            changed = edited.GetAtomWithIdx(atom.GetIdx())
            changed.SetNumExplicitHs(atom.GetTotalNumHs() - count)
            changed.SetNoImplicit(True)
            changed.SetNumRadicalElectrons(count)
            found.add(_canonical(Chem.MolToSmiles(edited)))
    return found


def _canonical(smiles: str) -> str:
    from rdkit import Chem

    return str(Chem.MolToSmiles(Chem.MolFromSmiles(smiles)))


def _species(smiles: str) -> Species:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():  # it wonders at lone hydrogens
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    numbers = [a.GetAtomicNum() for a in molecule.GetAtoms()]
    charge = Chem.GetFormalCharge(molecule)
    n_heavy = sum(z > 1 for z in numbers)
    n_rare = sum(z in RARE for z in numbers)
    free = [a for a in molecule.GetAtoms() if a.GetNumRadicalElectrons()]
    carbene = any(a.GetNumRadicalElectrons() > 1 for a in free)
    return Species(
        smiles,
        len(numbers),
        n_heavy,
        charge,
        sum(numbers) - charge,
        n_rare,
        unsaturated=carbene or _has(molecule, UNSATURATED),
        accepting=carbene or any(_has(molecule, pattern) for pattern in ACCEPTING),
        polar=any(a.GetAtomicNum() != 6 for a in free),
    )


def _has(molecule: Any, pattern: str) -> bool:
    from rdkit import Chem

    return bool(molecule.HasSubstructMatch(Chem.MolFromSmarts(pattern)))
