"""The known data sets, and how a name or a file becomes frames.

Files are looked for in the folder that is passed as ``data``, else in those of the environment
variable POLCALC_DATA, else in ``./data``; in the folder itself and up to three folders below it. A
file that belongs to a known set is recognised by its checksum, whatever its name, and read with the
units and the charge that the set declares.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from potentials.datasets.checks.plausible import check_units
from potentials.datasets.checksum import checksum
from potentials.datasets.formats.hdf5 import read_hdf5
from potentials.datasets.formats.labels import Wanted
from potentials.datasets.formats.npz import read_npz
from potentials.datasets.formats.runner import read_runner
from potentials.datasets.formats.structures import read_structures
from potentials.datasets.formats.units import Units
from potentials.datasets.frames import Frames, Provenance
from potentials.datasets.recipe import Part, Recipe, RemoteFile
from potentials.datasets.sets.charged import CHARGED
from potentials.datasets.sets.md17 import MD17, MD17_CCSDT
from potentials.datasets.sets.organic import ORGANIC
from potentials.datasets.sets.own import OWN, shipped
from potentials.datasets.sets.qm9 import QM9
from potentials.datasets.sets.qmspin import QMSPIN
from potentials.datasets.sets.rmd17 import RMD17
from potentials.datasets.sets.spice import SPICE

RECIPES: dict[str, Recipe] = {
    "rmd17": RMD17,
    "md17": MD17,
    "md17-ccsdt": MD17_CCSDT,
    **CHARGED,
    **OWN,
    "organic": ORGANIC,
}
RECIPES |= {"qmspin": QMSPIN, "spice": SPICE, "qm9": QM9}
READERS: dict[str, Callable[[Path, Units | None], Frames]] = {
    ".npz": read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".data": read_runner,
}  # by the ending of the file; every other is one of structures
ENVIRONMENT = "POLCALC_DATA"
DEPTH = 3  # folders below the data folder


def load_frames(
    source: str | Path,
    *,
    data: str | Path | None = None,
    units: Units | None = None,
    wanted: Wanted = Wanted(),  # noqa: B008  (a NamedTuple)
    check: Callable[[Frames], None] = check_units,
) -> Frames:
    """Read a known set by its name, or a file.

    Parameters
    ----------
    source : str or Path   such as ``rmd17:ethanol:01:train`` or ``my.extxyz``
    data : str or Path     folder with the files of known sets
    units : Units          of a file; default: those of the known set it belongs to, else what its
                           format says
    wanted : Wanted        names of the labels to read from a file; default: find them
    check : callable       raises ValueError where the numbers do not fit their units

    Raises
    ------
    FileNotFoundError      no such file, or a known set that is not on this machine
    ValueError             unknown name, damaged file, numbers that do not fit their units
    """
    path = Path(source).expanduser()
    if not path.is_file():
        frames = _read_known(str(source), data)
    elif units is None and (name := known_files().get(checksum(path))):
        frames = _read_known(name, path.parent, path)
    else:
        frames = _read_file(path, units, wanted)
    try:
        check(frames)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return frames


def part_of(name: str) -> tuple[Recipe, Part]:
    """Find the recipe of a name and the files that the name stands for.

    Raises
    ------
    FileNotFoundError   not a known set
    ValueError          a known set, but not a part of it
    """
    set_name, *fields = name.split(":")
    if set_name not in RECIPES:
        raise FileNotFoundError(
            f"`data` must be a file or a known set ({', '.join(RECIPES)}); got {name!r}. See"
            " `polcalc data list`."
        )
    return RECIPES[set_name], RECIPES[set_name].part(fields)


def find_file(file: RemoteFile, data: str | Path | None = None) -> Path | None:
    """Look for a file of a known set on this machine.

    Those that come with the package are found first.
    """
    if (path := shipped(file)) is not None:
        return path
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
    named = [
        Path(name).expanduser()
        for name in os.environ.get(ENVIRONMENT, "").split(os.pathsep)
        if name
    ]
    return named or [Path("data")]


@cache
def known_files() -> dict[str, str]:
    """Map the checksum of each part's first file to the name of the part.

    A file that stands for several quantities has no name.
    """
    found: dict[str, str] = {}
    for recipe in RECIPES.values():
        for name in recipe.names:
            part = part_of(name)[1]
            if part.files[0].sha256 and not part.quantity:
                found.setdefault(part.files[0].sha256, name)
    return found


def _read_file(path: Path, units: Units | None, wanted: Wanted) -> Frames:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        frames = read_structures(path, units, wanted=wanted)
    elif any(wanted):
        raise ValueError(
            f"`{path.name}` must be read under the names of its format; got others for energy,"
            " forces or stress. Leave them out of [data], or write the structures as extxyz."
        )
    else:
        frames = reader(path, units)
    about = frames.provenance if frames.provenance.name else Provenance(name=path.name)
    return replace(
        frames,
        provenance=replace(
            about, sha256={path.name: checksum(path)}, units=frames.provenance.units
        ),
    )


def _read_known(name: str, data: str | Path | None, path: Path | None = None) -> Frames:
    """Read a part of a known set; ``path`` is its only or first file, if it is known already."""
    recipe, part = part_of(name)
    paths = [
        path if n == 0 and path else _present(name, file, data) for n, file in enumerate(part.files)
    ]
    sums = {file.name: checksum(p) for file, p in zip(part.files, paths, strict=True)}
    for file, found in zip(part.files, paths, strict=True):
        if file.sha256 and sums[file.name] != file.sha256:
            raise ValueError(
                f"`{found}` must have SHA-256 {file.sha256}; got {sums[file.name]}. Delete the file"
                " and fetch it again."
            )
    frames = part.read(paths)
    about = replace(
        recipe.provenance,
        name=name,
        sha256=sums,
        units=frames.provenance.units,
        quantity=part.quantity,
    )
    return replace(frames, provenance=about)


def _present(name: str, file: RemoteFile, data: str | Path | None) -> Path:
    path = find_file(file, data)
    if path is None:
        where = ", ".join(map(str, data_folders(data)))
        raise FileNotFoundError(
            f"`data` must hold {file.name} for {name}; got no such file in {where}. Run"
            f" `{file.made_by or f'polcalc data fetch {name}'}`, or set {ENVIRONMENT} to its"
            " folder."
        )
    return path
