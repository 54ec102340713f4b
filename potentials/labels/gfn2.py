"""GFN2-xTB through tblite: milliseconds a label."""

from __future__ import annotations

from importlib.metadata import version

from potentials.datasets.units import BOHR, HARTREE
from potentials.labels.method import Failed, Floats, Integers, Label

THEORY = "GFN2-xTB, spin-polarised for open shells"
ACCURACY = 0.01  # of tblite's own scale: energies to about 1e-8 hartree
SPIN_POLARIZATION = 1.0  # without it the triplet of CH2 lies 0.8 eV above its singlet, with it 0.6 below


def gfn2(atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int) -> Label:
    """Compute a label from a fresh guess, so that it depends on nothing before it.

    Raises
    ------
    Failed   the self-consistent charges do not converge
    """
    from tblite.exceptions import TBLiteRuntimeError
    from tblite.interface import Calculator

    method = Calculator("GFN2-xTB", atomic_numbers, positions / BOHR, charge=float(charge), uhf=multiplicity - 1)
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


def program() -> dict[str, str]:
    """Name the program and its version."""
    return {"tblite": version("tblite")}
