"""Splits: which structures train, which choose when to stop, and what is left to test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from potentials.datasets.frames import Frames
from potentials.datasets.gaps import geometry_key

Array = npt.NDArray[Any]


class Split(NamedTuple):
    """Structures for training, for choosing when to stop, and what is left."""

    train: Frames
    validation: Frames
    test: Frames


def split(
    frames: Frames, n_train: int, n_validation: int, seed: int, together: str = "group"
) -> Split:
    """Draw structures at random; those of one group, or of one geometry, stay together.

    Parameters
    ----------
    frames : Frames
    n_train, n_validation : int   structures; with groups, the first groups that reach these numbers
    seed : int                    the same seed gives the same split
    together : str                name in `TOGETHER`

    Raises
    ------
    ValueError                    more structures than there are; an unknown name
    """
    check_together(together)
    if n_train < 0 or n_validation < 0 or n_train + n_validation > len(frames):
        raise ValueError(
            f"`n_train` + `n_validation` must be at most {len(frames)}, the structures of"
            f" {frames.provenance.name or 'the set'}; got {n_train} + {n_validation}. Ask for"
            " fewer."
        )
    generator = np.random.default_rng(seed)
    group = TOGETHER[together](frames)
    groups = np.arange(len(frames)) if group is None else group
    names, members = np.unique(groups, return_inverse=True)
    # of each structure's group in the random order
    place = generator.permutation(len(names))[members]
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(
        place[order], _group_ends(place[order], (n_train, n_train + n_validation))
    )
    return Split(*(frames.select(chosen) for chosen in np.split(order, ends)))


def check_together(name: str) -> None:
    """Refuse what is not a name in `TOGETHER`."""
    if name not in TOGETHER:
        raise ValueError(f"`split` must be one of {', '.join(TOGETHER)}; got {name!r}. Correct it.")


def same_geometry(frames: Frames) -> npt.NDArray[np.int64]:
    """Number the geometries (S,): structures with the same atoms at the same places share one."""
    rows = [frames.slice_of(n) for n in range(len(frames))]
    return numbered(
        [
            geometry_key(frames.atomic_numbers[r], frames.positions[r], frames.cell[n])
            for n, r in enumerate(rows)
        ]
    )


def numbered(keys: list[bytes]) -> npt.NDArray[np.int64]:
    """Number equal keys alike (S,), in the order of their first."""
    numbers = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


TOGETHER: dict[str, Callable[[Frames], npt.NDArray[np.int64] | None]] = {
    "group": lambda frames: frames.group,
    "geometry": same_geometry,
    "label": lambda frames: None,
}  # what a split keeps together: numbers (S,) of groups as the set says, of geometries, or nothing


def _group_ends(place: Array, wanted: tuple[int, int]) -> Array:
    """Round numbers of structures up to whole groups.

    The first place that is not taken, for each number.
    """
    taken = np.array([place[n - 1] + 1 if n else 0 for n in wanted])
    return taken
