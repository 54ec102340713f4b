"""What the text of a file says of charge and multiplicity where ASE reads the atoms alone.

One row of `PATTERNS` for each format; every other text is looked through for lines that seem to say
a charge or a multiplicity, which are then named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from potentials.datasets.formats.states import LOOKS_LIKE, NO_STATE

Said = dict[str, Any]
NUMBER = r"([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)"


class Patterns(NamedTuple):
    """How a format says its state; the last group of each match is the number."""

    charge: str
    multiplicity: str = r"(?!)"
    unpaired: str = r"(?!)"


PATTERNS = {
    "gaussian-out": Patterns(
        rf"Charge\s*=\s*{NUMBER}\s+Multiplicity", rf"Charge\s*=\s*\S+\s+Multiplicity\s*=\s*{NUMBER}"
    ),
    "orca-output": Patterns(
        rf"Total Charge\s+Charge\s+\.+\s*{NUMBER}", rf"Multiplicity\s+Mult\s+\.+\s*{NUMBER}"
    ),
    "turbomole": Patterns(
        rf"(?:\$eht\b.*?charge\s*=|\$chrg|\$charge)\s*{NUMBER}",
        unpaired=rf"(?:\$eht\b.*?unpaired\s*=|\$uhf|\$spin)\s*{NUMBER}",
    ),
    "nwchem-in": Patterns(
        rf"^\s*charge\s+{NUMBER}", rf"^\s*mult\s+{NUMBER}", rf"^\s*nopen\s+{NUMBER}"
    ),
    "nwchem-out": Patterns(rf"^\s*Charge\s*:\s*{NUMBER}", rf"Spin multiplicity\s*:\s*{NUMBER}"),
    "aims-output": Patterns(rf"Charge\s*=\s*{NUMBER}\s*:"),
    "cp2k-restart": Patterns(rf"^\s*CHARGE\s+{NUMBER}", rf"^\s*MULTIPLICITY\s+{NUMBER}"),
    "espresso-in": Patterns(
        rf"tot_charge\s*=\s*{NUMBER}", unpaired=rf"tot_magnetization\s*=\s*{NUMBER}"
    ),
    "gamess-us-in": Patterns(rf"\bICHARG\s*=\s*{NUMBER}", rf"\bMULT\s*=\s*{NUMBER}"),
    "gamess-us-out": Patterns(
        rf"CHARGE OF MOLECULE\s*=\s*{NUMBER}", rf"SPIN MULTIPLICITY\s*=\s*{NUMBER}"
    ),
    "gpaw-out": Patterns(rf"^\s*[Tt]otal charge:\s*{NUMBER}"),
    "castep-castep": Patterns(rf"net charge of system\s*:\s*{NUMBER}"),
    "dftb": Patterns(rf"^\s*Charge\s*=\s*{NUMBER}", unpaired=rf"UnpairedElectrons\s*=\s*{NUMBER}"),
    "onetep-in": Patterns(rf"^\s*charge\s*:?\s*{NUMBER}", unpaired=rf"^\s*spin\s*:?\s*{NUMBER}"),
    "abinit-in": Patterns(
        rf"^\s*(?:cell)?charge\s+{NUMBER}", unpaired=rf"^\s*spinmagntarget\s+{NUMBER}"
    ),
    "proteindatabank": Patterns(
        rf"^REMARK.*\bcharge\s*[=:]?\s*{NUMBER}", rf"^REMARK.*\bmultiplicity\s*[=:]?\s*{NUMBER}"
    ),
}
# a line that names a charge or a multiplicity and gives a whole number
SUSPECT = re.compile(
    r"^.{0,60}?\b[\w ]{0,30}(?:charge|chrg|multiplicity|unpaired)[\w ]{0,12}\s*[=: ]\s*[\"']?"
    r"[+-]?\d+(?:\.0*)?[\"']?\s*$",
    re.IGNORECASE | re.MULTILINE,
)


def declared(text: str, form: str, name: str) -> tuple[Said, list[str]]:
    """Read the state that a text of an ASE format declares for all its frames.

    Returns
    -------
    said : dict             under the names that `read_state` understands
    remarks : list of str   lines that may say a state and were not used

    Raises
    ------
    ValueError              several states
    """
    if form in OWN:
        said = OWN[form](text, name)
        return said, [] if said else _suspects(text)
    if form not in PATTERNS:
        return {}, _suspects(text)
    said = {}
    for key, pattern in zip(
        ("charge", "multiplicity", "unpaired_electrons"), PATTERNS[form], strict=True
    ):
        found = {
            float(match[1]) for match in re.finditer(pattern, text, re.MULTILINE | re.IGNORECASE)
        }
        if len(found) > 1:
            raise ValueError(
                f"`{name}` must declare one {key.replace('_', ' ')}; got"
                f" {', '.join(f'{value:g}' for value in sorted(found))}. Split the file, or write"
                " the structure as extxyz."
            )
        if found:
            said[key] = found.pop()
    return said, [] if said else _suspects(text)


def _gaussian_input(text: str, name: str) -> Said:
    """Read the line before the atoms: charge and multiplicity of the whole, and of fragments."""
    sections = re.split(r"\n\s*\n", re.sub(r"\r", "", text).strip("\n"))
    route = next((n for n, section in enumerate(sections) if "#" in section), None)
    if route is None or len(sections) < route + 3:
        return {}
    numbers = re.findall(r"[+-]?\d+", sections[route + 2].strip().split("\n")[0])
    if len(numbers) < 2:
        raise ValueError(
            f"`{name}` must have charge and multiplicity before its atoms; got"
            f" {sections[route + 2].strip()[:40]!r}. Correct it."
        )
    return {"charge": int(numbers[0]), "multiplicity": int(numbers[1])}


def _cjson(text: str, name: str) -> Said:
    """Chemical JSON: total charge and multiplicity, or the formal charges of the atoms."""
    content = json.loads(text)
    properties = content.get("properties", {})
    said = {
        key: value
        for key, value in properties.items()
        if key in ("totalCharge", "totalSpinMultiplicity", "charge", "multiplicity")
    }
    formal = content.get("atoms", {}).get("formalCharges")
    return {"formal_charge": sum(formal)} | said if formal else said


OWN: dict[str, Callable[[str, str], Said]] = {
    "gaussian-in": _gaussian_input,
    "cjson": _cjson,
}


def _suspects(text: str) -> list[str]:
    found = [
        match[0].strip()
        for match in SUSPECT.finditer(text)
        if LOOKS_LIKE.search(match[0].lower()) and not NO_STATE.search(match[0].lower())
    ]
    if not found:
        return []
    return [
        f"its line {found[0][-60:]!r} may say a charge or a spin and was not used. Pass --charge"
        " and --multiplicity, or write the structure as extxyz"
    ]
