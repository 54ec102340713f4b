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
ALIASES = {
    "angstrom": "Å", "ang": "Å", "a": "Å", "å": "Å", "a0": "bohr",
    "ha": "hartree", "eh": "hartree", "ry": "rydberg",
    "kcal mol-1": "kcal/mol", "kj mol-1": "kJ/mol",
}  # fmt: skip


class Units(NamedTuple):
    """The units that a file is written in.

    Forces are in energy per force length, stress in energy per cubic length.
    """

    energy: str = "eV"
    length: str = "Å"
    force_length: str = ""  # where it is not the unit of positions, as in hartree/bohr beside Å

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
        return self.energy_eV / LENGTHS[self.force_length or self.length]

    @property
    def stress_eV_per_A3(self) -> float:
        """Size of the unit of stress."""
        return self.energy_eV / self.length_A**3

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.energy}, {self.length}, {self.energy}/{self.force_length or self.length}"


EV_ANGSTROM = Units()


def make_units(energy: str = "eV", length: str = "Å", force_length: str = "") -> Units:
    """Read the names of units, whatever their spelling.

    Raises
    ------
    ValueError   an unknown unit
    """
    return Units(
        _known("energy", energy, ENERGIES),
        _known("length", length, LENGTHS),
        force_length and _known("force_length", force_length, LENGTHS),
    )


def _known(quantity: str, unit: str, table: dict[str, float]) -> str:
    spelled = {name.lower(): name for name in table} | {
        alias: name for alias, name in ALIASES.items() if name in table
    }
    if unit.strip().lower() not in spelled:
        raise ValueError(
            f"`{quantity}` unit must be one of {', '.join(table)}; got {unit!r}. Pass one of these."
        )
    return spelled[unit.strip().lower()]
