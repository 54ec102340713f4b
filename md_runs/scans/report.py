"""Scans for people: CSV, figure, what to read from them."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
from ase import Atoms, units
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from md_runs.records.figures import BLUE, GREY, LEGEND, ORANGE
from md_runs.scans.sweep import Scan

HYSTERESIS_EV = 0.005  # ways forth and back that differ by more are told
CLIPPED_EV = 2.0  # above the lowest: higher energies of maps have one colour
EV_PER_KJ = units.kJ / units.mol  # of one kJ/mol
STYLES = {"forward": (BLUE, ">-"), "backward": (ORANGE, "<-"), "rigid": (BLUE, "o-")}


def scan_csv(scan: Scan) -> str:
    """List the points of the grid, the last coordinate fastest."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [one.column for one in scan.coordinates]
    ways = [f"energy_{name}_eV" for name in scan.sweeps]
    writer.writerow([*names, "energy_eV", "relative_energy_eV", *ways, "converged", "problem"])
    lowest = np.nanmin(scan.energies())
    for place in np.ndindex(scan.shape):
        best = scan.best(place)
        points = [sweep[place] for sweep in scan.sweeps.values()]
        values = [one.values[n] for one, n in zip(scan.coordinates, place, strict=True)]
        problems = dict.fromkeys(point.problem for point in points if point.problem)
        writer.writerow(
            [f"{value:.6f}" for value in values]
            + [_number(best.energy_eV), _number(best.energy_eV - lowest)]
            + [_number(point.energy_eV) for point in points]
            + [best.converged, "; ".join(problems)]
        )
    return text.getvalue()


def structures(scan: Scan) -> list[tuple[Atoms, dict[str, Any]]]:
    """Return the lowest geometry of each point, and what to write beside it."""
    found = []
    for place in np.ndindex(scan.shape):
        best = scan.best(place)
        if best.atoms is not None:
            values = {
                one.column: float(one.values[n])
                for one, n in zip(scan.coordinates, place, strict=True)
            }
            found.append((best.atoms, values | {"converged": best.converged}))
    return found


def facts(scan: Scan) -> dict[str, Any]:
    """Collect what can be read from a scan as plain values."""
    energies = scan.energies()
    points = [point for sweep in scan.sweeps.values() for point in sweep.values()]
    return {
        "coordinates": [
            {"kind": one.kind, "atoms": list(one.atoms), "values": one.values.tolist()}
            for one in scan.coordinates
        ],
        "lowest": _where(scan, int(np.nanargmin(energies))),
        "highest": _where(scan, int(np.nanargmax(energies))),
        "range_eV": float(np.nanmax(energies) - np.nanmin(energies)),
        "hysteresis_eV": scan.hysteresis_eV(),
        "minima": [_where(scan, n) for n in minima(scan)],
        "not_converged": sum(not point.converged for point in points),
        "problems": sum(bool(point.problem) for point in points),
    }


def minima(scan: Scan) -> list[int]:
    """Number the points of the grid that are lower than all beside them, the lowest first.

    The ends of a full turn of a dihedral angle are neighbours.
    """
    energies = scan.energies()
    filled = np.where(np.isfinite(energies), energies, np.inf)
    lower = np.isfinite(energies)
    for axis, one in enumerate(scan.coordinates):
        turn = one.kind == "dihedral" and np.isclose(abs(one.values[-1] - one.values[0]), 360)
        for step in (1, -1):
            beside = np.roll(filled, step, axis)
            edge = [slice(None)] * filled.ndim
            edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            if turn:  # its first and last point are the same
                other = list(edge)
                other[axis] = slice(-2, -1) if step == 1 else slice(1, 2)
                beside[tuple(edge)] = filled[tuple(other)]
            else:
                beside[tuple(edge)] = np.inf
            lower &= filled < beside
        if turn:
            last = [slice(None)] * filled.ndim
            last[axis] = slice(-1, None)
            lower[tuple(last)] = False
    return sorted(np.flatnonzero(lower).tolist(), key=lambda n: float(energies.flat[n]))


def plot_scan(scan: Scan, title: str) -> Figure:
    """Draw a curve for each way, or a map of the lowest energies and one of the differences."""
    if len(scan.coordinates) == 2:
        return _maps(scan, title)
    (one,) = scan.coordinates
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", pad=22)
    lowest = np.nanmin(scan.energies())
    for name in scan.sweeps:
        colour, style = STYLES[name]
        axes.plot(
            one.values, scan.energies(name) - lowest, style, color=colour, ms=4, lw=1, label=name
        )
    axes.axhline(0, color=GREY, lw=0.6)
    axes.set_xlabel(f"{one} ({one.unit})")
    axes.set_ylabel("energy - lowest (eV)")
    axes.legend(**LEGEND)
    kJ_per_mol: Any = (lambda eV: eV / EV_PER_KJ, lambda kJ: kJ * EV_PER_KJ)
    right = axes.secondary_yaxis("right", functions=kJ_per_mol)
    right.set_ylabel("kJ/mol")
    axes.spines[["top"]].set_visible(False)
    if one.kind == "dihedral":
        axes.xaxis.set_major_locator(_turns(one.values))
    return figure


def _maps(scan: Scan, title: str) -> Figure:
    ways = list(scan.sweeps)
    figure = Figure(figsize=(6.5 * len(ways), 5.2), layout="constrained")
    row = figure.subplots(1, len(ways), squeeze=False)[0]
    figure.suptitle(title, x=0.01, ha="left")
    energies = scan.energies()
    relative = energies - np.nanmin(energies)
    _map(row[0], scan, np.minimum(relative, CLIPPED_EV), "energy - lowest (eV)", "viridis")
    finite = relative[np.isfinite(relative)]
    if min(scan.shape) > 2 and np.ptp(finite) > 0:
        first, second = (one.values for one in scan.coordinates)
        levels = np.linspace(0, min(finite.max(), CLIPPED_EV), 13)[1:-1]
        row[0].contour(second, first, relative, levels, colors="white", linewidths=0.5)
    for n, place in enumerate(minima(scan)):
        values = _where(scan, place)["values"]
        row[0].plot(values[1], values[0], "*" if n == 0 else ".", color=ORANGE, ms=12, mec="white")
    if len(ways) > 1:
        difference = scan.energies(ways[1]) - scan.energies(ways[0])
        size = max(float(np.nanmax(np.abs(difference))), HYSTERESIS_EV)
        label = "backward - forward (eV)"
        _map(row[1], scan, difference, label, "RdBu_r", vmin=-size, vmax=size)
    return figure


def _map(axes: Axes, scan: Scan, values: Any, label: str, colours: str, **limits: Any) -> None:
    first, second = scan.coordinates
    mesh = axes.pcolormesh(
        second.values, first.values, values, cmap=colours, shading="nearest", **limits
    )
    axes.set_xlabel(f"{second} ({second.unit})")
    axes.set_ylabel(f"{first} ({first.unit})")
    axes.figure.colorbar(mesh, ax=axes, label=label)
    for axis, one in ((axes.xaxis, second), (axes.yaxis, first)):
        if one.kind == "dihedral":
            axis.set_major_locator(_turns(one.values))


def _turns(values: Any) -> Any:
    return MultipleLocator(60 if np.ptp(values) > 150 else 15)


def _where(scan: Scan, number: int) -> dict[str, Any]:
    place = np.unravel_index(number, scan.shape)
    energies = scan.energies()
    return {
        "values": [float(one.values[n]) for one, n in zip(scan.coordinates, place, strict=True)],
        "energy_eV": float(energies[place]),
        "relative_energy_eV": float(energies[place] - np.nanmin(energies)),
    }


def _number(value: float) -> str:
    return f"{value:.9f}" if np.isfinite(value) else ""
