"""``polcalc fields``: energy, dipole and polarizability of a structure against a field."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table

from md_runs import session
from md_runs.errors import InputError
from md_runs.records.figures import BLUE, GREY, LEGEND, ORANGE
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded, to_json, write_figure
from md_runs.screen import screen
from md_runs.session import ModelOptions
from polcalc import PolarizedCalculator
from potentials.files import write_text
from potentials.quantities import DEBYE, VOLUME_A3
from potentials.shipped import DEFAULT
from potentials.terms.field import FIELD

Array = NDArray[np.float64]

DEGREE = 4  # of the polynomial whose first terms are the dipole and the polarizability
NO_DIPOLE = 1e-6  # e Å; a smaller one has no direction


class Scan(NamedTuple):
    """What a model says of a structure in fields of several strengths along one direction."""

    direction: Array  # (3,), of length one
    strengths: Array  # (K,) V/Å
    energies: Array  # (K,) eV
    dipoles: Array  # (K, 3) e Å, about the centre of mass
    polarizabilities: Array | None  # (K, 3, 3) e Å^2/V

    @property
    def parts(self) -> tuple[float, float]:
        """Dipole (e Å) and polarizability (e Å^2/V) along the field, of energies alone."""
        order = min(DEGREE, len(self.strengths) - 1)
        fit = np.polynomial.Polynomial.fit(self.strengths, self.energies, order).convert()
        return float(-fit.coef[1]), float(-2 * fit.coef[2])

    @property
    def answers(self) -> bool:
        """Whether the dipole changes with the field: of a model that has a polarizability."""
        return bool(np.ptp(self.dipoles, axis=0).max() > NO_DIPOLE)

    @property
    def along(self) -> dict[str, Array]:
        """Columns of the table, (K,) each."""
        dipole, polarizability = self.parts
        s = self.strengths
        change = self.energies - self.energies[len(s) // 2]  # the middle has no field
        columns = {
            "field_V_per_A": s,
            "energy_eV": self.energies,
            "change_eV": change,
            "linear_eV": -dipole * s,
            "quadratic_eV": -0.5 * polarizability * s**2,
            "rest_eV": change + dipole * s + 0.5 * polarizability * s**2,
            "dipole_along_D": self.dipoles @ self.direction / DEBYE,
            "dipole_D": np.linalg.norm(self.dipoles, axis=1) / DEBYE,
        }
        if self.polarizabilities is not None:
            alpha = self.direction @ self.polarizabilities @ self.direction
            columns["polarizability_along_A3"] = VOLUME_A3 * alpha
        return columns


def fields(
    structure: Path,
    model: str | None = None,
    frame: int | None = None,
    direction: tuple[float, float, float] | None = None,
    strongest_V_per_A: float = 0.2,
    points: int = 11,
    charge: int | None = None,
    multiplicity: int | None = None,
    partial_charges: str | None = None,
    device: str = "auto",
    dtype: str = "float64",
    output: Path = Path("polcalc-fields"),
) -> Scan:
    """Put a structure, as it is, in fields from one direction to the opposite one.

    Writes fields.csv, fields.json and fields.png: energy with its linear and quadratic part, dipole
    and polarizability. The nuclei stay; an ion is taken about its centre of mass.

    Raises
    ------
    InputError   bad input; a model without a dipole
    """
    check_free(output)
    if not (0 < strongest_V_per_A < float("inf")):
        raise InputError(
            f"`--strongest-V-per-A` must be positive; got {strongest_V_per_A}. Correct it."
        )
    if points < 5 or points % 2 == 0:
        raise InputError(
            f"`--points` must be odd and at least 5, with no field in the middle; got {points}."
            f" Take {max(5, points + 1)}."
        )
    atoms = session.read_structure(structure, frame)
    atoms.info.pop(FIELD, None)
    given = session.read_partial_charges(partial_charges)
    chosen = ModelOptions(model, device, dtype, "auto", charge, multiplicity, given)
    calculator = session.make_calculator(chosen)
    check_dipole(calculator)
    atoms.positions -= atoms.get_center_of_mass()
    atoms.calc = calculator
    session.evaluate_first(atoms)
    unit = _direction(atoms, direction)
    state = calculator.state
    asked = {"direction": unit.tolist(), "strongest_V_per_A": strongest_V_per_A, "points": points}
    about = session.describe(calculator)
    files = [session.fingerprint(structure)]
    with recorded(output, make_manifest("fields", asked, structures=files, **about)):
        scan = scan_fields(atoms, unit, np.linspace(-1, 1, points) * strongest_V_per_A)
        title = f"{atoms.get_chemical_formula()}, {state}; {model or DEFAULT}"
        write_text(output / "fields.csv", to_csv(scan))
        write_text(output / "fields.json", to_json(facts(scan)))
        write_figure(output / "fields.png", plot(scan, title))
    screen.print(f"{atoms.get_chemical_formula()}, {state}")
    screen.print(table(scan))
    screen.print(f"Results in {output}")
    return scan


def check_dipole(calculator: PolarizedCalculator) -> None:
    """Refuse a model that does not answer to a field.

    Raises
    ------
    InputError
    """
    if "dipole" not in calculator.model.potential.predicts:
        raise InputError(
            f"`--model` must predict a dipole; {calculator.parameters['model']} does not. Take"
            " another one."
        )


def scan_fields(atoms: Atoms, direction: Array, strengths: Array) -> Scan:
    """Evaluate a structure in each field, with the calculator that it has."""
    energies, dipoles, polarizabilities = [], [], []
    for strength in strengths:
        atoms.calc.set(electric_field_V_per_A=strength * direction)
        session.evaluate_first(atoms)
        said = atoms.calc.quantities
        energies.append(float(said["energy"]))
        dipoles.append(said["dipole"])
        polarizabilities.append(said.get("polarizability"))
    known = None if polarizabilities[0] is None else np.array(polarizabilities)
    return Scan(direction, strengths, np.array(energies), np.array(dipoles), known)


def facts(scan: Scan) -> dict[str, Any]:
    """Collect the numbers as plain values."""
    dipole, polarizability = scan.parts
    return {
        "direction": scan.direction.tolist(),
        "linear": {"dipole_e_A": dipole, "dipole_D": dipole / DEBYE},
        "quadratic": {
            "polarizability_e_A2_per_V": polarizability,
            "polarizability_A3": polarizability * VOLUME_A3,
        },
        "columns": {name: values.tolist() for name, values in scan.along.items()},
    }


def to_csv(scan: Scan) -> str:
    """List all fields."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(scan.along)
    writer.writerows([f"{x:.10g}" for x in row] for row in zip(*scan.along.values(), strict=True))
    return text.getvalue()


def table(scan: Scan) -> Table:
    """Lay out all fields, and below them the parts of the energy."""
    made = Table(box=None, pad_edge=False)
    names = {
        "field_V_per_A": ("field (V/Å)", 1, "+.4g"),
        "change_eV": ("energy (meV)", 1000, "z.3f"),
        "linear_eV": ("linear (meV)", 1000, "z.3f"),
        "quadratic_eV": ("quadratic (meV)", 1000, "z.3f"),
        "rest_eV": ("rest (meV)", 1000, "z.3f"),
        "dipole_along_D": ("dipole (D)", 1, "z.4f"),
        "polarizability_along_A3": ("α (Å³)", 1, "z.4f"),
    }
    columns = scan.along
    shown = [(*form, columns[name]) for name, form in names.items() if name in columns]
    for heading, _, _, _ in shown:
        made.add_column(heading, justify="right")
    for n in range(len(scan.strengths)):
        made.add_row(*(f"{factor * values[n]:{form}}" for _, factor, form, values in shown))
    dipole, polarizability = scan.parts
    along = ", ".join(f"{x:z.3f}" for x in scan.direction)
    answer = (
        f"polarizability α {polarizability * VOLUME_A3:z.4f} Å³, from the energies"
        if scan.answers
        else "the same in every field: this model has no polarizability"
    )
    made.caption = f"along ({along}): dipole {dipole / DEBYE:z.4f} D, {answer}"
    made.caption_justify = "left"
    return made


def plot(scan: Scan, title: str) -> Figure:
    """Draw energy, dipole and polarizability against the field."""
    columns = scan.along
    names = [
        ("dipole_along_D", "dipole along the field (D)"),
        ("polarizability_along_A3", "polarizability along it (Å³)"),
    ]
    known = [(name, label) for name, label in names if name in columns]
    figure = Figure(figsize=(4 + 3.5 * len(known), 3.6), layout="constrained")
    first, *others = np.atleast_1d(figure.subplots(1, 1 + len(known)))
    figure.suptitle(title, fontsize=10)
    strengths = columns["field_V_per_A"]
    first.plot(strengths, 1000 * columns["linear_eV"], color=GREY, lw=1.2, label="linear")
    both = columns["linear_eV"] + columns["quadratic_eV"]
    first.plot(strengths, 1000 * both, color=ORANGE, lw=1.2, label="and quadratic")
    _points(first, strengths, 1000 * columns["change_eV"], "E - E(0) (meV)")
    first.legend(**LEGEND)
    for axes, (name, label) in zip(others, known, strict=True):
        _points(axes, strengths, columns[name], label)
        if np.ptp(columns[name]) < 1e-6 * abs(columns[name]).max():  # no digits of rounding
            middle = float(columns[name].mean())
            axes.set_ylim(0.9 * middle, 1.1 * middle)
    return figure


def _points(axes: Axes, strengths: Array, values: Array, label: str) -> None:
    axes.plot(strengths, values, "o", color=BLUE, ms=4)
    axes.set_xlabel("field (V/Å)")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def _direction(atoms: Atoms, asked: Sequence[float] | None) -> Array:
    """Return the direction asked for, else that of the dipole, else z, of length one."""
    vector = np.array(atoms.get_dipole_moment() if asked is None else asked, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or (asked is not None and length == 0):
        raise InputError(
            f"`--direction` must be three finite numbers, not all zero; got {asked}. Correct it."
        )
    return vector / length if asked is not None or length > NO_DIPOLE else np.array([0, 0, 1.0])
