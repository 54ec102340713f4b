"""Vertical gaps: energies of several multiplicities at one geometry, and their errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SAME_A = 1e-5  # Å; coordinates that differ by less, as after a file of few digits, are one geometry


def geometry_key(atomic_numbers: Array, positions: Array, cell: Array) -> bytes:
    """Make a key of a geometry that is the same for all its electronic states."""
    rounded = (
        np.rint(np.asarray(x, dtype=np.float64) / SAME_A).astype(np.int64).tobytes()
        for x in (positions, cell)
    )
    return b"|".join([np.asarray(atomic_numbers, dtype=np.int64).tobytes(), *rounded])


def gap_errors(
    geometries: Sequence[bytes],
    charges: Sequence[int],
    multiplicities: Sequence[int],
    reference: Array,
    predicted: Array,
) -> list[dict[str, Any]]:
    """Compare E(higher) - E(lower multiplicity) where both are there at one geometry and charge.

    Parameters
    ----------
    geometries, charges, multiplicities : (S,)
    reference, predicted : (S,) eV

    Returns
    -------
    list of dict   one for each two multiplicities of a charge: ``gap_mae_meV``, ``gap_rmse_meV``,
                   ``gap_max_meV``, and ``blind_floor_meV``, the error in energy of a potential that
                   sees no multiplicity: half the mean gap
    """
    states: dict[tuple[bytes, int], dict[int, int]] = defaultdict(dict)
    for n, (geometry, charge, multiplicity) in enumerate(
        zip(geometries, charges, multiplicities, strict=True)
    ):
        states[geometry, charge][multiplicity] = n
    pairs: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    for (_, charge), there in states.items():
        for lower, higher in combinations(sorted(there), 2):
            pairs[charge, lower, higher].append((there[lower], there[higher]))
    return [
        {
            "charge": charge,
            "multiplicities": [lower, higher],
            "n_geometries": len(found),
            **_errors(np.array(found), reference, predicted),
        }
        for (charge, lower, higher), found in sorted(pairs.items())
    ]


def _errors(pairs: Array, reference: Array, predicted: Array) -> dict[str, float]:
    wanted, got = (energy[pairs[:, 1]] - energy[pairs[:, 0]] for energy in (reference, predicted))
    errors = 1000 * np.abs(got - wanted)
    return {
        "gap_mae_meV": float(errors.mean()),
        "gap_rmse_meV": float(np.sqrt((errors**2).mean())),
        "gap_max_meV": float(errors.max()),
        "blind_floor_meV": float(500 * np.abs(wanted).mean()),
    }
