"""``polcalc polarization``: draw and list where a model says that the electrons are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from rich.table import Table

from md_runs import session
from md_runs.electrons.drawing import STILL_A, Polarized, draw, state_name
from md_runs.electrons.moments import dipole_of
from md_runs.errors import InputError
from md_runs.records.output import check_new, to_json, write_figure
from md_runs.records.structures import polarization_of
from md_runs.screen import screen
from md_runs.session import ModelOptions
from potentials.files import write_text
from potentials.quantities import DEBYE
from potentials.shipped import DEFAULT
from potentials.structure.states import STATE_KEYS

Array = NDArray[np.float64]

LATENT = "latent displacements of the moving points, not dipoles"
SHELLS = "displacements of the shells of electrons"
SEEN = 0.005  # formal charges in e and unpaired electrons below are not listed
SHOWN_A = 1.0  # the longest arrow in the picture, about
FACTORS = (1, 2, 5)  # times powers of ten: what arrows are magnified by


def polarization(
    structure: Path,
    model: str | None = None,
    frame: int | None = None,
    charges: str | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    partial_charges: str | None = None,
    device: str = "auto",
    dtype: str = "float64",
    magnify: float | None = None,
    json: Path | None = None,
    output: Path = Path("polarization.png"),
) -> None:
    """Draw a molecule with its charges, its dipole, and the points that moved from its nuclei.

    What the model predicts of them. Moving points are latent: nothing ties them to a dipole unless
    they are the shells of electrons of which the model makes its dipole.
    """
    check_pictures(output, json)
    if magnify is not None and not 0 < magnify < float("inf"):
        raise InputError(
            f"`--magnify` must be positive; got {magnify}. Leave it out to see all arrows."
        )
    asked = read_charges(charges)
    if asked and (charge is not None or multiplicity is not None):
        raise InputError(
            "`--charges` must stand alone: it takes the place of --charge and --multiplicity. Drop"
            " those."
        )
    given = session.read_partial_charges(partial_charges)
    chosen = ModelOptions(model, device, dtype, "auto", charge, multiplicity, given)
    atoms = session.read_structure(structure, frame)
    found = (
        [polarize(atoms, chosen)]
        if not asked
        else [polarize(stateless(atoms), of_charge(chosen, q)) for q in asked]
    )
    moved = [state.vectors for state in found if state.vectors is not None]
    factor = magnify or magnification(moved)
    legend = legend_of(found, factor)
    title = f"{atoms.get_chemical_formula()}, {found[0].model}"
    write_figure(output, draw(atoms, found, factor, title, legend))
    if json is not None:
        write_text(json, to_json(numbers(atoms, found, factor)))
    for state in found:
        screen.print(table(atoms, state, found[0]))
    screen.print(f"{output}: {legend}")


def check_pictures(picture: Path, json: Path | None) -> None:
    """Refuse names of files that are there, before any work is done.

    Raises
    ------
    InputError
    """
    if picture.suffix.lower() != ".png":
        raise InputError(f"`--output` must end in .png; got {picture}. Rename it.")
    for option, path in (("--output", picture), ("--json", json)):
        if path is not None:
            check_new(path, option)


def read_charges(text: str | None) -> list[int]:
    """Read the charges of the option, none if it was not given.

    Raises
    ------
    InputError   not whole numbers
    """
    try:
        return [] if text is None else [int(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"`--charges` must be whole numbers, as in 0,1; got {text}. Correct it."
        ) from error


def stateless(atoms: Atoms) -> Atoms:
    """Copy a structure without what its file says of its electrons."""
    plain: Atoms = atoms.copy()
    plain.info = {key: value for key, value in plain.info.items() if key not in STATE_KEYS}
    for name in ("initial_charges", "initial_magmoms"):
        plain.arrays.pop(name, None)
    return plain


def of_charge(chosen: ModelOptions, charge: int) -> ModelOptions:
    """Ask for another total charge."""
    return ModelOptions(
        chosen.model,
        chosen.device,
        chosen.dtype,
        chosen.engine,
        charge,
        None,
        chosen.partial_charges,
    )


def polarize(atoms: Atoms, chosen: ModelOptions) -> Polarized:
    """Evaluate a structure.

    Raises
    ------
    InputError   a model that says nothing of electrons, a state that it does not know
    """
    atoms = atoms.copy()
    calculator = session.make_calculator(chosen)
    atoms.calc = calculator
    session.evaluate_first(atoms)
    vectors, state, said = polarization_of(atoms), calculator.state, calculator.quantities
    assert state is not None
    charges, dipole = said.get("charges"), dipole_of(atoms, state.charge)
    if vectors is None and charges is None and dipole is None:
        raise InputError(
            "`--model` must have moving points, charges or a dipole;"
            f" {chosen.model or DEFAULT} has none. Train one: docs/plugins.md."
        )
    return Polarized(
        state.charge,
        state.multiplicity,
        vectors,
        calculator.model.card.name or calculator.model.path.stem,
        charges,
        dipole,
        "shells" in said,
        said.get("formal_charges"),
        said.get("unpaired_electrons"),
    )


def legend_of(found: Sequence[Polarized], factor: float) -> str:
    """Say what is drawn."""
    state, any_ion = found[0], any(state.charge for state in found)
    points = SHELLS if state.shells else LATENT
    parts = [
        f"orange: {points}, {factor:g} times as long" if state.vectors is not None else "",
        "numbers: charges (e)" if state.charges is not None else "",
        "green: dipole" + " about the centre of mass" * any_ion if state.dipole is not None else "",
    ]
    return "; ".join(part for part in parts if part)


def turned_degrees(first: Array, second: Array) -> Array:
    """Angle between two vectors of each atom in degrees, (N,).

    Nan where one of them is shorter than `STILL_A`.
    """
    lengths = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    product = np.where(np.minimum(*lengths) > STILL_A, lengths[0] * lengths[1], np.nan)
    angle: Array = np.degrees(
        np.arccos(np.clip(np.einsum("na,na->n", first, second) / product, -1, 1))
    )
    return angle


def magnification(vectors: Sequence[Array]) -> float:
    """Find the round number that makes the longest arrow about `SHOWN_A`."""
    longest = max((float(np.linalg.norm(v, axis=1).max()) for v in vectors), default=0.0)
    if longest < STILL_A:
        return 1.0
    wanted = SHOWN_A / longest
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(max(factor * power for factor in FACTORS if factor * power <= wanted))


def numbers(atoms: Atoms, found: Sequence[Polarized], factor: float) -> dict[str, Any]:
    """Collect what is drawn as plain values; what the model says nothing of is left out."""
    return {
        "meaning": SHELLS if found[0].shells else LATENT,
        "symbols": atoms.get_chemical_symbols(),
        "magnified": factor,
        "states": [_state_numbers(state, found[0]) for state in found],
    }


def _state_numbers(state: Polarized, first: Polarized) -> dict[str, Any]:
    facts: dict[str, Any] = {"charge": state.charge, "multiplicity": state.multiplicity}
    if state.vectors is not None and first.vectors is not None:
        facts["polarization_vectors_A"] = state.vectors.tolist()
        facts["turned_degrees"] = turned_degrees(first.vectors, state.vectors).tolist()
    if state.charges is not None:
        facts["charges_e"] = state.charges.tolist()
    if state.formal_charges is not None:
        facts["formal_charges_e"] = state.formal_charges.tolist()
    if state.unpaired is not None:
        facts["unpaired_electrons"] = state.unpaired.tolist()
    if state.dipole is not None:
        facts["dipole_e_A_about_centre_of_mass"] = state.dipole.tolist()
        facts["dipole_D"] = float(np.linalg.norm(state.dipole)) / DEBYE
    return facts


def table(atoms: Atoms, state: Polarized, first: Polarized) -> Table:
    """Lay out charges and vectors of a state, and how vectors are turned from those of the first.

    Formal charges and unpaired electrons stand beside them where there are any.

    Parameters
    ----------
    first : Polarized   the state to compare with; itself without comparison
    """
    symbols = atoms.get_chemical_symbols()
    columns: dict[str, list[str]] = {"atom": [f"{symbol}{n}" for n, symbol in enumerate(symbols)]}
    if state.charges is not None:
        columns["charge (e)"] = [f"{q:+.4f}" for q in state.charges]
    if state.formal_charges is not None and abs(state.formal_charges).max() > SEEN:
        columns["formal (e)"] = [f"{q:+.2f}" if abs(q) > SEEN else "" for q in state.formal_charges]
    if state.unpaired is not None and abs(state.unpaired).max() > SEEN:
        columns["unpaired"] = [f"{s:.2f}" if abs(s) > SEEN else "" for s in state.unpaired]
    if state.vectors is not None:
        for axis, values in zip("xyz", state.vectors.T, strict=True):
            columns[f"{axis} (Å)"] = [f"{x:+.4f}" for x in values]
        lengths = np.linalg.norm(state.vectors, axis=1)
        columns["length (Å)"] = [f"{x:.4f}" for x in lengths]
        if state is not first and first.vectors is not None:
            angles = turned_degrees(first.vectors, state.vectors)
            columns["turned (°)"] = ["–" if np.isnan(x) else f"{x:.0f}" for x in angles]
    made = Table(title=state_name(state), title_justify="left")
    for name in columns:
        made.add_column(name, justify="right")
    for row in zip(*columns.values(), strict=True):
        made.add_row(*row)
    return made
