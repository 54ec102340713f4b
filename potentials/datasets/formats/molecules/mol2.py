"""Molecules of Tripos mol2 files, with the charge that their partial charges add up to."""

from __future__ import annotations

import re

from ase import Atoms
from ase.cell import Cell
from ase.data import atomic_numbers

WHOLE = 0.02  # e, by which partial charges that are written with few digits miss a whole number


def read_mol2(text: str, name: str) -> list[tuple[Atoms, list[str]]]:
    """Read every molecule of a file, and what of it was not used.

    Raises
    ------
    ValueError   a molecule that is not whole, what is no element
    """
    records = re.split(r"^@<TRIPOS>MOLECULE[^\n]*\n", text, flags=re.MULTILINE)[1:]
    found = []
    for number, record in enumerate(records):
        try:
            found.append(_molecule(record))
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"`{name}` must hold whole molecules in mol2 format; got {error} in molecule"
                f" {number}. Correct it."
            ) from error
    return found


def _molecule(record: str) -> tuple[Atoms, list[str]]:
    head, *rest = re.split(r"^@<TRIPOS>", record, flags=re.MULTILINE)
    sections = {part.split("\n", 1)[0].strip(): _lines(part)[1:] for part in rest}
    counts, charge_type = head.split("\n")[1], [*head.split("\n"), "", "", ""][3].strip()
    rows = [line.split() for line in sections.get("ATOM", [])]
    if len(rows) != int(counts.split()[0]):
        raise ValueError(f"{len(rows)} of {int(counts.split()[0])} atoms")
    symbols = [row[5].split(".")[0].capitalize() for row in rows]
    if unknown := sorted(set(symbols) - atomic_numbers.keys()):
        raise ValueError(f"{unknown[0]!r}, which is no element")
    atoms = Atoms(symbols, positions=[[float(word) for word in row[2:5]] for row in rows])
    if "CRYSIN" in sections:
        atoms.cell = Cell.new([float(word) for word in sections["CRYSIN"][0].split()[:6]])
        atoms.pbc = True
    charges = [float(row[8]) for row in rows if len(row) > 8]
    if charge_type == "NO_CHARGES" or not any(charges):
        return atoms, []
    total = sum(charges)
    if len(charges) < len(rows) or abs(total - round(total)) > WHOLE:
        return atoms, [
            f"its partial charges add up to {total:.2f} and tell no charge. Pass --charge"
        ]
    atoms.info["charge"] = round(total)
    return atoms, []


def _lines(section: str) -> list[str]:
    return [line for line in section.split("\n") if line.strip() and not line.startswith("#")]
