"""ASE's integrators by name, each with the energy it has given to its heat bath and barostat.

Potential + kinetic + bath energy is conserved by all of them, also while the target temperature
changes; what is left of it over time is the error of the integration. Those that move the cell are
in ``barostats``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import NoseHooverChainNVT, NoseHooverChainThermostat
from ase.md.verlet import VelocityVerlet

from md_runs.dynamics.momenta import settled_momenta

Floats = npt.NDArray[np.float64]


class Bath(NamedTuple):
    """What the thermostats and barostats share. Times and pressure in ASE's units."""

    temperature_K: float
    time: float
    degrees_of_freedom: int
    rng: np.random.Generator
    settled: bool = False  # whether noise must not set drift and tumbling going
    pressure: float = 0.0
    pressure_time: float = 0.0


@dataclass
class Integrator:
    """A dynamics object of ASE, and what a run must know of it.

    Attributes
    ----------
    dynamics : MolecularDynamics
    held : () -> eV             energy that thermostat and barostat hold
    aim : K -> None             sets the target temperature
    variables                   what changes from step to step beside positions, momenta, cell and
                                random generator: object and attribute
    given : float               eV that the bath took when its temperature was changed, or momenta
                                were
    """

    dynamics: MolecularDynamics
    held: Callable[[], float] = lambda: 0.0
    aim: Callable[[float], None] = lambda temperature_K: None
    variables: tuple[tuple[Any, str], ...] = ()
    given: float = 0.0

    def bath_energy(self) -> float:
        """Energy in eV that was taken from the atoms."""
        return self.held() + self.given

    def heat(self, temperature_K: float) -> None:
        """Change the target temperature; the conserved energy stays."""
        before = self.held()
        self.aim(temperature_K)
        self.given += before - self.held()

    def settle(self) -> None:
        """Stop drift and tumbling; the conserved energy stays."""
        atoms, before = self.dynamics.atoms, self.dynamics.atoms.get_kinetic_energy()
        atoms.set_momenta(settled_momenta(atoms))
        if hasattr(self.dynamics, "_p"):  # its own copy
            self.dynamics._p = atoms.get_momenta()
        self.given += before - atoms.get_kinetic_energy()

    def state(self) -> dict[str, Floats]:
        """Copy the variables."""
        return {
            name: np.array(getattr(owner, name), dtype=np.float64)
            for owner, name in (*self.variables, (self, "given"))
        }

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Set the variables; numbers become numbers again."""
        for owner, name in (*self.variables, (self, "given")):
            setattr(owner, name, state[name].copy() if state[name].ndim else float(state[name]))


class Langevin(LangevinBAOAB):
    """LangevinBAOAB that counts the heat it exchanges, and may give no push to the whole."""

    heat = 0.0  # eV given to the bath
    settled = False

    def _BAOAB_OU(self, drag_gamma_mod: Any = 0.0) -> None:
        before = self.atoms.get_kinetic_energy()
        super()._BAOAB_OU(drag_gamma_mod)  # type: ignore[no-untyped-call]
        if self.settled:
            self.atoms.set_momenta(settled_momenta(self.atoms))
        self.heat += before - self.atoms.get_kinetic_energy()


class _LangevinOnBonds(Langevin):
    """The same where bonds are fixed: each move ends on the constraints, with momenta along them.

    Source
    ------
    Leimkuhler and Matthews, Proc. R. Soc. A 472, 20160138 (2016), g-BAOAB.
    """

    def _BAOAB_A(self) -> None:
        atoms, half = self.atoms, 0.5 * self.dt
        before = atoms.get_positions()
        atoms.set_positions(before + half * atoms.get_velocities())
        atoms.set_velocities((atoms.get_positions() - before) / half)


class _NoseHooverOnBonds(NoseHooverChainNVT):
    """A Nosé-Hoover chain around RATTLE.

    ASE's moves copies of positions and momenta that know of no bonds.
    """

    def _integrate_q(self, delta: float) -> None:
        before = self.atoms.get_positions()
        self.atoms.set_positions(self._q + delta * self._p / self.masses)
        self._q = self.atoms.get_positions()
        self._p = (self._q - before) * self.masses / delta

    def _integrate_p(self, delta: float) -> None:
        super()._integrate_p(delta)
        self.atoms.set_momenta(self._p)
        self._p = self.atoms.get_momenta()


def nve(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Velocity Verlet."""
    return Integrator(VelocityVerlet(atoms, timestep))


def langevin(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Langevin dynamics, BAOAB splitting.

    Unless it is settled, it also moves the centre of mass and turns the molecule.
    """
    kind = _LangevinOnBonds if atoms.constraints else Langevin
    dynamics = kind(  # type: ignore[no-untyped-call]
        atoms,
        timestep,
        temperature_K=bath.temperature_K,
        T_tau=bath.time,
        rng=bath.rng,
        hydrostatic=True,  # a scalar friction, no matrix exponential each step; the cell is fixed
    )
    dynamics.settled = bath.settled
    return Integrator(
        dynamics, lambda: float(dynamics.heat), dynamics.set_temperature, ((dynamics, "heat"),)
    )


def bussi(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Stochastic velocity rescaling."""
    dynamics = Bussi(
        atoms, timestep, temperature_K=bath.temperature_K, taut=bath.time, rng=bath.rng
    )
    dynamics.ndof = bath.degrees_of_freedom  # ASE counts 3N, also where drift and tumbling are zero

    def aim(temperature_K: float) -> None:
        dynamics.target_kinetic_energy = 0.5 * units.kB * temperature_K * bath.degrees_of_freedom

    aim(bath.temperature_K)
    return Integrator(
        dynamics,
        lambda: float(-dynamics.transferred_energy),
        aim,
        ((dynamics, "transferred_energy"),),
    )


def nose_hoover(atoms: Atoms, timestep: float, bath: Bath) -> Integrator:
    """Nosé-Hoover chain of three."""
    kind = _NoseHooverOnBonds if atoms.constraints else NoseHooverChainNVT
    dynamics = kind(atoms, timestep, temperature_K=bath.temperature_K, tdamp=bath.time)
    thermostat = dynamics._thermostat = chain(dynamics.masses, bath)

    def aim(temperature_K: float) -> None:
        thermostat._kT = units.kB * temperature_K

    # q and p: its own copies
    variables = ((dynamics, "_q"), (dynamics, "_p"), (thermostat, "_eta"), (thermostat, "_p_eta"))
    return Integrator(dynamics, thermostat.get_thermostat_energy, aim, variables)


def chain(masses: Floats, bath: Bath) -> NoseHooverChainThermostat:
    """Make a chain that thermostats the motions there are.

    ASE counts 3N, also where drift and tumbling are zero.
    """
    return NoseHooverChainThermostat(
        num_atoms_global=bath.degrees_of_freedom / 3,  # type: ignore[arg-type]
        masses=masses,
        temperature_K=bath.temperature_K,
        tdamp=bath.time,
    )


INTEGRATORS: dict[tuple[str | None, str | None], Callable[[Atoms, float, Bath], Integrator]] = {
    (None, None): nve,
    ("langevin", None): langevin,
    ("bussi", None): bussi,
    ("nose-hoover", None): nose_hoover,
}
