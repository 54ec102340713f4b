"""An electric field that oscillates while a run goes on: F(t) = F₀ cos(2πνt)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ase import Atoms

from md_runs.dynamics.integrators import Integrator
from md_runs.dynamics.recorder import Clock
from potentials.terms.field import FIELD


def field_at(amplitude: Sequence[float], frequency_THz: float, time_fs: float) -> tuple[float, ...]:
    """Return the field in V/Å, of an amplitude in V/Å."""
    phase = math.cos(2e-3 * math.pi * frequency_THz * time_fs)
    return tuple(phase * component for component in amplitude)


class Oscillation:
    """Keep the field of a calculator in step with a run.

    A step moves the atoms to the time of its end and takes the forces there: the calculator is
    told the field of the next evaluation ahead. The work of the field is booked as energy given
    away, so that the conserved energy stays: dE = -μ·dF, by the trapezoidal rule.

    Parameters
    ----------
    atoms : Atoms              with a `PolarizedCalculator`
    amplitude : (3,)           V/Å
    frequency_THz : float
    clock : Clock
    """

    def __init__(
        self, atoms: Atoms, amplitude: Sequence[float], frequency_THz: float, clock: Clock
    ) -> None:
        self.atoms, self.amplitude, self.frequency_THz = atoms, amplitude, frequency_THz
        self.clock = clock
        self.field = self.dipole = np.zeros(3)

    def start(self, step: int) -> None:
        """Put the structure, as it is at this step, into its field."""
        self.atoms.calc.set(**{FIELD: self._at(step)})
        self.field, self.dipole = np.array(self._at(step)), self._dipole()
        self.atoms.calc.aim_field(self._at(step + 1))

    def advance(self, step: int, integrator: Integrator) -> None:
        """Book the work of the step that ended, and tell the calculator the field of the next."""
        field, dipole = np.array(self._at(step)), self._dipole()
        integrator.given += float(0.5 * (self.dipole + dipole) @ (field - self.field))
        self.field, self.dipole = field, dipole
        self.atoms.calc.aim_field(self._at(step + 1))

    def _at(self, step: int) -> tuple[float, ...]:
        return field_at(self.amplitude, self.frequency_THz, self.clock.time_fs_at(step))

    def _dipole(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.atoms.get_dipole_moment())
