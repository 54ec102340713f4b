"""Errors of predicted quantities: how they are named, and how differences are summed up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from potentials.quantities import QUANTITIES

Array = npt.NDArray[Any]

KINDS = ("mae", "rmse", "max")
ALWAYS = ("energy", "forces")  # told as None where there is none

# for people -> name of the number, of which {} is the kind
NAMES = {
    f"{q.name} ({q.error.symbol}{per})": f"{q.name}_{{}}_{q.error.key}{key}"
    for q in QUANTITIES.values()
    if q.label
    for per, key in (("", ""), ("/atom", "_per_atom"))[: 1 + q.extensive]
}


def named_errors(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return those of `NAMES` that are among some numbers."""
    return {label: name for label, name in NAMES.items() if name.format("mae") in metrics}


def summary(differences: Mapping[str, Array], n_atoms: Array) -> dict[str, Any]:
    """Sum up predicted minus reference, of vectors and tensors by component, where both are known.

    Parameters
    ----------
    differences : quantity -> array   a row for each structure or atom, in the quantity's unit
    n_atoms : (S,)
    """
    numbers: dict[str, Any] = {"n_frames": len(n_atoms), "n_atoms": int(n_atoms.sum())}
    for name in (*ALWAYS, *(other for other in differences if other not in ALWAYS)):
        quantity, difference = QUANTITIES[name], differences.get(name)
        key = f"{name}_{{}}_{quantity.error.key}"
        numbers |= _sizes(difference, key, quantity.error.factor)
        if quantity.extensive:
            share = None if difference is None else difference / n_atoms
            numbers |= _sizes(share, f"{key}_per_atom", quantity.error.factor)
    return numbers


def _sizes(differences: Array | None, name: str, factor: float) -> dict[str, float | None]:
    array = np.asarray([] if differences is None else differences, dtype=np.float64)
    size = np.abs(array[~np.isnan(array)]) * factor
    if not len(size):
        return {name.format(kind): None for kind in KINDS}
    values = size.mean(), np.sqrt(np.mean(size**2)), size.max()
    return {name.format(kind): float(x) for kind, x in zip(KINDS, values, strict=True)}
