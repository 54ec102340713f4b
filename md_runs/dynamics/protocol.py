"""What a run is asked to do: the options of ``polcalc md``, and the phases that follow from them.

A run has one phase, production, or two: an equilibration with a thermostat of its own comes first.
Both have records of their own; they share the structure, the random generator, the manifest and the
checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from md_runs.dynamics.recorder import CELL_COLUMNS, COLUMNS, TARGET_COLUMN, Clock
from md_runs.errors import InputError

Thermostat = Literal["langevin", "bussi", "nose-hoover"]
Barostat = Literal["isotropic", "full"]

THERMOSTAT_TIME_FS, BAROSTAT_TIME_FS = 100.0, 1000.0
PRESSURE_GPA = 1e-4  # 1 bar
STEPS_PER_PERIOD = 20  # of a field at least, or steps would not follow it
VELOCITIES_FS = 2.0  # between velocities; 8 fs is half a period of the fastest bond, O–H
THERMOSTATS_WITH_BAROSTAT = ("langevin", "nose-hoover")


@dataclass(frozen=True)
class Phase:
    """One stretch of a run: what keeps temperature and pressure, and which records it writes.

    ``duration_fs`` is None where the number of steps was asked for.
    """

    name: Literal["equilibration", "production"]
    thermostat: Thermostat | None
    barostat: Barostat | None
    start_K: float
    end_K: float
    steps: int
    duration_fs: float | None

    @property
    def ensemble(self) -> str:
        """How the shell calls it."""
        return "npt" if self.barostat else "nvt" if self.thermostat else "nve"

    @property
    def title(self) -> str:
        """One line for people."""
        return ", ".join(
            part for part in (self.ensemble.upper(), self.thermostat, self.barostat) if part
        )

    @property
    def heats(self) -> bool:
        """Whether the target temperature changes."""
        return self.start_K != self.end_K

    @property
    def columns(self) -> tuple[str, ...]:
        """What its log holds."""
        return COLUMNS + CELL_COLUMNS * bool(self.barostat) + TARGET_COLUMN * self.heats

    def n_steps(self, clock: Clock) -> int:
        """Steps in all, with the time step of the clock."""
        if self.duration_fs is None:
            return self.steps
        return clock.step + round((self.duration_fs - clock.time_fs) / clock.timestep_fs)

    def target_K(self, step: int, clock: Clock) -> float:
        """Temperature that the thermostat aims at: a straight line over the time of the phase."""
        if not self.heats:
            return self.start_K
        return self.start_K + (self.end_K - self.start_K) * (
            clock.time_fs_at(step) / clock.time_fs_at(self.n_steps(clock))
        )


@dataclass(frozen=True)
class DynamicsOptions:
    """What to run; checked when it is made, with the defaults of the ensemble filled in."""

    ensemble: Literal["nve", "nvt", "npt"] = "nvt"
    thermostat: Thermostat | None = None
    temperature_K: float = 300.0
    temperature_end_K: float | None = None
    timestep_fs: float = 0.5
    thermostat_time_fs: float | None = None
    barostat: Barostat | None = None
    pressure_GPa: float | None = None
    barostat_time_fs: float | None = None
    equilibrate_ps: float = 0.0
    equilibrate_thermostat: Thermostat | None = None
    equilibrate_from_K: float | None = None
    steps: int = 1000
    seed: int = 0
    velocities: Literal["thermal", "structure"] = "thermal"
    rigid_motion: Literal["start", "always", "never"] | None = None
    # of the calculator; the amplitude where it oscillates
    electric_field_V_per_A: Sequence[float] | None = None
    electric_field_THz: float | None = None
    fix_atoms: str | None = None
    fix_bonds: str | None = None
    relax_first: bool = False
    trajectory_every: int = 20
    velocities_every: int | None = None
    log_every: int = 10
    extxyz: bool = False
    checkpoint_every: int = 10_000
    on_alarm: Literal["stop", "rewind"] = "stop"
    alarm_frames: int = 50
    bonds: Literal["keep", "free"] | None = None
    max_uncertainty_eV_per_A: float | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself; fill in what the ensemble needs."""
        self._refuse_what_has_no_use()
        self._check_timestep()
        self._fill_in()
        self._check_temperatures()
        self._check_times()
        self._check_field()
        limit = self.max_uncertainty_eV_per_A
        if limit is not None and not limit > 0:
            raise InputError(
                f"`--max-uncertainty-eV-per-A` must be positive; got {limit} eV/Å. Leave it out to"
                " go on whatever the uncertainty."
            )
        if self.ensemble == "npt" and self.fix_atoms:
            raise InputError(
                "`--fix-atoms` must be left out with --ensemble npt, where the cell moves every"
                " atom. Take --ensemble nvt."
            )
        if self.ensemble == "npt" and self.fix_bonds:
            raise InputError(
                "`--fix-bonds` must be left out with --ensemble npt: no barostat here keeps bonds."
                " Take --ensemble nvt."
            )
        if self.rigid_motion == "always" and self.fix_atoms:
            raise InputError(
                "`--rigid-motion` must not be always with fixed atoms, which hold the structure"
                " already. Leave it out."
            )

    def phases(self) -> tuple[Phase, ...]:
        """List the phases in order."""
        end_K = self.temperature_K if self.temperature_end_K is None else self.temperature_end_K
        production = Phase(
            "production",
            self.thermostat,
            self.barostat,
            self.temperature_K,
            end_K,
            self.steps,
            None,
        )
        if not self.equilibrate_ps:
            return (production,)
        from_K = self.temperature_K if self.equilibrate_from_K is None else self.equilibrate_from_K
        duration_fs = 1000 * self.equilibrate_ps
        return (
            Phase(
                "equilibration",
                self.equilibrate_thermostat,
                self.barostat,
                from_K,
                self.temperature_K,
                0,
                duration_fs,
            ),
            production,
        )

    def _refuse_what_has_no_use(self) -> None:
        """Refuse options that nothing would obey."""
        for name, ensembles, value in (
            ("thermostat", ("nvt", "npt"), self.thermostat),
            ("temperature-end-K", ("nvt", "npt"), self.temperature_end_K),
            ("barostat", ("npt",), self.barostat),
            ("pressure-GPa", ("npt",), self.pressure_GPa),
            ("barostat-time-fs", ("npt",), self.barostat_time_fs),
        ):
            if value is not None and self.ensemble not in ensembles:
                raise InputError(
                    f"`--{name}` must be left out with --ensemble {self.ensemble}, which has none."
                    f" Take --ensemble {ensembles[-1] if len(ensembles) == 1 else ensembles[0]}, or"
                    " drop it."
                )
        if (
            self.thermostat_time_fs is not None
            and self.ensemble == "nve"
            and not self.equilibrate_ps
        ):
            raise InputError(
                "`--thermostat-time-fs` must be left out with --ensemble nve, which has no"
                " thermostat. Drop it."
            )
        if not self.equilibrate_ps >= 0:
            raise InputError(
                f"`--equilibrate-ps` must not be negative; got {self.equilibrate_ps} ps. Leave it"
                " out for no equilibration."
            )
        if not self.equilibrate_ps and (
            self.equilibrate_thermostat or self.equilibrate_from_K is not None
        ):
            raise InputError(
                "`--equilibrate-ps` must be given with --equilibrate-thermostat and"
                " --equilibrate-from-K. Say how long."
            )
        if self.ensemble == "npt" and "bussi" in (self.thermostat, self.equilibrate_thermostat):
            raise InputError(
                f"`--thermostat` must be {' or '.join(THERMOSTATS_WITH_BAROSTAT)} with --ensemble"
                " npt; got bussi, which has no barostat."
            )

    def _fill_in(self) -> None:
        defaults: dict[str, object] = {
            "rigid_motion": "start" if self.velocities == "thermal" else "never",
            "velocities_every": max(1, round(VELOCITIES_FS / self.timestep_fs)),
        }
        if self.equilibrate_ps:
            defaults["equilibrate_thermostat"] = "langevin"
            defaults["rigid_motion"] = "start"
        if self.ensemble != "nve" or self.equilibrate_ps:
            defaults["thermostat_time_fs"] = THERMOSTAT_TIME_FS
        if self.ensemble != "nve":
            defaults["thermostat"] = "langevin"
        if self.ensemble == "npt":
            defaults |= {
                "barostat": "isotropic",
                "pressure_GPa": PRESSURE_GPA,
                "barostat_time_fs": BAROSTAT_TIME_FS,
            }
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def _check_temperatures(self) -> None:
        named = {
            "temperature-K": self.temperature_K,
            "temperature-end-K": self.temperature_end_K,
            "equilibrate-from-K": self.equilibrate_from_K,
        }
        for name, value in named.items():
            cold = value == 0 and (self.ensemble != "nve" or self.equilibrate_ps)
            if value is not None and (not value >= 0 or cold):
                raise InputError(f"`--{name}` must be positive; got {value} K. Use kelvin.")

    def _check_timestep(self) -> None:
        if not self.timestep_fs > 0:
            raise InputError(
                f"`--timestep-fs` must be positive; got {self.timestep_fs} fs. Take 0.5 with"
                " hydrogen."
            )

    def _check_times(self) -> None:
        for name, value, usual in (
            ("thermostat-time-fs", self.thermostat_time_fs, THERMOSTAT_TIME_FS),
            ("barostat-time-fs", self.barostat_time_fs, BAROSTAT_TIME_FS),
        ):
            if value is not None and not value > self.timestep_fs:
                raise InputError(
                    f"`--{name}` must be longer than the time step; got {value} fs. Take {usual:g}."
                )
        if self.equilibrate_ps and round(1000 * self.equilibrate_ps / self.timestep_fs) < 1:
            raise InputError(
                f"`--equilibrate-ps` must be at least one time step; got {self.equilibrate_ps} ps."
                " Take picoseconds."
            )

    def _check_field(self) -> None:
        if self.electric_field_THz is None:
            return
        if self.electric_field_V_per_A is None:
            raise InputError(
                "`--electric-field-THz` must come with --electric-field-V-per-A, its amplitude. Say"
                " how strong."
            )
        fastest = 1000 / (STEPS_PER_PERIOD * self.timestep_fs)
        if not 0 < self.electric_field_THz <= fastest:
            raise InputError(
                f"`--electric-field-THz` must be positive, and at most {fastest:g} THz with steps"
                f" of {self.timestep_fs:g} fs; got {self.electric_field_THz:g} THz. Take a slower"
                " field or shorter steps."
            )
