"""ASE's integrators at constant pressure, with the same energy account as those at constant volume.

Potential + kinetic + bath energy is conserved, where the bath holds the heat, the kinetic energy of
the cell, and pressure times volume. One barostat time means the same for all: the mass of the cell
is (degrees of freedom + 3) kT τ² for one that keeps its shape, a third of it for every element of a
full one (Martyna, Tobias and Klein, J. Chem. Phys. 101, 4177 (1994), eq. 2.10).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKBarostat, IsotropicMTKNPT, MTKBarostat
from scipy.linalg import expm

from md_runs.dynamics.integrators import INTEGRATORS as AT_CONSTANT_VOLUME
from md_runs.dynamics.integrators import Bath, Floats, Integrator, Langevin, chain


class _LangevinHoover(Langevin):
    """Langevin-Hoover dynamics of a cell that keeps its shape, with its account of heat.

    The drag that the moving cell exerts on the atoms is work, not heat: it is done first, and the
    account starts behind it.

    Source
    ------
    Quigley and Probert, J. Chem. Phys. 120, 11432 (2004), eq. 5 and 6.
    """

    def _BAOAB_OU(self, drag_gamma_mod: Any = 0.0) -> None:
        dragged = self._dragged(self.atoms.get_velocities(), drag_gamma_mod)
        work = self.atoms.get_kinetic_energy() - 0.5 * float(np.sum(self.masses * dragged**2))
        super()._BAOAB_OU(drag_gamma_mod)
        self.heat -= work

    def _barostat_BAOAB_OU(self) -> None:
        before = self.cell_energy
        super()._barostat_BAOAB_OU()  # type: ignore[no-untyped-call]
        self.heat += before - self.cell_energy

    def _dragged(self, velocities: Floats, drag: Any) -> Floats:
        return np.asarray(velocities * np.exp(-drag * self.dt))

    @property
    def cell_energy(self) -> float:
        """Kinetic energy of the cell in eV."""
        return float(np.sum(np.square(self.p_eps)) / (2 * self.barostat_mass))


class _FullLangevinHoover(_LangevinHoover):
    """The same of a cell whose lengths and angles all move."""

    def _barostat_BAOAB_OU_gamma_mod(self) -> Floats:
        """Eq. 5b; differs: ASE 3.29 adds the trace to all elements, which conserves no energy."""
        return np.asarray(
            (self.p_eps + np.trace(self.p_eps) / self.Ndof * np.eye(3)) / self.barostat_mass
        )

    def _dragged(self, velocities: Floats, drag: Any) -> Floats:
        return np.asarray(velocities @ expm(-drag * self.dt).T)


def isotropic_langevin(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Langevin thermostats for atoms and volume."""
    return _langevin_hoover(
        _LangevinHoover,
        atoms,
        timestep,
        bath,
        hydrostatic=True,
        mass=_cell_mass(bath),
        momentum=0.0,
    )


def full_langevin(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Langevin thermostats for atoms and every element of the cell."""
    still = np.zeros((3, 3))
    return _langevin_hoover(
        _FullLangevinHoover,
        atoms,
        timestep,
        bath,
        hydrostatic=False,
        mass=_cell_mass(bath) / 3,
        momentum=still,
    )


def isotropic_mtk(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Nosé-Hoover chains for atoms and volume, after Martyna, Tobias and Klein."""
    dynamics = IsotropicMTKNPT(
        atoms, timestep, bath.temperature_K, bath.pressure, bath.time, bath.pressure_time
    )
    n_particles: Any = bath.degrees_of_freedom / 3
    barostat = IsotropicMTKBarostat(n_particles, bath.temperature_K, bath.pressure_time)
    return _mtk(dynamics, barostat, bath, ("_eps", "_p_eps", "_cell0", "_volume0"))


def full_mtk(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Nosé-Hoover chains for atoms and all elements of the cell (Martyna, Tobias and Klein)."""
    dynamics = MTKNPT(
        atoms, timestep, bath.temperature_K, bath.pressure, bath.time, bath.pressure_time
    )
    barostat = MTKBarostat(bath.degrees_of_freedom / 3, bath.temperature_K, bath.pressure_time)  # type: ignore[arg-type]
    return _mtk(dynamics, barostat, bath, ("_h", "_p_g"))


def _langevin_hoover(
    kind: type[_LangevinHoover],
    atoms: Atoms,
    timestep: float,
    bath: Bath,
    *,
    hydrostatic: bool,
    mass: float,
    momentum: Any,
) -> Integrator:
    dynamics = kind(
        atoms,
        timestep,
        temperature_K=bath.temperature_K,
        T_tau=bath.time,
        rng=bath.rng,
        externalstress=-bath.pressure,
        P_tau=bath.pressure_time,
        P_mass=mass,
        hydrostatic=hydrostatic,
    )
    dynamics.settled, dynamics.Ndof, dynamics.p_eps = (
        bath.settled,
        bath.degrees_of_freedom,
        momentum,
    )
    dynamics._update_force_eps()  # type: ignore[no-untyped-call]

    def held() -> float:
        return float(dynamics.heat + dynamics.cell_energy + bath.pressure * atoms.get_volume())

    variables = ((dynamics, "heat"), (dynamics, "p_eps"), (dynamics, "force_eps"))
    return Integrator(dynamics, held, dynamics.set_temperature, variables)


def _mtk(dynamics: Any, barostat: Any, bath: Bath, cell_variables: tuple[str, ...]) -> Integrator:
    """Let ASE's integrator count the motions there are.

    It counts 3N, also where the drift is zero.
    """
    dynamics._num_atoms_global = bath.degrees_of_freedom / 3
    dynamics._thermostat, dynamics._barostat = chain(dynamics.masses, bath), barostat

    def aim(temperature_K: float) -> None:
        for owner in (dynamics, dynamics._thermostat, barostat):
            owner._kT = units.kB * temperature_K

    def held() -> float:
        return float(dynamics.get_conserved_energy() - dynamics.atoms.get_total_energy())

    chains = (
        (dynamics._thermostat, "_eta"),
        (dynamics._thermostat, "_p_eta"),
        (barostat, "_xi"),
        (barostat, "_p_xi"),
    )
    own = tuple((dynamics, name) for name in ("_q", "_p", *cell_variables))
    return Integrator(dynamics, held, aim, (*own, *chains))


def _cell_mass(bath: Bath) -> float:
    return (bath.degrees_of_freedom + 3) * units.kB * bath.temperature_K * bath.pressure_time**2


INTEGRATORS = AT_CONSTANT_VOLUME | {
    ("langevin", "isotropic"): isotropic_langevin,
    ("langevin", "full"): full_langevin,
    ("nose-hoover", "isotropic"): isotropic_mtk,
    ("nose-hoover", "full"): full_mtk,
}
