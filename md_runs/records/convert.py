"""The trajectory of a run in a format that other programs read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ase import Atoms
from ase.io.trajectory import TrajectoryWriter

from md_runs.errors import InputError, as_input_error
from md_runs.records.output import check_new
from md_runs.records.structures import write_structures
from md_runs.records.trajectory import read_trajectory
from md_runs.screen import screen
from potentials.files import replacing

TRAJECTORY = "trajectory.h5md"


def convert(source: Path, target: Path, every: int = 1) -> None:
    """Write every so many frames of a trajectory to a new file, at once or not at all.

    Parameters
    ----------
    source : Path   an H5MD file of ``polcalc md``, or the directory of a run
    target : Path   its ending, one of `FORMATS`, says the format

    Raises
    ------
    InputError   no such trajectory, or a damaged one; another ending; the target exists
    """
    trajectory = source / TRAJECTORY if source.is_dir() else source
    if not trajectory.is_file():
        raise InputError(
            f"`TRAJECTORY` must be an existing file, or the directory of a run; got {source}."
            " Check the name."
        )
    if target.suffix.lower() not in FORMATS:
        raise InputError(f"`OUT` must end in {', '.join(FORMATS)}; got {target}. Rename it.")
    check_new(target, "OUT")
    count, states = 0, dict[str, None]()

    def counted() -> Iterator[Atoms]:
        nonlocal count
        try:
            for atoms in read_trajectory(trajectory, slice(None, None, every)):
                count += 1
                charge, multiplicity = atoms.info["charge"], atoms.info["multiplicity"]
                states[f"charge {charge:+g}, multiplicity {multiplicity}"] = None
                yield atoms
        except (OSError, KeyError, ValueError, IndexError, RuntimeError) as error:
            raise InputError(
                f"`TRAJECTORY` must be a whole one of polcalc md; got {trajectory}"
                f" ({' '.join(str(error).split())}). Check the file."
            ) from error

    with as_input_error():
        target.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[target.suffix.lower()](target, counted())
    screen.print(f"{target}: {count} frames, {'; '.join(states)} (of the trajectory)")


def _write_traj(path: Path, frames: Iterable[Atoms]) -> None:
    with replacing(path) as temporary, TrajectoryWriter(temporary) as writer:
        for atoms in frames:
            writer.write(atoms)


FORMATS: dict[str, Callable[[Path, Iterable[Atoms]], None]] = {
    ".extxyz": write_structures,
    ".xyz": write_structures,
    ".traj": _write_traj,
}
