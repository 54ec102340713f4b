"""What a potential can predict: one table.

Heads, loss, errors, engines, results and files iterate it. To add a quantity is one line here and
one file with the head or term that predicts it.

Shapes are those of one atom or one structure: a quantity of shape (3,) per atom is (N, 3) in a
batch. All of them are true scalars, vectors and tensors: they turn and mirror with the structure.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

DEBYE = 0.20819433  # e Å, CODATA 2018
VOLUME_A3 = 14.399645  # Å^3 of a polarizability of one e Å^2/V: 1/(4πε0), CODATA 2018


class ErrorUnit(NamedTuple):
    """The unit in which errors of a quantity are told."""

    symbol: str  # as people read it
    key: str  # as it stands in the name of a number
    factor: float  # number of these in one of the quantity's own unit


class Quantity(NamedTuple):
    """One quantity."""

    name: str  # in predictions, targets, weights of the loss, engines and reports
    per: Literal["atom", "structure"]
    shape: tuple[int, ...]
    unit: str
    meaning: str
    ase: str = ""  # property of ASE's calculators; empty: none
    label: str = ""  # array of `Frames` and of data files that holds its labels; empty: none
    error: ErrorUnit = ErrorUnit("", "", 1.0)
    extensive: bool = False  # of a structure: grows with it, so that errors are told per atom, too
    within: bool = False  # of interest to other parts and to training alone; files leave it out


MEV = ErrorUnit("meV", "meV", 1000.0)

QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("energy", "structure", (), "eV", "energy", "energy", "energy", MEV, True),
        Quantity("energies", "atom", (), "eV", "share of each atom in the energy", "energies"),
        Quantity(
            "forces",
            "atom",
            (3,),
            "eV/Å",
            "-dE/dr",
            "forces",
            "forces",
            ErrorUnit("meV/Å", "meV_per_A", 1000.0),
        ),
        Quantity(
            "stress",
            "structure",
            (3, 3),
            "eV/Å^3",
            "dE/dε over the volume",
            "stress",
            "stress",
            ErrorUnit("meV/Å^3", "meV_per_A3", 1000.0),
        ),
        Quantity(
            "charges",
            "atom",
            (),
            "e",
            "charge of each atom",
            "charges",
            "partial_charges",
            ErrorUnit("e", "e", 1.0),
        ),
        Quantity(
            "dipole",
            "structure",
            (3,),
            "e Å",
            "dipole about the origin of the coordinates",
            "dipole",
            "dipole",
            ErrorUnit("D", "D", 1 / DEBYE),
        ),
        Quantity(
            "formal_charges",
            "atom",
            (),
            "e",
            "formal charge of the group that an atom is the centre of",
            label="formal_charges",
            error=ErrorUnit("e", "e", 1.0),
        ),
        Quantity(
            "unrounded_formal_charges",
            "atom",
            (),
            "e",
            "formal charge before it is rounded, for training",
            label="formal_charges",
            error=ErrorUnit("e", "e", 1.0),
            within=True,
        ),
        Quantity(
            "excess_charges",
            "atom",
            (),
            "e",
            "formal charge of each atom and its share of what formal charges leave of the total",
            within=True,
        ),
        Quantity(
            "unpaired_electrons",
            "atom",
            (),
            "",
            "unpaired electrons of each atom",
            "magmoms",
            "magmoms",
            ErrorUnit("electrons", "electrons", 1.0),
        ),
        Quantity(
            "polarizability",
            "structure",
            (3, 3),
            "e Å^2/V",
            "change of the dipole with the electric field",
            error=ErrorUnit("Å³", "A3", VOLUME_A3),
        ),
        Quantity(
            "atomic_polarizabilities",
            "atom",
            (3, 3),
            "e Å^2/V",
            "share of each atom in the polarizability",
        ),
        Quantity(
            "energy_uncertainty",
            "structure",
            (),
            "eV",
            "what the errors of energies of 68 % of new molecules lie within",
        ),
        Quantity(
            "forces_uncertainty",
            "atom",
            (),
            "eV/Å",
            "what the errors of 68 % of force components of such atoms lie within",
        ),
        Quantity("polarization", "atom", (3,), "Å", "displacement of the moving points"),
        Quantity(
            "shells", "atom", (3,), "Å", "displacement of the shell of electrons of each atom"
        ),
        Quantity("shell_charges", "atom", (), "e", "electrons in the shell of each atom"),
        Quantity(
            "dipole_moment",
            "structure",
            (),
            "D",
            "size of the dipole about the centre of mass",
            label="dipole_moment",
            error=ErrorUnit("D", "D", 1.0),
        ),
        Quantity(
            "spatial_extent",
            "structure",
            (),
            "bohr^2",
            "electronic spatial extent",
            label="spatial_extent",
            error=ErrorUnit("bohr²", "bohr2", 1.0),
        ),
        Quantity(
            "orbital_energy",
            "structure",
            (),
            "eV",
            "energy of an orbital, or a gap between two",
            label="orbital_energy",
            error=MEV,
        ),
        Quantity(
            "isotropic_polarizability",
            "structure",
            (),
            "bohr^3",
            "a third of the trace of the polarizability",
            label="isotropic_polarizability",
            error=ErrorUnit("bohr³", "bohr3", 1.0),
        ),
        Quantity(
            "vibrational_energy",
            "structure",
            (),
            "eV",
            "zero-point energy",
            label="vibrational_energy",
            error=MEV,
        ),
        Quantity(
            "heat_capacity",
            "structure",
            (),
            "cal/(mol K)",
            "at constant volume, 298.15 K",
            label="heat_capacity",
            error=ErrorUnit("cal/(mol K)", "cal_per_mol_K", 1.0),
        ),
    )
}

if TYPE_CHECKING:

    class _Record:
        """What type checkers see of a record of quantities: any of the table, or None."""

        _fields: tuple[str, ...]

        def __init__(self, **quantities: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

        def __iter__(self) -> Iterator[Any]: ...

        def _replace(self, **quantities: Any) -> Self: ...

    class Prediction(_Record):
        """What a potential says of a batch: float64 tensors, None where it says nothing."""

    class Targets(_Record):
        """Reference labels of a batch: float64 tensors, None where they are not known."""

    class Evaluation(_Record):
        """What an engine says of one structure: numpy arrays of its own, the energy a float."""

else:

    def _record(name: str, doc: str) -> type:
        record = namedtuple(name, QUANTITIES, defaults=[None] * len(QUANTITIES))
        record.__doc__ = doc
        return record

    Prediction = _record("Prediction", "What a potential says of a batch; None: nothing.")
    Targets = _record("Targets", "Reference labels of a batch; None: not known.")
    Evaluation = _record("Evaluation", "What an engine says of one structure, as numpy arrays.")


def unit_key(unit: str) -> str:
    """Write a unit as it stands in names of columns and options: "eV/Å^3" is "eV_per_A3"."""
    for symbol, key in (("/", "_per_"), (" ", "_"), ("Å", "A"), ("^", ""), ("(", ""), (")", "")):
        unit = unit.replace(symbol, key)
    return unit


def named(record: Prediction | Targets | Evaluation) -> dict[str, Any]:
    """Return the quantities that a record holds, by name."""
    values = {name: getattr(record, name) for name in QUANTITIES}
    return {name: value for name, value in values.items() if value is not None}
