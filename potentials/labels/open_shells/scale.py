"""One scale for two levels of theory: closed shells that our DFT and the teacher both label."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from potentials.datasets.frames import Frames
from potentials.datasets.shifts import Shifts, fit_shifts
from potentials.labels.teacher import THEORY, pad, teacher

UNSURE = 0.05  # eV: where the networks of the teacher differ by more, it does not set the scale


class Scale(NamedTuple):
    """What takes energies to the teacher's scale, and how alike both levels are besides."""

    shifts: Shifts
    closed_shells: int  # structures of the fit
    forces: float  # eV/Å, root mean square difference over these

    def card(self) -> dict[str, Any]:
        """Say it for the card of a set."""
        return {
            "scale": THEORY,
            "closed shells labelled both ways": self.closed_shells,
            "shifts_eV": {z: round(x, 5) for z, x in self.shifts.per_element.items()},
            "residual_eV": round(self.shifts.residual, 4),
            "residual_eV_per_atom": round(self.shifts.residual_per_atom, 4),
            "forces_rms_eV_per_A": round(self.forces, 4),
        }


def scale_of(frames: Frames) -> Scale:
    """Label closed shells of more than two atoms with the teacher too; fit what elements add.

    Raises
    ------
    ModuleNotFoundError   the teacher is not installed
    ValueError            too few closed shells
    """
    closed = frames.select((frames.multiplicity == 1) & (frames.n_atoms > 2))
    ends = closed.first[1:-1]
    structures = pad(
        np.split(closed.atomic_numbers, ends),
        np.split(closed.positions, ends),
        closed.total_charge.astype(int).tolist(),
    )
    labels = teacher().label(structures)
    sure = np.flatnonzero(labels.energy_std <= UNSURE)
    chosen = closed.select(sure)
    forces = np.concatenate([labels.forces[n, : closed.n_atoms[n]] for n in sure])
    difference = np.sqrt(np.mean((forces - chosen.forces) ** 2))
    return Scale(fit_shifts(chosen, labels.energy[sure]), len(sure), float(difference))
