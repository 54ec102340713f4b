"""The methods that label structures, by name.

``xtb``, ``xtb:GFN1-xTB``, ``pyscf:b3lyp/def2-svp``, ``orca:B3LYP def2-SVP``, ``ase:EMT``,
``python:module:function``. The last names a function that takes a structure, whose ``info`` holds
charge and multiplicity, and returns an ASE calculator: so any of these serves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import get_calculator_class
from ase.calculators.orca import ORCA
from numpy.typing import NDArray

from potentials.datasets.formats.units import BOHR, HARTREE


class Label(NamedTuple):
    """What a reference says of a structure."""

    energy_eV: float
    forces_eV_per_A: NDArray[np.float64]  # (N, 3)


# of a structure whose info holds charge and multiplicity
Reference = Callable[[Atoms], Label]


def reference_of(name: str) -> Reference:
    """Find a reference by its name, and import the program that it needs.

    Raises
    ------
    ValueError    an unknown name, or nothing of that name in a module
    ImportError   its program is not installed
    """
    kind, _, rest = name.partition(":")
    if kind not in REFERENCES:
        raise ValueError(
            f"`reference` must be one of {', '.join(REFERENCES)}, some with more after a colon; got"
            f" {name!r}. Take pyscf:b3lyp/def2-svp, or python:MODULE:FUNCTION for any other."
        )
    return REFERENCES[kind](rest)


def _by_calculator(make: Callable[[Atoms], Any]) -> Reference:
    """Label by calculators of ASE, a new one for each structure: nothing is left of the last."""

    def label(atoms: Atoms) -> Label:
        asked = atoms.copy()
        asked.calc = make(atoms)
        return Label(float(asked.get_potential_energy()), np.asarray(asked.get_forces()))

    return label


def _xtb(method: str) -> Reference:
    from tblite.ase import TBLite

    def make(atoms: Atoms) -> Any:
        return TBLite(
            method=method or "GFN2-xTB",
            charge=atoms.info["charge"],
            multiplicity=atoms.info["multiplicity"],
            spin_polarization=1.0 if atoms.info["multiplicity"] > 1 else None,
            verbosity=0,
        )

    return _by_calculator(make)


def _pyscf(level: str) -> Reference:
    functional, _, basis = level.partition("/")
    if not basis:
        raise ValueError(
            f"`reference` must name a functional and a basis of PySCF; got {level!r}. Take"
            " pyscf:b3lyp/def2-svp."
        )
    from pyscf import dft, gto, lib

    def label(atoms: Atoms) -> Label:
        lib.num_threads(1)  # jobs run side by side
        spin = atoms.info["multiplicity"] - 1
        rows = list(zip(atoms.numbers.tolist(), atoms.positions.tolist(), strict=True))
        molecule = gto.M(atom=rows, basis=basis, charge=atoms.info["charge"], spin=spin, verbose=0)
        field = (dft.UKS if spin else dft.RKS)(molecule, xc=functional).density_fit()
        field.kernel()
        if not field.converged:
            field = field.newton()
            field.kernel()
        if not field.converged:
            raise ValueError("the field did not converge")
        gradient = np.asarray(field.nuc_grad_method().kernel())
        return Label(float(field.e_tot) * HARTREE, -gradient * (HARTREE / BOHR))

    return label


def _orca(level: str) -> Reference:
    def make(atoms: Atoms) -> Any:
        return ORCA(
            directory=mkdtemp(prefix="orca-"),
            charge=atoms.info["charge"],
            mult=atoms.info["multiplicity"],
            orcasimpleinput=f"{level} EnGrad",
        )

    return _by_calculator(make)


def _ase(name: str) -> Reference:
    """Take a calculator that needs no arguments, as ``EMT`` or ``ase.calculators.emt.EMT``."""
    module, _, last = name.rpartition(".")
    made = (
        getattr(import_module(module), last, None) if module else get_calculator_class(name.lower())
    )
    if made is None:
        raise ValueError(f"`reference` must name a calculator; got {last}, not in {module}.")
    return _by_calculator(lambda atoms: made())


def _python(place: str) -> Reference:
    module, _, function = place.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a file of the working directory
    make = getattr(import_module(module), function, None)
    if not callable(make):
        raise ValueError(
            f"`reference` must name a function that returns an ASE calculator; got {place!r}. Take"
            " python:MODULE:FUNCTION."
        )
    return _by_calculator(make)


REFERENCES: Mapping[str, Callable[[str], Reference]] = {
    "xtb": _xtb,
    "pyscf": _pyscf,
    "orca": _orca,
    "ase": _ase,
    "python": _python,
}
