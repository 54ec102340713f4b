"""Do far molecules have the sum of their energies and the Coulomb energy of their charges?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from benchmarks.physics.ions.contestants import Contestant, Said
from benchmarks.physics.ions.molecules import apart, drop, joined, molecule

COULOMB = 14.399645  # e²/(4πε0), eV Å
APART_A = (15.0, 30.0, 60.0, 300.0)
TARGET_MEV = 1.0
CATIONS = (  # of two molecules the first has the lower ionisation energy; closed shells last
    ("Nc1ccccc1", "O"),
    ("c1ccccc1", "C"),
    ("Oc1ccccc1", "c1ccccc1"),
    ("CN(C)C", "CO"),
    ("CSC", "N"),
    ("c1cc[nH]c1", "CC=O"),
    ("[NH4+]", "c1ccccc1"),
    ("[NH4+]", "O"),
    ("[OH3+]", "CO"),
    ("c1cc[nH+]cc1", "CC(C)=O"),
)
ANIONS = (  # the first holds an electron better
    ("O=C1C=CC(=O)C=C1", "c1ccccc1"),
    ("O=[N+]([O-])c1ccccc1", "O"),
    ("ClCl", "C"),
    ("[O][O]", "CO"),
    ("[Cl-]", "c1ccccc1"),
    ("[F-]", "O"),
    ("[OH-]", "CCC"),
    ("CC(=O)[O-]", "O"),
    ("C[S-]", "N"),
    ("[O-]c1ccccc1", "CO"),
)
SHARING = (("c1ccccc1", 1), ("Nc1ccccc1", 1), ("O=C1C=CC(=O)C=C1", -1))  # two share one charge
COPIES = (("[NH4+]", 1), ("CC(=O)[O-]", -1), ("Nc1ccccc1", 1))
N_COPIES = (2, 4, 8)
BESIDE = (("[NH4+]", 1), ("[Cl-]", -1))
N_WATERS = (1, 10, 100)
FAR_A = 30.0  # of copies, of waters, of two that share a charge


class System(NamedTuple):
    """Molecules far apart, each in the state that it should have."""

    group: str
    name: str
    parts: list[Atoms]


def measure(contestant: Contestant) -> list[dict[str, Any]]:
    """Measure deviations from additivity, in meV, and the charge that the first molecule keeps."""
    rows = []
    for system in systems():
        distances = APART_A if system.group in ("cations", "anions") else (FAR_A,)
        row: dict[str, Any] = {"group": system.group, "system": system.name}
        row["closed"] = all(part.info["multiplicity"] == 1 for part in system.parts)
        covered = contestant.covers(joined(system.parts)) and all(
            contestant.covers(part) for part in system.parts
        )
        found = [_deviation(contestant, system.parts, d) if covered else None for d in distances]
        rows.append(row | {"apart_A": distances, "found": found})
    return rows


def systems() -> list[System]:
    """List all."""
    found = [
        System(group, _name(smiles, charge, other), [molecule(smiles, charge), molecule(other)])
        for group, charge, pairs in (("cations", 1, CATIONS), ("anions", -1, ANIONS))
        for smiles, other in pairs
    ]
    found += [
        System("shared", f"2 {s} share {q:+d}", [molecule(s, q), molecule(s)]) for s, q in SHARING
    ]
    found += [
        System("copies", f"{n} × {_signed(s, q)}", [molecule(s, q)] * n)
        for s, q in COPIES
        for n in N_COPIES
    ]
    found += [
        System("beside water", f"{_signed(s, q)} … {n} H2O", [molecule(s, q), drop(n)])
        for s, q in BESIDE
        for n in N_WATERS
    ]
    return found


def coulomb_eV(parts: Sequence[Atoms], said: Sequence[Said]) -> float:
    """Sum q q'/r over the atoms of different parts, with the charges that each has alone."""
    total = 0.0
    for n, one in enumerate(parts):
        for m in range(n):
            mine, others = said[n].charges, said[m].charges
            if mine is None or others is None:
                continue
            vectors = one.positions[:, None] - parts[m].positions[None]
            total += float((np.outer(mine, others) / np.linalg.norm(vectors, axis=-1)).sum())
    return COULOMB * total


def _deviation(
    contestant: Contestant, parts: Sequence[Atoms], distance_A: float
) -> dict[str, float | None]:
    placed = apart(parts, distance_A)
    together, *alone = contestant.ask([joined(placed), *placed])
    expected = sum(each.energy for each in alone) + coulomb_eV(placed, alone)
    first = slice(0, len(placed[0]))
    return {
        "meV": 1000 * (together.energy - expected),
        "charge": None if together.charges is None else float(together.charges[first].sum()),
    }


def _name(smiles: str, charge: int, other: str) -> str:
    return f"{_signed(smiles, charge)} … {other}"


def _signed(smiles: str, charge: int) -> str:
    """Name an ion; one of a closed shell says its charge itself."""
    if molecule(smiles).info["charge"] == charge:
        return smiles
    return f"({smiles}){'+' if charge > 0 else '−'}"
