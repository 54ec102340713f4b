"""ωB97M-D3(BJ)/def2-TZVP(-f) through PySCF: any charge and multiplicity, seconds a label.

The level is that of the large public sets of organic molecules but for the basis, def2-TZVP
without its f functions: forces are within 17 meV/Å of def2-TZVPP's, total energies lie above by
an amount that each element adds. Grid 1 of PySCF is good to 0.1 meV; its forces to 1 meV/Å, as
they are the gradient on that very grid (13 without the response of the grid). The field starts
from the density of PBE0/def2-SVP, where it is also seen to that the state is the lowest of its
kind. Charges and unpaired electrons are the populations of intrinsic atomic orbitals (Knizia, J.
Chem. Theory Comput. 9, 4834 (2013)), which hardly depend on the basis.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from potentials.datasets.formats.units import BOHR, HARTREE
from potentials.labels.method import Failed, Floats, Integers, Label

FITTING = "def2-universal-jkfit"
HIGHEST = 2  # angular momentum of the basis: no f functions
CORED = frozenset({53})  # elements whose inner electrons def2 replaces by a potential
THEORY = (
    "ωB97M-D3(BJ)/def2-TZVP(-f) with density fitting; restricted singlets, unrestricted for other "
    "multiplicities"
)
SPIN_TOLERANCE = 0.1  # of <S²>
SECOND_ORDER_CYCLES = 20  # what needs more hops between near-degenerate states


class Level(NamedTuple):
    """How a field is computed."""

    functional: str
    basis: str
    grid: int  # level of PySCF
    tolerance: float  # hartree


LEVEL = Level("wb97m-d3bj", "def2-tzvp", 1, 1e-7)
FIRST = Level("pbe0", "def2-svp", 0, 1e-6)


def wb97m(atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int) -> Label:
    """Compute a label.

    Raises
    ------
    Failed   no convergence; another <S²> than that of the multiplicity; a closed shell whose
             electrons would rather unpair; an anion whose last electron is not bound
    """
    start = _lowest(_field(FIRST, atomic_numbers, positions, charge, multiplicity), multiplicity)
    field = _field(LEVEL, atomic_numbers, positions, charge, multiplicity)
    field.kernel(dm0=_projected(start, field))
    field = converged(field)
    spin_squared = float(field.spin_square()[0]) if multiplicity > 1 else 0.0
    _check_spin(spin_squared, multiplicity)
    if charge < 0:
        check_bound(field)
    up, down = populations(field)
    return Label(
        energy=float(field.e_tot) * HARTREE,
        forces=forces(field),
        charges=field.mol.atom_charges() - up - down,
        dipole=np.asarray(field.dip_moment(unit="AU", verbose=0)) * BOHR,
        spin_squared=spin_squared,
        magmoms=up - down,
    )


def pbe0(atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int) -> Label:
    """Compute energy and forces with PBE0/def2-SVP, several times cheaper: for relaxations.

    Raises
    ------
    Failed   no convergence
    """
    field = _field(FIRST, atomic_numbers, positions, charge, multiplicity)
    field.kernel()
    field = converged(field)
    return Label(float(field.e_tot) * HARTREE, forces(field), np.zeros(len(atomic_numbers)))


def program() -> dict[str, str]:
    """Name the programs and their versions."""
    return {name: version(name) for name in ("pyscf", "pyscf-dispersion")}


def _field(
    level: Level, atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int
) -> Any:
    from pyscf import dft, gto, lib

    lib.num_threads(1)  # jobs run side by side
    symbols = [chemical_symbols[z] for z in atomic_numbers]
    molecule = gto.M(
        atom=list(zip(symbols, positions.tolist(), strict=True)),
        basis={
            s: [shell for shell in gto.basis.load(level.basis, s) if shell[0] <= HIGHEST]
            for s in set(symbols)
        },
        ecp={chemical_symbols[z]: level.basis for z in CORED & set(atomic_numbers.tolist())},
        charge=charge,
        spin=multiplicity - 1,
        verbose=0,
    )
    field = (dft.RKS if multiplicity == 1 else dft.UKS)(molecule, xc=level.functional).density_fit(
        auxbasis=FITTING
    )
    field.nlc = False  # all dispersion is D3(BJ)
    field.grids.level, field.conv_tol = level.grid, level.tolerance
    return field


def _lowest(field: Any, multiplicity: int) -> Any:
    """Find the lowest field near the guess; whether it converges to the end does not matter."""
    field.kernel()
    if max(field.mol.nelec) == field.mol.nao or field.mol.nelectron < 2:
        return field
    closed = multiplicity == 1
    orbitals, _, lowest, paired = field.stability(
        internal=not closed, external=closed, return_status=True, nroots=2, tol=1e-3
    )
    if closed and not paired:
        raise Failed("the electrons of this closed shell would rather unpair")
    if not closed and not lowest:
        field.kernel(dm0=field.make_rdm1(orbitals, field.mo_occ))
    return field


def _projected(first: Any, field: Any) -> Any:
    from pyscf.scf import addons

    return addons.project_dm_nr2nr(first.mol, first.make_rdm1(), field.mol)


def unrestricted(
    atomic_numbers: Integers, positions: Floats, charge: int, multiplicity: int
) -> Any:
    """Prepare a field in which electrons of both spins have orbitals of their own."""
    return _field(LEVEL, atomic_numbers, positions, charge, multiplicity).to_uks()


def converged(field: Any) -> Any:
    """Return the field, converged if need be by second-order steps.

    Raises
    ------
    Failed   no convergence
    """
    if field.converged:
        return field
    second_order = field.newton()
    second_order.max_cycle = SECOND_ORDER_CYCLES
    second_order.kernel(field.mo_coeff, field.mo_occ)
    if not second_order.converged:
        raise Failed("the field did not converge")
    return second_order.undo_soscf()


def forces(field: Any) -> Floats:
    """Differentiate a converged field: (N, 3) eV/Å."""
    gradient = field.nuc_grad_method()
    gradient.grid_response = True
    found: Floats = -np.asarray(gradient.kernel()) * (HARTREE / BOHR)
    return found


def _check_spin(spin_squared: float, multiplicity: int) -> None:
    spin = (multiplicity - 1) / 2
    if abs(spin_squared - spin * (spin + 1)) > SPIN_TOLERANCE:
        raise Failed(f"<S²> is {spin_squared:.3f}, not {spin * (spin + 1):g}")


def check_bound(field: Any) -> None:
    """See to it that the last electron is bound.

    Raises
    ------
    Failed   its orbital lies above zero
    """
    highest = float(np.asarray(field.mo_energy)[np.asarray(field.mo_occ) > 0].max()) * HARTREE
    if highest > 0:
        raise Failed(f"the last electron is not bound: its orbital lies at {highest:+.2f} eV")


def populations(field: Any) -> tuple[Floats, Floats]:
    """Count the electrons of each spin on each atom (N,), in intrinsic atomic orbitals."""
    orbitals, occupations = np.asarray(field.mo_coeff), np.asarray(field.mo_occ)
    if occupations.ndim == 1:
        half = _population(field, orbitals[:, occupations > 0])
        return half, half
    up, down = (_population(field, c[:, n > 0]) for c, n in zip(orbitals, occupations, strict=True))
    return up, down


def _population(field: Any, occupied: Floats) -> Floats:
    from pyscf import lo

    molecule, overlap = field.mol, field.get_ovlp()
    if not occupied.shape[1]:
        return np.zeros(molecule.natm)
    minimal = lo.iao.reference_mol(molecule)
    atomic = lo.vec_lowdin(lo.iao.iao(molecule, occupied), overlap)
    in_orbitals = np.sum((atomic.T @ overlap @ occupied) ** 2, axis=1)
    return np.array(
        [in_orbitals[first:last].sum() for first, last in minimal.aoslice_by_atom()[:, 2:]]
    )
