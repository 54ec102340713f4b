"""``polcalc polarization``: draw and list where the moving points of a model went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import natural_cutoffs, neighbor_list
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from rich.table import Table

from md_runs import session
from md_runs.errors import InputError
from md_runs.records.figures import GREY, ORANGE
from md_runs.records.output import check_new, to_json, write_figure
from md_runs.records.structures import polarization_of
from md_runs.screen import screen
from md_runs.session import ModelOptions
from potentials.files import write_text
from potentials.shipped import DEFAULT
from potentials.structure.states import STATE_KEYS

Array = NDArray[np.float64]

LATENT = "latent displacements of the moving points, not dipoles"
SHOWN_A = 1.0  # the longest arrow in the picture, about
FACTORS = (1, 2, 5)  # times powers of ten: what arrows are magnified by
STILL_A = 1e-6  # a shorter displacement has no direction
LABELLED = 40  # atoms with a number in the picture at most
BOND_TOLERANCE = 1.2  # sums of covalent radii
DISC = 0.45  # radius of a drawn atom in covalent radii


class Polarized(NamedTuple):
    """What the points did in one electronic state."""

    charge: int  # e
    multiplicity: int  # 2S + 1
    vectors: Array  # (N, 3) Å
    model: str = ""  # name


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
    """Draw a molecule and the displacements of its moving points.

    Only models with moving points have them. They are latent: nothing ties them to a dipole moment
    unless a model was trained on dipoles.
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
    factor = magnify or magnification([state.vectors for state in found])
    write_figure(
        output, draw(atoms, found, factor, f"{atoms.get_chemical_formula()}, {found[0].model}")
    )
    if json is not None:
        write_text(json, to_json(numbers(atoms, found, factor)))
    for state in found:
        screen.print(table(atoms, state, found[0]))
    screen.print(f"{output}: {LATENT}, drawn {factor:g} times as long")


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
    InputError   a model without moving points, a state that it does not know
    """
    atoms = atoms.copy()
    calculator = session.make_calculator(chosen)
    atoms.calc = calculator
    session.evaluate_first(atoms)
    vectors, state = polarization_of(atoms), calculator.state
    if vectors is None or state is None:
        raise InputError(
            f"`--model` must have moving points; {chosen.model or DEFAULT} has fixed ones. Train"
            " one: docs/plugins.md."
        )
    return Polarized(
        state.charge,
        state.multiplicity,
        vectors,
        calculator.model.card.name or calculator.model.path.stem,
    )


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
    longest = max(float(np.linalg.norm(v, axis=1).max()) for v in vectors)
    if longest < STILL_A:
        return 1.0
    wanted = SHOWN_A / longest
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(max(factor * power for factor in FACTORS if factor * power <= wanted))


def numbers(atoms: Atoms, found: Sequence[Polarized], factor: float) -> dict[str, Any]:
    """Collect what is drawn as plain values."""
    states = [
        {
            "charge": s.charge,
            "multiplicity": s.multiplicity,
            "polarization_vectors_A": s.vectors.tolist(),
        }
        | {"turned_degrees": turned_degrees(found[0].vectors, s.vectors).tolist()}
        for s in found
    ]
    return {
        "meaning": LATENT,
        "symbols": atoms.get_chemical_symbols(),
        "magnified": factor,
        "states": states,
    }


def table(atoms: Atoms, state: Polarized, first: Polarized) -> Table:
    """Lay out the vectors of a state, and by how much they are turned from those of the first."""
    made = Table(title=f"{state_name(state)}: {LATENT}", title_justify="left")
    for name in (
        "atom",
        "x (Å)",
        "y (Å)",
        "z (Å)",
        "length (Å)",
        *([] if state is first else ["turned (°)"]),
    ):
        made.add_column(name, justify="right")
    angles = turned_degrees(first.vectors, state.vectors)
    for n, (symbol, vector) in enumerate(
        zip(atoms.get_chemical_symbols(), state.vectors, strict=True)
    ):
        turned = [] if state is first else ["–" if np.isnan(angles[n]) else f"{angles[n]:.0f}"]
        made.add_row(
            f"{symbol}{n}", *(f"{x:+.4f}" for x in vector), f"{np.linalg.norm(vector):.4f}", *turned
        )
    return made


def state_name(state: Polarized) -> str:
    """Name a state in a picture."""
    charge = f"{state.charge:+d}" if state.charge else "0"
    return f"charge {charge}, multiplicity {state.multiplicity}"


def draw(atoms: Atoms, found: Sequence[Polarized], factor: float, title: str) -> Figure:
    """Draw each state from the front, where its extent is largest, and from above.

    The views differ by a turn of 90° about the longest axis.
    """
    axes_of_molecule = principal_axes(atoms.positions)
    views = {
        "front": axes_of_molecule,
        "from above": axes_of_molecule[[0, 2, 1]] * [[1], [-1], [1]],
    }
    figure = Figure(figsize=(1 + 4.2 * len(found), 7.4), layout="constrained")
    panels = figure.subplots(len(views), len(found), squeeze=False)
    figure.suptitle(f"{title}\narrows: {LATENT}, {factor:g} times as long")
    for row, (view, directions) in zip(panels, views.items(), strict=True):
        for panel, state in zip(row, found, strict=True):
            _draw_view(panel, atoms, state.vectors * factor, directions)
            panel.set_title(f"{state_name(state)}\n{view}", fontsize=9)
    return figure


def principal_axes(positions: Array) -> Array:
    """Find orthonormal axes of the atoms, that of the largest extent first.

    They form a right-handed frame (3, 3).
    """
    axes: Array = np.linalg.svd(np.vstack([positions - positions.mean(0), np.zeros((3, 3))]))[2]
    axes[2] *= np.sign(np.linalg.det(axes))
    return axes


def _draw_view(panel: Axes, atoms: Atoms, arrows: Array, directions: Array) -> None:
    """Draw from back to front: bonds and discs by depth, all arrows on top."""
    seen, moved = (atoms.positions - atoms.positions.mean(0)) @ directions.T, arrows @ directions.T
    for i, j, shift in zip(
        *neighbor_list("ijS", atoms, natural_cutoffs(atoms, mult=BOND_TOLERANCE)), strict=True
    ):
        if i < j and not shift.any():  # a bond through the wall of a cell is not drawn
            panel.plot(
                *seen[[i, j], :2].T,
                color=GREY,
                lw=3,
                zorder=1 + _depth(seen, [i, j]),
                solid_capstyle="round",
            )
    for n, number in enumerate(atoms.numbers):
        radius, depth = DISC * covalent_radii[number], 1 + _depth(seen, [n])
        panel.add_patch(_disc(seen[n, :2], radius, jmol_colors[number], depth))
        if len(atoms) <= LABELLED:
            # beside the disc: arrows begin at its centre
            place = seen[n, :2] + radius * np.array([0.75, 0.75])
            panel.annotate(
                f"{chemical_symbols[number]}{n}",
                place,
                ha="left",
                va="bottom",
                fontsize=8,
                color="#404040",
                zorder=5,
            )
    arrow = {
        "arrowstyle": "-|>,head_width=0.25,head_length=0.45",
        "color": ORANGE,
        "lw": 1.8,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    for start, step in zip(seen[:, :2], moved[:, :2], strict=True):
        if np.linalg.norm(step) > STILL_A:
            panel.annotate("", start + step, start, arrowprops=arrow, zorder=4)
    ends = np.vstack([seen, seen + moved])[:, :2]
    panel.set_xlim(ends[:, 0].min() - 0.8, ends[:, 0].max() + 0.8)
    panel.set_ylim(ends[:, 1].min() - 0.8, ends[:, 1].max() + 0.8)
    panel.set_aspect("equal")
    panel.set_xlabel("Å")
    panel.spines[["top", "right"]].set_visible(False)


def _disc(center: Array, radius: float, colour: Array, depth: float) -> Circle:
    return Circle(
        tuple(center), radius, facecolor=tuple(colour), edgecolor="#404040", lw=0.8, zorder=depth
    )


def _depth(seen: Array, which: list[int]) -> float:
    """Rank by the distance from the viewer, between 0 (back) and 1."""
    depth = seen[:, 2]
    extent = float(np.ptp(depth))
    return float((depth[which].mean() - depth.min()) / extent) if extent > 0 else 0.5
