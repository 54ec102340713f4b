"""B3LYP/6-31G* through PySCF.

Closed-shell singlets and unrestricted triplets, energies and forces, seconds a label.

Why this level: of the common functionals with forces in reach it comes near the measured gap of
methylene (0.39 eV) at little cost: B3LYP 0.61, PBE0 0.87, BLYP 0.56 eV, each in 6-31G* as in
def2-SVP, which takes a quarter longer. The grid, level 1 of PySCF, is good to 1 meV and, for most
atoms, a few meV/Å (17 at worst). A first field on a coarser grid saves a quarter of the time. On
one core methylene takes 0.4 s for both states, a carbene of five heavy atoms about 9.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from potentials.datasets.formats.units import BOHR, HARTREE
from potentials.labels.method import Failed, Floats, Integers, Label

FUNCTIONAL, BASIS = "b3lyp", "6-31g*"
THEORY = "B3LYP/6-31G* with density fitting; closed-shell singlet, unrestricted triplet"
TOLERANCES = (1e-4, 1e-7)  # hartree, of the self-consistent field, first and last
GRID_LEVELS = (0, 1)  # of PySCF, first and last
SPIN_TOLERANCE = 0.1  # of <S²>: 2 for a pure triplet


def dft(atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int) -> Label:
    """Compute a label.

    Raises
    ------
    Failed   no convergence, also not with second-order steps; another <S²> than that of the
             multiplicity
    """
    from pyscf import dft as pyscf_dft
    from pyscf import gto, lib

    lib.num_threads(1)  # jobs run side by side
    atoms = list(zip(map(int, atomic_numbers), positions.tolist(), strict=True))
    molecule = gto.M(atom=atoms, basis=BASIS, charge=charge, spin=multiplicity - 1, verbose=0)
    field = (pyscf_dft.RKS if multiplicity == 1 else pyscf_dft.UKS)(
        molecule, xc=FUNCTIONAL
    ).density_fit()
    start = None
    for level, tolerance in zip(GRID_LEVELS, TOLERANCES, strict=True):
        field.grids = pyscf_dft.gen_grid.Grids(molecule)
        field.grids.level, field.conv_tol = level, tolerance
        field.kernel(dm0=start)
        start = field.make_rdm1()
    if not field.converged:
        field = field.newton()
        field.kernel(dm0=start)
    if not field.converged:
        raise Failed("the field did not converge")
    if multiplicity > 1:
        _check_spin(float(field.spin_square()[0]), multiplicity)
    gradient = field.nuc_grad_method().kernel()
    _, charges = field.mulliken_pop(verbose=0)
    return Label(
        float(field.e_tot) * HARTREE, -np.asarray(gradient) * (HARTREE / BOHR), np.asarray(charges)
    )


def program() -> dict[str, str]:
    """Name the program and its version."""
    return {"pyscf": version("pyscf")}


def _check_spin(found: float, multiplicity: int) -> None:
    spin = (multiplicity - 1) / 2
    if abs(found - spin * (spin + 1)) > SPIN_TOLERANCE:
        raise Failed(f"<S²> is {found:.3f}, not {spin * (spin + 1):g}")
