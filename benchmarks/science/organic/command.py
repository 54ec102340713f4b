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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.dynamics import RUNS
from benchmarks.measure import ROOT, command_line, machine, write
from benchmarks.science.organic import crystals, dynamics, energies, geometries, labels, speed
from benchmarks.science.organic.contestants import GFN2, TEACHER, Contestant, contestants
from benchmarks.science.organic.settings import Missing, Settings
from benchmarks.science.organic.speed import TIME
from benchmarks.science.organic.tables import mae, tables
from polcalc.calculator.domain import ExtrapolationWarning
from potentials.datasets import Frames, load_frames
from potentials.shipped import DEFAULT

OUTPUT = ROOT / "benchmarks" / "results" / "organic.json"
EACH: dict[str, Callable[[Contestant, Settings], dict[str, Any]]] = {
    "gscdb": energies.gscdb,
    "labels": labels.labels,
    "charges": labels.charges,
    "open-shells": labels.open_shells,
    "solvated": energies.solvated,
    "size": energies.size,
    "crystals": crystals.crystals,
    "water": dynamics.water,
    "stable": dynamics.stable,
}
TOGETHER = {"relaxed": geometries.relaxed, "speed": speed.speed}
LONG = ("relaxed", "crystals", "water", "stable")  # minutes and hours: where they are asked for


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__)
    choices = [*EACH, *TOGETHER]
    usual = [part for part in choices if part not in LONG]
    add = parser.add_argument
    add("--model", action="append", help="file or name of a shipped model; repeatable")
    add("--parts", nargs="+", default=usual, choices=choices, help="what to measure")
    add("--frames", default="organic:test", help="labels of closed shells, grouped by molecule")
    add("--open-shells", default="organic-open-shells-test", help="our own DFT of open shells")
    add("--conformations", type=int, default=10, help="of each solvated amino acid")
    add("--molecules", type=int, default=100, help="to relax")
    add("--runs", type=int, default=100, help="molecules to run, at 300 K and at 500 K")
    add("--length-ps", type=float, default=50.0, help="of every run")
    add("--water-ps", type=float, default=100.0, help="of water, after half as long to equilibrate")
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
        arguments.runs,
        arguments.length_ps,
        arguments.water_ps,
        arguments.repeats,
        arguments.store,
    )
    report = _started(arguments.output, everybody)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts:
        print(f"{part} …", file=sys.stderr, flush=True)
        for name, numbers in _measured(part, everybody, settings).items():
            report["contestants"][name][part] = numbers
        _compare(report)
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")  # what is done is kept
        arguments.output.with_suffix(".md").write_text(tables(report))
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
    """Add what is a comparison: with GFN2-xTB set by set, and of times."""
    found = report["contestants"]
    xtb = found[GFN2].get("gscdb", {})
    models = [name for name in found if name not in (GFN2, TEACHER)]
    for name in found:
        sets = found[name].get("gscdb", {})
        better = [s for s in sets if s in xtb and mae(sets, s) < mae(xtb, s)]
        if name != GFN2 and sets:
            found[name]["better"] = {"n_sets": len(better), "sets": better}
        times = found[name].get("speed", {})
        if name in models and TIME in times:
            others = {n: found[n].get("speed", {}) for n in (GFN2, TEACHER)}
            found[name]["faster"] = {
                n: x[TIME] / times[TIME] for n, x in others.items() if TIME in x
            }


def _frames(name: str) -> Frames | None:
    """Read labels; None where they are not on this machine."""
    try:
        return load_frames(name)
    except (FileNotFoundError, ValueError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None
