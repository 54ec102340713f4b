"""Units of data files, and their size in those of this package: eV, Å, e."""

from __future__ import annotations

from typing import NamedTuple

# CODATA 2022: the eV, kcal and kJ per mole through Avogadro's number and the elementary charge,
# which are exact
KJ_PER_MOL = 1000 / 6.02214076e23 / 1.602176634e-19  # eV
KCAL_PER_MOL = 4.184 * KJ_PER_MOL  # eV, thermochemical calorie
HARTREE = 27.211386245981  # eV
BOHR = 0.529177210544  # Å

ENERGIES = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": KCAL_PER_MOL,
    "kJ/mol": KJ_PER_MOL,
    "hartree": HARTREE,
    "rydberg": HARTREE / 2,
}  # eV
LENGTHS = {"Å": 1.0, "bohr": BOHR, "nm": 10.0}  # Å
GPA = 1e9 / 1.602176634e-19 * 1e-30  # eV/Å^3
STRESSES = {"GPa": GPA, "MPa": 1e-3 * GPA, "Pa": 1e-9 * GPA, "kbar": 0.1 * GPA, "bar": 1e-4 * GPA}
ALIASES = {
    "angstrom": "Å", "ang": "Å", "a": "Å", "å": "Å", "a0": "bohr",
    "ha": "hartree", "eh": "hartree", "ry": "rydberg",
    "kcal mol-1": "kcal/mol", "kj mol-1": "kJ/mol",
}  # fmt: skip


class Units(NamedTuple):
    """The units that a file is written in.

    Forces are in energy per length and stress in energy per cubic length, unless the file mixes
    units.
    """

    energy: str = "eV"
    length: str = "Å"
    force_length: str = ""  # where it is not the unit of positions, as in hartree/bohr beside Å
    force_energy: str = ""  # where it is not the unit of energies
    stress: str = ""  # a unit of pressure, where it is not that of energies and positions

    @property
    def energy_eV(self) -> float:
        """Size of the unit of energy."""
        return ENERGIES[self.energy]

    @property
    def length_A(self) -> float:
        """Size of the unit of length."""
        return LENGTHS[self.length]

    @property
    def force_eV_per_A(self) -> float:
        """Size of the unit of force."""
        return (
            ENERGIES[self.force_energy or self.energy] / LENGTHS[self.force_length or self.length]
        )

    @property
    def stress_eV_per_A3(self) -> float:
        """Size of the unit of stress."""
        return STRESSES[self.stress] if self.stress else self.energy_eV / self.length_A**3

    @property
    def forces(self) -> str:
        """Name of the unit of force."""
        return f"{self.force_energy or self.energy}/{self.force_length or self.length}"

    def __str__(self) -> str:
        """One line for people."""
        said = f"{self.energy}, {self.length}, {self.forces}"
        return f"{said}, {self.stress}" if self.stress else said


EV_ANGSTROM = Units()


def make_units(
    energy: str = "eV",
    length: str = "Å",
    force_length: str = "",
    force_energy: str = "",
    stress: str = "",
) -> Units:
    """Read the names of units, whatever their spelling.

    Raises
    ------
    ValueError   an unknown unit
    """
    return Units(
        _known("energy", energy, ENERGIES),
        _known("length", length, LENGTHS),
        force_length and _known("force_length", force_length, LENGTHS),
        force_energy and _known("force_energy", force_energy, ENERGIES),
        stress and _known("stress", stress, STRESSES),
    )


def declared_units(
    energy: str = "", length: str = "", forces: str = "", stress: str = ""
) -> Units | None:
    """Read the units that a user declares of a file; None where nothing is declared.

    Forces beside energies in hartree or rydberg are in that unit per bohr, as programs of quantum
    chemistry write them, unless told otherwise.

    Raises
    ------
    ValueError   an unknown unit, forces that are not energy per length
    """
    if not (energy or length or forces or stress):
        return None
    units = make_units(energy or "eV", length or "Å")
    force_energy, _, force_length = forces.rpartition("/")
    if forces and not force_energy:
        raise ValueError(
            f"`forces_unit` must be energy/length, as in hartree/bohr; got {forces!r}. Correct it."
        )
    if not forces and units.energy in ("hartree", "rydberg"):
        force_energy, force_length = units.energy, "bohr"
    if "^" in stress:  # as in eV/angstrom^3
        unit, _, cube = stress.rpartition("/")
        if make_units(unit, cube.removesuffix("^3")) != (*units[:2], "", "", ""):
            raise ValueError(
                f"`stress_unit` must be {', '.join(STRESSES)} or the units of energy and length,"
                f" {units.energy}/{units.length}^3; got {stress!r}. Convert it."
            )
        stress = ""
    return make_units(
        units.energy,
        units.length,
        "" if not force_length or _same(force_length, units.length, LENGTHS) else force_length,
        "" if not force_energy or _same(force_energy, units.energy, ENERGIES) else force_energy,
        stress,
    )


def _same(one: str, other: str, table: dict[str, float]) -> bool:
    return _known("forces_unit", one, table) == other


def _known(quantity: str, unit: str, table: dict[str, float]) -> str:
    spelled = {name.lower(): name for name in table} | {
        alias: name for alias, name in ALIASES.items() if name in table
    }
    if unit.strip().lower() not in spelled:
        raise ValueError(
            f"`{quantity}` unit must be one of {', '.join(table)}; got {unit!r}. Pass one of these."
        )
    return spelled[unit.strip().lower()]
