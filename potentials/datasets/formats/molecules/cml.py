"""Molecules of CML, the chemical markup language, with charges and isotopes."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from ase import Atoms

from potentials.datasets.formats.isotopes import HYDROGEN, set_isotopes

PLACE = ("x3", "y3", "z3")
STATE = {"formalCharge": "charge", "spinMultiplicity": "multiplicity"}


def read_cml(text: str, name: str) -> list[Atoms]:
    """Read every molecule of a file.

    Raises
    ------
    ValueError   no XML, a crystal, atoms without three coordinates
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"`{name}` must be CML; got {error}. Check the file.") from error
    if any(_name(part) == "crystal" for part in root.iter()):
        raise ValueError(f"`{name}` must hold molecules; it has a crystal. Write it as extxyz.")
    return [_molecule(part, name) for part in root.iter() if list(_atoms(part))]


def _molecule(part: ElementTree.Element, name: str) -> Atoms:
    rows = list(_atoms(part))
    if not all(row.get(axis) for row in rows for axis in PLACE):
        raise ValueError(
            f"`{name}` must give x3, y3 and z3 of each atom; some have none. Write 3D coordinates."
        )
    symbols = [row.get("elementType", "") for row in rows]
    isotopes = {n: HYDROGEN[symbol] for n, symbol in enumerate(symbols) if symbol in HYDROGEN}
    atoms = Atoms(
        ["H" if symbol in HYDROGEN else symbol for symbol in symbols],
        positions=[[float(row.get(axis, "")) for axis in PLACE] for row in rows],
    )
    told = ((n, row.get("isotopeNumber") or row.get("isotope")) for n, row in enumerate(rows))
    set_isotopes(atoms, isotopes | {n: round(float(number)) for n, number in told if number})
    formal = [int(row.get("formalCharge", 0)) for row in rows]
    if any(formal):
        atoms.info["formal_charge"] = sum(formal)
    atoms.info |= {key: int(part.get(old, "")) for old, key in STATE.items() if part.get(old)}
    return atoms


def _atoms(part: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Go through the atoms of a molecule, not through those of molecules within it."""
    for array in part:
        if _name(array) == "atomArray":
            yield from (atom for atom in array if _name(atom) == "atom")


def _name(part: ElementTree.Element) -> str:
    return part.tag.rsplit("}", 1)[-1]
