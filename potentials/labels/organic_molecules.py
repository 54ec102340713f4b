"""Which molecules: random graphs of H, C, N, O, F, S, Cl that a chemist accepts, and named ones.

A molecule grows by steps: an atom or a group on a free valence, a multiple bond, a ring. What is
left is sanitised by RDKit, must pass the filters, and is there once, by its canonical SMILES.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from potentials.labels.method import Failed, Integers

SIZES = {
    3: 2,
    4: 6,
    5: 12,
    6: 17,
    7: 19,
    8: 17,
    9: 11,
    10: 7,
    11: 5,
    12: 4,
}  # heavy atoms: share of the molecules
ATOMS = {"C": 62, "N": 13, "O": 13, "F": 5, "S": 3, "Cl": 4}  # that grow: weight
GROUPS = (
    *(
        "c1ccccc1",
        "c1ccncc1",
        "c1cc[nH]c1",
        "c1ccoc1",
        "c1ccsc1",
        "c1cnc[nH]1",
        "C1CC1",
        "C1CCCC1",
        "C1CCCCC1",
        "C1CO1",
        "C1CCOC1",
    ),
    *(
        "C=O",
        "C=O",
        "C=O",
        "C(=O)O",
        "C(=O)N",
        "C#N",
        "C=C",
        "C=C",
        "C#C",
        "C(F)(F)F",
        "[N+](=O)[O-]",
        "S(=O)(=O)C",
        "S(C)=O",
        "C=NC",
    ),
    *("CC", "C(C)C", "OC", "N(C)C", "CO", "CN"),
)
STEPS = {"atom": 62, "group": 22, "bond": 9, "ring": 7}  # weight
RINGS = {3: 1, 4: 1, 5: 6, 6: 6, 7: 1}  # atoms of a new ring: weight
UNWANTED = (
    "[#8]~[#8]",  # peroxides
    "[F,Cl]~[!#6]",  # halogens on anything but carbon
    "[#7]~[#7]~[#7]",  # chains of three or more nitrogens
    "[#7;!$([#7+](=O)[O-])]~[#8;!$([#8]~[#7+](=O))]-[#7,#8]",
    "[#16]~[#16]~[#16]",
    "[#16;X2,X3]-[#7,#8;X1,X2]",  # sulfenic acids and the like
    "[*]=[#6]=[*]",  # cumulenes; the smallest are there by name
    "[#6]#[#6]-[!#6]",  # heteroatoms on triple bonds
    "[#16;H;!X2]",  # hydrogen on oxidised sulfur
    "[#16;X2]=[*]=,#*",
    # sulfur with more bonds, but in sulfoxides and sulfones
    "[#16;!$(S(=O)(=O)(-*)-*);!$([SX3](=O)(-*)-*);X3,X4]",
    "[#16]=[#16]",
    "[#6]=[#16;X2]=,#*",
    "[#6]=[#16]=[#8]",
    "[r3]=,#*",  # multiple bonds at three-membered rings
    "[r4]=,#[r4]",
    "[R]#*",  # triple bonds in rings
    "[R3]=*",  # a double bond at a bridgehead
    "[r3]~[r3]~[r3,r4;R2]",  # fused small rings
    "[C;X4]([OH,NH2,SH])([OH,NH2,SH])[OH,NH2,SH]",
    "[C;X3](=[C,N])([OH])[OH]",
)
SMALL = (  # SMILES and multiplicity: inorganic ones, ions and radicals that no growth finds
    *(
        ("[H][H]", 1),
        ("O", 1),
        ("N", 1),
        ("C", 1),
        ("F", 1),
        ("Cl", 1),
        ("S", 1),
        ("[C-]#[O+]", 1),
        ("O=C=O", 1),
        ("N#N", 1),
        ("O=O", 3),
    ),
    *(
        ("C#N", 1),
        ("C#C", 1),
        ("C=C", 1),
        ("CC", 1),
        ("OO", 1),
        ("[N-]=[N+]=O", 1),
        ("O=S=O", 1),
        ("[N]=O", 2),
        ("[OH]", 2),
        ("[CH3]", 2),
    ),
    *(
        ("[NH2]", 2),
        ("[SH]", 2),
        ("[CH2]", 3),
        ("OCl", 1),
        ("OF", 1),
        ("FF", 1),
        ("ClCl", 1),
        ("FCl", 1),
        ("S=C=S", 1),
        ("O=C=S", 1),
    ),
    *(
        ("C=O", 1),
        ("OC=O", 1),
        ("CO", 1),
        ("CS", 1),
        ("CN", 1),
        ("NN", 1),
        ("NO", 1),
        ("N=O", 1),
        ("ON=O", 1),
        ("O[N+](=O)[O-]", 1),
    ),
    *(
        ("O=[N+][O-]", 2),
        ("[O-][O+]=O", 1),
        ("C=C=O", 1),
        ("CF", 1),
        ("FCF", 1),
        ("FC(F)F", 1),
        ("FC(F)(F)F", 1),
        ("CCl", 1),
        ("ClCCl", 1),
    ),
    *(
        ("ClC(Cl)Cl", 1),
        ("NC=O", 1),
        ("NC(N)=O", 1),
        ("O=S(=O)=O", 1),
        ("SS", 1),
        ("C=S", 1),
        ("CC#N", 1),
        ("C=N", 1),
        ("N=N", 1),
    ),
    *(
        ("[OH-]", 1),
        ("[SH-]", 1),
        ("[NH2-]", 1),
        ("[C-]#N", 1),
        ("[OH3+]", 1),
        ("[NH4+]", 1),
        ("[SH3+]", 1),
        ("C[O-]", 1),
        ("[O-]C=O", 1),
    ),
    *(
        ("CC([O-])=O", 1),
        ("O=[N+]([O-])[O-]", 1),
        ("O=N[O-]", 1),
        ("OC([O-])=O", 1),
        ("[N-]=[N+]=[N-]", 1),
        ("N#[O+]", 1),
        ("C[NH3+]", 1),
    ),
    *(
        ("C[OH2+]", 1),
        ("C=[OH+]", 1),
        ("[CH3+]", 1),
        ("C[S-]", 1),
        ("C[O]", 2),
        ("C[CH2]", 2),
        ("C[NH]", 2),
        ("[CH]=O", 2),
        ("[CH2]O", 2),
    ),
    *(
        ("N#[C]", 2),
        ("[O]O", 2),
        ("C[S]", 2),
        ("[CH]=C", 2),
        ("[O]Cl", 2),
        ("[NH]", 3),
        ("[CH2]=[NH2+]", 1),
        ("[CH2-]C#N", 1),
    ),
)
SMALLER_SIZES = {
    4: 1,
    5: 6,
    6: 22,
    7: 32,
    8: 24,
    9: 10,
    10: 5,
}  # of two draws: small molecules err more, and cost less
DRAWS = (
    5600,
    13871,
    51588,
    63278,
    95000,
    121000,
    129000,
    174600,
    251700,
)  # up to so many molecules to train on, of each draw but the last
IONS = ("[OH-]", "[NH4+]", "[OH3+]", "[O-]C=O", "[C-]#N")
PARTNERS = ("O", "O", "N", "F", "Cl", "S", "CO", "C=O", *IONS, "C")  # of pairs
WATER = "O"


class Parent(NamedTuple):
    """A molecule of the set; its ions and radicals belong to it."""

    smiles: str  # canonical
    multiplicity: int = 1  # of its ground state
    small: bool = False  # by name
    test: bool = False  # never trained on
    draw: int = 0  # 1 to 9: further ones, of fewer geometries each


def parents(n_train: int, n_test: int, seed: int) -> list[Parent]:
    """Grow so many different molecules, in an order without meaning.

    The small ones are among them, and always trained on.

    Beyond the first draw further molecules to train on follow, so that a larger set begins with a
    smaller one and has its test molecules. Those of the last draw are not new: they are drawn again
    from all before, as large as those of the first draw.
    """
    from rdkit import rdBase

    small = {canonical(smiles): multiplicity for smiles, multiplicity in SMALL}
    known = set(small)
    with rdBase.BlockLogs():  # most of what grows is refused, and need not be told
        rng = np.random.default_rng((seed, 0))
        grown = _grow_new(min(n_train, DRAWS[0]) + n_test - len(small), known, rng)
        tested = set(rng.permutation(len(grown))[:n_test].tolist())
        made = [Parent(smiles, test=n in tested) for n, smiles in enumerate(grown)]
        made += [Parent(smiles, multiplicity, small=True) for smiles, multiplicity in small.items()]
        first = [made[n] for n in rng.permutation(len(made))]
        further = _grow_new(
            min(n_train, DRAWS[4]) - DRAWS[0], known, np.random.default_rng((seed, 2))
        )
        further += _grow_new(
            min(n_train, DRAWS[6]) - DRAWS[4],
            known,
            np.random.default_rng((seed, 3)),
            SMALLER_SIZES,
        )
        further += _grow_new(
            min(n_train, DRAWS[7]) - DRAWS[6], known, np.random.default_rng((seed, 4))
        )
        further += _grow_new(
            min(n_train, DRAWS[8]) - DRAWS[7], known, np.random.default_rng((seed, 5))
        )
        if n_train > DRAWS[8]:
            trained = [parent.smiles for parent in first if not (parent.test or parent.small)]
            further += _again(
                n_train - DRAWS[8], trained, trained + further, np.random.default_rng((seed, 6))
            )
        return first + [
            Parent(smiles, draw=bisect_right(DRAWS, n))
            for n, smiles in enumerate(further, DRAWS[0])
        ]


def _again(count: int, alike: list[str], known: list[str], rng: np.random.Generator) -> list[str]:
    """Draw known molecules, with as many heavy atoms as some others have.

    New ones grow ever larger, as the small ones are known.
    """
    by_size: dict[int, list[str]] = {}
    for smiles in known:
        by_size.setdefault(_n_heavy(smiles), []).append(smiles)
    sizes = [_n_heavy(smiles) for smiles in alike]
    made = []
    for _ in range(count):  # one after the other: more molecules begin with fewer
        candidates = by_size[sizes[int(rng.integers(len(sizes)))]]
        made.append(candidates[int(rng.integers(len(candidates)))])
    return made


def _n_heavy(smiles: str) -> int:
    from rdkit import Chem

    return int(Chem.MolFromSmiles(smiles).GetNumHeavyAtoms())


def _grow_new(
    count: int, known: set[str], rng: np.random.Generator, sizes: dict[int, int] = SIZES
) -> list[str]:
    """Grow so many molecules that are not known yet; they are known then."""
    made: list[str] = []
    while len(made) < count:
        grown = grow(rng, sizes)
        if grown is not None and grown not in known:
            known.add(grown)
            made.append(grown)
    return made


def grow(rng: np.random.Generator, sizes: dict[int, int] = SIZES) -> str | None:
    """Grow one molecule: its canonical SMILES, or None where what grew is not wanted."""
    from rdkit import Chem

    n_heavy = int(_draw(sizes, rng))
    molecule = Chem.RWMol(
        _molecule(GROUPS[rng.integers(len(GROUPS))] if rng.random() < 0.4 else "C")
    )
    for _ in range(4 * n_heavy):
        free = _free_valences(molecule)
        if not free.any():
            return None
        grown = Chem.RWMol(molecule)
        match _draw(STEPS, rng):
            case "atom" if molecule.GetNumAtoms() < n_heavy:
                _attach(grown, _molecule(_draw(ATOMS, rng)), free, rng)
            case "group" if molecule.GetNumAtoms() < n_heavy:
                _attach(grown, _molecule(GROUPS[rng.integers(len(GROUPS))]), free, rng)
            case "bond":
                _raise_order(grown, free, rng)
            case "ring":
                _close_ring(grown, free, rng)
        if grown.GetNumAtoms() <= n_heavy and _is_sane(grown):
            molecule = grown
        if molecule.GetNumAtoms() == n_heavy and rng.random() < 0.4:
            break
    if molecule.GetNumAtoms() != n_heavy or not is_wanted(molecule):
        return None
    return canonical(Chem.MolToSmiles(molecule))


def is_wanted(molecule: Any) -> bool:
    """Whether nothing strained or unstable is in a molecule."""
    rings = molecule.GetRingInfo().AtomRings()
    small = [ring for ring in rings if len(ring) < 5]
    if any(_is_bridged(molecule, one, other) for one, other in combinations(rings, 2)):
        return False
    heteroatoms = sum(atom.GetAtomicNum() != 6 for atom in molecule.GetAtoms())
    if (
        len(rings) > 3
        or len(small) > 1
        or max(map(len, rings), default=0) > 7
        or heteroatoms > 0.7 * molecule.GetNumAtoms()
    ):
        return False
    if any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        return False
    return not any(molecule.HasSubstructMatch(pattern) for pattern in _unwanted())


def _is_bridged(molecule: Any, ring: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two rings share more than a bond and have flat or few atoms: strained."""
    shared = len(set(ring) & set(other))
    flat = any(molecule.GetAtomWithIdx(n).GetHybridization().name != "SP3" for n in {*ring, *other})
    return shared > 2 and (flat or min(len(ring), len(other)) < 5)


def canonical(smiles: str) -> str:
    """Return the canonical SMILES of a molecule without stereochemistry."""
    from rdkit import Chem

    found: str = Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False)
    return found


def protonated(molecule: Any, rng: np.random.Generator) -> Any:
    """Put a proton on a lone pair of a molecule without explicit hydrogens: a new molecule."""
    from rdkit import Chem

    sites = [
        a.GetIdx()
        for a in molecule.GetAtoms()
        if a.GetAtomicNum() in (7, 8, 16) and _takes_proton(a)
    ]
    if not sites:
        raise Failed("there is no place for a proton")
    ion = Chem.RWMol(molecule)
    atom = ion.GetAtomWithIdx(int(rng.choice(sites)))
    atom.SetFormalCharge(1)
    atom.SetNumExplicitHs(atom.GetTotalNumHs() + 1)
    atom.SetNoImplicit(True)
    if Chem.SanitizeMol(ion, catchErrors=True):
        raise Failed("RDKit refuses the protonated molecule")
    return ion.GetMol()


def removable_hydrogen(molecule: Any, acidic: bool, rng: np.random.Generator) -> int:
    """Choose a hydrogen of a molecule with explicit ones.

    The acidic ones on N, O and S first, or any.
    """
    hydrogens = [a.GetIdx() for a in molecule.GetAtoms() if a.GetAtomicNum() == 1]
    polar = [
        h
        for h in hydrogens
        if molecule.GetAtomWithIdx(h).GetNeighbors()[0].GetAtomicNum() in (7, 8, 16)
    ]
    if not hydrogens:
        raise Failed("there is no hydrogen to remove")
    return int(rng.choice(polar if acidic and polar else hydrogens))


def _takes_proton(atom: Any) -> bool:
    has_room: bool = (
        atom.GetTotalDegree() < {7: 4, 8: 3, 16: 3}[atom.GetAtomicNum()]
        and atom.GetTotalValence() < 4
    )
    return has_room and atom.GetFormalCharge() == 0


def _attach(molecule: Any, group: Any, free: Integers, rng: np.random.Generator) -> None:
    """Bind a group by a single bond between free valences of both."""
    n_before = molecule.GetNumAtoms()
    own = int(rng.choice(np.flatnonzero(free)))
    candidates = np.flatnonzero(_free_valences(group))
    other = (
        0
        if group.GetAtomWithIdx(0).GetFormalCharge()
        else int(rng.choice(candidates))
        if rng.random() < 0.3
        else int(candidates[0])
    )
    molecule.InsertMol(group)
    molecule.AddBond(own, n_before + other, _bond_type(1))
    for index in (own, n_before + other):  # an aromatic nitrogen gives its hydrogen up
        atom = molecule.GetAtomWithIdx(index)
        atom.SetNumExplicitHs(max(atom.GetNumExplicitHs() - 1, 0))


def _raise_order(molecule: Any, free: Integers, rng: np.random.Generator) -> None:
    bonds = [
        b
        for b in molecule.GetBonds()
        if free[b.GetBeginAtomIdx()] and free[b.GetEndAtomIdx()] and not b.GetIsAromatic()
    ]
    if bonds:
        bond = bonds[rng.integers(len(bonds))]
        bond.SetBondType(_bond_type(min(int(bond.GetBondTypeAsDouble()) + 1, 3)))


def _close_ring(molecule: Any, free: Integers, rng: np.random.Generator) -> None:
    from rdkit import Chem

    bonds_between = Chem.GetDistanceMatrix(molecule)
    size = int(_draw(RINGS, rng))
    pairs = [
        (i, j)
        for i in np.flatnonzero(free)
        for j in np.flatnonzero(free)
        if i < j and bonds_between[i, j] == size - 1
    ]
    if pairs:
        i, j = pairs[rng.integers(len(pairs))]
        molecule.AddBond(int(i), int(j), _bond_type(1))


def _free_valences(molecule: Any) -> Integers:
    """Hydrogens that each atom could give up (N,)."""
    molecule.UpdatePropertyCache(strict=False)
    return np.array([atom.GetTotalNumHs() for atom in molecule.GetAtoms()], dtype=np.int64)


def _is_sane(molecule: Any) -> bool:
    from rdkit import Chem

    return int(Chem.SanitizeMol(molecule, catchErrors=True)) == 0


def _bond_type(order: int) -> Any:
    from rdkit import Chem

    return {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}[order]


@cache
def _molecule(smiles: str) -> Any:
    from rdkit import Chem

    return Chem.MolFromSmiles(smiles)


@cache
def _unwanted() -> list[Any]:
    from rdkit import Chem

    return [Chem.MolFromSmarts(smarts) for smarts in UNWANTED]


def _draw(weights: dict[Any, int], rng: np.random.Generator) -> Any:
    """Choose a key by its weight."""
    keys = list(weights)
    share = np.array([weights[key] for key in keys], dtype=float)
    return keys[rng.choice(len(keys), p=share / share.sum())]
