"""The search of a saddle point by Sella, with the analytic Hessian of the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from md_runs.errors import InputError
from md_runs.readable import readable
from md_runs.surfaces.vibrations import Vibrations, analyse
from polcalc import PolarizedCalculator

NOISE_PER_CM = 20.0  # smaller imaginary modes are rounding, or turns that cost nothing
RESTED_STEPS = 3  # between two Hessians


class Step(NamedTuple):
    """One step of a search."""

    step: int
    energy_eV: float
    fmax_eV_per_A: float


@readable
class Saddle(NamedTuple):
    """Where a search ended."""

    atoms: Atoms
    converged: bool
    steps: list[Step]
    vibrations: Vibrations

    def summary(self) -> dict[str, str]:
        """Say what was found."""
        return {
            "formula": self.atoms.get_chemical_formula(),
            "energy": f"{self.steps[-1].energy_eV:.4f} eV",
            "largest force": f"{self.steps[-1].fmax_eV_per_A:.4f} eV/Å",
            "imaginary modes": str(len(self.imaginary_per_cm)),
            "search": "converged" if self.converged else "not converged",
        }

    @property
    def imaginary_per_cm(self) -> list[float]:
        """Wave numbers of the ways down, in 1/cm, as positive numbers."""
        sizes = [abs(mode.per_cm) for mode in self.vibrations.imaginary]
        return [size for size in sizes if size > NOISE_PER_CM]

    @property
    def is_saddle_point(self) -> bool:
        """Whether the energy falls along one way alone."""
        return self.converged and len(self.imaginary_per_cm) == 1


def check_searchable(atoms: Atoms) -> None:
    """Refuse what cannot be searched, before any work is done.

    Raises
    ------
    InputError   Sella is missing; a periodic structure, fixed atoms, fewer than three atoms
    """
    if find_spec("sella") is None:
        raise InputError(
            "`sella` must be installed for `polcalc ts`. Run: pip install 'polcalc[sella]'."
        )
    if atoms.pbc.any() or atoms.constraints:
        raise InputError(
            "`GUESS` must be a molecule in open space without fixed atoms. Release them."
        )
    if len(atoms) < 3:
        raise InputError(
            f"`GUESS` must have at least three atoms; got {len(atoms)}: bonds of two have no saddle"
            " point."
        )


def find_saddle(
    atoms: Atoms,
    calculator: PolarizedCalculator,
    fmax_eV_per_A: float,
    steps: int,
    watch: Callable[[Step], None] = lambda step: None,
) -> Saddle:
    """Climb along the softest mode and descend along all others, in place.

    Parameters
    ----------
    atoms : Atoms      near a saddle point
    watch : Callable   is told each step
    """
    import sella

    def hessian(some: Atoms) -> Any:
        n_coordinates = 3 * len(some)
        return calculator.get_hessian(some).reshape(n_coordinates, n_coordinates)

    table: list[Step] = []

    def record() -> None:
        fmax = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        table.append(Step(len(table), float(atoms.get_potential_energy()), fmax))
        watch(table[-1])

    atoms.calc = calculator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jax and of deprecated arguments
        method: Any = sella.Sella
        search = method(
            atoms,
            order=1,
            internal=False,
            logfile=None,
            hessian_function=hessian,
            diag_every_n=RESTED_STEPS,
        )
        search.attach(record)
        search.run(fmax=fmax_eV_per_A, steps=steps)
    if not table:
        record()
    converged = table[-1].fmax_eV_per_A <= fmax_eV_per_A
    return Saddle(atoms, converged, table, analyse(atoms, calculator))
