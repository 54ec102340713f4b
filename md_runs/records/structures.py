"""Structures as extxyz, each with the charge and multiplicity that it was computed with.

Models with moving points add two vector columns: ``polarization_vectors``, their displacement from
the nuclei, and ``virtual_points``. Charges, magnetic moments and the dipole are those of ASE; a
polarizability stands in ``info``.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_xyz
from numpy.typing import NDArray

from polcalc import PolarizedCalculator
from potentials.datasets.formats.states import forget_state
from potentials.files import replacing
from potentials.quantities import QUANTITIES
from potentials.structure.states import SUM_TOLERANCE

USUAL = ("energy", "energies", "forces", "stress")
LEFT_OUT = {*USUAL, *(q.name for q in QUANTITIES.values() if q.within)}  # of what is further
# predicted of a structure, neither a property of ASE nor a label of data files
OF_THE_WHOLE = tuple(
    q.name for q in QUANTITIES.values() if q.per == "structure" and not (q.ase or q.label)
)
OF_ATOMS = tuple(  # numbers of atoms likewise; vectors are those of moving points
    q.name
    for q in QUANTITIES.values()
    if q.per == "atom" and not (q.ase or q.label or q.shape or q.within)
)
VECTORS, POINTS = "polarization_vectors", "virtual_points"  # columns, Å


def write_structures(path: Path, frames: Iterable[Atoms]) -> None:
    """Write all frames at once or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for atoms in frames:
            file.write(to_extxyz(atoms))


def set_state(atoms: Atoms, charge: float, multiplicity: int) -> None:
    """Give a structure its charge in e and its multiplicity 2S + 1, in place of all it said before.

    Charges and magnetic moments of its atoms stay where they add up to them.
    """
    forget_state(atoms.info)
    atoms.info |= {"charge": int(charge), "multiplicity": int(multiplicity)}
    charges, moments = (atoms.arrays.get(f"initial_{name}") for name in ("charges", "magmoms"))
    if charges is not None and not abs(charges.sum() - charge) <= SUM_TOLERANCE:
        del atoms.arrays["initial_charges"]
    if moments is not None and not abs(abs(moments.sum()) - multiplicity + 1) <= SUM_TOLERANCE:
        del atoms.arrays["initial_magmoms"]


def polarization_of(atoms: Atoms) -> NDArray[np.float64] | None:
    """Displacements of the moving points in Å, (N, 3), after an evaluation.

    None where the model has none.
    """
    if not isinstance(atoms.calc, PolarizedCalculator):
        return None
    try:
        return np.asarray(atoms.calc.polarization_vectors)
    except PropertyNotImplementedError:
        return None


def set_polarization(atoms: Atoms, vectors: NDArray[np.float64] | None) -> None:
    """Give a structure the columns of its moving points, or take those of another model away.

    Parameters
    ----------
    vectors : (N, 3) or None   displacements, Å
    """
    for name in (VECTORS, POINTS):
        atoms.arrays.pop(name, None)
    if vectors is not None:
        atoms.set_array(VECTORS, vectors, shape=(3,))
        atoms.set_array(POINTS, atoms.positions + vectors, shape=(3,))


def further_quantities(atoms: Atoms) -> dict[str, Any]:
    """Name what the model said of a structure beyond energy, forces and stress, by the table.

    Results that its calculator holds already, in their own units.
    """
    if isinstance(atoms.calc, PolarizedCalculator):
        return {n: x for n, x in atoms.calc.quantities.items() if n not in LEFT_OUT}
    results = getattr(atoms.calc, "results", {})
    return {
        q.name: np.asarray(results[q.ase])
        for q in QUANTITIES.values()
        if q.ase and q.name not in USUAL and results.get(q.ase) is not None
    }


def set_further(atoms: Atoms, said: Mapping[str, Any]) -> None:
    """Give a structure what a model said of it and ASE has no property for, in place of all such.

    Moving points and numbers of atoms are columns, quantities of the whole entries of ``info``
    under their names.

    Parameters
    ----------
    said : name -> value   by the table of quantities; what ASE has a property for is left alone
    """
    set_polarization(atoms, said.get("shells", said.get("polarization")))
    for name in OF_THE_WHOLE:
        atoms.info.pop(name, None)
        if name in said:
            atoms.info[name] = np.asarray(said[name])
    for name in OF_ATOMS:
        atoms.arrays.pop(name, None)
        if name in said:
            atoms.set_array(name, np.asarray(said[name]))


def to_extxyz(atoms: Atoms) -> str:
    """Format one frame."""
    text = io.StringIO()
    write_xyz(text, [_with_state(atoms) if isinstance(atoms.calc, PolarizedCalculator) else atoms])
    return text.getvalue()


def _with_state(atoms: Atoms) -> Atoms:
    """Copy a structure with the state its calculator takes it in, and results of this geometry."""
    calculator = atoms.calc
    copy: Atoms = atoms.copy()
    is_fresh = not calculator.check_state(atoms)
    state = calculator.state if is_fresh else calculator.state_of(atoms)
    set_further(copy, further_quantities(atoms) if is_fresh else {})
    set_state(copy, state.charge, state.multiplicity)
    if is_fresh:
        copy.calc = SinglePointCalculator(copy, **calculator.results)
    return copy
