"""Errors of a model against reference data, laid out for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from potentials.deviations import named_errors


def errors_table(metrics: Mapping[str, Any]) -> Table:
    """List errors overall and by electronic state, and of vertical gaps.

    Beside gaps stands the error of a potential that is blind to the state.
    """
    table = Table(box=None, pad_edge=False)
    for name in ("frames", "quantity", "MAE", "RMSE", "max"):
        table.add_column(name, justify="left" if name in ("frames", "quantity") else "right")
    _add_errors(table, "all", metrics)
    if without := metrics.get("without_offsets"):
        for quantity, key in named_errors(without).items():
            values = (f"{without[key.format(kind)]:.3f}" for kind in ("mae", "rmse", "max"))
            table.add_row("  without offsets", quantity, *values)
    for state in metrics["by_state"] if len(metrics["by_state"]) > 1 else ():
        _add_errors(table, f"charge {state['charge']:+d}, 2S+1 = {state['multiplicity']}", state)
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


def offsets_line(metrics: Mapping[str, Any]) -> str:
    """Say which offsets were removed for the errors without them; nothing where none were."""
    if not (without := metrics.get("without_offsets")):
        return ""
    offsets = ", ".join(f"{symbol} {x:+.4f}" for symbol, x in without["offsets_eV"].items())
    fitted = (
        f"{offsets} eV, predicted − reference"
        if offsets
        else "which these compositions do not tell apart"
    )
    return (
        f"without offsets: those of elements, fitted by least squares ({fitted}), are removed;"
        " methods count energies from zeros of their own"
    )


def _add_errors(table: Table, name: str, metrics: Mapping[str, Any]) -> None:
    label = f"{name} ({metrics['n_frames']})"
    for quantity, key in named_errors(metrics).items():
        values = [metrics[key.format(kind)] for kind in ("mae", "rmse", "max")]
        table.add_row(
            label, quantity, *("none" if value is None else f"{value:.3f}" for value in values)
        )
        label = ""
