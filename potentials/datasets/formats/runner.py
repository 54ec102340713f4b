"""Reader of RuNNer and n2p2 ``input.data`` files: bohr, hartree, hartree/bohr, e."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers

from potentials.datasets.formats.units import Units
from potentials.datasets.frames import Frames, make_frames

Array = npt.NDArray[Any]

UNITS = Units("hartree", "bohr")


def read_runner(path: Path, units: Units | None = None) -> Frames:
    """Read structures between ``begin`` and ``end``.

    An atom line is x y z symbol charge unused fx fy fz.

    Raises
    ------
    ValueError   a line that does not fit the format, with its number
    """
    structures: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            _take(line.split(), structures)
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(
                f"`{path.name}` must follow the RuNNer format; got {line[:60]!r} in line {number}."
                " Correct it."
            ) from error
    if not structures or any(
        not s["numbers"] or "energy" not in s or len(s["lattice"]) not in (0, 3) for s in structures
    ):
        raise ValueError(
            f"`{path.name}` must hold structures with atoms, an energy and three lattice vectors or"
            " none; got fewer. Correct it."
        )
    rows = np.array(
        [row for s in structures for row in s["rows"]]
    )  # (N, 8): x y z charge unused fx fy fz
    return make_frames(
        n_atoms=np.array([len(s["numbers"]) for s in structures]),
        atomic_numbers=np.array([z for s in structures for z in s["numbers"]]),
        positions=rows[:, :3],
        partial_charges=rows[:, 3],
        forces=(
            rows[:, 5:8] if rows[:, 5:8].any() else None
        ),  # the columns must be there: all zero means unknown
        energy=np.array([s["energy"] for s in structures]),
        total_charge=np.rint([s["charge"] for s in structures]),
        cell=np.array([s["lattice"] or np.zeros((3, 3)) for s in structures]),
        pbc=np.array([[bool(s["lattice"])] * 3 for s in structures]),
        units=units or UNITS,
    )


def _take(words: list[str], structures: list[dict[str, Any]]) -> None:
    match words[:1]:
        case ["begin"]:
            structures.append({"numbers": [], "rows": [], "lattice": [], "charge": 0.0})
        case ["atom"]:
            structures[-1]["numbers"].append(atomic_numbers[words[4]])
            structures[-1]["rows"].append([float(word) for word in (*words[1:4], *words[5:10])])
            if len(words) != 10:
                raise ValueError("an atom line has nine columns")
        case ["lattice"]:
            structures[-1]["lattice"].append([float(word) for word in words[1:4]])
        case ["energy" | "charge"]:
            structures[-1][words[0]] = float(words[1])
        case [] | ["comment" | "end"]:
            pass
        case _:
            raise ValueError("unknown keyword")
