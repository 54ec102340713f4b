"""``polcalc ts``: a saddle point from a guess, checked, with the ways down to both sides."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from matplotlib.figure import Figure
from rich.table import Table

from md_runs import session
from md_runs.errors import InputError, NotConverged
from md_runs.reactions.descent import Place, descend
from md_runs.reactions.saddle import Saddle, check_searchable, find_saddle
from md_runs.records.figures import BLUE, GREY, ORANGE
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded, to_json, write_figure
from md_runs.records.reader import read_file
from md_runs.records.structures import write_structures
from md_runs.screen import screen
from md_runs.session import Frame, ModelOptions
from md_runs.structures.bonds import changed_bonds
from md_runs.surfaces.energy import Point, all_results, with_results
from md_runs.surfaces.relax import Relaxation, relax
from md_runs.surfaces.vib import check_positive
from md_runs.surfaces.vib_report import animate
from polcalc import PolarizedCalculator
from polcalc.calculator.electrons import ElectronicState
from potentials.files import write_text
from potentials.shipped import DEFAULT

OF_RUNS = ("saddle.extxyz", "scan.extxyz")  # in directories of polcalc neb and polcalc scan


def ts(
    guess: Path,
    model: str | None = None,
    frame: int | None = None,
    fmax_eV_per_A: float = 0.005,
    steps: int = 200,
    irc: bool = True,
    irc_steps: int = 200,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    output: Path = Path("polcalc-ts"),
) -> None:
    """Find a saddle point near a guess, and where the ways down from it end.

    Writes saddle.extxyz, mode.extxyz, search.csv, ts.json; of the ways down irc.extxyz, irc.csv,
    irc.png and ends.extxyz.

    Raises
    ------
    InputError     bad input
    NotConverged   the search did not converge, or ended where not one mode is imaginary
    """
    check_positive(fmax_eV_per_A=fmax_eV_per_A)
    check_free(output)
    atoms, file = read_guess(guess, frame)
    check_searchable(atoms)
    calculator = session.make_calculator(
        ModelOptions(model, device, dtype, "auto", charge, multiplicity)
    )
    atoms.calc = calculator
    session.evaluate_first(atoms)
    state = calculator.state
    assert state is not None
    asked = {"fmax_eV_per_A": fmax_eV_per_A, "steps": steps, "irc": irc, "irc_steps": irc_steps}
    manifest = make_manifest(
        "ts", asked, structures=[session.fingerprint(file)], **session.describe(calculator)
    )
    with recorded(output, manifest):
        screen.print(f"{atoms.get_chemical_formula()}, {state}")
        saddle = find_saddle(atoms, calculator, fmax_eV_per_A, steps)
        write = partial(_write, output, calculator, state)
        facts = facts_of(saddle)
        write("saddle.extxyz", [saddle.atoms])
        write_text(output / "search.csv", _csv(saddle.steps[0]._fields, saddle.steps))
        if saddle.vibrations.modes:
            mode = saddle.vibrations.modes[0]
            write_structures(output / "mode.extxyz", animate(saddle.atoms, mode))
        if irc and saddle.is_saddle_point:
            sides = [
                descend(saddle.atoms, calculator, mode.vectors, side, fmax_eV_per_A, irc_steps)
                for side in (-1, 1)
            ]
            ends = [_end(side, calculator, fmax_eV_per_A) for side in sides]
            way = way_of(saddle, sides)
            write("irc.extxyz", [place.atoms for place in way])
            write("ends.extxyz", [end.atoms for end in ends])
            facts |= _write_way(output, way, ends, facts["energy_eV"], model or DEFAULT)
        write_text(output / "ts.json", to_json(facts))
    screen.print(table_of(facts))
    screen.print(f"Results in {output}")
    if not saddle.converged:
        raise NotConverged(
            f"the search did not reach {fmax_eV_per_A} eV/Å in {steps} steps. Start nearer, from a"
            " path of polcalc neb or the highest point of polcalc scan."
        )
    if not saddle.is_saddle_point:
        raise NotConverged(
            f"{len(saddle.imaginary_per_cm)} modes are imaginary, of a saddle point one is. Start"
            " from another guess."
        )


def read_guess(guess: Path, frame: int | None) -> tuple[Atoms, Path]:
    """Read a structure, or of a directory of neb or scan the saddle or the highest point.

    Raises
    ------
    InputError
    """
    if not guess.is_dir():
        return session.read_structure(guess, frame), guess
    file = next((guess / name for name in OF_RUNS if (guess / name).is_file()), None)
    if file is None:
        raise InputError(
            f"`GUESS` must be a structure file, or a directory of polcalc neb or polcalc scan; got"
            f" {guess} without {' or '.join(OF_RUNS)}."
        )
    frames = read_file(file)
    if frame is None and len(frames) > 1:
        energies = [float(atoms.get_potential_energy()) for atoms in frames]
        return frames[int(np.argmax(energies))], file
    return session.read_structure(file, frame), file


def facts_of(saddle: Saddle) -> dict[str, Any]:
    """Collect what is known of a saddle point as plain values."""
    return {
        "converged": saddle.converged,
        "is_saddle_point": saddle.is_saddle_point,
        "steps": saddle.steps[-1].step,
        "energy_eV": saddle.steps[-1].energy_eV,
        "fmax_eV_per_A": saddle.steps[-1].fmax_eV_per_A,
        "imaginary_per_cm": saddle.imaginary_per_cm,
        "zero_point_energy_eV": saddle.vibrations.zero_point_energy_eV,
    }


def _end(side: Sequence[Place], calculator: Any, fmax_eV_per_A: float) -> Relaxation:
    """Relax the last point of a way to the minimum that it leads to."""
    atoms = side[-1].atoms.copy()
    atoms.calc = calculator
    return relax(atoms, fmax_eV_per_A=fmax_eV_per_A)


def way_of(saddle: Saddle, sides: Sequence[Sequence[Place]]) -> list[Place]:
    """Join the ways down at the saddle point."""
    last = saddle.steps[-1]
    middle = Place(saddle.atoms, 0.0, last.energy_eV, last.fmax_eV_per_A)
    return [*reversed(sides[0]), middle, *sides[1]]


def _write(
    output: Path,
    calculator: PolarizedCalculator,
    state: ElectronicState,
    name: str,
    frames: Sequence[Atoms],
) -> None:
    """Write structures with what the model says of them."""
    write_structures(
        output / name,
        [
            with_results(Point(Frame(f"{name}:{n}", atoms), state, all_results(said)))
            for n, (atoms, said) in enumerate(
                zip(frames, calculator.evaluate_many(frames), strict=True)
            )
        ],
    )


def _write_way(
    output: Path, way: Sequence[Place], ends: Sequence[Relaxation], top: float, model: str
) -> dict[str, Any]:
    """Write table and figure of the way; say where it ends."""
    rows = [(p.length, p.energy_eV, p.energy_eV - top, p.fmax_eV_per_A) for p in way]
    names = ("length_sqrt_u_A", "energy_eV", "relative_energy_eV", "fmax_eV_per_A")
    write_text(output / "irc.csv", _csv(names, rows))
    title = f"{ends[0].atoms.get_chemical_formula()}, {model}"
    write_figure(output / "irc.png", plot_way(way, ends, top, title))
    return {
        "ends": [
            {
                "energy_eV": end.energy_eV,
                "barrier_eV": top - end.energy_eV,
                "minimum": end.converged and not end.on_saddle,
            }
            for end in ends
        ],
        "bonds_from_first_to_second": str(changed_bonds(ends[0].atoms, ends[1].atoms)),
    }


def plot_way(way: Sequence[Place], ends: Sequence[Relaxation], top: float, title: str) -> Figure:
    """Draw the energy along the way, and the minima at its ends."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    lengths = [place.length for place in way]
    axes.plot(lengths, [place.energy_eV - top for place in way], ".-", color=BLUE, lw=1)
    axes.plot(0, 0, "o", color=ORANGE, ms=8)
    for end, place in zip(ends, (lengths[0], lengths[-1]), strict=True):
        axes.plot(place, end.energy_eV - top, "_", color=GREY, ms=24, mew=2)
        text = f"{end.energy_eV - top:.3f} eV"
        axes.annotate(
            text, (place, end.energy_eV - top), (0, -16), textcoords="offset points", ha="center"
        )
    axes.set_xlabel("length of the way (u$^{1/2}$ Å)")
    axes.set_ylabel("energy - saddle point (eV)")
    axes.margins(x=0.12, y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def table_of(facts: dict[str, Any]) -> Table:
    """Lay out what was found for people."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("energy", f"{facts['energy_eV']:.6f} eV")
    fmax, steps = facts["fmax_eV_per_A"], facts["steps"]
    table.add_row("search", f"{steps} steps, largest force {fmax:.2g} eV/Å")
    modes = ", ".join(f"{size:.0f}i" for size in facts["imaginary_per_cm"]) or "none"
    table.add_row("imaginary modes", f"{modes} 1/cm")
    for name, end in zip(("first", "second"), facts.get("ends", ()), strict=False):
        barrier = end["barrier_eV"]
        words = f"{barrier:.4f} eV ({barrier / units.kJ * units.mol:.1f} kJ/mol)"
        table.add_row(f"barrier from the {name} end", words)
    if "ends" in facts:
        table.add_row("from first to second", facts["bonds_from_first_to_second"] or "no bonds")
    return table


def _csv(names: Sequence[str], rows: Sequence[Sequence[float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([f"{x:.9f}" if isinstance(x, float) else x for x in row] for row in rows)
    return text.getvalue()
