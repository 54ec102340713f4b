"""What a command prints at its end: one function per table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rich.progress import track
from rich.table import Table

from md_runs.analysis.statistics import Mean, mean_of
from md_runs.dynamics.phase import Summary
from md_runs.errors import errors
from md_runs.surfaces.relax import Relaxation, lowest

Item = TypeVar("Item")

SHOWN = 30  # frames listed one by one at most
QUANTITIES = {
    "energy (meV)": "energy_{}_meV",
    "energy (meV/atom)": "energy_{}_meV_per_atom",
    "forces (meV/Å)": "forces_{}_meV_per_A",
}


def tracked(items: Sequence[Item], work: str) -> Iterable[Item]:
    """Go through items with a progress bar on the terminal."""
    return track(items, description=work, console=errors, transient=True)


def dynamics_table(summary: Summary) -> Table:
    """Lay out the summary of a run."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("simulated", f"{summary.time_ps:g} ps in {summary.steps} steps")
    table.add_row(
        "temperature",
        f"{Mean(summary.temperature_K, summary.temperature_error_K)} K (from"
        f" {summary.temperature_from_ps:g} ps, {summary.degrees_of_freedom} degrees of freedom)",
    )
    if summary.volume_A3 is not None:
        table.add_row("volume", f"{mean_of(summary.volume_A3, summary.volume_error_A3)} Å³")
        table.add_row(
            "pressure", f"{mean_of(summary.pressure_GPa, summary.pressure_error_GPa):.3f} GPa"
        )
    table.add_row(
        "energy drift",
        f"{summary.drift_meV_per_atom_per_ps:+.3g} meV/atom/ps (fluctuation"
        f" {summary.fluctuation_meV_per_atom:.3g} meV/atom)",
    )
    table.add_row(
        "wall time",
        f"{summary.wall_s:.1f} s, {summary.ms_per_step:.3g} ms/step, {summary.ns_per_day:.3g}"
        " ns/day",
    )
    return table


def relax_table(results: Sequence[Relaxation]) -> Table:
    """List frames with their energies before and after."""
    table = Table(box=None, pad_edge=False)
    for name in (
        "frame",
        "formula",
        "steps",
        "start (eV)",
        "end (eV)",
        "change (eV)",
        "fmax (eV/Å)",
        "curve (eV/Å²)",
        "minimum",
    ):
        table.add_column(name, justify="left" if name in ("formula", "minimum") else "right")
    for number, result in enumerate(results[:SHOWN]):
        start, end = result.steps[0].energy_eV, result.energy_eV
        numbers = (
            f"{start:.4f}",
            f"{end:.4f}",
            f"{end - start:+.4f}",
            f"{result.fmax_eV_per_A:.4f}",
            lowest(result),
        )
        table.add_row(
            str(number),
            result.atoms.get_chemical_formula(),
            str(result.steps[-1].step),
            *numbers,
            _verdict(result),
        )
    if len(results) > SHOWN:
        table.add_row("…", f"{len(results) - SHOWN} more in relax.csv")
    return table


def _verdict(result: Relaxation) -> str:
    if not result.converged:
        return "[red]no[/red]"
    return "[red]saddle[/red]" if result.on_saddle else "yes"


def errors_table(metrics: Mapping[str, Any]) -> Table:
    """List errors overall and by electronic state, and of vertical gaps.

    Beside gaps stands the error of a potential that is blind to the state.
    """
    table = Table(box=None, pad_edge=False)
    for name in ("frames", "quantity", "MAE", "RMSE", "max"):
        table.add_column(name, justify="left" if name in ("frames", "quantity") else "right")
    _add_errors(table, "all", metrics)
    for state in metrics["by_state"] if len(metrics["by_state"]) > 1 else ():
        _add_errors(
            table, f"charge {state['charge']:+d}, multiplicity {state['multiplicity']}", state
        )
    for gap in metrics.get("gaps", ()):
        lower, higher = gap["multiplicities"]
        label = f"charge {gap['charge']:+d}, E({higher}) - E({lower}) ({gap['n_geometries']})"
        table.add_row(
            label,
            "gap (meV)",
            *(f"{gap[f'gap_{kind}_meV']:.3f}" for kind in ("mae", "rmse", "max")),
        )
        table.add_row("", "half the mean gap (meV)", f"{gap['blind_floor_meV']:.3f}", "", "")
    return table


def _add_errors(table: Table, name: str, metrics: Mapping[str, Any]) -> None:
    label = f"{name} ({metrics['n_frames']})"
    for quantity, key in QUANTITIES.items():
        values = [metrics[key.format(kind)] for kind in ("mae", "rmse", "max")]
        table.add_row(
            label, quantity, *("none" if value is None else f"{value:.3f}" for value in values)
        )
        label = ""
