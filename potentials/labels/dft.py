"""PBE0/def2-SVP through PySCF: closed-shell singlets and unrestricted triplets, energies and forces, seconds a label.

Why this level: a hybrid without empirical terms, whose carbene gaps are right to a few tenths of an eV, in the smallest basis with
polarisation. On one core methylene takes 1 s a state, a carbene of five heavy atoms about 10: the whole set a day on two cores.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from potentials.datasets.units import BOHR, HARTREE
from potentials.labels.method import Failed, Floats, Integers, Label

FUNCTIONAL, BASIS = "pbe0", "def2-svp"
THEORY = "PBE0/def2-SVP with density fitting; closed-shell singlet, unrestricted triplet"
ENERGY_TOLERANCE = 1e-9  # hartree, of the self-consistent field
GRID_LEVEL = 3  # of PySCF
SPIN_TOLERANCE = 0.1  # of <S²>: 2 for a pure triplet


def dft(atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int) -> Label:
    """Compute a label.

    Raises
    ------
    Failed   no convergence, also not with second-order steps; another <S²> than that of the multiplicity
    """
    from pyscf import dft as pyscf_dft
    from pyscf import gto, lib

    lib.num_threads(1)  # jobs run side by side
    atoms = list(zip(map(int, atomic_numbers), positions.tolist(), strict=True))
    molecule = gto.M(atom=atoms, basis=BASIS, charge=charge, spin=multiplicity - 1, verbose=0)
    field = (pyscf_dft.RKS if multiplicity == 1 else pyscf_dft.UKS)(molecule, xc=FUNCTIONAL).density_fit()
    field.grids.level, field.conv_tol = GRID_LEVEL, ENERGY_TOLERANCE
    field.kernel()
    if not field.converged:
        field = field.newton()
        field.kernel()
    if not field.converged:
        raise Failed("the field did not converge")
    if multiplicity > 1:
        _check_spin(float(field.spin_square()[0]), multiplicity)
    gradient = field.nuc_grad_method().kernel()
    (_, charges) = field.mulliken_pop(verbose=0)
    return Label(float(field.e_tot) * HARTREE, -np.asarray(gradient) * (HARTREE / BOHR), np.asarray(charges))


def program() -> dict[str, str]:
    """Name the program and its version."""
    return {"pyscf": version("pyscf")}


def _check_spin(found: float, multiplicity: int) -> None:
    spin = (multiplicity - 1) / 2
    if abs(found - spin * (spin + 1)) > SPIN_TOLERANCE:
        raise Failed(f"<S²> is {found:.3f}, not {spin * (spin + 1):g}")
