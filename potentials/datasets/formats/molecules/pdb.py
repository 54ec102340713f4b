"""PDB files: the formal charges of the atoms, and deuterium, which ASE loses."""

from __future__ import annotations

import re
from io import StringIO

from ase import Atoms
from ase.io.proteindatabank import read_proteindatabank

from potentials.datasets.formats.isotopes import HYDROGEN, set_isotopes

ATOM = ("ATOM  ", "HETATM")
ELEMENT, CHARGE = slice(76, 78), slice(78, 80)  # columns


def read_pdb(text: str) -> list[Atoms]:
    """Read every model of a PDB file with the sum of its formal charges, where there are any."""
    models: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("ENDMDL"):
            models.append([])
        elif line.startswith(ATOM):
            models[-1].append(line)
    lines = [_as_hydrogen(line) for line in text.splitlines()]
    images = read_proteindatabank(StringIO("\n".join(lines) + "\n"), index=slice(None))
    for atoms, rows in zip(images, [rows for rows in models if rows], strict=True):
        isotopes = {
            n: HYDROGEN[e] for n, row in enumerate(rows) if (e := _element(row)) in HYDROGEN
        }
        set_isotopes(atoms, isotopes)
        charges = [charge for row in rows if (charge := _charge(row)) is not None]
        if charges:
            atoms.info["formal_charge"] = sum(charges)
    return list(images)


def _element(line: str) -> str:
    return line[ELEMENT].strip().upper()


def _charge(line: str) -> int | None:
    """Read 1-, -1, 2+ or +; None where there is nothing."""
    match = re.fullmatch(r"(\d?)([+-])(\d?)", line[CHARGE].strip())
    return int(f"{match[2]}{match[1] or match[3] or 1}") if match else None


def _as_hydrogen(line: str) -> str:
    if line.startswith(ATOM) and _element(line) in HYDROGEN:
        return line[: ELEMENT.start] + " H" + line[ELEMENT.stop :]
    return line
