"""``polcalc info``: what a model is, its card, checksum, size and units."""

from __future__ import annotations

from typing import Any

from ase.data import chemical_symbols
from rich.table import Table

from md_runs.errors import as_input_error
from md_runs.models.errors_table import errors_table
from md_runs.records.output import to_json
from md_runs.screen import screen
from potentials.checkpoint import load


def info(
    model: str,
    json: bool = False,
) -> None:
    """Show what a model is: its card, checksum, size and units."""
    facts = model_info(model)
    print(to_json(facts), end="") if json else screen.print(info_table(facts))


def model_info(model: str) -> dict[str, Any]:
    """Collect the facts of a model file or a shipped model as plain values.

    Raises
    ------
    InputError   unknown name or unreadable file
    """
    with as_input_error():
        opened = load(model)
    potential = opened.potential
    return {
        "model": model,
        "path": str(opened.path),
        "sha256": opened.sha256,
        "has_digest": opened.has_digest,
        "parameters": sum(p.numel() for p in potential.parameters()),
        "cutoff_A": potential.cutoff,
        "card": opened.card.to_dict(),
        "spec": potential.spec,
    }


def info_table(info: dict[str, Any]) -> Table:
    """Lay the facts out for a person."""
    card, architecture = info["card"], info["spec"]["architecture"]["name"]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "model": card["name"] or info["model"],
        "": card["description"],
        "where it fails": card["limits"],
        "file": info["path"],
        "SHA-256": info["sha256"],
        "digest": (
            ""
            if info["has_digest"]
            else "none: an older file; damage shows by the checksums of its parts alone"
        ),
        "architecture": (
            f"{architecture}, {info['parameters']:,} parameters{_sets(info['spec'])}, cutoff"
            f" {info['cutoff_A']:g} Å"
        ),
        "elements": " ".join(chemical_symbols[z] for z in card["elements"]),
        "states": ", ".join(
            f"charge {q:+d} multiplicity {m} ({n} frames)" for q, m, n in card["states"]
        ),
        "known to be wrong": ", ".join(
            f"{formula} {q:+d}/{m} by {eV:+.1f} eV" for formula, q, m, eV in card["known_errors"]
        ),
        "units": ", ".join(f"{quantity} {unit}" for quantity, unit in card["units"].items()),
        "closest distances": ", ".join(
            f"{pair} {d:.2f} Å" for pair, d in card["closest_distances_A"].items()
        ),
        "largest force": (
            f"{card['force_max_eV_per_A']:.1f} eV/Å"
            if card["force_max_eV_per_A"] is not None
            else ""
        ),
        "trained on": _named(card["dataset"]),
        "started from": _named(card["training"].get("start", {})),
        "tested on": _named(card["test_errors"].get("dataset", {})),
        "test errors": _errors(card["test_errors"]),
        "validation errors": _errors(card["training"].get("validation_errors", {})),
        "audit": "\n".join(
            f"{found['check']}: {found['verdict']}, {found['text']}"
            for found in card["audit"].get("findings", ())
        ),
        "made by": card["command"],
        "seed": "" if card["seed"] is None else str(card["seed"]),
        "versions": _named(card["versions"]),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _sets(spec: dict[str, Any]) -> str:
    """Say how the parameters are shared out over states."""
    n_states = len(spec.get("experts", ()))
    return (
        f" in {n_states + 1} sets, one for each of {n_states} states and one for all others"
        if n_states
        else ""
    )


def _errors(values: dict[str, Any]) -> Table | str:
    """Lay errors out as `polcalc validate` does, each charge and multiplicity by itself."""
    return errors_table(values) if "by_state" in values else _named(values)


def _named(values: dict[str, Any]) -> str:
    return "\n".join(
        f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}"
        for name, value in values.items()
    )
