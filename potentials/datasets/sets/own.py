"""Sets that we computed; their files come with the package, `potentials.labels` makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from potentials.datasets.formats.hdf5 import read_hdf5
from potentials.datasets.formats.units import EV_ANGSTROM
from potentials.datasets.frames import Frames
from potentials.datasets.recipe import Recipe, RemoteFile
from potentials.datasets.sets.charged import first_with, row
from potentials.datasets.shifts import shifted

SHIPPED = Path(__file__).parents[1] / "files"


def card(name: str) -> dict[str, Any]:
    """Read how a set was made: method, programs, sampling, seed, number of labels, checksum."""
    found: dict[str, Any] = json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))
    return found


def shipped(file: RemoteFile) -> Path | None:
    """Find a file that comes with the package."""
    path = SHIPPED / file.name
    return path if path.is_file() else None


def _own(name: str) -> Recipe:
    about = card(name)
    return row(
        name,
        {"": (RemoteFile(f"{name}.h5", "", about["sha256"]),)},
        first_with(partial(_read, shifts_eV=about.get("shifts_eV"))),
        description=about["description"],
        theory=about["theory"],
        licence=about["licence"],
        citation=about["citation"],
        url=about["url"],
        units=EV_ANGSTROM,
    )


def _read(path: Path, shifts_eV: Mapping[str, float] | None) -> Frames:
    """Read a set, its energies on the scale that its card names."""
    frames = read_hdf5(path)
    return frames if shifts_eV is None else shifted(frames, shifts_eV)


# a set is there when its card is
OWN = {path.stem: _own(path.stem) for path in sorted(SHIPPED.glob("*.json"))}
