"""Molecules of MDL mol and sd files, V2000 and V3000, with charges, radicals and isotopes."""

from __future__ import annotations

import re
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers

from potentials.datasets.formats.isotopes import HYDROGEN, set_isotopes

CHARGE_CODES = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}  # of an atom line; 4 is a doublet radical
UNPAIRED = {0: 0, 1: 0, 2: 1, 3: 2}  # radical code -> unpaired electrons
END = "$$$$"


def read_molfile(text: str, name: str) -> list[Atoms]:
    """Read every molecule of a file.

    Raises
    ------
    ValueError   a molecule that is not whole, what is no element
    """
    lines = [line.rstrip("\r") for line in text.split("\n")]
    records: list[list[str]] = [[]]
    for line in lines:
        if line.startswith(END):
            records.append([])
        else:
            records[-1].append(line)
    found = [record for record in records if any(line.strip() for line in record)]
    molecules = []
    for number, record in enumerate(found):
        where = f"molecule {number} of {name}" if len(found) > 1 else name
        try:
            atoms = _v3000(record) if "V3000" in record[3] else _v2000(record)
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(
                f"`{name}` must hold whole molecules in MDL format; got {error} in {where}."
                " Correct it."
            ) from error
        atoms.info |= _data(record)
        molecules.append(atoms)
    return molecules


def _v2000(record: list[str]) -> Atoms:
    n_atoms = int(record[3][:3])
    rows = record[4 : 4 + n_atoms]
    symbols = [row[31:34].strip() for row in rows]
    positions = [[float(row[start : start + 10]) for start in (0, 10, 20)] for row in rows]
    if len(rows) < n_atoms:
        raise ValueError(f"{len(rows)} of {n_atoms} atoms")
    codes = [int(row[36:39].strip() or 0) for row in rows]
    charges = {n: CHARGE_CODES[code] for n, code in enumerate(codes) if code in CHARGE_CODES}
    radicals = {n: 2 for n, code in enumerate(codes) if code == 4}
    differences = {n: int(row[34:36].strip() or 0) for n, row in enumerate(rows)}
    isotopes: dict[int, int] = {}
    properties = [line.split() for line in record[4 + n_atoms :] if line.startswith("M  ")]
    if any(words[1] in ("CHG", "RAD") for words in properties):
        charges, radicals = {}, {}  # these lines replace what atom lines say
    tables = {"CHG": charges, "RAD": radicals, "ISO": isotopes}
    for words in properties:
        if words[1] in tables:
            pairs = [int(word) for word in words[3:]]
            tables[words[1]] |= {a - 1: b for a, b in zip(pairs[::2], pairs[1::2], strict=True)}
    return _molecule(symbols, positions, charges, radicals, isotopes, differences)


def _v3000(record: list[str]) -> Atoms:
    text = "\n".join(record).replace("-\nM  V30 ", "")  # a line may go on in the next
    block = text.split("BEGIN ATOM", 1)[1].split("END ATOM", 1)[0]
    symbols, positions = [], []
    tables: dict[str, dict[int, int]] = {"CHG": {}, "RAD": {}, "MASS": {}}
    for number, line in enumerate(re.findall(r"M  V30\s+(\d.*)", block)):
        words = line.split()
        symbols.append(words[1])
        positions.append([float(word) for word in words[2:5]])
        for word in words[6:]:
            key, _, value = word.partition("=")
            if key in tables:
                tables[key][number] = int(value)
    return _molecule(symbols, positions, tables["CHG"], tables["RAD"], tables["MASS"], {})


def _molecule(
    symbols: list[str],
    positions: list[list[float]],
    charges: dict[int, int],
    radicals: dict[int, int],
    isotopes: dict[int, int],
    differences: dict[int, int],
) -> Atoms:
    for number, symbol in enumerate(symbols):
        if symbol in HYDROGEN:
            isotopes.setdefault(number, HYDROGEN[symbol])
            symbols[number] = "H"
        elif symbol not in atomic_numbers:
            raise ValueError(f"{symbol!r} for atom {number}, which is no element")
    atoms = Atoms(symbols, positions=positions)
    for number, difference in differences.items():
        if difference and number not in isotopes:
            isotopes[number] = round(float(atoms.get_masses()[number])) + difference
    set_isotopes(atoms, isotopes)
    if charges:
        atoms.info["formal_charge"] = sum(charges.values())
    if radicals:
        atoms.info["spin_multiplicity"] = 1 + sum(UNPAIRED[code] for code in radicals.values())
    return atoms


def _data(record: list[str]) -> dict[str, Any]:
    """Read the data fields of an sd file that are one line, numbers as such."""
    fields: dict[str, Any] = {}
    for at, line in enumerate(record[:-1]):
        if line.startswith(">") and (key := re.search(r"<([^>]+)>", line)):
            text = record[at + 1].strip()
            try:
                fields[key[1]] = float(text)
            except ValueError:
                fields[key[1]] = text
    return fields
