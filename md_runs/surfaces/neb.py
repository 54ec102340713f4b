"""``polcalc neb``: find the path of lowest energy between two structures, and its barrier."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.utils.forcecurve import ForceFit, fit_images
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from md_runs import session
from md_runs.dynamics.constraints import constrain
from md_runs.errors import InputError, NotConverged
from md_runs.records.figures import BLUE, GREY, ORANGE
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded, to_json, write_figure
from md_runs.records.structures import set_state, write_structures
from md_runs.screen import errors, screen
from md_runs.session import ModelOptions
from md_runs.surfaces.band import (
    DIFFERENT_A,
    Band,
    Search,
    Step,
    check_ends,
    find_path,
    furthest_move,
    remarks,
    what_to_try,
)
from md_runs.surfaces.relax import relax
from md_runs.surfaces.relax import remarks as notes
from polcalc import PolarizedCalculator
from potentials.files import write_text
from potentials.shipped import DEFAULT


def neb(
    start: Path,
    end: Path,
    model: str | None = None,
    start_frame: int | None = None,
    end_frame: int | None = None,
    images: int = 9,
    relax_ends: bool = True,
    climb: bool = True,
    spring_eV_per_A2: float = 0.1,
    optimizer: str = "fire",
    fmax_eV_per_A: float = 0.02,
    steps: int = 1000,
    fix_atoms: str | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    partial_charges: str | None = None,
    fragments: Path | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    output: Path = Path("polcalc-neb"),
) -> None:
    """Find the path of lowest energy between two structures, and its barrier.

    Writes path.extxyz, path.csv, barrier.png, saddle.extxyz, search.csv and neb.json. Exit code 1
    when the band did not converge.
    """
    charges, groups = (
        session.read_partial_charges(partial_charges),
        session.read_fragments(fragments),
    )
    chosen = ModelOptions(model, device, dtype, engine, charge, multiplicity, charges, groups)
    for name, value in (("fmax-eV-per-A", fmax_eV_per_A), ("spring-eV-per-A2", spring_eV_per_A2)):
        if not 0 < value < float("inf"):
            raise InputError(f"`--{name}` must be positive; got {value}. Correct it.")
    search = Search(images, climb, spring_eV_per_A2, optimizer, fmax_eV_per_A, steps)
    check_free(output)
    first = session.read_structure(start, start_frame, "--start-frame")
    last = session.read_structure(end, end_frame, "--end-frame")
    for atoms in (first, last):
        constrain(atoms, fix_atoms, None)
    check_ends(first, last)
    calculator = session.make_calculator(chosen)
    check_states(first, last, calculator)
    manifest = make_manifest(
        "neb",
        asdict(search) | {"relax_ends": relax_ends, "fix_atoms": fix_atoms},
        structures=[session.fingerprint(path) for path in (start, end)],
        **session.describe(calculator),
    )
    state = calculator.state
    assert state is not None
    with recorded(output, manifest):
        screen.print(f"{first.get_chemical_formula()}, {state}")
        relaxed = {
            name: relax(atoms, fmax_eV_per_A=fmax_eV_per_A, steps=steps)
            for name, atoms in (("START", first), ("END", last))
            if relax_ends
        }
        if furthest_move(first, last) < DIFFERENT_A:
            raise NotConverged(
                "both ends relax to the same minimum: there is no path between them. Take other"
                " ends, or pass --no-relax-ends."
            )
        told = [f"{name}, relaxed: {text}" for name, end in relaxed.items() for text in notes(end)]
        told += remarks(first, last, relaxed)
        found = find_path(first, last, calculator, search)
        for image in found.images:
            set_state(image, state.charge, state.multiplicity)
        caveats = calculator.model.card.caveats(["barrier"])
        facts = summary(found) | {
            "barrier_uncertainty_eV": barrier_uncertainty(found, calculator),
            "remarks": told,
            "caveats": caveats,
        }
        write(output, found, facts, f"{first.get_chemical_formula()}, {model or DEFAULT}")
    screen.print(table_of(found, facts))
    for text in told:
        errors.print(f"warning: {text}")
    if caveats:
        screen.print(Text.assemble(("the card of the model: ", "yellow"), " ".join(caveats)))
    screen.print(f"Results in {output}")
    if not all(end.converged for end in relaxed.values()):
        raise NotConverged(f"an end did not reach {fmax_eV_per_A} eV/Å in {steps} steps.")
    if not found.converged:
        raise NotConverged(
            f"the band did not reach {fmax_eV_per_A} eV/Å in {steps} steps."
            f" {what_to_try(found, search)}"
        )


def check_states(start: Atoms, end: Atoms, calculator: PolarizedCalculator) -> None:
    """Evaluate both ends once, and refuse them where charge or multiplicity differ.

    Raises
    ------
    InputError
    """
    states = []
    for atoms in (start, end):
        atoms.calc = calculator
        session.evaluate_first(atoms)
        assert calculator.state is not None
        states.append(calculator.state)
    one, other = states
    if (one.charge, one.multiplicity) != (other.charge, other.multiplicity):
        raise InputError(
            f"`END` must be in the state of `START`, {one}; got {other}. Pass --charge and"
            " --multiplicity."
        )


def summary(found: Band) -> dict[str, Any]:
    """Collect the numbers as plain values."""
    energies, saddle = found.energies, found.saddle
    return {
        "converged": found.converged,
        "steps": len(found.steps),
        "fmax_eV_per_A": found.steps[-1].fmax_eV_per_A,
        "barrier_eV": None if saddle is None else float(energies[saddle]),
        "reverse_barrier_eV": None if saddle is None else float(energies[saddle] - energies[-1]),
        "reaction_energy_eV": float(energies[-1]),
        "saddle_image": saddle,
    }


def barrier_uncertainty(found: Band, calculator: PolarizedCalculator) -> float | None:
    """Return what 68 % of errors of the barrier in eV lie within; None where it is not known."""
    if found.saddle is None:
        return None
    return calculator.uncertainty_of_difference(found.images[0], found.images[found.saddle])


def write(output: Path, found: Band, facts: dict[str, Any], title: str) -> None:
    """Write every file of a result."""
    fit = fit_images(found.images)
    write_text(output / "neb.json", to_json(facts))
    write_text(output / "path.csv", path_csv(found, fit))
    write_text(output / "search.csv", search_csv(found.steps))
    write_structures(output / "path.extxyz", found.images)
    if found.saddle is not None:
        write_structures(output / "saddle.extxyz", [found.images[found.saddle]])
    write_figure(output / "barrier.png", plot_barrier(found, fit, title, facts["caveats"]))


def path_csv(found: Band, fit: ForceFit) -> str:
    """List the images along the path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "image",
            "path_A",
            "energy_eV",
            "relative_energy_eV",
            "fmax_eV_per_A",
            "band_fmax_eV_per_A",
        ]
    )
    for number, (image, length, energy) in enumerate(
        zip(found.images, fit.path, found.energies, strict=True)
    ):
        fmax = np.linalg.norm(image.get_forces(), axis=1).max()
        writer.writerow(
            [
                number,
                f"{length:.6f}",
                f"{image.get_potential_energy():.9f}",
                f"{energy:.9f}",
                f"{fmax:.6f}",
                f"{found.band_forces[number]:.6f}",
            ]
        )
    return text.getvalue()


def search_csv(steps: Sequence[Step]) -> str:
    """List the steps of the search."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Step._fields)
    writer.writerows(
        [s.step, f"{s.highest_energy_eV:.9f}", f"{s.fmax_eV_per_A:.6f}", int(s.climbing)]
        for s in steps
    )
    return text.getvalue()


def plot_barrier(found: Band, fit: ForceFit, title: str, caveats: Sequence[str] = ()) -> Figure:
    """Energy along the path; the curve follows the slopes that the forces give."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    state = "" if found.converged else ", not converged"
    axes.set_title(f"{title}{state}", loc="left")
    axes.axhline(0.0, color=GREY, lw=0.8)
    axes.plot(fit.fit_path, fit.fit_energies, color=BLUE, lw=1.2)
    axes.plot(fit.path, fit.energies, "o", color=BLUE, ms=5)
    if found.saddle is not None:
        top = fit.path[found.saddle], fit.energies[found.saddle]
        axes.plot(*top, "o", color=ORANGE, ms=8)
        axes.annotate(
            f"{top[1]:.4f} eV", top, (0, 9), textcoords="offset points", ha="center", color=ORANGE
        )
    axes.margins(y=0.15)
    if caveats:
        words = "The card of the model: " + " ".join(caveats)
        figure.supxlabel("\n".join(wrap(words, 100)), fontsize="small")
    axes.set_xlabel("path (Å)")
    axes.set_ylabel("energy - start (eV)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def table_of(found: Band, facts: dict[str, Any]) -> Table:
    """Lay out what was found for people."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")

    def said(energy: float) -> str:
        return (
            f"{energy:.4f} eV ({energy / units.kJ * units.mol:.2f} kJ/mol,"
            f" {energy / units.kcal * units.mol:.2f} kcal/mol)"
        )

    if found.saddle is None:
        table.add_row("barrier", "none: an end is the highest point of the path")
    else:
        table.add_row("barrier", said(facts["barrier_eV"]))
        table.add_row("barrier of the reverse", said(facts["reverse_barrier_eV"]))
        if facts.get("barrier_uncertainty_eV") is not None:
            table.add_row("68 % of its errors", f"within {facts['barrier_uncertainty_eV']:.2f} eV")
    table.add_row("energy of the end", f"{said(facts['reaction_energy_eV'])} over the start")
    state = ("converged", "") if found.converged else ("not converged", "red")
    table.add_row(
        "search",
        Text.assemble(
            state, f", {facts['steps']} steps, largest force {facts['fmax_eV_per_A']:.3g} eV/Å"
        ),
    )
    table.add_row(
        "force per image",
        " ".join(f"{force:.2g}" for force in found.band_forces[1:-1]) + " eV/Å",
    )
    if found.saddle is not None:
        table.add_row(
            "saddle point",
            f"image {found.saddle}; polcalc ts with this directory refines and checks it",
        )
    return table
