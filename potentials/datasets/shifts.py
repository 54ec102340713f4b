"""Element-wise shifts: put total energies of one level of theory onto the scale of another.

Two levels that differ in the basis alone differ in total energies by an amount that each element
adds, whatever the charge and the multiplicity; what is left over is the residual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers as number_of
from ase.data import chemical_symbols

from potentials.datasets.frames import Array, Frames


class Shifts(NamedTuple):
    """What each element adds, and what is left over."""

    per_element: dict[str, float]  # eV an atom
    residual: float  # eV, root mean square over the structures of the fit
    residual_per_atom: float  # eV


def fit_shifts(frames: Frames, energy: Array) -> Shifts:
    """Fit by least squares what takes the energies of frames to those of another level.

    Parameters
    ----------
    frames : Frames   S structures
    energy : (S,)     eV, of the other level, at the same geometries in the same states

    Raises
    ------
    ValueError        fewer structures than elements
    """
    elements = np.unique(frames.atomic_numbers)
    if len(frames) < len(elements):
        raise ValueError(
            f"`frames` must have at least {len(elements)} structures for as many elements; "
            f"got {len(frames)}. Label more of them."
        )
    counts = _counts(frames, elements)
    difference = energy - frames.energy
    fitted = np.linalg.lstsq(counts, difference, rcond=None)[0]
    left = difference - counts @ fitted
    return Shifts(
        {chemical_symbols[z]: float(x) for z, x in zip(elements, fitted, strict=True)},
        float(np.sqrt(np.mean(left**2))),
        float(np.sqrt(np.mean((left / frames.n_atoms) ** 2))),
    )


def shifted(frames: Frames, per_element: Mapping[str, float]) -> Frames:
    """Add to each energy what its elements say; forces are as they were.

    Raises
    ------
    ValueError   an element without a shift
    """
    elements = np.array([number_of[symbol] for symbol in per_element])
    if unknown := sorted(set(frames.atomic_numbers.tolist()) - set(elements.tolist())):
        raise ValueError(
            f"`per_element` must hold every element; got none for "
            f"{', '.join(chemical_symbols[z] for z in unknown)}. Fit again with them."
        )
    added = _counts(frames, elements) @ np.array(list(per_element.values()))
    return replace(frames, energy=frames.energy + added)


def _counts(frames: Frames, elements: Array) -> Array:
    """Count the atoms of each element in each structure (S, E)."""
    structure = np.repeat(np.arange(len(frames)), frames.n_atoms)
    counted = [
        np.bincount(structure[frames.atomic_numbers == z], minlength=len(frames)) for z in elements
    ]
    return np.stack(counted, axis=1).astype(np.float64)
