"""Which frames are worth a label: those that differ most.

Two structures of one composition differ by the root mean square of the differences of their
reciprocal distances, sorted within each pair of elements, in 1/Å: no matter how like atoms are
numbered or the whole is turned. Frame after frame is taken whose nearest one, of those taken and
those labelled before, is farthest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ALIKE = 0.002  # 1/Å; of frames that differ by less one is enough
TOO_CLOSE = 0.55  # of the sum of covalent radii: nothing that a reference could label
MOST = 400  # candidates that are compared
RATTLED_A = (0.03, 0.12)  # least and largest displacement of a coordinate, standard deviation


def most_different(candidates: Sequence[Atoms], labelled: Sequence[Atoms], count: int) -> list[int]:
    """Choose candidates that differ most from each other and from what is labelled.

    Returns
    -------
    their positions among the candidates, at most ``count``, the most different first
    """
    if not candidates:
        return []
    here = np.linspace(0, len(candidates) - 1, min(len(candidates), MOST)).round().astype(int)
    rows = [_described(candidates[n]) for n in here]
    nearest = np.full(len(here), np.inf)
    for known in labelled:
        nearest = np.minimum(nearest, _differences(rows, _described(known)))
    taken: list[int] = []
    while len(taken) < count:
        best = int(nearest.argmax())
        if nearest[best] < ALIKE:
            break
        taken.append(int(here[best]))
        nearest = np.minimum(nearest, _differences(rows, rows[best]))
    return taken


def sensible(atoms: Atoms) -> bool:
    """Say whether no two atoms of a structure are on top of each other."""
    radii = covalent_radii[atoms.numbers]
    lengths = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    np.fill_diagonal(lengths, np.inf)
    return bool(
        np.isfinite(atoms.positions).all()
        and (lengths > TOO_CLOSE * (radii[:, None] + radii[None])).all()
    )


def rattled(atoms: Atoms, count: int, rng: np.random.Generator) -> list[Atoms]:
    """Displace all atoms at random, from little to more."""
    made = []
    for width in np.linspace(*RATTLED_A, 2 * count):
        copy = atoms.copy()
        copy.positions += rng.normal(scale=width, size=copy.positions.shape)
        copy.info["origin"] = "rattled"
        made.append(copy)
    return [copy for copy in made if sensible(copy)]


def _described(atoms: Atoms) -> tuple[bytes, Floats]:
    """Describe a structure: its composition, and sorted reciprocal distances (P,) in 1/Å."""
    order = np.argsort(atoms.numbers, kind="stable")
    numbers = atoms.numbers[order]
    lengths = atoms.get_all_distances(mic=bool(atoms.pbc.any()))[np.ix_(order, order)]
    i, j = np.triu_indices(len(atoms), 1)
    reciprocal = 1 / lengths[i, j].clip(min=1e-3)
    kinds = numbers[i] * 1000 + numbers[j]
    return numbers.tobytes(), reciprocal[np.lexsort((reciprocal, kinds))]


def _differences(rows: Sequence[tuple[bytes, Floats]], other: tuple[bytes, Floats]) -> Floats:
    """Return how much each structure differs from another; those of other atoms wholly."""
    formula, reciprocal = other
    return np.array(
        [
            float(np.sqrt(np.mean((row - reciprocal) ** 2))) if own == formula else np.inf
            for own, row in rows
        ]
    )
