"""Draw small structures from the labels of `organic`, and label them again with GFN2-xTB.

    python -m benchmarks.science.small_labels --labels runs/organic/organic-train.h5

Writes ``organic.h5`` and ``gfn2.h5``, which the experiment `polarization` is about: the same
structures, the same each time. In the first, closed shells have charges and the dipole of these
charges; those labelled by DFT have a dipole of the electrons and no charges. In the second all have
charges of GFN2-xTB and its dipole, to which the orbitals of each atom add.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import command_line
from potentials.datasets import Frames
from potentials.datasets.formats.hdf5 import read_hdf5, write_hdf5
from potentials.labels.gfn2 import THEORY, Convergence, Surface
from potentials.labels.method import Failed, Label

FOLDER = Path("runs/polarization")
LARGEST = 12  # atoms
SMALLEST = 3  # atoms, of those that DFT labelled: two have curves of their own
COUNT = 9_200  # closed shells of the teacher
CONVERGENCE = Convergence(accuracy=0.1)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--labels", type=Path, required=True, help="organic-train.h5")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the two files")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    chosen = drawn(read_hdf5(options.labels))
    write_hdf5(options.output / "organic.h5", chosen)
    write_hdf5(options.output / "gfn2.h5", relabelled(chosen))


def drawn(frames: Frames, count: int = COUNT) -> Frames:
    """Choose small structures at random: the teacher's, and each of those of DFT once."""
    assert frames.partial_charges is not None and frames.group is not None
    of_dft = np.isnan(frames.partial_charges[frames.first[:-1]])  # (S,)
    small = frames.n_atoms <= LARGEST
    order = np.random.default_rng(0).permutation(np.flatnonzero(small & ~of_dft))
    ours = np.flatnonzero(small & of_dft & (frames.n_atoms >= SMALLEST))
    labels = np.column_stack([frames.group[ours], frames.multiplicity[ours], frames.energy[ours]])
    _, first = np.unique(labels, axis=0, return_index=True)  # training repeats them
    return frames.select(np.sort(np.concatenate([order[:count], ours[first]])))


def relabelled(frames: Frames) -> Frames:
    """Label structures with GFN2-xTB; those that it has no answer for are left out."""
    labels = {index: label for index in range(len(frames)) if (label := _label(frames, index))}
    kept, found = frames.select(list(labels)), list(labels.values())
    return replace(
        kept.with_arrays(
            {
                "energy": np.array([label.energy for label in found]),
                "dipole": np.array([label.dipole for label in found]),
                "forces": np.concatenate([label.forces for label in found]),
                "partial_charges": np.concatenate([label.charges for label in found]),
            }
        ),
        provenance=replace(kept.provenance, name="gfn2-small", theory=THEORY, citation="", url=""),
    )


def _label(frames: Frames, index: int) -> Label | None:
    rows = frames.slice_of(index)
    numbers: NDArray[np.int64] = frames.atomic_numbers[rows]
    state = int(frames.total_charge[index]), int(frames.multiplicity[index])
    try:
        return Surface(numbers, *state, CONVERGENCE).label(frames.positions[rows])
    except Failed:
        return None


if __name__ == "__main__":
    main()
