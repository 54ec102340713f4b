"""A molecule from two sides: nuclei, points that moved from them, charges, the dipole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import natural_cutoffs, neighbor_list
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from md_runs.records.figures import BLUE, GREEN, GREY, ORANGE
from potentials.quantities import DEBYE

Array = NDArray[np.float64]

STILL_A = 1e-6  # a shorter displacement has no direction
LABELLED = 40  # atoms with a number in the picture at most
LABEL_A = (0.95, 0.3)  # width and height of a label, about
FLAT_A = 0.8  # a molecule as flat as this is drawn from the front alone
BOND_TOLERANCE = 1.2  # sums of covalent radii
DISC = 0.45  # radius of a drawn atom in covalent radii
NO_DIPOLE = 0.05  # D; a smaller one is not drawn
DIPOLE_A = 2.0  # length in the picture of one e Å of the dipole, 4.8 D
SHELL = 0.12  # radius of a drawn shell, Å
RED = "#b3261e"


class Polarized(NamedTuple):
    """What a model says of one electronic state; None where it says nothing."""

    charge: int  # e
    multiplicity: int  # 2S + 1
    vectors: Array | None  # (N, 3) Å, of the moving points
    model: str = ""  # name
    charges: Array | None = None  # (N,) e
    dipole: Array | None = None  # (3,) e Å, about the centre of mass
    shells: bool = False  # whether the moving points are shells of electrons
    formal_charges: Array | None = None  # (N,) e
    unpaired: Array | None = None  # (N,) unpaired electrons


def state_name(state: Polarized) -> str:
    """Name a state in a picture."""
    charge = f"{state.charge:+d}" if state.charge else "0"
    name = f"charge {charge}, multiplicity {state.multiplicity}"
    if state.dipole is None:
        return name
    return f"{name}, dipole {np.linalg.norm(state.dipole) / DEBYE:.2f} D"


def draw(
    atoms: Atoms, found: Sequence[Polarized], factor: float, title: str, legend: str = ""
) -> Figure:
    """Draw each state from the front, where its extent is largest, and from above.

    The views differ by a turn of 90° about the longest axis; a flat molecule, and what moved in its
    plane, needs but the first. Displacements are ``factor`` times as
    long; an e Å of the dipole, which belongs to the whole, is drawn as `DIPOLE_A`.
    """
    axes_of_molecule = principal_axes(atoms.positions)
    views = {
        "front": axes_of_molecule,
        "from above": axes_of_molecule[[0, 2, 1]] * [[1], [-1], [1]],
    }
    moved = [factor * state.vectors for state in found if state.vectors is not None]
    if max(float(np.ptp(x @ axes_of_molecule[2])) for x in (atoms.positions, *moved)) < FLAT_A:
        del views["from above"]
    size = (1 + 3.6 * len(found), 0.7 + 3.0 * len(views))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(views), len(found), squeeze=False)
    figure.suptitle("\n".join(line for line in (title, legend) if line), fontsize=10)
    for row, (view, directions) in zip(panels, views.items(), strict=True):
        for panel, state in zip(row, found, strict=True):
            _draw_view(panel, atoms, state, factor, directions)
            title = f"{state_name(state)}\n{view}" if len(views) > 1 else state_name(state)
            panel.set_title(title, fontsize=9)
    return figure


def principal_axes(positions: Array) -> Array:
    """Find orthonormal axes of the atoms, that of the largest extent first.

    They form a right-handed frame (3, 3).
    """
    axes: Array = np.linalg.svd(np.vstack([positions - positions.mean(0), np.zeros((3, 3))]))[2]
    axes[2] *= np.sign(np.linalg.det(axes))
    return axes


def _draw_view(
    panel: Axes, atoms: Atoms, state: Polarized, factor: float, directions: Array
) -> None:
    """Draw from back to front: bonds and discs by depth, all arrows on top."""
    middle = atoms.positions.mean(0)
    seen = (atoms.positions - middle) @ directions.T
    vectors = np.zeros_like(seen) if state.vectors is None else state.vectors
    moved = factor * vectors @ directions.T
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
        for n, place in _label_places(atoms, seen).items():
            text, colour = _label(f"{chemical_symbols[atoms.numbers[n]]}{n}", state.charges, n)
            panel.annotate(
                text, tuple(place), ha="left", va="bottom", fontsize=8, color=colour, zorder=5
            )
    for start, step in zip(seen[:, :2], moved[:, :2], strict=True):
        if np.linalg.norm(step) > STILL_A:
            _draw_arrow(panel, start, step, ORANGE, 1.8)
            if state.shells:
                shell = Circle(tuple(start + step), SHELL, fill=False, edgecolor=ORANGE, zorder=4)
                panel.add_patch(shell)
    ends = np.vstack([seen, seen + moved])[:, :2]
    if state.dipole is not None and np.linalg.norm(state.dipole) / DEBYE > NO_DIPOLE:
        start = ((atoms.get_center_of_mass() - middle) @ directions.T)[:2]
        step = (DIPOLE_A * state.dipole @ directions.T)[:2]
        _draw_arrow(panel, start, step, GREEN, 2.6)
        ends = np.vstack([ends, start + step])
    panel.set_xlim(ends[:, 0].min() - 0.8, ends[:, 0].max() + 0.8)
    panel.set_ylim(ends[:, 1].min() - 0.8, ends[:, 1].max() + 0.8)
    panel.set_aspect("equal")
    panel.set_xlabel("Å")
    panel.spines[["top", "right"]].set_visible(False)


def _label_places(atoms: Atoms, seen: Array) -> dict[int, Array]:
    """Place labels beside the discs, whose centres arrows begin at, the nearest atoms first.

    What would be written over another is left out.
    """
    places: dict[int, Array] = {}
    for n in np.argsort(-seen[:, 2], kind="stable").tolist():
        place = seen[n, :2] + DISC * covalent_radii[atoms.numbers[n]] * np.array([0.75, 0.75])
        if all((abs(place - other) > LABEL_A).any() for other in places.values()):
            places[n] = place
    return places


def _label(name: str, charges: Array | None, n: int) -> tuple[str, str]:
    """Name an atom, with its charge in red or blue where it is known."""
    if charges is None:
        return name, "#404040"
    return f"{name} {charges[n]:+.2f}", RED if charges[n] > 0 else BLUE


def _draw_arrow(panel: Axes, start: Array, step: Array, colour: str, width: float) -> None:
    arrow = {
        "arrowstyle": "-|>,head_width=0.25,head_length=0.45",
        "color": colour,
        "lw": width,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    panel.annotate("", tuple(start + step), tuple(start), arrowprops=arrow, zorder=4)


def _disc(center: Array, radius: float, colour: Array, depth: float) -> Circle:
    return Circle(
        tuple(center), radius, facecolor=tuple(colour), edgecolor="#404040", lw=0.8, zorder=depth
    )


def _depth(seen: Array, which: list[int]) -> float:
    """Rank by the distance from the viewer, between 0 (back) and 1."""
    depth = seen[:, 2]
    extent = float(np.ptp(depth))
    return float((depth[which].mean() - depth.min()) / extent) if extent > 0 else 0.5
