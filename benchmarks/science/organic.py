"""How good is the default model? Public reference energies, labels it never saw, dynamics, speed.

    python -m benchmarks.science.organic --model organic --model runs/new/model.pt

GFN2-xTB, the teacher and all models are asked the same questions; the last model is held against
the gates. What does not change is kept in `--store`: once GFN2-xTB and the teacher have answered, a
new model takes a minute for the parts that are measured unless `--parts` says otherwise. Of the
report in `--output` only the parts that are measured are replaced.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.dynamics import RUNS
from benchmarks.measure import ROOT, command_line, machine, write
from benchmarks.science import organic_parts as parts
from benchmarks.science.contestants import GFN2, TEACHER, Contestant, contestants
from benchmarks.science.organic_parts import KCAL_PER_MOL, Missing, Settings
from polcalc.calculator.domain import ExtrapolationWarning
from potentials.datasets import Frames, load_frames
from potentials.shipped import DEFAULT

OUTPUT = ROOT / "benchmarks" / "results" / "organic.json"
EACH: dict[str, Callable[[Contestant, Settings], dict[str, Any]]] = {
    "gscdb": parts.gscdb,
    "labels": parts.labels,
    "open-shells": parts.open_shells,
    "solvated": parts.solvated,
    "size": parts.size,
    "stable": parts.stable,
}
TOGETHER = {"relaxed": parts.relaxed, "speed": parts.speed}
LONG = ("relaxed", "stable")  # minutes and hours: only where they are asked for


class Gate(NamedTuple):
    """A number of the report and what it must be."""

    name: str
    where: tuple[str, ...]  # part and keys
    limit: float
    goal: float
    unit: float = 1.0  # the number is divided by it
    at_least: bool = False


def _set(name: str, limit: float, goal: float) -> Gate:
    return Gate(f"{name}, kcal/mol", ("gscdb", name, "mae_kcal_per_mol"), limit, goal)


def _ions(name: str) -> Gate:
    key = "gscdb", name, "mae_kcal_per_mol"
    return Gate(f"{name}, eV", key, 0.8, 0.4, unit=1 / KCAL_PER_MOL)


GATES = [
    Gate("forces of new neutral molecules, meV/Å", ("labels", "forces_meV_per_A_neutral"), 38, 25),
    Gate("forces of new ions, meV/Å", ("labels", "forces_meV_per_A_ions"), 55, 35),
    *(
        _set(*x)
        for x in (("S22", 1.3, 0.9), ("A24", 0.9, 0.7), ("HB49", 2.4, 1.3), ("X40", 1.8, 1.0))
    ),
    *(_set(*x) for x in (("ACONF", 0.4, 0.25), ("Pentane13", 0.8, 0.5), ("ISO34", 4, 2))),
    *(_set(*x) for x in (("TAUT15", 3, 1.2), ("BHROT27", 1.8, 1.2), ("PA26", 10, 5))),
    *(_set(*x) for x in (("BH28", 12, 8), ("WCPT26", 10, 5), ("ISOMERIZATION20", 9, 4))),
    *(_ions(name) for name in ("IP23", "G21IP", "G21EA")),
    _set("RSE43", 6, 3),
    Gate("development sets better than GFN2-xTB", ("better", "n_sets"), 13, 18, at_least=True),
    Gate("stable of 100 for 50 ps", ("stable", "percent"), 95, 100, at_least=True),
    Gate("time of a step over the first model's", ("speed", "over_first"), 1.3, 1.0),
]


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__)
    choices = [*EACH, *TOGETHER]
    usual = [part for part in choices if part not in LONG]
    add = parser.add_argument
    add("--model", action="append", help="file or name of a shipped model; repeatable")
    add("--parts", nargs="+", default=usual, choices=choices, help="what to measure")
    add("--frames", default="organic:test", help="labels of closed shells, grouped by molecule")
    add("--open-shells", default="organic-open-shells", help="our own DFT of open shells")
    add("--conformations", type=int, default=10, help="of each solvated amino acid")
    add("--molecules", type=int, default=100, help="to relax and to run")
    add("--length-ps", type=float, default=50.0, help="of every run")
    add("--repeats", type=int, default=100, help="timed calls")
    add("--store", type=Path, default=RUNS / "organic", help="folder of what is kept")
    add("--output", type=Path, default=OUTPUT, help="JSON; the tables are written beside it as .md")
    arguments = parser.parse_args(given)
    warnings.simplefilter("ignore", ExtrapolationWarning)  # stretched bonds are there on purpose
    everybody = contestants(arguments.model or [DEFAULT], arguments.store)
    settings = Settings(
        _frames(arguments.frames),
        _frames(arguments.open_shells),
        arguments.conformations,
        arguments.molecules,
        arguments.length_ps,
        arguments.repeats,
        arguments.store,
    )
    report = _started(arguments.output, everybody)
    for part in arguments.parts:
        print(f"{part} …", file=sys.stderr, flush=True)
        for name, numbers in _measured(part, everybody, settings).items():
            report["contestants"][name][part] = numbers
    _compare(report)
    write(report, tables(report), arguments.output)


def _measured(
    part: str, everybody: Sequence[Contestant], settings: Settings
) -> dict[str, dict[str, Any]]:
    if part in TOGETHER:
        try:
            return TOGETHER[part](everybody, settings)
        except Missing as error:
            return {contestant.name: {"missing": str(error)} for contestant in everybody}
    found = {}
    for contestant in everybody:
        if part != "stable" or contestant.path:
            try:
                found[contestant.name] = EACH[part](contestant, settings)
            except Missing as error:
                found[contestant.name] = {"missing": str(error)}
    return found


def _started(output: Path, everybody: Sequence[Contestant]) -> dict[str, Any]:
    """Begin with what was measured before of these models, and of others that are not here."""
    before = json.loads(output.read_text())["contestants"] if output.is_file() else {}
    ours: dict[str, Any] = {}
    for contestant in everybody:
        old = before.pop(contestant.name, {})
        same = old.get("identity") == contestant.identity
        ours[contestant.name] = old if same else {"identity": contestant.identity}
    order = [GFN2, TEACHER, *before, *(c.name for c in everybody if c.path)]
    return {
        "machine": machine(),
        "judged": everybody[-1].name,
        "contestants": {name: (before | ours)[name] for name in order},
    }


def _compare(report: dict[str, Any]) -> None:
    """Add what is a comparison: with GFN2-xTB set by set, and of times with the first model's."""
    found = report["contestants"]
    xtb = found[GFN2].get("gscdb", {})
    models = [name for name in found if name not in (GFN2, TEACHER)]
    for name in found:
        sets = found[name].get("gscdb", {})
        better = [s for s in sets if s in xtb and _mae(sets, s) < _mae(xtb, s)]
        if name != GFN2 and sets:
            found[name]["better"] = {"n_sets": len(better), "sets": better}
        if (runs := found[name].get("stable")) and "n_run" in runs:
            runs["percent"] = 100 * runs["n_stable"] / runs["n_run"]
        times, first = found[name].get("speed", {}), found[models[0]].get("speed", {})
        if "median_ms" in times and "median_ms" in first:
            times["over_first"] = times["median_ms"] / first["median_ms"]


def tables(report: Mapping[str, Any]) -> str:
    """Write the gates, the development sets and the other parts as Markdown."""
    found, judged = report["contestants"], report["judged"]
    lines = [
        f"Mean absolute errors, {judged} held against the gates. {json.dumps(report['machine'])}",
        "",
        *_row("", *found, "goal", "at worst", judged),
        *["|---" * (len(found) + 4) + "|"],
    ]
    for gate in GATES:
        numbers = [_number(found[name], gate) for name in found]
        verdict = _verdict(_number(found[judged], gate), gate)
        lines += _row(
            gate.name, *map(_shown, numbers), _shown(gate.goal), _shown(gate.limit), verdict
        )
    for title, write_part in SECTIONS.items():
        rows = write_part(found)
        lines += ["", f"**{title}**", "", *rows] if rows else []
    return "\n".join(lines) + "\n"


def _sets(found: Mapping[str, Any]) -> list[str]:
    """Errors of every set, with the number of entries where some were skipped."""
    shown = {name: numbers["gscdb"] for name, numbers in found.items() if "gscdb" in numbers}
    names = sorted({s for sets in shown.values() for s in sets})
    entries = {s: max(sets[s]["n"] for sets in shown.values() if s in sets) for s in names}
    lines = [*_row("set", "entries", *shown), "|---" * (len(shown) + 2) + "|"]
    for s in names:
        cells = []
        for sets in shown.values():
            some = s in sets and sets[s]["n"] < entries[s]
            of = f" (of {sets[s]['n']})" if some else ""
            cells.append(_shown(_mae(sets, s)) + of if s in sets else "–")
        lines += _row(s, str(entries[s]), *cells)
    return lines if shown else []


def _states(part: str) -> Callable[[Mapping[str, Any]], list[str]]:
    """Errors by charge and multiplicity, energies of those that have the zero of the labels."""

    def section(found: Mapping[str, Any]) -> list[str]:
        shown = {n: p[part] for n, p in found.items() if "by_state" in p.get(part, {})}
        keys = sorted(
            {(s["charge"], s["multiplicity"]) for p in shown.values() for s in p["by_state"]}
        )
        sources = ", ".join(dict.fromkeys(p["source"] for p in shown.values()))
        lines = [f"Labels: {sources}", "", *_row("charge", "multiplicity", "frames", *shown)]
        lines.append("|---" * (len(shown) + 3) + "|")
        for key in keys:
            cells, frames = [], 0
            for numbers in shown.values():
                states = {(s["charge"], s["multiplicity"]): s for s in numbers["by_state"]}
                state = states.get(key)
                frames = max(frames, state["n_frames"] if state else 0)
                energy = state and state.get("energy_meV_per_atom")
                cell = "–" if state is None else f"{state['forces_meV_per_A']:.0f}"
                cells.append(cell + (f" / {energy:.1f}" if energy is not None else ""))
            lines += _row(f"{key[0]:+d}", str(key[1]), str(frames), *cells)
        for name, label in (("gap", "gaps"), ("ip", "ionisation"), ("ea", "attachment")):
            values = [numbers.get(f"{name}_mae_eV") for numbers in shown.values()]
            n = max((numbers.get(f"{name}_n", 0) for numbers in shown.values()), default=0)
            if n:
                lines += _row(f"vertical {label}, eV", "", str(n), *map(_shown, values))
        return lines if shown else []

    return section


def _plain(part: str, rows: Mapping[str, str]) -> Callable[[Mapping[str, Any]], list[str]]:
    """Lay out a part whose numbers need no more than a line each."""

    def section(found: Mapping[str, Any]) -> list[str]:
        shown = {n: p[part] for n, p in found.items() if part in p and "missing" not in p[part]}
        lines = [*_row("", *shown), "|---" * (len(shown) + 1) + "|"]
        for key, label in rows.items():
            lines += _row(label, *(_shown(numbers.get(key)) for numbers in shown.values()))
        return lines if shown else []

    return section


def _pairs(found: Mapping[str, Any]) -> list[str]:
    """Size consistency, pair by pair."""
    shown = {n: p["size"]["pairs_meV"] for n, p in found.items() if "size" in p}
    names = next(iter(shown.values()), {})
    lines = [*_row("pair", *shown), "|---" * (len(shown) + 1) + "|"]
    for pair in names:
        lines += _row(pair, *(_shown(pairs[pair]) for pairs in shown.values()))
    return lines if shown else []


SECTIONS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "GSCDB development sets, kcal/mol. A bare proton has the energy 0; GFN2-xTB gives it 144, and "
    "would be off by 21 in PA26 with that": _sets,
    "Labels of new molecules: forces meV/Å / energies meV/atom": _states("labels"),
    "Own DFT of open shells: forces meV/Å / energies meV/atom": _states("open-shells"),
    "Amino acids in twenty waters, ωB97M-D3(BJ)/def2-TZVPPD": _plain(
        "solvated",
        {
            "n_frames": "frames",
            "forces_mae_meV_per_A": "forces, meV/Å",
            "conformations_mae_kcal_per_mol": "energies of conformations, kcal/mol",
        },
    ),
    "Two molecules 30 Å apart: E(both) - E(each) - Coulomb energy, meV": _pairs,
    "Relaxed geometries against the teacher's": _plain(
        "relaxed",
        {
            "n_relaxed": "molecules",
            "not_converged": "not converged",
            "median_rmsd_A": "median RMSD, Å",
            "rmsd_90_percent_A": "RMSD, 90 % are below, Å",
        },
    ),
    "Runs at 300 K": _plain(
        "stable", {"n_run": "molecules", "length_ps": "ps each", "n_stable": "stable"}
    ),
    "Energy and forces of 27 atoms, one thread; the teacher by one of its four networks": _plain(
        "speed", {"median_ms": "median, ms", "min_ms": "shortest, ms"}
    ),
}


def _mae(sets: Mapping[str, Any], name: str) -> float:
    return float(sets[name]["mae_kcal_per_mol"])


def _number(numbers: Mapping[str, Any], gate: Gate) -> float | None:
    value: Any = numbers
    for key in gate.where:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None else float(value) / gate.unit


def _verdict(value: float | None, gate: Gate) -> str:
    if value is None:
        return "not measured"
    sign = -1 if gate.at_least else 1
    if sign * value <= sign * gate.goal:
        return "goal"
    if sign * value <= sign * gate.limit:
        return "within"
    return f"missed by {100 * abs(value / gate.limit - 1):.0f} %"


def _row(*cells: str) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _frames(name: str) -> Frames | None:
    """Read labels; None where they are not on this machine."""
    try:
        return load_frames(name)
    except (FileNotFoundError, ValueError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    main()
