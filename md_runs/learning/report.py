"""What came of a learning: a line for each round, one page, one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def round_line(found: Mapping[str, Any]) -> str:
    """Say in one line what a round found."""
    error, energy = found["forces_mae_meV_per_A"], found["relative_energy_mae_meV"]
    said = (
        f"forces {error:.0f} meV/Å, energies {energy:.0f} meV"
        if error is not None
        else "the model cannot be asked"
    )
    times = ", ".join(f"{run['time_ps']:.3g}" for run in found["explored"])
    whys = "; ".join(dict.fromkeys(run["why"] for run in found["explored"] if run["why"]))
    failed = f" ({found['failed']} failed)" if found["failed"] else ""
    return (
        f"round {found['round']}: {times} ps, {found['labels']} labels{failed}; on fresh frames"
        f" {said}. {whys or 'Passed whole.'}"
    )


def say(report: Mapping[str, Any], output: Path) -> str:
    """Say on one page what was asked for, what each round found, and how to go on."""
    rounds = report["rounds"]
    ended = "passed" if report["passed"] else "not passed: the labels are spent"
    lines = [
        f"{report['explore']} against {report['reference']}: {ended}.",
        f"{report['labels_spent']} labels in {len(rounds)} rounds; the last figures are those of"
        " model.pt, on frames that it was never trained on.",
        "",
        *(round_line(found) for found in rounds),
    ]
    if problems := [text for found in rounds for text in found["problems"]]:
        lines += ["", "Labels that failed:", *(f"  {text}" for text in dict.fromkeys(problems))]
    lines += ["", f"To use it: polcalc md X.xyz --model {output}/model.pt"]
    return "\n".join(lines) + "\n"


def draw(report: Mapping[str, Any]) -> Figure:
    """Draw errors on fresh frames, and how far explorations came, against labels trained on."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    rounds = report["rounds"]
    known = [found["labels_in_all"] - found["labels"] for found in rounds]
    errors = [
        (n, found["forces_mae_meV_per_A"])
        for n, found in zip(known, rounds, strict=True)
        if found["forces_mae_meV_per_A"] is not None
    ]
    if errors:
        upper.plot(*zip(*errors, strict=True), "o-", lw=1.2)
        upper.set_yscale("log")
    upper.axhline(report["target_meV_per_A"], color="0.6", lw=0.8, ls="--")
    upper.set_ylabel("error of forces on\nfresh frames (meV/Å)")
    for n in range(len(rounds[0]["explored"])):
        lower.plot(known, [found["explored"][n]["time_ps"] for found in rounds], "o-", lw=1.2)
    lower.set_ylabel("explored (ps)")
    lower.set_xlabel("labels that the model was trained on")
    for axis in (upper, lower):
        axis.spines[["top", "right"]].set_visible(False)
    return figure
