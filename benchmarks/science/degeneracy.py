"""Labels of several electronic states at one geometry.

What a potential that cannot see the state reaches at best, and gaps.

Trained on the mean square, such a potential predicts the mean of the states: its mean absolute
error is half the mean gap.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.science.experiment import same_composition
from potentials.datasets import Frames
from potentials.datasets.splits import same_geometry
from potentials.potential import Potential, predict
from potentials.training.data import StructureSet
from potentials.training.evaluate import BATCH_ATOMS

Floats = npt.NDArray[np.float64]
MEV = 1000.0


def blind_floor(frames: Frames) -> dict[str, float | str | None]:
    """Mean absolute deviation of energies (meV) and forces (meV/Å) from the mean of the states.

    Of the states at each geometry where any geometry has several. Else of the mean energies of the
    states of each composition: an estimate then, for the geometries themselves may betray the
    state.
    """
    geometry = same_geometry(frames)
    if len(geometry) > geometry.max() + 1:
        of_forces = None if frames.forces is None else _deviation_of_forces(frames, geometry)
        return {
            "over": "geometry",
            "energy_meV": MEV * float(_deviation(frames.energy, geometry).mean()),
            "forces_meV_per_A": of_forces,
        }
    composition, state = same_composition(frames), _state(frames)
    kinds = np.unique(np.column_stack([composition, state]), axis=0)
    means = np.array([frames.energy[(composition == c) & (state == s)].mean() for c, s in kinds])
    weights = np.array([((composition == c) & (state == s)).sum() for c, s in kinds])
    return {
        "over": "composition",
        "energy_meV": MEV * float(np.average(_deviation(means, kinds[:, 0]), weights=weights)),
        "forces_meV_per_A": None,
    }


def gap_mae_meV(frames: Frames, energy: Floats) -> float | None:
    """Error of the gap between the lowest and highest (charge, multiplicity) of one geometry.

    None without such pairs.

    Parameters
    ----------
    frames : Frames
    energy : (S,) eV   predicted
    """
    order = np.lexsort((_state(frames), same_geometry(frames)))
    geometry = same_geometry(frames)[order]
    difference = (energy - frames.energy)[order]
    first = np.flatnonzero(np.diff(geometry, prepend=-1))
    last = np.append(first[1:], len(geometry)) - 1
    several = last > first
    return (
        MEV * float(np.abs(difference[last] - difference[first])[several].mean())
        if several.any()
        else None
    )


def predicted_energies(potential: Potential, frames: Frames, device: str = "cpu") -> Floats:
    """Energy of each structure (S,) eV."""
    batches = StructureSet(frames, potential.cutoff, device).batches(BATCH_ATOMS)
    return np.concatenate(
        [predict(potential, graph, forces=False).energy.cpu().numpy() for graph, _ in batches]
    )


def _deviation(values: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    """|value - mean of its group| (S, …)."""
    _, member, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, member, values)
    return np.abs(values - sums[member] / counts[member].reshape(-1, *(1,) * (values.ndim - 1)))


def _deviation_of_forces(frames: Frames, geometry: npt.NDArray[np.int64]) -> float:
    """Atom by atom: those at the same place of the same geometry are one group."""
    assert frames.forces is not None
    place = np.arange(len(frames.atomic_numbers)) - np.repeat(frames.first[:-1], frames.n_atoms)
    groups = np.repeat(geometry, frames.n_atoms) * int(frames.n_atoms.max()) + place
    return MEV * float(_deviation(frames.forces, groups).mean())


def _state(frames: Frames) -> npt.NDArray[np.int64]:
    """One number for charge and multiplicity, ordered by charge first (S,)."""
    return np.rint(frames.total_charge).astype(np.int64) * 100 + frames.multiplicity
