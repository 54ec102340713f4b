"""``polcalc calibrate``: give a model its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from md_runs.errors import as_input_error
from md_runs.records.output import to_json
from md_runs.screen import screen
from potentials.card import Card
from potentials.checkpoint import load, save
from potentials.datasets import Frames, load_frames
from potentials.shipped import resolve
from potentials.training.config import DTYPES, Config, from_dict
from potentials.training.preparation import divided
from potentials.trust.calibrate import calibrated, new_molecules


def calibrate(
    model: str,
    data: Path | None = None,
    new: list[Path] | None = None,
    output: Path | None = None,
    json: bool = False,
) -> None:
    """Give a model its uncertainty: of energies, of forces, of differences of energies."""
    with as_input_error():
        path = resolve(model)
        card = load(path).card
        config = _configuration(card, path)
        before = load(path, DTYPES[config.training.dtype])
        train, validation, test = divided(config, data)
        _check_same(card, train)
        held_back = (
            [load_frames(str(file), data=data) for file in new] if new else [validation, test]
        )
        potential, found = calibrated(
            before.potential,
            train,
            new_molecules([frames for frames in held_back if frames is not None]),
            say=lambda line: None if json else screen.print(line),
        )
        target = output or path
        after = save(target, potential, replace(before.card, uncertainty=found))
    if json:
        print(to_json({"model": str(target), "sha256": after, "uncertainty": found}), end="")
        return
    screen.print(measured_table(found))
    screen.print(
        f"Large errors of forces rank above others in {100 * found['ranking_of_forces']:.1f} % of"
        f" cases. A warning where an atom is above {found['warn_above_eV_per_A']:.2f} eV/Å"
    )
    screen.print(f"Written to {target}. SHA-256 before: {before.sha256}, now: {after}")


def measured_table(found: Mapping[str, Any]) -> Table:
    """Lay out how many errors lie within their intervals, by state."""
    table = Table(title="Errors of molecules never trained on that lie within, in %")
    for name in ("charge/multiplicity", "molecules", "energies 50", "68", "95", "forces 50", "68"):
        table.add_column(name, justify="right")
    table.add_column("95", justify="right")
    for state, row in found["states"].items():
        numbers = [
            f"{x:.1f}"
            for quantity in ("energy", "forces")
            for x in row.get(f"{quantity}_coverage_percent", [])
        ]
        few = "too few: as unsure as all" if not row["own_scales"] else ""
        table.add_row(state, str(row["molecules"]), *(numbers or [few]))
    return table


def _configuration(card: Card, path: Path) -> Config:
    """Return the configuration that a model was trained by."""
    if "configuration" not in card.training:
        raise ValueError(
            f"`model` must tell on its card what it was trained on; {path} does not. Calibrate a"
            " model that polcalc train made."
        )
    return from_dict(card.training["configuration"])


def _check_same(card: Card, train: Frames) -> None:
    """See that the structures are those of the training: others would not be new to it."""
    known, given = card.dataset.get("sha256"), train.provenance.sha256
    if known and given and dict(known) != dict(given):
        raise ValueError(
            f"`data` must hold the files that the model was trained on; {', '.join(given)} has"
            " another SHA-256 than on the card. Give their folder."
        )
