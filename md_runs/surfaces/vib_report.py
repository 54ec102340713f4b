"""What ``polcalc vib`` shows of modes: tables, vectors, animations, a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from md_runs.records.figures import BLUE, GREY, LEGEND, ORANGE
from md_runs.spectra.vibrational import HEADINGS
from md_runs.surfaces.vibrations import Array, Mode

SOFT_PER_CM = (
    100.0  # below it a mode is no harmonic vibration, and thermochemistry depends on it most
)
AMPLITUDE_A = 0.3  # of the atom that moves most in an animation
FRAMES = 24  # of an animation
WIDTH_PER_CM = 10.0  # of the lines in the density of modes
SHOWN = 30  # modes listed one by one at most


def modes_csv(modes: Sequence[Mode], intensities: Mapping[str, Array]) -> str:
    """List the modes, with the columns (M,) that were asked for; an imaginary one is negative."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["mode", "frequency_per_cm", "energy_meV", "reduced_mass_u", "imaginary"]
    writer.writerow([*header, *intensities])
    for number, mode in enumerate(modes, start=1):
        energy = 1000 * mode.per_cm * units.invcm
        writer.writerow(
            [
                number,
                f"{mode.per_cm:.4f}",
                f"{energy:.6f}",
                f"{mode.reduced_mass_u:.6f}",
                int(mode.energy.imag > 0),
                *(f"{column[number - 1]:.6g}" for column in intensities.values()),
            ]
        )
    return text.getvalue()


def with_vectors(atoms: Atoms, number: int, mode: Mode) -> Atoms:
    """Copy a structure with one mode as vectors, in Å for a mass-weighted amplitude of one."""
    frame: Atoms = atoms.copy()
    frame.info |= {"mode": number, "frequency_per_cm": mode.per_cm}
    frame.set_array("mode_vectors", mode.vectors)
    return frame


def animate(atoms: Atoms, mode: Mode) -> list[Atoms]:
    """Animate one period of a mode; the atom that moves most moves by the same in every mode."""
    step = mode.vectors * AMPLITUDE_A / np.linalg.norm(mode.vectors, axis=1).max()
    frames = []
    for phase in np.linspace(0, 2 * np.pi, FRAMES, endpoint=False):
        frames.append(atoms.copy())
        frames[-1].set_constraint()
        frames[-1].positions += np.sin(phase) * step
        frames[-1].info["frequency_per_cm"] = mode.per_cm
    return frames


def plot_modes(modes: Sequence[Mode], title: str) -> Figure:
    """Sticks of equal height and the density of modes."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", pad=14)
    places = np.array([mode.per_cm for mode in modes])
    for chosen, colour, name in (
        (places >= 0, BLUE, "modes"),
        (places < 0, ORANGE, "imaginary modes"),
    ):
        if chosen.any():
            axes.vlines(places[chosen], 0, 1, color=colour, lw=1.2, label=name)
    if len(modes):
        grid = np.arange(min(0.0, places.min() - 100), places.max() + 200, 1.0)
        density = np.sum(
            WIDTH_PER_CM**2 / ((grid[:, None] - places) ** 2 + WIDTH_PER_CM**2), axis=1
        )
        axes.plot(
            grid,
            density,
            color=GREY,
            lw=0.9,
            label=f"density of modes, half width {WIDTH_PER_CM:g} cm$^{{-1}}$",
        )
        axes.set_xlim(grid[0], grid[-1])
        axes.legend(**LEGEND)
    else:
        axes.text(0.5, 0.5, "no vibrations", ha="center", va="center", transform=axes.transAxes)
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("wave number (cm$^{-1}$); heights are no intensities, see --infrared")
    axes.set_ylabel("number of modes")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def modes_table(modes: Sequence[Mode], intensities: Mapping[str, Array]) -> Table:
    """List the modes for people."""
    table = Table(box=None, pad_edge=False)
    for name in ("mode", "1/cm", "meV", "reduced mass (u)", *(HEADINGS[n] for n in intensities)):
        table.add_column(name, justify="right")
    for number, mode in enumerate(modes[:SHOWN], start=1):
        size = f"{abs(mode.per_cm):.1f}" + ("i" if mode.energy.imag > 0 else "")
        table.add_row(
            str(number),
            size,
            f"{1000 * abs(mode.energy):.2f}",
            f"{mode.reduced_mass_u:.3f}",
            *(f"{column[number - 1]:.3f}" for column in intensities.values()),
        )
    if len(modes) > SHOWN:
        table.add_row("…", f"{len(modes) - SHOWN} more in modes.csv")
    return table


def facts_table(facts: dict[str, Any]) -> Table:
    """Lay out what is not a list."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    thermal = facts["thermochemistry"]
    rigid = ", ".join(f"{x:.1f}" for x in facts["rigid_motions_per_cm"])
    rows = {
        "potential energy": f"{facts['potential_energy_eV']:.6f} eV",
        "largest force": f"{facts['largest_force_eV_per_A']:.2g} eV/Å",
        "rigid motions": (
            f"{facts['n_rigid_motions']} projected out (before: {rigid} 1/cm)" if rigid else "none"
        ),
        "zero-point energy": f"{facts['zero_point_energy_eV']:.4f} eV",
        "thermochemistry": f"{thermal['model']}, {thermal['temperature_K']:g} K",
    }
    for key, name, unit in MOMENTS:
        if key in facts:
            rows[name] = f"{facts[key]:.3f} {unit}"
    if facts["geometry"]:
        rows["thermochemistry"] += (
            f", {thermal['pressure_bar']:g} bar, {facts['geometry']}, point group"
            f" {facts['point_group']}, symmetry number {thermal['symmetry_number']}"
            f", electronic degeneracy {thermal['multiplicity']}"
        )
    for key, name in ENERGIES.items():
        if key in thermal:
            rows[name] = (
                f"{thermal[key]:.4f} eV ({thermal[key] - facts['potential_energy_eV']:+.4f} over"
                " the potential energy)"
            )
    entropy = thermal["entropy_eV_per_K"]
    rows["entropy S"] = (
        f"{1000 * entropy:.4f} meV/K ({1000 * entropy / units.kJ * units.mol:.1f} J/mol/K)"
    )
    soft = [f"{x:.0f}" for x in facts["frequencies_per_cm"] if 0 <= x < SOFT_PER_CM]
    if soft:
        rows["soft modes"] = (
            f"{', '.join(soft)} 1/cm: not harmonic, and the entropy depends on them most"
        )
    for name, text in rows.items():
        table.add_row(name, text)
    return table


MOMENTS = (("dipole_D", "dipole", "D"), ("polarizability_A3", "polarizability", "Å³"))
ENERGIES = {
    "internal_energy_eV": "internal energy U",
    "enthalpy_eV": "enthalpy H",
    "helmholtz_energy_eV": "Helmholtz energy F",
    "gibbs_energy_eV": "Gibbs energy G",
}
