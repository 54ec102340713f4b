"""Charge and multiplicity of a structure in a file.

Under which names they stand, and what each name means: `read_state` gives every structure the two
names that the rest of the package knows, ``charge`` and ``multiplicity``. The names that the
calculator reads itself are those of `potentials.structure.states`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from potentials.structure.states import (
    CHARGE_KEYS,
    MULTIPLICITY_KEYS,
    SPIN_KEY,
    SUM_TOLERANCE,
    is_spin_of,
    multiplicity_of_spin,
)

PARTIAL_CHARGE_KEYS = (
    "partial_charges",
    "charges",
    "hirshfeld_charges",
    "mbis_charges",
    "atomic_charges",
)
# names without case, blanks, lines and points
CHARGE_NAMES = {
    *("charge", "totalcharge", "netcharge", "molecularcharge", "moleculecharge", "molcharge"),
    *("systemcharge", "formalcharge", "totalformalcharge", "chargetotal", "totcharge", "chrg"),
    *("ioncharge", "ioniccharge", "chargestate", "chg", "icharg", "q", "qtot", "qtotal", "totalq"),
}
MULTIPLICITY_NAMES = {
    **{name.replace("_", ""): add for name, add in MULTIPLICITY_KEYS.items()},
    **dict.fromkeys(("spinmult", "totalspinmultiplicity", "totalmultiplicity", "multip", "2s1"), 0),
    **dict.fromkeys(("molecularmultiplicity", "moleculemultiplicity", "systemmultiplicity"), 0),
    **dict.fromkeys(("unpaired", "nunpaired", "nunpairedelectrons", "twos", "2s"), 1),
    "numberofunpairedelectrons": 1,
}
WORDS = {
    word: number
    for number, word in enumerate(
        ("singlet", "doublet", "triplet", "quartet", "quintet", "sextet", "septet"), start=1
    )
}
PREFIXES = ("pubchem", "ref", "dft", "xtb", "input")
LOOKS_LIKE = re.compile(
    r"charge|chrg|multiplicit|spin|unpaired|magmom|magnetization|oxidation|^(?:m|s|ms|sz)$"
)
NO_STATE = re.compile(
    r"energy|source|orbit|partial|density|transfer|polari[sz]ed|smiles|model|calc"
)
ELECTRONS = re.compile(r"n(?:um(?:ber)?(?:of)?)?elec(?:trons?)?")  # a plain name
ION = re.compile(r"\[[^\]\d]*\d*[^\]]*?([+-]+)(\d*)\]")  # an atom of a SMILES
# columns that are charges, or unpaired electrons, of the atoms
CHARGES_OF_ATOMS = re.compile(
    r"(?!.*(?:spin|magmom|volume|error|std))"
    r".*(?:charge|^q$|mulliken|hirshfeld|bader|npa|chelpg|resp|l[oö]wdin|cm5|oxidation)",
    re.I,
)
SPINS_OF_ATOMS = re.compile(r"(?!.*(?:error|std)).*(?:magmom|spin|unpaired)", re.I)


class State(NamedTuple):
    """Charge and multiplicity of one structure."""

    charge: float  # e
    multiplicity: int  # 2S + 1


def state_of(atoms: Atoms, where: str) -> State:
    """Say the state of a structure that `read_state` has read; without any neutral and lowest."""
    charge = (
        atoms.info["charge"] if "charge" in atoms.info else _sum(atoms, "initial_charges", where)
    )
    electrons = int(atoms.numbers.sum()) - charge
    multiplicity = atoms.info.get("multiplicity")
    if multiplicity is None and "initial_magmoms" in atoms.arrays:
        multiplicity = 1 + abs(_sum(atoms, "initial_magmoms", where))
    return State(charge, 1 + electrons % 2 if multiplicity is None else multiplicity)


def says_charge(atoms: Atoms) -> bool:
    """Say whether anything declares the charge of a structure that `read_state` has read."""
    charges = atoms.arrays.get("initial_charges")
    return "charge" in atoms.info or (charges is not None and bool(charges.any()))


def read_state(atoms: Atoms, where: str) -> list[str]:
    """Put what a structure says of its state into ``info``, as ``charge`` and ``multiplicity``.

    Every other name of them goes. A structure that says nothing keeps nothing: charges and magnetic
    moments of the atoms, ``initial_charges`` and ``initial_magmoms``, are left to whoever computes.

    Returns
    -------
    remarks : list of str   what looks like a state and was not understood, or was chosen from atoms

    Raises
    ------
    ValueError   names that contradict each other, numbers that are not whole
    """
    said = {**_of_calculator(atoms), **atoms.info}
    remarks = list(_not_understood(said))
    charge = _agreed(said, dict.fromkeys(CHARGE_NAMES, 0), where)
    if charge is None and not says_charge(atoms):
        charge, of_atoms = _charge_of_atoms(atoms)
        remarks += of_atoms
    total = _sum(atoms, "initial_charges", where) if charge is None else charge
    electrons = int(atoms.numbers.sum()) - total
    remarks += _not_counted(said, electrons, says_charge(atoms) or charge is not None)
    multiplicity = _agreed(said, MULTIPLICITY_NAMES, where)
    multiplicity = _with_spin(said, multiplicity, electrons, where)
    if multiplicity is None and "initial_magmoms" not in atoms.arrays:
        multiplicity, of_atoms = _multiplicity_of_atoms(atoms, electrons)
        remarks += of_atoms
    forget_state(atoms.info)
    if charge is not None:
        atoms.info["charge"] = charge
    if multiplicity is not None:
        atoms.info["multiplicity"] = multiplicity
    return remarks


def forget_state(info: dict[str, Any]) -> None:
    """Remove charge and multiplicity under every name that is understood."""
    for key in [key for key in info if is_state(key)]:
        del info[key]


def is_state(key: str) -> bool:
    """Say whether a name is understood as that of a charge or a multiplicity."""
    name = plain(key)
    return name in CHARGE_NAMES or name in MULTIPLICITY_NAMES or name == SPIN_KEY


def may_be_state(key: str) -> bool:
    """Say whether a name looks like that of a charge or a multiplicity."""
    name = plain(key)
    return is_state(key) or bool(LOOKS_LIKE.search(name) and not NO_STATE.search(name))


def plain(key: str) -> str:
    """Write a name without case, blanks, lines and points, and without who made it."""
    name = re.sub(r"[^a-z0-9]", "", str(key).lower())
    for prefix in PREFIXES:
        if (rest := name.removeprefix(prefix)) != name and _known(rest):
            return rest
    return name


def _known(name: str) -> bool:
    return name in CHARGE_NAMES or name in MULTIPLICITY_NAMES or name == SPIN_KEY


def _of_calculator(atoms: Atoms) -> dict[str, Any]:
    """Read the state that an earlier calculator, whose results the file holds, was asked for."""
    parameters = getattr(atoms.calc, "parameters", None) or {}
    return {
        key: parameters[key]
        for key in (*CHARGE_KEYS, *MULTIPLICITY_KEYS)
        if isinstance(parameters.get(key), int | float)
    }


def _not_understood(said: dict[str, Any]) -> Iterator[str]:
    for key, value in said.items():
        looks = may_be_state(key) and np.size(value) == 1
        if (looks or str(value).lower() in WORDS) and not is_state(key):
            yield (
                f"{key}={value} looks like a charge or a spin and was not used. Write charge= and"
                " multiplicity= (2S+1)"
            )


def _not_counted(said: dict[str, Any], electrons: int, says_charge: bool) -> Iterator[str]:
    """Name numbers of electrons, and SMILES, that would mean another charge."""
    for key, value in said.items():
        name = plain(key)
        if ELECTRONS.fullmatch(name) and isinstance(value, int | float | np.number):
            if value != electrons:
                yield (
                    f"{key}={value} is not the number of electrons of its charge, {electrons}, and"
                    " was not used. Write charge="
                )
        elif "smiles" in name and isinstance(value, str) and not says_charge:
            ions = (int(f"{sign[0]}{size or len(sign)}") for sign, size in ION.findall(value))
            if total := sum(ions):
                yield f"{key}={value} has the charge {total:+d}, which was not used. Write charge="


def _agreed(said: dict[str, Any], names: dict[str, int], where: str) -> int | None:
    found = {
        key: _whole(key, value, where) + names[plain(key)]
        for key, value in said.items()
        if plain(key) in names and not _is_missing(value)
    }
    if len(set(found.values())) > 1:
        raise ValueError(
            f"`{' and '.join(found)}` must agree; got"
            f" {', '.join(f'{key}={said[key]}' for key in found)} in {where}. Keep one of them."
        )
    return next(iter(found.values()), None)


def _with_spin(
    said: dict[str, Any], multiplicity: int | None, electrons: int, where: str
) -> int | None:
    """Read a bare spin, or see that it does not contradict the multiplicity."""
    key = next((key for key in said if plain(key) == SPIN_KEY), None)
    if key is None or _is_missing(said[key]):
        return multiplicity
    if multiplicity is None:
        read = multiplicity_of_spin(_whole(key, said[key], where), electrons)
        if read is None:
            raise ValueError(
                f"`{key}` means 2S + 1 to some programs and 2S to others, and must fit {electrons}"
                f" electrons as 2S + 1; got {said[key]} in {where}. Write multiplicity= (2S+1)"
                " instead, or the charge= that is missing."
            )
        return read
    if not is_spin_of(multiplicity, _number(key, said[key], where)):
        raise ValueError(
            f"`multiplicity` and `{key}` must agree; got {multiplicity} (2S+1) and"
            f" {key}={said[key]}, which is neither 2S+1, 2S nor S of it, in {where}. Keep one of"
            " them."
        )
    return multiplicity


def _charge_of_atoms(atoms: Atoms) -> tuple[int | None, list[str]]:
    """Add up the charges of the atoms that a file holds, whatever their name."""
    remarks = []
    for name, total in _sums(atoms, CHARGES_OF_ATOMS, PARTIAL_CHARGE_KEYS):
        if abs(total - round(total)) > SUM_TOLERANCE:
            remarks.append(f"its {name} add up to {total:+.2f}, no charge, and were not used")
        elif round(total):
            return round(total), [f"the charge {round(total):+d} is the sum of its {name}"]
    return None, remarks


def _sums(
    atoms: Atoms, names: re.Pattern[str], first: Sequence[str]
) -> Iterator[tuple[str, float]]:
    """Add up the columns of some names, those of an earlier calculation among them."""
    columns = {**({} if atoms.calc is None else atoms.calc.results), **atoms.arrays}
    likely = [name for name in columns if names.match(name) and not name.startswith("initial_")]
    for name in sorted(likely, key=lambda name: name not in first):
        values = np.asarray(columns[name])
        if values.shape == (len(atoms),) and values.dtype.kind in "fiu":
            yield name, float(values.sum())


def _multiplicity_of_atoms(atoms: Atoms, electrons: int) -> tuple[int | None, list[str]]:
    """Read the magnetic moment of an earlier calculation where it fits the electrons."""
    results = {} if atoms.calc is None else atoms.calc.results
    moment = results.get("magmom")
    if moment is None or np.size(moment) != 1:
        moment = next((total for _, total in _sums(atoms, SPINS_OF_ATOMS, ("magmoms",))), None)
    if moment is None:
        return None, []
    size = abs(float(np.asarray(moment).item()))
    multiplicity = 1 + round(size)
    if abs(size - round(size)) > SUM_TOLERANCE or (multiplicity + electrons) % 2 == 0:
        if round(size):
            return None, [
                f"its magnetic moment {size:.2f} fits no multiplicity and was not used. Write"
                " multiplicity= (2S+1)"
            ]
        return None, []
    if multiplicity == 1 + electrons % 2:
        return None, []
    return multiplicity, [f"the multiplicity {multiplicity} is that of its magnetic moment"]


def _sum(atoms: Atoms, name: str, where: str) -> int:
    if name not in atoms.arrays:
        return 0
    if atoms.arrays[name].ndim > 1:
        raise ValueError(
            f"`{name}` must be one number per atom; got vectors in {where}. Write"
            " info['multiplicity'] instead."
        )
    total = float(atoms.arrays[name].sum())
    if not abs(total - round(total)) <= SUM_TOLERANCE:
        raise ValueError(
            f"`{name}` must add up to a whole number; got {total:.3f} in {where}. Write charge and"
            " multiplicity instead."
        )
    return round(total)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", "none"))


def _number(key: str, value: Any, where: str) -> float:
    text = str(np.asarray(value).item() if np.size(value) == 1 else value).strip().strip(",;")
    if text.lower() in WORDS and plain(key) not in CHARGE_NAMES:
        return float(WORDS[text.lower()])
    if turned := re.fullmatch(r"(\d+)([+-])", text):  # 1- for -1, as chemists write it
        text = turned[2] + turned[1]
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"`{key}` must be a whole number; got {value!r} in {where}. Correct it."
        ) from None


def _whole(key: str, value: Any, where: str) -> int:
    number = float("nan") if isinstance(value, bool) else _number(key, value, where)
    if not number.is_integer():
        raise ValueError(f"`{key}` must be a whole number; got {value!r} in {where}. Correct it.")
    return int(number)
