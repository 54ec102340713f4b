"""What a command prints at its end: one function per table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from md_runs.dynamics import Summary
from md_runs.relax import Relaxation

SHOWN = 30  # frames listed one by one at most


def dynamics_table(summary: Summary) -> Table:
    """Lay out the summary of a run."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("simulated", f"{summary.time_ps:g} ps in {summary.steps} steps")
    table.add_row(
        "temperature",
        f"{summary.temperature_K:.1f} ± {summary.temperature_error_K:.1f} K "
        f"(from {summary.temperature_from_ps:g} ps, {summary.degrees_of_freedom} degrees of freedom)",
    )
    table.add_row(
        "energy drift",
        f"{summary.drift_meV_per_atom_per_ps:+.3g} meV/atom/ps (fluctuation {summary.fluctuation_meV_per_atom:.3g} meV/atom)",
    )
    table.add_row("wall time", f"{summary.wall_s:.1f} s, {summary.ms_per_step:.3g} ms/step, {summary.ns_per_day:.3g} ns/day")
    return table


def relax_table(results: Sequence[Relaxation]) -> Table:
    """List frames with their energies before and after."""
    table = Table(box=None, pad_edge=False)
    for name in ("frame", "formula", "steps", "start (eV)", "end (eV)", "change (eV)", "fmax (eV/Å)", "converged"):
        table.add_column(name, justify="left" if name in ("formula", "converged") else "right")
    for number, result in enumerate(results[:SHOWN]):
        start, end = result.steps[0].energy_eV, result.energy_eV
        numbers = (f"{start:.4f}", f"{end:.4f}", f"{end - start:+.4f}", f"{result.fmax_eV_per_A:.4f}")
        table.add_row(
            str(number),
            result.atoms.get_chemical_formula(),
            str(result.steps[-1].step),
            *numbers,
            "yes" if result.converged else "[red]no[/red]",
        )
    if len(results) > SHOWN:
        table.add_row("…", f"{len(results) - SHOWN} more in relax.csv")
    return table


def errors_table(metrics: Mapping[str, Any]) -> Table:
    """List errors overall and by electronic state."""
    table = Table(box=None, pad_edge=False)
    table.add_column("frames")
    table.add_column("number", justify="right")
    for quantity in ("energy (meV)", "energy (meV/atom)", "forces (meV/Å)"):
        for kind in ("MAE", "RMSE", "max"):
            table.add_column(f"{quantity}\n{kind}", justify="right")
    table.add_row("all", *_errors_row(metrics))
    for state in metrics["by_state"]:
        table.add_row(f"charge {state['charge']:+d}, multiplicity {state['multiplicity']}", *_errors_row(state))
    return table


def _errors_row(metrics: Mapping[str, Any]) -> list[str]:
    quantities = ("energy_{}_meV", "energy_{}_meV_per_atom", "forces_{}_meV_per_A")
    values = [metrics[q.format(kind)] for q in quantities for kind in ("mae", "rmse", "max")]
    return [str(metrics["n_frames"]), *("" if v is None else f"{v:.3f}" for v in values)]
