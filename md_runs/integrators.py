"""ASE's integrators by name, each with the energy it has given to its heat bath.

Potential + kinetic + bath energy is conserved by all of them; what is left of it over time is the error of the integration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import NoseHooverChainNVT, NoseHooverChainThermostat
from ase.md.verlet import VelocityVerlet


class Bath(NamedTuple):
    """What the thermostats share."""

    temperature_K: float
    time: float  # ASE time
    degrees_of_freedom: int
    rng: np.random.Generator


class Integrator(NamedTuple):
    """A dynamics object of ASE and the energy in eV that its bath holds.

    ``variables`` names what changes from step to step beside positions, momenta and random generator: object and attribute.
    """

    dynamics: MolecularDynamics
    bath_energy: Callable[[], float]
    variables: tuple[tuple[Any, str], ...] = ()

    def state(self) -> dict[str, npt.NDArray[np.float64]]:
        """Copy the variables."""
        return {name: np.array(getattr(owner, name), dtype=np.float64) for owner, name in self.variables}

    def restore(self, state: Mapping[str, npt.NDArray[np.float64]]) -> None:
        """Set the variables; numbers become numbers again."""
        for owner, name in self.variables:
            setattr(owner, name, state[name].copy() if state[name].ndim else float(state[name]))


class _Langevin(LangevinBAOAB):
    """LangevinBAOAB that keeps the account of the heat it exchanges."""

    bath_energy = 0.0

    def _BAOAB_OU(self, drag_gamma_mod: Any = 0.0) -> None:
        before = self.atoms.get_kinetic_energy()
        super()._BAOAB_OU(drag_gamma_mod)  # type: ignore[no-untyped-call]
        self.bath_energy += before - self.atoms.get_kinetic_energy()


def nve(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Velocity Verlet."""
    return Integrator(VelocityVerlet(atoms, timestep), lambda: 0.0)


def langevin(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Langevin dynamics, BAOAB splitting. It also moves the centre of mass and turns the molecule."""
    dynamics = _Langevin(  # type: ignore[no-untyped-call]
        atoms, timestep, temperature_K=bath.temperature_K, T_tau=bath.time, rng=bath.rng, hydrostatic=True
    )  # hydrostatic: a scalar friction instead of a matrix exponential each step; the cell stays fixed
    return Integrator(dynamics, lambda: float(dynamics.bath_energy), ((dynamics, "bath_energy"),))


def bussi(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Stochastic velocity rescaling."""
    dynamics = Bussi(atoms, timestep, temperature_K=bath.temperature_K, taut=bath.time, rng=bath.rng)
    dynamics.ndof = bath.degrees_of_freedom  # ASE counts 3N, also where drift and tumbling are zero
    dynamics.target_kinetic_energy = 0.5 * units.kB * bath.temperature_K * bath.degrees_of_freedom
    return Integrator(dynamics, lambda: float(-dynamics.transferred_energy), ((dynamics, "transferred_energy"),))


def nose_hoover(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Nosé-Hoover chain of three."""
    dynamics = NoseHooverChainNVT(atoms, timestep, temperature_K=bath.temperature_K, tdamp=bath.time)
    thermostat = NoseHooverChainThermostat(
        num_atoms_global=bath.degrees_of_freedom / 3,  # type: ignore[arg-type]  # ASE counts 3N, also where drift and tumbling are zero
        masses=dynamics.masses,
        temperature_K=bath.temperature_K,
        tdamp=bath.time,
    )
    dynamics._thermostat = thermostat
    variables = (dynamics, "_q"), (dynamics, "_p"), (thermostat, "_eta"), (thermostat, "_p_eta")  # q and p: its own copies
    return Integrator(dynamics, thermostat.get_thermostat_energy, variables)


INTEGRATORS: dict[str, Callable[[Atoms, float, Bath], Integrator]] = {
    "nve": nve,
    "langevin": langevin,
    "bussi": bussi,
    "nose-hoover": nose_hoover,
}
