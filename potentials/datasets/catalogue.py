"""The known data sets, and how a name or a file becomes frames.

Files are looked for in the folder that is passed as ``data``, else in those of the environment variable POLCALC_DATA, else in
``./data``; in the folder itself and up to three folders below it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from potentials.datasets.frames import Frames
from potentials.datasets.npz import read_npz
from potentials.datasets.recipe import Part, Recipe, RemoteFile
from potentials.datasets.rmd17 import RMD17
from potentials.datasets.units import Units

RECIPES: dict[str, Recipe] = {"rmd17": RMD17}
ENVIRONMENT = "POLCALC_DATA"
DEPTH = 3  # folders below the data folder


def load_frames(source: str | Path, *, data: str | Path | None = None, units: Units | None = None) -> Frames:
    """Read a known set by its name, or a file.

    Parameters
    ----------
    source : str or Path   such as ``rmd17:ethanol:01:train`` or ``my.extxyz``
    data : str or Path     folder with the files of known sets
    units : Units          of a file; default: what its format says

    Raises
    ------
    FileNotFoundError      no such file, or a known set that is not on this machine
    ValueError             unknown name, damaged file, numbers that do not fit their units
    """
    set_name, *fields = str(source).split(":")
    if set_name in RECIPES and not Path(source).exists():
        return _load_known(str(source), RECIPES[set_name], RECIPES[set_name].part(fields), data)
    path = Path(source).expanduser()
    if not path.is_file():
        known = ", ".join(RECIPES)
        raise FileNotFoundError(f"`data` must be a file or a known set ({known}); got {str(source)!r}. See `polcalc data list`.")
    return read_npz(path, units)


def find_file(file: RemoteFile, data: str | Path | None = None) -> Path | None:
    """Look for a file of a known set on this machine."""
    for folder in data_folders(data):
        for depth in range(DEPTH + 1):
            found = sorted(folder.glob("*/" * depth + file.name))
            if found:
                return found[0]
    return None


def data_folders(data: str | Path | None = None) -> list[Path]:
    """Name the folders where files of known sets are looked for."""
    if data is not None:
        return [Path(data).expanduser()]
    named = [Path(name).expanduser() for name in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if name]
    return named or [Path("data")]


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_known(name: str, recipe: Recipe, part: Part, data: str | Path | None) -> Frames:
    paths, sums = [], {}
    for file in part.files:
        path = find_file(file, data)
        if path is None:
            where = ", ".join(map(str, data_folders(data)))
            raise FileNotFoundError(
                f"`data` must hold {file.name} for {name}; got no such file in {where}. "
                f"Run `polcalc data fetch {name}`, or set {ENVIRONMENT} to its folder."
            )
        sums[file.name] = checksum(path)
        if file.sha256 and sums[file.name] != file.sha256:
            raise ValueError(f"`{path}` must have SHA-256 {file.sha256}; got {sums[file.name]}. Delete the file and fetch it again.")
        paths.append(path)
    frames = part.read(paths)
    return replace(frames, provenance=replace(recipe.provenance, name=name, sha256=sums, units=frames.provenance.units))
