"""Frames of an xyz or extended xyz file, all of them, with what their comment lines say.

ASE parses each frame. What it would lose is done here: frames after an empty line, isotopes, and a
charge and multiplicity in a comment that is not made of keys, as in ``-1 1`` or ``Charge: -1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any, NamedTuple

from ase import Atoms
from ase.data import atomic_numbers
from ase.io.extxyz import read_xyz

from potentials.datasets.formats.isotopes import HYDROGEN, set_isotopes
from potentials.datasets.formats.states import (
    CHARGE_NAMES,
    MULTIPLICITY_NAMES,
    WORDS,
    plain,
)
from potentials.structure.states import SPIN_KEY

LARGEST_CHARGE = 10  # e; two numbers with a larger first one say something else
TWO_NUMBERS = re.compile(r"\s*([+-]?\d+)[\s,;]+(\d+)\s*(?=$|[^\d\s.,+-])")
# a name, perhaps of two words, and a value: charge -1, total charge: +1, mult=2
NAMED = re.compile(
    r"(?<![\w.])((?:(?:total|net|spin|molecular|formal)[ _]?)?"
    r"(?:charge|chrg|chg|q|multiplicity|mult|uhf|spin))"
    r"\s*(?:=|:|\s)\s*([+-]?\d+(?:\.0*)?[+-]?|[a-z]+tet|singlet|doublet)(?![\w.])",
    re.IGNORECASE,
)
ION = re.compile(r"\[[A-Z][^\]\s]*[+-]\d*\]|(?<!\S)(?:[A-Z][a-z]?\d*)+\^?\d*[+-](?!\S)")
HINTS = re.compile(
    r"\b(?:di|tri)?(?:cation|anion|radical|singlet|doublet|triplet|quartet|quintet)s?\b|"
    r"^\s*[+-]\d+\s*$|charge|multiplicity",
    re.IGNORECASE,
)

NAMELESS = (
    "its columns after the positions have no names and were not read. Name them in the comment, as"
    " in Properties=species:S:1:pos:R:3:momenta:R:3"
)


class Block(NamedTuple):
    """The lines of one frame."""

    line: int  # of the number of atoms, from 1
    comment: str
    atoms: list[str]
    vectors: list[str]  # VEC1 …, as ADF writes them


def read_frames(text: str, name: str) -> list[tuple[Atoms, list[str]]]:
    """Read every frame of a file, with remarks on it.

    Raises
    ------
    ValueError   a line that does not belong there, a frame that ends early, what is no element
    """
    return [_frame(block, name) for block in _blocks(text, name)]


def state_of_comment(comment: str, electrons: int) -> tuple[dict[str, Any], list[str]]:
    """Read charge and multiplicity of a comment that is not made of keys.

    Parameters
    ----------
    electrons : int   of the neutral structure: two numbers must fit them

    Returns
    -------
    said : dict, remarks : list of str   what looks like a state and was not understood
    """
    if two := TWO_NUMBERS.match(comment):
        charge, multiplicity = int(two[1]), int(two[2])
        fits = multiplicity > 0 and (multiplicity + electrons - charge) % 2 == 1
        if fits and abs(charge) <= LARGEST_CHARGE and charge + multiplicity <= electrons + 1:
            return {"charge": charge, "multiplicity": multiplicity}, []
    said: dict[str, Any] = {}
    for key, value in NAMED.findall(comment):
        if _is_name(key) and (value.lower() in WORDS or value[-1:] in "0123456789+-."):
            said.setdefault(key, value)
    if not said and (HINTS.search(comment) or ION.search(comment)):  # ION: [OH-], C6H6+
        return {}, [
            f"its comment {comment.strip()[:60]!r} looks like a charge or a spin and was not used."
            " Write charge= and multiplicity= (2S+1)"
        ]
    if not said and two and abs(int(two[1])) <= LARGEST_CHARGE:
        return {}, [
            f"its comment {comment.strip()[:60]!r} looks like charge and multiplicity, fits no"
            " number of electrons and was not used"
        ]
    return said, []


def _is_name(key: str) -> bool:
    name = plain(key)
    return name in CHARGE_NAMES or name in MULTIPLICITY_NAMES or name == SPIN_KEY


def _blocks(text: str, name: str) -> Iterator[Block]:
    lines = [line.rstrip("\r") for line in text.split("\n")]
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        try:
            n_atoms = int(lines[at])
        except ValueError:
            raise ValueError(
                f"`{name}` must have a number of atoms in line {at + 1}; got {lines[at][:60]!r}."
                " Correct it."
            ) from None
        first, last = at + 2, at + 2 + n_atoms
        atoms = lines[first:last]
        short = len(atoms) < n_atoms or not all(line.strip() for line in atoms)
        if n_atoms < 1 or short:
            got = sum(bool(line.strip()) for line in atoms)
            raise ValueError(
                f"`{name}` must hold as many atoms as line {at + 1} says, {n_atoms}, at least one;"
                f" got {got}. Correct it."
            )
        end = last
        while end < len(lines) and lines[end].lstrip().startswith("VEC"):
            end += 1
        yield Block(at + 1, lines[at + 1], atoms, lines[last:end])
        at = end


def _frame(block: Block, name: str) -> tuple[Atoms, list[str]]:
    column = _column(block.comment)
    isotopes: dict[int, int] = {}
    lines = block.atoms
    if column is not None:
        lines, isotopes = _elements(block, column, name)
    comment = block.comment if "=" in block.comment and not block.vectors else ""
    text = "\n".join([str(len(lines)), comment, *lines, *block.vectors]) + "\n"
    try:
        (atoms,) = read_xyz(StringIO(text), index=slice(None))
    except Exception as error:  # ASE's parser raises whatever it trips over
        raise ValueError(
            f"`{name}` must hold whole frames; got {type(error).__name__}: {error} in that of line"
            f" {block.line}. Correct it."
        ) from error
    set_isotopes(atoms, isotopes)
    atoms.info = {
        key: value
        for key, value in atoms.info.items()
        if value is not True or not _bare(block.comment, key)
    }
    if not comment and block.comment.strip():
        atoms.info["comment"] = block.comment.strip()
    known = {plain(key) for key in atoms.info}
    free = re.sub(r'\S+="[^"]*"|\S+=\S*' if comment else r"(?!)", " ", block.comment)
    said, remarks = state_of_comment(free, int(atoms.numbers.sum()))
    if comment and not said:
        spaced, _ = state_of_comment(re.sub(r'"[^"]*"', " ", block.comment), 0)
        said = {key: value for key, value in spaced.items() if plain(key) not in known}
    atoms.info |= {key: value for key, value in said.items() if plain(key) not in known}
    if "Properties" not in comment and any(len(line.split()) > 4 for line in block.atoms):
        remarks = [*remarks, NAMELESS]
    return atoms, remarks


def _bare(comment: str, key: str) -> bool:
    """Say whether a key stands alone in a comment, which ASE then calls true."""
    return re.search(rf"{re.escape(key)}\s*=", comment) is None


def _column(comment: str) -> int | None:
    """Find the column of the elements; None where there are atomic numbers instead."""
    properties = re.search(r'Properties\s*=\s*"?([^\s"]+)', comment)
    if properties is None:
        return 0
    fields, column = properties[1].split(":"), 0
    for name, width in zip(fields[::3], fields[2::3], strict=False):
        if name in ("species", "symbols", "element", "elements"):
            return column
        column += int(width) if width.isdigit() else 1
    return None


def _elements(block: Block, column: int, name: str) -> tuple[list[str], dict[int, int]]:
    """Check the elements of the atoms; hydrogen of another mass is hydrogen."""
    lines: list[str] = []
    isotopes: dict[int, int] = {}
    for number, line in enumerate(block.atoms):
        words = line.split()
        symbol = words[column].capitalize() if len(words) > column else ""
        if symbol in HYDROGEN:
            isotopes[number] = HYDROGEN[symbol]
            line = " ".join([*words[:column], "H", *words[column + 1 :]])
        elif symbol not in atomic_numbers or symbol == "X":
            raise ValueError(
                f"`{name}` must name an element for each atom; got {words[column] if words else ''}"
                f" for atom {number} in line {block.line + 2 + number}. Write its symbol, such as"
                " C, and leave ghost and dummy atoms out."
            )
        lines.append(line)
    return lines, isotopes
