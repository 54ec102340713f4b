"""GFN2-xTB through tblite: milliseconds a label."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from potentials.datasets.formats.units import BOHR, HARTREE
from potentials.labels.method import Failed, Floats, Integers, Label

THEORY = "GFN2-xTB, spin-polarised for open shells"
ACCURACY = 0.01  # of tblite's own scale: energies to about 1e-8 hartree
SPIN_POLARIZATION = (
    1.0  # without it the triplet of CH2 lies 0.8 eV above its singlet, with it 0.6 below
)


class Convergence(NamedTuple):
    """How far the charges of a molecule are made self-consistent, and from where."""

    # of tblite's own scale: 0.1 is good for 0.1 meV/Å, 1 for 1 meV/Å; 10 for 0.002 meV and 1.5
    # meV/Å, at worst 0.02 and 30
    accuracy: float
    # before a label is given up: what does not converge within these rarely does within more
    cycles: int = 150
    guess: int = (
        0  # of tblite: 0 superposes atoms, 1 equilibrates electronegativities, which saves a cycle
    )


def gfn2(atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int) -> Label:
    """Compute a label from a fresh guess, so that it depends on nothing before it.

    Raises
    ------
    Failed   the self-consistent charges do not converge
    """
    from tblite.exceptions import TBLiteRuntimeError
    from tblite.interface import Calculator

    method = Calculator(
        "GFN2-xTB", atomic_numbers, positions / BOHR, charge=float(charge), uhf=multiplicity - 1
    )
    method.set("verbosity", 0)
    method.set("accuracy", ACCURACY)
    if multiplicity > 1:
        method.add("spin-polarization", SPIN_POLARIZATION)
    try:
        result = method.singlepoint()
    except TBLiteRuntimeError as error:
        raise Failed(str(error).splitlines()[0]) from error
    return Label(
        energy=float(result.get("energy")) * HARTREE,
        forces=-result.get("gradient") * (HARTREE / BOHR),
        charges=result.get("charges"),
    )


class Surface:
    """One molecule in one state, geometry after geometry, on one calculator.

    Parameters
    ----------
    convergence : Convergence   of each label
    """

    def __init__(
        self, atomic_numbers: Integers, charge: int, multiplicity: int, convergence: Convergence
    ) -> None:
        from tblite.interface import Calculator

        self._method = Calculator(
            "GFN2-xTB",
            atomic_numbers,
            _spread(len(atomic_numbers)),
            charge=float(charge),
            uhf=multiplicity - 1,
        )
        accuracy, cycles, guess = convergence
        for name, value in {
            "verbosity": 0,
            "accuracy": accuracy,
            "save-integrals": 1,
            "max-iter": cycles,
            "guess": guess,
        }.items():
            self._method.set(name, value)
        if multiplicity > 1:
            self._method.add("spin-polarization", SPIN_POLARIZATION)
        self._open = multiplicity > 1
        self._last: Any = None

    def label(self, positions: Floats) -> Label:
        """Compute a label from a fresh guess, so that it depends on nothing before it."""
        result = self._run(positions)
        return Label(
            energy=float(result.get("energy")) * HARTREE,
            forces=-result.get("gradient") * (HARTREE / BOHR),
            charges=result.get("charges"),
            dipole=result.get("dipole") * BOHR,
            spin_squared=_spin_squared(result) if self._open else 0.0,
        )

    def follow(self, positions: Floats) -> Label:
        """Compute energy and forces near the geometry before, from its charges.

        For dynamics, cheaper.
        """
        try:
            self._last = self._run(positions, self._last)
        except Failed:
            self._last = self._run(positions)
        return Label(
            float(self._last.get("energy")) * HARTREE,
            -self._last.get("gradient") * (HARTREE / BOHR),
            self._last.get("charges"),
        )

    def _run(self, positions: Floats, start: Any = None) -> Any:
        from tblite.exceptions import TBLiteRuntimeError

        self._method.update(positions / BOHR)
        try:
            return self._method.singlepoint(start)
        except TBLiteRuntimeError as error:
            raise Failed(str(error).splitlines()[0]) from error


def program() -> dict[str, str]:
    """Name the program and its version."""
    return {"tblite": version("tblite")}


def _spin_squared(result: Any) -> float:
    """Expectation value of S² of one determinant with fractional occupations.

    S_z² + N/2 - Σ_ij n_i n_j |<i|j>|², i up and j down.
    """
    orbitals, (up, down) = result.get("orbital-coefficients"), result.get("orbital-occupations")
    overlap = orbitals[0].T @ result.get("overlap-matrix") @ orbitals[1]  # (up, down)
    return float(
        0.25 * (up.sum() - down.sum()) ** 2 + 0.5 * (up.sum() + down.sum()) - up @ overlap**2 @ down
    )


def _spread(n_atoms: int) -> Floats:
    """Place atoms anywhere but on each other (N, 3).

    A calculator must be made before it is told positions.
    """
    return np.arange(3.0 * n_atoms).reshape(-1, 3)
