"""Conformers for people: table, CSV, figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ase import Atoms, units
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from md_runs.conformers.search import Conformer
from md_runs.records.figures import BLUE, ORANGE
from md_runs.session import Frame
from md_runs.surfaces.energy import Point, all_results, with_results
from polcalc import PolarizedCalculator
from polcalc.calculator.electrons import ElectronicState

SHOWN = 30  # conformers listed one by one at most
MEV_PER_KJ = 1000 * units.kJ / units.mol  # of one kJ/mol
COLUMNS = (
    "conformer",
    "energy_eV",
    "relative_energy_eV",
    "relative_energy_kJ_per_mol",
    "weight",
    "mirror_images",
    "symmetry_number",
    "times_found",
)


def conformers_csv(kept: Sequence[Conformer]) -> str:
    """List conformers, the lowest first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, one in enumerate(kept):
        writer.writerow(
            [
                number,
                f"{one.energy_eV:.9f}",
                f"{one.relative_eV:.9f}",
                f"{1000 * one.relative_eV / MEV_PER_KJ:.6f}",
                f"{one.weight:.9f}",
                one.mirror_images,
                one.symmetry_number,
                one.times_found,
            ]
        )
    return text.getvalue()


def structures(
    kept: Sequence[Conformer],
    calculator: PolarizedCalculator,
    state: ElectronicState,
    name: str = "",
) -> list[Atoms]:
    """Copy each conformer with what the model and the table say of it."""
    frames = []
    said = calculator.evaluate_many([one.atoms for one in kept])
    for number, (one, evaluation) in enumerate(zip(kept, said, strict=True)):
        frame = Frame(name or f"conformer {number}", one.atoms)
        atoms = with_results(Point(frame, state, all_results(evaluation)))
        atoms.info |= {
            "conformer": number,
            "relative_energy_eV": one.relative_eV,
            "weight": one.weight,
            "mirror_images": one.mirror_images,
            "symmetry_number": one.symmetry_number,
        }
        frames.append(atoms)
    return frames


def table_of(kept: Sequence[Conformer]) -> Table:
    """Lay out the lowest conformers."""
    table = Table(box=None, pad_edge=False)
    for name in ("conformer", "energy (eV)", "over the lowest (meV)", "kJ/mol", "weight (%)"):
        table.add_column(name, justify="right")
    for name in ("mirror images", "symmetry number", "found"):
        table.add_column(name, justify="right")
    for number, one in enumerate(kept[:SHOWN]):
        table.add_row(
            str(number),
            f"{one.energy_eV:.4f}",
            f"{1000 * one.relative_eV:.1f}",
            f"{1000 * one.relative_eV / MEV_PER_KJ:.2f}",
            f"{100 * one.weight:.1f}",
            str(one.mirror_images),
            str(one.symmetry_number),
            str(one.times_found),
        )
    if len(kept) > SHOWN:
        table.add_row("…", f"{len(kept) - SHOWN} more")
    return table


def plot_conformers(kept: Sequence[Conformer], title: str, temperature_K: float) -> Figure:
    """Draw energies over the lowest, and Boltzmann weights."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.set_title(title, loc="left", pad=14)
    numbers = range(len(kept))
    energies = [1000 * one.relative_eV for one in kept]
    upper.hlines(energies, [n - 0.4 for n in numbers], [n + 0.4 for n in numbers], BLUE, lw=2)
    upper.set_ylabel("energy - lowest (meV)")
    upper.margins(y=0.1)
    right = upper.secondary_yaxis(
        "right", functions=(lambda meV: meV / MEV_PER_KJ, lambda kJ: kJ * MEV_PER_KJ)
    )
    right.set_ylabel("kJ/mol")
    lower.bar(numbers, [100 * one.weight for one in kept], color=ORANGE, width=0.8)
    lower.set_ylabel(f"weight at {temperature_K:g} K (%)")
    lower.set_xlabel("conformer")
    lower.set_xlim(-0.7, max(len(kept), 4) - 0.3)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
