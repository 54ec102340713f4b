"""Energies, forces and stresses in a file: under which names they stand, and which count.

A label is looked for in every frame under every plausible name. One name is chosen for the whole
file, so that no label comes from two methods; what is not chosen is named. The configuration may
choose: ``energy = "REF_energy"``, and ``forces = "-gradient"`` for what points uphill.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

Array = npt.NDArray[Any]

SAME = (
    1e-6  # relative, and in the unit of the file: values under two names that differ by less agree
)
PREFIX = r"(?P<by>ref|dft|qm)?[_ -]?"
# names that are read without being asked for, without case; what stands before tells who made it
KNOWN = {
    "energy": re.compile(
        PREFIX + r"(?:(?:total|potential|tot)?[_ -]?energy|etot|e_tot|e)(?:[_ -]?ev)?", re.I
    ),
    "forces": re.compile(PREFIX + r"(?:forces?|f|frc)(?:[_ -]?ev[_/ -]?(?:per)?[_ -]?a\w*)?", re.I),
    "stress": re.compile(PREFIX + r"(?:stress(?:es)?|virials?|virial[_ -]?stress)", re.I),
}
# names that may be labels and are read when asked for
PLAUSIBLE = {
    "energy": re.compile(r"energ|^e[_-]|[_-]e$|^u0?$|hartree|_ev$", re.I),
    "forces": re.compile(r"forc|grad|^f[_-]|[_-]f$|^frc|^de?dr|^-?d[ev]_?d[xr]", re.I),
    "stress": re.compile(r"stress|virial|pressure_tensor", re.I),
}
NO_LABEL = {
    "energy": re.compile(
        r"kinetic|zero.?point|zpe|gap|homo|lumo|error|uncertainty|std|var|fermi|per_?atom|cutoff"
        r"|weight|shift|^ediff|solvation|interaction|ionization|affinity",
        re.I,
    ),
    "forces": re.compile(r"error|uncertainty|std|var|weight|mask|constant", re.I),
    "stress": re.compile(r"error|uncertainty|std|var|weight", re.I),
}
# columns of three numbers that are no forces, whatever else is unknown
NO_FORCES = re.compile(
    r"posi|moment|velo|^vel$|magmom|spin|dipole|vector|point|shift|displac|axis|image", re.I
)


class Wanted(NamedTuple):
    """Names that a configuration chooses; empty: find them. A minus turns the sign."""

    energy: str = ""
    forces: str = ""
    stress: str = ""


@dataclass(frozen=True)
class Labels:
    """What was found, a value or None for each frame, in the units of the file."""

    energy: list[float | None]
    forces: list[Array | None]  # (N, 3)
    stress: list[Array | None]  # (3, 3); virials have been divided by the volume
    names: Wanted  # under which they stand
    remarks: list[str]


def find_labels(images: Sequence[Atoms], wanted: Wanted, name: str) -> Labels:
    """Choose the names of energies, forces and stresses of a file and read them.

    Raises
    ------
    ValueError   a chosen name that is not there, several names that differ, energies under names
                 that nobody chose
    """
    found = {kind: _candidates(images, kind) for kind in KNOWN}
    chosen: dict[str, str] = {}
    remarks: list[str] = []
    for kind in KNOWN:
        if asked := getattr(wanted, kind):
            chosen[kind] = _asked(images, kind, asked, name)
    maker = _maker(found, chosen)
    for kind in ("energy", "forces", "stress"):
        if kind not in chosen:
            chosen[kind], told = _choose(kind, found, maker, name)
            remarks += told
    remarks += _left_over(images, found, chosen)
    read = {kind: [_value(atoms, kind, key) for atoms in images] for kind, key in chosen.items()}
    return Labels(read["energy"], read["forces"], read["stress"], Wanted(**chosen), remarks)


def is_label(key: str, value: Any, n_atoms: int) -> bool:
    """Say whether an entry of a structure is a result of an earlier calculation."""
    return any(
        (KNOWN[kind].fullmatch(key) or PLAUSIBLE[kind].search(key)) and _fits(kind, value, n_atoms)
        for kind in KNOWN
    )


def _candidates(images: Sequence[Atoms], kind: str) -> dict[str, list[Any]]:
    """Collect every entry that may be the label, by name: a value or None for each frame."""
    names: dict[str, None] = {}
    for atoms in images:
        for key, value in _entries(atoms, kind):
            known = KNOWN[kind].fullmatch(key)
            likely = PLAUSIBLE[kind].search(key) and not NO_LABEL[kind].search(key)
            if key not in names and (known or likely) and _fits(kind, value, len(atoms)):
                names[key] = None
    return {key: [_value(atoms, kind, key) for atoms in images] for key in names}


def _entries(atoms: Atoms, kind: str) -> list[tuple[str, Any]]:
    results = {} if atoms.calc is None else atoms.calc.results
    place = atoms.arrays if kind == "forces" else atoms.info
    rest = atoms.info if kind == "forces" else {}
    return [*results.items(), *place.items(), *rest.items()]


def _fits(kind: str, value: Any, n_atoms: int) -> bool:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    if isinstance(value, bool | np.bool_):
        return False
    if kind == "energy":
        return bool(array.size == 1)
    return array.shape == (n_atoms, 3) if kind == "forces" else array.size in (6, 9)


def _value(atoms: Atoms, kind: str, key: str) -> Any:
    """Read a label of one frame; None where it is not there."""
    sign, key = (-1.0, key[1:]) if key.startswith("-") else (1.0, key)
    value = next((v for k, v in _entries(atoms, kind) if k == key), None)
    if value is None or not _fits(kind, value, len(atoms)):
        return None
    array = sign * np.asarray(value, dtype=np.float64)
    if kind == "energy":
        return float(array.item())
    if kind == "forces":
        return array
    full = voigt_6_to_full_3x3_stress(array.ravel()) if array.size == 6 else array.reshape(3, 3)
    return -full / atoms.get_volume() if "virial" in key.lower() and atoms.cell.rank == 3 else full


def _asked(images: Sequence[Atoms], kind: str, key: str, name: str) -> str:
    if all(_value(atoms, kind, key) is None for atoms in images):
        there = sorted({k for a in images for k, v in _entries(a, kind) if _fits(kind, v, len(a))})
        raise ValueError(
            f"`{kind}` of [data] must name what {name} holds; got {key!r}, which is not there or"
            f" has another shape. Take one of {', '.join(there) or 'none'}."
        )
    return key


def _maker(found: dict[str, dict[str, list[Any]]], chosen: dict[str, str]) -> str | None:
    """Find who made the labels, from the first word of their names, where one alone fits all.

    None where it is not decided.
    """
    if chosen:
        for kind in ("forces", "energy", "stress"):
            if kind in chosen:
                return _by(kind, chosen[kind].removeprefix("-"))
    makers = {
        kind: {_by(kind, key) for key in names if KNOWN[kind].fullmatch(key)}
        for kind, names in found.items()
    }
    present = [m for m in (makers["energy"], makers["forces"]) if m]
    common = set.intersection(*present) if present else set()
    return common.pop() if len(common) == 1 else None


def _by(kind: str, key: str) -> str:
    match = KNOWN[kind].fullmatch(key)
    return (match["by"] or "").lower() if match else key


def _choose(
    kind: str, everything: dict[str, dict[str, list[Any]]], maker: str | None, name: str
) -> tuple[str, list[str]]:
    """Choose one name for a label; empty where there is none, or that of another method alone."""
    found = everything[kind]
    known = {key: values for key, values in found.items() if KNOWN[kind].fullmatch(key)}
    if kind == "energy" and not known and "free_energy" in found:
        return "free_energy", []
    if not known:
        return "", []
    ours = {key: values for key, values in known.items() if _by(kind, key) == maker}
    if len(known) == 1:
        (key,) = known
        others = {_by("energy", other) for other in everything["energy"]} - {maker}
        of_another = maker is not None and not ours and _by(kind, key) in others
        return "" if of_another and kind != "energy" else key, []
    first, *rest = known
    if all(_agree(known[first], known[other]) for other in rest):
        # they may be there in different frames only: the one with most of them
        most = max(known, key=lambda key: sum(v is not None for v in known[key]))
        return most, []
    if len(ours) == 1:
        (key,) = ours
        return key, []
    listed = ", ".join(known)
    raise ValueError(
        f"`{kind}` must stand under one name in {name}; got {listed}, which differ. Choose one:"
        f' --{kind} {first}, or [data] {kind} = "{first}" in a configuration.'
    )


def _agree(one: list[Any], other: list[Any]) -> bool:
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return bool(pairs) and all(np.allclose(a, b, rtol=SAME, atol=SAME) for a, b in pairs)


def _left_over(
    images: Sequence[Atoms], found: dict[str, dict[str, list[Any]]], chosen: dict[str, str]
) -> list[str]:
    """Name what may be a label and was not read."""
    remarks = []
    for kind, names in found.items():
        key = chosen[kind].removeprefix("-")
        rest = [
            other
            for other in names
            if other != key and not (key and _agree(names.get(key, []), names[other]))
        ]
        if kind == "forces" and not key and not rest:
            rest = _vectors(images)
        if not rest:
            continue
        which = f"the {kind} is read as {key}" if key else f"no {kind} was read"
        sign = "-" if kind == "forces" and re.search("grad|^de", rest[0], re.I) else ""
        remarks.append(
            f"{which}; {', '.join(rest)} {'was' if len(rest) == 1 else 'were'} not. To read it, say"
            f" --{kind}={sign}{rest[0]}, or {kind} = "
            f'"{sign}{rest[0]}" under [data] of a configuration'
        )
    return remarks


def _vectors(images: Sequence[Atoms]) -> list[str]:
    """List columns of three numbers that no one knows, where there are no forces."""
    return sorted(
        {
            key
            for atoms in images
            for key, value in atoms.arrays.items()
            if _fits("forces", value, len(atoms)) and not NO_FORCES.search(key)
        }
    )
