"""Normal modes of a structure, and what thermochemistry makes of them.

`md_runs.surfaces.vib` is the command.

The Hessian is differentiated, not taken from finite differences. Rigid motions that the structure
is free to make (translations; rotations in open space; what fixed atoms leave of both) are
projected out, so that they never mix with soft vibrations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms, units
from ase.thermochemistry import HarmonicThermo, IdealGasThermo
from ase.vibrations import VibrationsData

from md_runs.readable import readable
from md_runs.structures.rigid import Geometry, free_atoms, rigid_motions, shape_of
from polcalc import PolarizedCalculator

Array = npt.NDArray[np.float64]

BAR = 1e5  # Pa


@dataclass(frozen=True)
class Gas:
    """What thermochemistry is asked for.

    Degeneracy 2S + 1 of the electrons comes with the state.
    """

    temperature_K: float = 298.15
    pressure_bar: float = 1.0
    symmetry_number: int = 1
    multiplicity: int = 1


class Mode(NamedTuple):
    """One vibration."""

    energy: complex  # eV; imaginary where the energy falls both ways
    vectors: Array  # (N, 3) Å per sqrt(u Å^2), zero for fixed atoms

    @property
    def per_cm(self) -> float:
        """Wave number in 1/cm, negative for an imaginary one, as programs print it."""
        return float((self.energy.real - self.energy.imag) / units.invcm)

    @property
    def reduced_mass_u(self) -> float:
        """Mass in u of the oscillator whose coordinate is the length of the displacement."""
        return float(1 / np.sum(self.vectors**2))


@readable
class Vibrations(NamedTuple):
    """What was found of one structure."""

    data: VibrationsData  # the Hessian as it is
    geometry: Geometry | None  # None where nothing rotates freely: periodic, or some atoms fixed
    modes: list[Mode]  # ascending, rigid motions left out
    # of the rigid motions before they were projected out: zero at a minimum
    rigid_per_cm: list[float]

    def summary(self) -> dict[str, str]:
        """Say what the modes are like."""
        ends = [mode.per_cm for mode in (*self.modes[:1], *self.modes[-1:])]
        return {
            "formula": self.data.get_atoms().get_chemical_formula(),
            "modes": str(len(self.modes)),
            "from": " to ".join(f"{end:.0f}" for end in ends) + " 1/cm" if ends else "",
            "imaginary": str(len(self.imaginary)),
            "zero-point energy": f"{self.zero_point_energy_eV:.4f} eV",
        }

    @property
    def imaginary(self) -> list[Mode]:
        """Modes along which the energy falls."""
        return [mode for mode in self.modes if mode.energy.imag > 0]

    @property
    def zero_point_energy_eV(self) -> float:
        """Half the sum of the real mode energies."""
        return 0.5 * sum(mode.energy.real for mode in self.modes)


def analyse(
    atoms: Atoms, calculator: PolarizedCalculator, geometry: Geometry | None = None
) -> Vibrations:
    """Find the normal modes of a structure.

    A geometry given wins over the one that its moments of inertia show.
    """
    moving, geometry = free_atoms(atoms), geometry or shape_of(atoms)
    hessian = calculator.get_hessian(atoms, moving)
    n = len(moving)
    root = np.repeat(atoms.get_masses()[moving], 3) ** 0.5
    rigid = rigid_motions(atoms, moving, geometry, root)
    weighted = hessian.reshape(3 * n, 3 * n) / root / root[:, None]
    keep = np.eye(3 * n) - rigid.T @ rigid
    projected = (keep @ weighted @ keep) * root * root[:, None]
    energies, vectors = VibrationsData(
        atoms, projected.reshape(n, 3, n, 3), moving
    ).get_energies_and_modes(all_atoms=True)
    # projected out, rigid motions are the exact zeros
    chosen = np.sort(np.argsort(np.abs(energies), kind="stable")[len(rigid) :])
    curvature = np.diag(rigid @ weighted @ rigid.T)
    # 1/cm of one sqrt(eV/Å^2/u)
    unit = units._hbar * units.m / np.sqrt(units._e * units._amu) / units.invcm
    return Vibrations(
        data=VibrationsData(atoms, hessian, moving),
        geometry=geometry,
        modes=[Mode(complex(energies[k]), vectors[k]) for k in chosen],
        rigid_per_cm=sorted(float(np.sign(c) * np.sqrt(abs(c)) * unit) for c in curvature),
    )


def largest_force(atoms: Atoms) -> float:
    """Largest force on an atom that is free to move, in eV/Å."""
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def thermochemistry(atoms: Atoms, found: Vibrations, gas: Gas) -> dict[str, Any]:
    """Enthalpy, entropy and free energy through ASE.

    Of an ideal gas, or of vibrations alone where nothing moves freely.
    """
    energies = [mode.energy.real for mode in found.modes if mode.energy.imag == 0]
    energy, temperature_K = float(atoms.get_potential_energy()), gas.temperature_K
    if found.geometry is None:
        solid = HarmonicThermo(energies, potentialenergy=energy)
        return {
            "model": "harmonic vibrations alone",
            "internal_energy_eV": solid.get_internal_energy(temperature_K, verbose=False),
            "entropy_eV_per_K": solid.get_entropy(temperature_K, verbose=False),
            "helmholtz_energy_eV": solid.get_helmholtz_energy(temperature_K, verbose=False),
        }
    ideal = IdealGasThermo(
        energies,
        found.geometry,
        potentialenergy=energy,
        atoms=atoms,
        symmetrynumber=gas.symmetry_number,
        spin=(gas.multiplicity - 1) / 2,
        vib_selection="all",  # the rigid motions are out already
    )
    pressure_Pa = gas.pressure_bar * BAR
    return {
        "model": "ideal gas, rigid rotor, harmonic vibrations",
        "internal_energy_eV": ideal.get_internal_energy(temperature_K, verbose=False),
        "enthalpy_eV": ideal.get_enthalpy(temperature_K, verbose=False),
        "entropy_eV_per_K": ideal.get_entropy(temperature_K, pressure_Pa, verbose=False),
        "gibbs_energy_eV": ideal.get_gibbs_energy(temperature_K, pressure_Pa, verbose=False),
    }
