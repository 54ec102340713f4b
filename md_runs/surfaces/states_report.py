"""What ``polcalc states`` prints and draws.

Levels, gaps, ionisations, crossings and what was refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from md_runs.records.figures import BLUE, GREEN, GREY, LEGEND, ORANGE
from md_runs.surfaces.levels import Levels, Refused
from potentials.structure.graph import State

SHOWN = 30  # structures listed one by one at most


def states_tables(found: Sequence[Levels]) -> Iterator[Table]:
    """Lay out states with their energies, then gaps and ionisations."""
    relaxed = any(levels.minima for levels in found)
    yield _states_table(found, relaxed)
    rows = [
        row for number, levels in enumerate(found[:SHOWN]) for row in _differences(number, levels)
    ]
    if rows:
        table = _table(
            "frame",
            "difference",
            "vertical (eV)",
            *(("adiabatic (eV)", "at its minima (eV)") if relaxed else ()),
        )
        for row in rows:
            table.add_row(*row[: len(table.columns)])
        yield table


def states_lines(found: Sequence[Levels], pair: tuple[int, int] | None) -> Iterator[Text]:
    """Say where multiplicities cross, and what was refused."""
    for number, levels in enumerate(found[:SHOWN]):
        for charge, crossing in levels.crossings.items() if pair else ():
            assert pair is not None
            energy = float(crossing.energies.mean())
            heights = " and ".join(
                f"{energy - levels.at_minima_eV[charge, m][charge, m]:.4f} eV above the minimum"
                f" of {m}"
                for m in pair
            )
            line = Text(
                f"frame {number}: multiplicities {pair[0]} and {pair[1]} of charge {charge:+d}"
                f" cross {heights}"
            )
            if not crossing.converged:
                apart = abs(crossing.energies[0] - crossing.energies[1])
                line.append("; ").append(f"not found, still {apart:.4f} eV apart", "red")
            yield line
        for q, m in levels.minima:
            if changes := str(levels.bond_changes((q, m))):
                yield Text.assemble(
                    f"frame {number}: ",
                    ("bonds changed", "yellow"),
                    f" on the way to the minimum of {q:+d}/{m} ({changes}): its gaps are between"
                    " isomers",
                )
            if levels.on_saddle((q, m)):
                yield Text.assemble(
                    f"frame {number}: the search of {q:+d}/{m} came to rest on a ",
                    ("saddle", "red"),
                    f", no minimum (curvature {levels.curvatures[q, m].eV_per_A2:.2f} eV/Å²):"
                    " the true gap is another",
                )
        for refused in levels.refused:
            yield Text.assemble(f"frame {number}: ", ("refused", "red"), f" {refusal(refused)}")
        for meaning, charge in (("ionisation energy", 1), ("electron affinity", -1)):
            if charge in {refused.charge for refused in levels.refused} and charge not in {
                q for q, _ in levels.states
            }:
                yield Text(
                    f"frame {number}: the {meaning} needs charge {charge:+d}, which the model does"
                    " not cover"
                )


def refusal(refused: Refused) -> str:
    """Name a refused state and the reason."""
    multiplicity = "" if refused.multiplicity is None else f", multiplicity {refused.multiplicity}"
    return f"charge {refused.charge:+d}{multiplicity}: {refused.why}"


def _states_table(found: Sequence[Levels], relaxed: bool) -> Table:
    table = _table(
        "frame",
        "formula",
        "charge",
        "2S+1",
        "energy (eV)",
        "above (eV)",
        *(("relaxed (eV)", "above (eV)") if relaxed else ()),
    )
    for number, levels in enumerate(found[:SHOWN]):
        lowest = min(levels.energies_eV.values())
        lowest_relaxed = min(
            (e for s in levels.minima if (e := levels.relaxed_eV(s)) is not None), default=0.0
        )
        for n, (charge, multiplicity) in enumerate(levels.states):
            energy, minimum = (
                levels.energies_eV[charge, multiplicity],
                levels.relaxed_eV((charge, multiplicity)),
            )
            name = (str(number), levels.atoms.get_chemical_formula()) if n == 0 else ("", "")
            cells: list[str | Text] = [
                *name,
                f"{charge:+d}",
                str(multiplicity),
                f"{energy:.4f}",
                f"{energy - lowest:.4f}",
            ]
            if minimum is not None:
                cell = Text(f"{minimum:.4f}").append(_verdict(levels, (charge, multiplicity)))
                cells += [cell, f"{minimum - lowest_relaxed:.4f}"]
            table.add_row(*cells)
        for refused in levels.refused:
            multiplicity_text = "" if refused.multiplicity is None else str(refused.multiplicity)
            table.add_row("", "", f"{refused.charge:+d}", multiplicity_text, Text("refused", "red"))
    if len(found) > SHOWN:
        table.add_row("…", f"{len(found) - SHOWN} more in states.csv")
    return table


def _verdict(levels: Levels, state: State) -> Text:
    if not levels.converged[state]:
        return Text(" not converged", "red")
    return Text(" saddle" if levels.on_saddle(state) else "", "red")


def _differences(number: int, levels: Levels) -> Iterator[tuple[str, ...]]:
    for gap in levels.gaps():
        lower, higher = gap["multiplicities"]
        yield (str(number), f"E({higher}) - E({lower}), charge {gap['charge']:+d}", *_values(gap))
    for entry in levels.ionisations():
        (q, m), (q2, m2) = entry["from"], entry["to"]
        meaning = {0: "IP", -1: "EA"}.get(q, "next IP")
        yield (str(number), f"{meaning}: E({q2:+d}/{m2}) - E({q:+d}/{m})", *_values(entry))


def _values(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    at_minima = (entry["at_minimum_of_first_eV"], entry["at_minimum_of_second_eV"])
    vertical, adiabatic = (
        "–" if x is None else f"{x:+.4f}" for x in (entry["vertical_eV"], entry["adiabatic_eV"])
    )
    bar = entry["vertical_uncertainty_eV"]
    vertical += "" if bar is None else f" ± {bar:.2f}"
    return vertical, adiabatic, " / ".join("–" if x is None else f"{x:+.4f}" for x in at_minima)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(
            name, justify="left" if name in ("formula", "difference") else "right", no_wrap=True
        )
    return table


def plot_levels(
    found: Sequence[Levels], pair: tuple[int, int] | None, caveats: Sequence[str] = ()
) -> Figure:
    """Energies of electronic states: a panel for each charge of each structure.

    At the given geometry, relaxed, and where two multiplicities cross. Each panel has a scale of
    its own, for an ionisation energy is a hundred gaps; caveats of the model stand below.
    """
    rows = [[(levels, q) for q in sorted({q for q, _ in levels.states})] for levels in found]
    if all(len(row) == 1 for row in rows):
        panels = list(chain.from_iterable(rows))
        rows = [panels[n : n + 4] for n in range(0, len(panels), 4)]
    n_columns = max(map(len, rows))
    width = 1.5 + 3.0 * n_columns
    figure = Figure(figsize=(width, 0.6 + 3.8 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), n_columns, squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes, (levels, charge) in zip(axes_row, row, strict=False):
            _draw_levels(axes, levels, charge, pair)
        for axes in axes_row[len(row) :]:
            axes.set_visible(False)
    if caveats:
        words = "\n".join(wrap("The card of the model: " + " ".join(caveats), int(15 * width)))
        figure.supxlabel(words, fontsize="small")
    return figure


def _draw_levels(axes: Axes, levels: Levels, charge: int, pair: tuple[int, int] | None) -> None:
    """One column per multiplicity.

    A thin line to the level that it relaxes to, a cross where two states meet.
    """
    states = [state for state in levels.states if state[0] == charge]
    given = {state: levels.energies_eV[state] for state in states}
    relaxed = {s: energy for s in states if (energy := levels.relaxed_eV(s)) is not None}
    zero = min(*given.values(), *relaxed.values(), float("inf"))
    for n, state in enumerate(states):
        level = given[state] - zero
        _draw_level(axes, (n - 0.38, n - 0.02), level, BLUE, "given geometry" if n == 0 else None)
        if state in relaxed:
            minimum = relaxed[state] - zero
            name = "own minimum" if n == 0 else None
            _draw_level(axes, (n + 0.02, n + 0.38), minimum, ORANGE, name)
            axes.plot([n - 0.02, n + 0.02], [level, minimum], color=GREY, lw=0.8)
            if levels.on_saddle(state):
                axes.annotate("saddle", (n + 0.2, minimum), ha="center", va="top")
    if pair and (crossing := levels.crossings.get(charge)) is not None:
        first, second = (states.index((charge, m)) for m in pair)
        top = (first + second + 0.4) / 2, float(crossing.energies.mean()) - zero
        ends = [relaxed[charge, m] - zero for m in pair]
        way = [(first + 0.38, ends[0]), top, (second + 0.02, ends[1])]
        axes.plot(*zip(*way, strict=True), color=GREEN, lw=1, ls="--")
        axes.plot(*top, "x", color=GREEN, ms=8, mew=2, label="crossing")
    axes.set_xticks(range(len(states)), [str(m) for _, m in states])
    axes.set_xlim(-0.6, len(states) - 0.4)
    axes.set_xlabel("multiplicity")
    axes.set_title(_title(levels, charge), pad=36, fontsize="medium")
    axes.set_ylabel("energy above the lowest (eV)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.15)
    axes.legend(**LEGEND | {"bbox_to_anchor": (1, 1.0), "fontsize": "small"})


def _draw_level(
    axes: Axes, ends: tuple[float, float], energy_eV: float, colour: str, name: str | None
) -> None:
    axes.plot(ends, [energy_eV] * 2, color=colour, lw=2.5, label=name)
    axes.annotate(
        f"{energy_eV:.3f}",
        (sum(ends) / 2, energy_eV),
        (0, 3),
        textcoords="offset points",
        ha="center",
        fontsize="x-small",
        color=colour,
    )


def _title(levels: Levels, charge: int) -> str:
    """Name a panel, and how far its lowest state is above that of the charge before."""
    title = f"{levels.atoms.get_chemical_formula()}, charge {charge:+d}"
    for entry in levels.ionisations():
        if entry["to"][0] == charge:
            energy = entry["adiabatic_eV"]
            kind = "vertical" if energy is None else "adiabatic"
            energy = entry["vertical_eV"] if energy is None else energy
            name = {0: "IP", -1: "EA"}.get(charge - 1, "IP of the ion")
            title += f"\n{energy:+.2f} eV above charge {charge - 1:+d} ({kind} {name})"
    return title
