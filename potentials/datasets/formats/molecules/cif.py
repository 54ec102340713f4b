"""CIF files: the charge that moieties or oxidation numbers add up to, which ASE leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

from ase import Atoms
from ase.io.cif import CIFBlock, parse_cif

MOIETY_CHARGE = re.compile(r"(?<![\w.])(\d*)([+-])(?=[\s)]|$)")  # as in C2 H3 O2 1-
TYPE = re.compile(r"([A-Z][a-z]?)(?:(\d*)([+-]))?")  # as in Fe3+


def read_cif(text: str) -> list[tuple[Atoms, list[str]]]:
    """Read every structure of a file, with remarks on it."""
    found = []
    for block in parse_cif(BytesIO(text.encode())):
        if not block.has_structure():
            continue
        atoms = block.get_atoms(fractional_occupancies=True)
        remarks: list[str] = []
        if charge := _of_moieties(block):
            atoms.info["charge"] = charge
        else:
            charge, remarks = _of_oxidation_numbers(block, atoms)
            if charge:
                atoms.info["charge"] = charge
        found.append((atoms, remarks))
    return found


def _of_moieties(block: CIFBlock) -> int:
    """Add up the charges of the moieties; those that balance say nothing."""
    total = 0
    for moiety in str(block.get("_chemical_formula_moiety") or "").split(","):
        times = re.match(r"\s*(\d+)\s*\(", moiety)
        for size, sign in MOIETY_CHARGE.findall(moiety):
            total += (int(times[1]) if times else 1) * int(f"{sign}{size or 1}")
    return total


def _of_oxidation_numbers(block: CIFBlock, atoms: Atoms) -> tuple[int, list[str]]:
    """Add up the oxidation numbers of the atoms; 0 where they balance or are not known."""
    numbers: dict[str, set[float]] = {}
    for element, number in _oxidation_numbers(block):
        numbers.setdefault(element, set()).add(number)
    if not numbers:
        return 0, []
    if any(len(numbers.get(symbol, set())) != 1 for symbol in set(atoms.symbols)):
        return 0, ["its oxidation numbers are not one for each element, and were not added up"]
    total = sum(min(numbers[symbol]) for symbol in atoms.symbols)
    if total and total == round(total):
        return round(total), [f"the charge {round(total):+d} is the sum of its oxidation numbers"]
    return 0, [f"its oxidation numbers add up to {total:+.2f}, no charge"] if total else []


def _oxidation_numbers(block: CIFBlock) -> Iterator[tuple[str, float]]:
    symbols = _listed(block, "_atom_type_symbol")
    given = _listed(block, "_atom_type_oxidation_number")
    if len(symbols) == len(given):
        for symbol, number in zip(symbols, given, strict=True):
            if (match := TYPE.match(str(symbol))) and isinstance(number, int | float):
                yield match[1], float(number)
    if given:
        return
    for symbol in _listed(block, "_atom_site_type_symbol"):
        if (match := TYPE.match(str(symbol))) and match[3]:
            yield match[1], float(f"{match[3]}{match[2] or 1}")


def _listed(block: CIFBlock, name: str) -> list[object]:
    value = block.get(name)
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
