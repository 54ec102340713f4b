"""Atoms of input files that ASE does not read: ORCA, Q-Chem, Psi4; and NWChem, where it errs.

The first three write charge and multiplicity, then a line for each atom, between two marks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.data import atomic_numbers

ATOMS = re.compile(
    r"(?:^\s*\*\s*xyz|^\s*\$molecule|\bmolecule\s*\w*\s*\{)\s*([+-]?\d+)\s+(\d+)\s*\n(.*?)"
    r"^\s*(?:\*|\$end|\})",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
BESIDE = re.compile(r"^\s*\*\s*xyzfile\s+([+-]?\d+)\s+(\d+)\s+(\S+)", re.IGNORECASE | re.MULTILINE)
# outputs repeat their input, and end elsewhere
OUTPUT = re.compile(r"Welcome to Q-Chem|Psi4: An Open-Source|\*\s+O\s+R\s+C\s+A\s+\*")
BOHR = re.compile(r"^\s*!.*\bbohrs\b|input_bohr\s+true|units\s+(?:bohr|au)", re.I | re.M)

GEOMETRY = re.compile(r"^[ \t]*geometry\b([^\n]*)\n(.*?)^[ \t]*end\b", re.I | re.M | re.S)
NOT_ANGSTROM = re.compile(r"\bunits\s+(?!an)\w+", re.IGNORECASE)
PERIODIC = re.compile(r"\bsystem\s+(?:crystal|slab|polymer)\b", re.IGNORECASE)


def read_input(text: str, path: Path) -> Atoms | None:
    """Read the atoms of an input file with its charge and multiplicity; None where it is none.

    Raises
    ------
    ValueError   lengths in bohr, lines that are no atoms, several jobs that differ
    """
    if OUTPUT.search(text):
        return None
    beside = BESIDE.search(text)
    block = ATOMS.search(text)
    if beside is None and block is None:
        return None
    jobs = {match.groups() for pattern in (ATOMS, BESIDE) for match in pattern.finditer(text)}
    if len(jobs) > 1:
        raise ValueError(
            f"`{path.name}` must hold one structure in one state; got {len(jobs)} jobs that"
            " differ. Split it."
        )
    if BOHR.search(text):
        raise ValueError(
            f"`{path.name}` must be in Å; its lengths are in bohr. Write the structure as extxyz."
        )
    if beside is not None:
        rows = (path.parent / beside[3]).read_text(encoding="utf-8").splitlines()[2:]
        state = beside
    else:
        assert block is not None
        rows, state = block[3].splitlines(), block
    atoms = _atoms(rows, path)
    atoms.info = {"charge": int(state[1]), "multiplicity": int(state[2])}
    return atoms


def read_nwchem(text: str, path: Path) -> Atoms | None:
    """Read the atoms of an NWChem input; None where it is periodic or has none.

    Raises
    ------
    ValueError   lengths not in Å, several geometries, lines that are no atoms
    """
    found = GEOMETRY.findall(text)
    if not found or PERIODIC.search(text):
        return None
    if len(found) > 1:
        raise ValueError(
            f"`{path.name}` must hold one structure; got {len(found)} geometries. Split it."
        )
    ((head, block),) = found
    if other := NOT_ANGSTROM.search(head):
        raise ValueError(
            f"`{path.name}` must be in Å; got {other[0]}. Write the structure as extxyz."
        )
    return _atoms(block.splitlines(), path)


def _atoms(rows: Sequence[str], path: Path) -> Atoms:
    symbols, positions = [], []
    for row in rows:
        words = row.split("#")[0].split()
        if not words or len(words) == 1 or words[0].lower() in ("symmetry", "units"):
            continue
        if len(words) < 4 or words[0].capitalize() not in atomic_numbers:
            raise ValueError(
                f"`{path.name}` must have a symbol and three lengths for each atom; got {row!r}."
                " Write the structure as extxyz."
            )
        symbols.append(words[0].capitalize())
        positions.append([float(word) for word in words[1:4]])
    return Atoms(symbols, positions=positions)
