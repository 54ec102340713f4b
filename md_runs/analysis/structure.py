"""Sections on structure: bonds, angles, dihedrals, distances, polarisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from md_runs.analysis.distances import (
    MISSING,
    element_pairs,
    has_mdanalysis,
    histogram,
    largest_radius,
    radial_distributions,
)
from md_runs.analysis.runs import Run
from md_runs.analysis.section import (
    Row,
    Section,
    Table,
    add_legend,
    curve_rows,
    draw,
    panels,
    with_error,
)
from md_runs.analysis.series import Floats, curve_over_blocks
from md_runs.analysis.statistics import average
from md_runs.analysis.topology import (
    Term,
    Topology,
    angles_degrees,
    bond_lengths,
    by_name,
    dihedrals_degrees,
    find_topology,
)

MOST_VALUES = 4_000_000  # of one kind and run; more frames than that are thinned
MOST_PANELS = 18
RDF_RADIUS_A = 10.0
RDF_BINS = 150
DISTANCE_BIN_A = 0.02
Values = Callable[[list[Term], Floats, Floats | None], Floats]


class Kind(NamedTuple):
    """One kind of internal coordinate."""

    key: str
    title: str
    axis: str
    unit: str
    values: Values
    bins: int
    whole_circle: bool


BONDS = Kind("bonds", "Bonds", "length (Å)", "A", bond_lengths, 80, False)
ANGLES = Kind("angles", "Angles", "angle (°)", "degrees", angles_degrees, 80, False)
DIHEDRALS = Kind("dihedrals", "Dihedrals", "dihedral (°)", "degrees", dihedrals_degrees, 72, True)


def bonds(runs: Sequence[Run]) -> Section | None:
    """Bond lengths by environment: C=O apart from C–O."""
    return _internal(runs, BONDS, lambda topology: topology.bonds)


def angles(runs: Sequence[Run]) -> Section | None:
    """Angles by elements, and by what else is bonded to the atom in the middle."""
    return _internal(runs, ANGLES, lambda topology: topology.angles)


def dihedrals(runs: Sequence[Run]) -> Section | None:
    """Dihedrals by elements, and by what else is bonded to the two atoms in the middle."""
    return _internal(runs, DIHEDRALS, lambda topology: topology.dihedrals)


def distances(runs: Sequence[Run]) -> Section | None:
    """Distances between atoms by elements, in open space; None for periodic runs."""
    runs = [run for run in runs if not run.atoms.pbc.any() and len(run.atoms) > 1]
    names = sorted(
        {name for run in runs for name, _, _ in element_pairs(run.atoms.get_chemical_symbols())}
    )[:MOST_PANELS]
    if not names:
        return None
    made = panels(len(names), 1.8)
    places = dict(zip(names, made.axes, strict=True))
    rows: list[Row] = []
    for number, run in enumerate(runs):
        for name, first, second in element_pairs(run.atoms.get_chemical_symbols()):
            if name not in places:
                continue
            i, j = (grid.ravel() for grid in np.meshgrid(first, second, indexing="ij"))
            i, j = (
                (i[i < j], j[i < j])
                if first is second or name.split("–")[0] == name.split("–")[1]
                else (i, j)
            )
            positions = run.trajectory.positions[:: _thinning(run, len(i))]
            lengths = np.linalg.norm(positions[:, j] - positions[:, i], axis=-1)
            edges = np.arange(max(0.0, lengths.min() - 0.1), lengths.max() + 0.1, DISTANCE_BIN_A)
            curve = curve_over_blocks(
                (edges[1:] + edges[:-1]) / 2, len(lengths), _histogram_of(lengths, edges)
            )
            draw(places[name], curve, number, run.name)
            rows += curve_rows(run.name, name, curve)
    for name, axes in places.items():
        axes.set_title(name)
        axes.set_xlabel("distance (Å)")
        axes.set_ylabel("h(r) (1/Å)")
        axes.set_ylim(bottom=0)
    add_legend(made, len(runs))
    text = (
        "Distribution of all distances between atoms of two elements; bands are two standard"
        " errors, from ten blocks."
    )
    columns = ("run", "elements", "distance_A", "density_per_A", "error")
    return Section("distances", "Distances", text, made.figure, Table((), []), Table(columns, rows))


def radial(runs: Sequence[Run]) -> Section | str | None:
    """Radial distribution functions of periodic runs; the reason, where a library is missing."""
    runs = [run for run in runs if run.atoms.pbc.all() and run.trajectory.cells is not None]
    if not runs:
        return None
    if not has_mdanalysis():
        return MISSING
    found = {}
    for run in runs:
        cells, step = run.trajectory.cells, _thinning(run, len(run.atoms) ** 2)
        assert cells is not None
        radius = min(RDF_RADIUS_A, largest_radius(cells))
        molecules = find_topology(run.atoms).molecules
        symbols = run.atoms.get_chemical_symbols()
        found[run.name] = radial_distributions(
            run.trajectory.positions[::step], cells[::step], symbols, molecules, radius, RDF_BINS
        )
    names = sorted({name for curves in found.values() for name in curves})[:MOST_PANELS]
    made = panels(len(names), 2.0)
    rows: list[Row] = []
    for axes, name in zip(made.axes, names, strict=True):
        for number, run in enumerate(runs):
            if name in found[run.name]:
                draw(axes, found[run.name][name], number, run.name)
                rows += curve_rows(run.name, name, found[run.name][name])
        axes.axhline(1, color="black", lw=0.6, ls=":")
        axes.set_title(name)
        axes.set_xlabel("r (Å)")
        axes.set_ylabel("g(r)")
        axes.set_ylim(bottom=0)
    add_legend(made, len(runs))
    text = (
        "Radial distribution functions, up to half of the cell; where there are several molecules,"
        " pairs inside one molecule are left out. Bands are two standard errors, from ten blocks."
        " Computed with MDAnalysis."
    )
    columns = ("run", "elements", "r_A", "g", "error")
    return Section(
        "rdf",
        "Radial distribution functions",
        text,
        made.figure,
        Table((), []),
        Table(columns, rows),
    )


def polarization(runs: Sequence[Run]) -> Section | None:
    """Lengths of the polarisation vectors by element; None where no run has them."""
    runs = [run for run in runs if run.trajectory.polarization is not None]
    if not runs:
        return None
    elements = sorted({symbol for run in runs for symbol in run.atoms.get_chemical_symbols()})
    made = panels(len(elements))
    rows: list[Row] = []
    data: list[Row] = []
    for axes, element in zip(made.axes, elements, strict=True):
        for number, run in enumerate(runs):
            where = np.array(run.atoms.get_chemical_symbols()) == element
            vectors = run.trajectory.polarization
            assert vectors is not None
            if not where.any():
                continue
            lengths = np.linalg.norm(vectors[:, where], axis=-1)
            edges = np.linspace(0, max(1.05 * lengths.max(), 1e-6), 81)
            curve = curve_over_blocks(
                (edges[1:] + edges[:-1]) / 2, len(lengths), _histogram_of(lengths, edges)
            )
            draw(axes, curve, number, run.name)
            rows.append(
                (
                    run.name,
                    element,
                    with_error(*average(lengths.mean(axis=1)).mean),
                    f"{lengths.max():.3g}",
                )
            )
            data += curve_rows(run.name, element, curve)
        axes.set_title(element)
        axes.set_xlabel("|polarisation vector| (Å)")
        axes.set_ylabel("density (1/Å)")
        axes.set_ylim(bottom=0)
    add_legend(made, len(runs))
    text = "How far the moving points are from their nuclei."
    columns = ("run", "element", "length_A", "density_per_A", "error")
    header = ("run", "element", "mean (Å)", "largest (Å)")
    return Section(
        "polarization",
        "Polarisation vectors",
        text,
        made.figure,
        Table(header, rows),
        Table(columns, data),
    )


def _internal(
    runs: Sequence[Run], kind: Kind, terms_of: Callable[[Topology], list[Term]]
) -> Section | None:
    """Plot distributions of one kind of internal coordinate, a panel for each set of like ones."""
    all_terms = {run.name: terms_of(find_topology(run.atoms)) for run in runs}
    names = sorted({term.name for terms in all_terms.values() for term in terms})
    if not names:
        return None
    shown = names[:MOST_PANELS]
    made = panels(len(shown), 1.9)
    places = dict(zip(shown, made.axes, strict=True))
    rows: list[Row] = []
    data: list[Row] = []
    for number, run in enumerate(runs):
        for name, members in by_name(all_terms[run.name]).items():
            step, chosen = _thinning(run, len(members)), [all_terms[run.name][n] for n in members]
            cells = None if run.trajectory.cells is None else run.trajectory.cells[::step]
            values = kind.values(chosen, run.trajectory.positions[::step], cells)
            edges = _edges(values, kind)
            curve = curve_over_blocks(
                (edges[1:] + edges[:-1]) / 2, len(values), _histogram_of(values, edges)
            )
            data += curve_rows(run.name, name, curve)
            if name in places:
                draw(places[name], curve, number, run.name)
            if not kind.whole_circle:
                mean = average(values.mean(axis=1)).mean
                rows.append(
                    (
                        run.name,
                        name,
                        len(members),
                        with_error(*mean),
                        f"{values.std():.3g}",
                        f"{values.min():.4g} – {values.max():.4g}",
                    )
                )
    for name, axes in places.items():
        axes.set_title(name)
        axes.set_xlabel(kind.axis)
        axes.set_ylabel("density")
        axes.set_ylim(bottom=0)
        if kind.whole_circle:
            axes.set_xlim(-180, 180)
            axes.set_xticks([-180, -90, 0, 90, 180])
    add_legend(made, len(runs))
    text = (
        f"Distribution of {kind.title.lower()} by environment (in parentheses: what else is bonded"
        " to an atom), as they are bonded in the first frame. Bands are two standard errors, from"
        " ten blocks."
    )
    header = (
        ("run", "kind", "how many", f"mean {kind.axis.split(' ')[1]}", "spread", "range")
        if rows
        else ()
    )
    columns = (
        "run",
        "kind",
        f"{kind.axis.split(' ')[0]}_{kind.unit}",
        f"density_per_{kind.unit}",
        "error",
    )
    more = (
        [f"{len(names) - len(shown)} more kinds are in {kind.key}.csv."]
        if len(names) > len(shown)
        else []
    )
    return Section(
        kind.key, kind.title, text, made.figure, Table(header, rows), Table(columns, data), more
    )


def _edges(values: Floats, kind: Kind) -> Floats:
    if kind.whole_circle:
        return np.linspace(-180, 180, kind.bins + 1)
    low, high = np.nanmin(values), np.nanmax(values)
    margin = 0.02 * (high - low) + 1e-6
    return np.linspace(low - margin, high + margin, kind.bins + 1)


def _histogram_of(values: Floats, edges: Floats) -> Callable[[slice], Floats]:
    return lambda block: histogram(values[block], edges)


def _thinning(run: Run, values_per_frame: int) -> int:
    """Take each so many frames, to stay below `MOST_VALUES`."""
    return max(1, -(-len(run.trajectory.positions) * values_per_frame // MOST_VALUES))
