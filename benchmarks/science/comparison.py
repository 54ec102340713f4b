"""From the results of runs to one summary.

Mean ± spread over seeds, within each comparison one budget.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Result = Mapping[str, Any]
COLUMNS = {
    "energy_mae_meV": "energy MAE (meV)",
    "forces_mae_meV_per_A": "force MAE (meV/Å)",
    "energy_rmse_meV_per_atom": "energy RMSE (meV/atom)",
    "energy_mae_meV_per_atom": "energy MAE (meV/atom)",
    "forces_rmse_meV_per_A": "force RMSE (meV/Å)",
    "forces_max_meV_per_A": "largest force error (meV/Å)",
    "blind_energy_meV": "blind floor, energy (meV)",
    "blind_forces_meV_per_A": "blind floor, forces (meV/Å)",
    "singlet_energy_mae_meV": "singlet MAE (meV)",
    "triplet_energy_mae_meV": "triplet MAE (meV)",
    "gap_mae_meV": "gap MAE (meV)",
    "dipole_mae_D": "dipole MAE (D)",
    "charges_mae_e": "charge MAE (e)",
    "ms_per_step": "ms/step",
    "n_parameters": "parameters",
}
FEWEST = 4  # validations of a run that make a curve
# error -> its floor
CURVES = {"energy_mae_meV": "energy_meV", "forces_mae_meV_per_A": "forces_meV_per_A"}
STATE_NAMES = {1: "singlet", 2: "doublet", 3: "triplet"}


def measures(result: Result) -> dict[str, float | None]:
    """Flatten what a run measured on its test structures."""
    test, floor = result["errors"]["test"], result["blind_floor"]
    found = {name: value for name, value in test.items() if not isinstance(value, list | dict)}
    neutral = [
        row for row in test["by_state"] if row["charge"] == 0 and row["multiplicity"] in STATE_NAMES
    ]
    found |= {
        f"{STATE_NAMES[row['multiplicity']]}_energy_mae_meV": row["energy_mae_meV"]
        for row in neutral
    }
    found |= {
        "blind_energy_meV": floor["energy_meV"],
        "blind_forces_meV_per_A": floor["forces_meV_per_A"],
        "gap_mae_meV": result["gap_mae_meV"],
    }
    return found | {
        "ms_per_step": result["training"]["ms_per_step"],
        "n_parameters": result["training"]["n_parameters"],
    }


def summarise(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Average over seeds: a row for each comparison, data and plug-in, in the order of the results.

    Raises
    ------
    ValueError   runs of one comparison that had different budgets
    """
    check_budgets(results)
    places = dict.fromkeys((r["comparison"], r["data"], r["plugin"]) for r in results)
    return [
        _row(place, [r for r in results if (r["comparison"], r["data"], r["plugin"]) == place])
        for place in places
    ]


def check_budgets(results: Sequence[Result]) -> None:
    """Check that contestants had the same length, structures, batches and, for times, machine."""
    first: dict[tuple[str, str], Result] = {}
    for result in results:
        place = result["comparison"], result["data"]
        other = first.setdefault(place, result)
        if result["budget"] != other["budget"]:
            raise ValueError(
                f"`budget` must be one in the comparison {' / '.join(place)}; got"
                f" {_plain(other['budget'])} for {other['plugin']}, seed {other['seed']}, and"
                f" {_plain(result['budget'])} for {result['plugin']}, seed {result['seed']}. Run"
                " one of them again."
            )


def _row(place: tuple[str, str, str], runs: Sequence[Result]) -> dict[str, Any]:
    all_measures = [measures(run) for run in runs]
    names = [n for n in all_measures[0] if all(m.get(n) is not None for m in all_measures)]
    values = {name: np.array([m[name] for m in all_measures], dtype=np.float64) for name in names}
    return {
        **dict(zip(("comparison", "data", "plugin"), place, strict=True)),
        "budget": dict(runs[0]["budget"]),
        "seeds": [run["seed"] for run in runs],
        "mean": {name: float(v.mean()) for name, v in values.items()},
        "spread": {
            name: float(v.std(ddof=1)) if len(v) > 1 else None for name, v in values.items()
        },
    }


def table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    beside: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Write the summary as Markdown, a table for each comparison and data set under its budget."""
    lines = [
        f"# {title}",
        "",
        "Errors on the test structures, mean ± standard deviation over seeds (one seed: no ±).",
        "",
    ]
    for place in dict.fromkeys((row["comparison"], row["data"]) for row in rows):
        own = [row for row in rows if (row["comparison"], row["data"]) == place]
        lines += [
            f"## {' / '.join(place)}",
            "",
            f"Budget of every run: {_plain(own[0]['budget'])}.",
            "",
        ]
        lines += [
            "| plug-in | seeds | " + " | ".join(COLUMNS[c] for c in columns) + " |",
            "|---" * (len(columns) + 2) + "|",
        ]
        lines += [
            f"| {row['plugin']} | {len(row['seeds'])} | "
            + " | ".join(_cell(row, c) for c in columns)
            + " |"
            for row in own
        ]
        for other in beside:
            cells = " | ".join(_number(other.get(c)) for c in columns)
            lines.append(f"| *{other['name']}, {other['source']}* | | {cells} |")
        lines.append("")
    return "\n".join(lines)


def picture(title: str, results: Sequence[Result]) -> Figure:
    """Draw learning curves, or where runs were validated a few times only, where they ended."""
    return (curves if max(len(r["history"]) for r in results) >= FEWEST else endings)(
        title, results
    )


def endings(title: str, results: Sequence[Result]) -> Figure:
    """Plot test errors relative to the first plug-in's mean, a dot for each run.

    A row for each data set, a panel for each comparison.
    """
    sets, comparisons, plugins = (
        list(dict.fromkeys(r[name] for r in results)) for name in ("data", "comparison", "plugin")
    )
    figure = Figure(figsize=(11, 0.6 + 3.4 * len(sets)), layout="constrained")
    panels = figure.subplots(len(sets), len(CURVES), squeeze=False)
    for row, data in zip(panels, sets, strict=True):
        for axis, measure in zip(row, CURVES, strict=True):
            for place, comparison in enumerate(comparisons):
                runs = [r for r in results if (r["data"], r["comparison"]) == (data, comparison)]
                ends = {
                    name: [r["errors"]["test"][measure] for r in runs if r["plugin"] == name]
                    for name in plugins
                }
                for n, (name, values) in enumerate(ends.items()):
                    if values and ends[plugins[0]]:
                        at = place + 0.2 * (n - (len(plugins) - 1) / 2)
                        relative = np.array(values) / np.mean(ends[plugins[0]])
                        axis.plot(
                            [at] * len(values),
                            relative,
                            "o",
                            color=f"C{n}",
                            ms=6,
                            label=name if place == 0 else None,
                        )
            axis.axhline(1.0, color="0.3", ls=":", lw=1)
            axis.set_xticks(
                range(len(comparisons)), [name.replace("-", "\n") for name in comparisons]
            )
            axis.set(
                title=data, ylabel=f"{COLUMNS[measure].split(' (')[0]}, relative to {plugins[0]}"
            )
            axis.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        loc="outside right upper",
        frameon=False,
        fontsize=9,
    )
    figure.suptitle(title, fontsize=11)
    return figure


def curves(title: str, results: Sequence[Result]) -> Figure:
    """Validation errors against steps, a row for each comparison and data set, a line for each run.

    Dotted the floor of the blind.
    """
    places = list(dict.fromkeys((r["comparison"], r["data"]) for r in results))
    plugins = list(dict.fromkeys(r["plugin"] for r in results))
    figure = Figure(figsize=(11, 0.6 + 3.4 * len(places)), layout="constrained")
    panels = figure.subplots(len(places), len(CURVES), squeeze=False)
    for row, place in zip(panels, places, strict=True):
        runs = [r for r in results if (r["comparison"], r["data"]) == place]
        for axis, (measure, floor) in zip(row, CURVES.items(), strict=True):
            for run in runs:
                points = [
                    (entry["step"], entry[measure])
                    for entry in run["history"]
                    if entry.get(measure)
                ]
                if points:
                    axis.plot(
                        *zip(*points, strict=True), color=f"C{plugins.index(run['plugin'])}", lw=1.3
                    )
            if floors := [run["blind_floor"][floor] for run in runs if run["blind_floor"][floor]]:
                axis.axhline(float(np.mean(floors)), color="0.3", ls=":", lw=1.5)
            axis.set(
                title=" / ".join(place),
                xlabel="step",
                ylabel=f"validation {COLUMNS[measure]}",
                yscale="log",
            )
            axis.spines[["top", "right"]].set_visible(False)
    lines = [Line2D([], [], color=f"C{n}", label=plugin) for n, plugin in enumerate(plugins)]
    if any(run["blind_floor"][floor] for run in results for floor in CURVES.values()):
        lines.append(Line2D([], [], color="0.3", ls=":", label="floor of the blind"))
    figure.legend(handles=lines, loc="outside right upper", frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _cell(row: Mapping[str, Any], column: str) -> str:
    mean, spread = row["mean"].get(column), row["spread"].get(column)
    return (
        _number(mean)
        if spread is None or column == "n_parameters"
        else f"{_number(mean)} ± {_number(spread)}"
    )


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _plain(budget: Mapping[str, Any]) -> str:
    return json.dumps(budget).strip("{}").replace('"', "").replace("_", " ")
