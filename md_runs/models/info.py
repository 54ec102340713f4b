"""``polcalc info``: what a model is for, how wrong it is, where it fails. Needs no torch."""

from __future__ import annotations

from json import dumps
from typing import Any

from ase.data import chemical_symbols
from rich.table import Table

from md_runs.errors import as_input_error
from md_runs.models.errors_table import errors_table
from md_runs.screen import screen
from potentials.contents import read_contents
from potentials.deviations import named_errors
from potentials.shipped import DEFAULT


def info(model: str | None = None, verbose: bool = False, json: bool = False) -> None:
    """Print what a model is for, how wrong it is and where it fails; ``verbose``: all of its card.

    None is the model of those who name none.

    Raises
    ------
    InputError   unknown name or unreadable file
    """
    model = model or DEFAULT
    facts = model_info(model)
    if json:
        print(dumps(facts, indent=2, ensure_ascii=False))
        return
    rows = for_users(facts) | (for_the_record(facts) if verbose else {})
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    screen.print(table)
    if not verbose:
        screen.print(f"More: polcalc info {model} --verbose")


def model_info(model: str) -> dict[str, Any]:
    """Collect the facts of a model file or a shipped model as plain values.

    Raises
    ------
    InputError   unknown name or unreadable file
    """
    with as_input_error():
        contents = read_contents(model)
    return {
        "model": model,
        "path": str(contents.path),
        "sha256": contents.sha256,
        "has_digest": contents.has_digest,
        "parameters": contents.n_parameters,
        "cutoff_A": contents.spec["cutoff"],
        "card": contents.card.to_dict(),
        "spec": contents.spec,
    }


def for_users(info: dict[str, Any]) -> dict[str, Table | str]:
    """Say what a model is, how wrong, for what, and where it fails."""
    card, architecture = info["card"], info["spec"]["architecture"]["name"]
    failures = [found for found in _findings(card) if found["verdict"] == "failure"]
    return {
        "model": card["name"] or info["model"],
        "": card["description"],
        "theory": str(card["dataset"].get("theory", "")),
        "where it fails": card["limits"],
        "known to be wrong": ", ".join(
            f"{formula} {q:+d}/{m} by {eV:+.1f} eV" for formula, q, m, eV in card["known_errors"]
        ),
        "wrong in its own training": ", ".join(
            f"{formula} {q:+d}/{m} by {eV:.1f} eV" for formula, q, m, eV in card["training_errors"]
        ),
        "fails its audit": _lines(failures),
        "elements": " ".join(chemical_symbols[z] for z in card["elements"]),
        "states": _states(card["states"]),
        "test errors": _errors(card["test_errors"]),
        "architecture": (
            f"{architecture}, {info['parameters']:,} parameters{_sets(info['spec'])}, cutoff"
            f" {info['cutoff_A']:g} Å"
        ),
        "units": ", ".join(f"{quantity} {unit}" for quantity, unit in card["units"].items()),
    }


def for_the_record(info: dict[str, Any]) -> dict[str, Table | str]:
    """Say what file it is, and how it was made."""
    card = info["card"]
    largest = card["force_max_eV_per_A"]
    return {
        "file": info["path"],
        "SHA-256": info["sha256"],
        "digest": (
            ""
            if info["has_digest"]
            else "none: an older file; damage shows by the checksums of its parts alone"
        ),
        "frames of states": ", ".join(f"{q:+d}/{m}: {n}" for q, m, n in card["states"]),
        "closest distances": ", ".join(
            f"{pair} {d:.2f} Å" for pair, d in card["closest_distances_A"].items()
        ),
        "largest force": "" if largest is None else f"{largest:.1f} eV/Å",
        "largest structure": f"{card['n_atoms_max']} atoms" if card["n_atoms_max"] else "",
        "trained on": _named(card["dataset"]),
        "started from": _named(card["training"].get("start", {})),
        "fine-tuned": _fine_tuned(card["training"]),
        "tested on": _named(card["test_errors"].get("dataset", {})),
        "validation errors": _errors(card["training"].get("validation_errors", {})),
        "audit": _lines(_findings(card)),
        "made by": card["command"],
        "seed": "" if card["seed"] is None else str(card["seed"]),
        "versions": _named(card["versions"]),
    }


def _fine_tuned(training: dict[str, Any]) -> str:
    """Say what a fine-tuning did to new structures, and to those of the old domain."""
    compared = training.get("compared", {})
    return "\n".join(
        f"{kind}: {label.replace(' (', ' ').rstrip(')')} {before[name]:.4g} before,"
        f" {after[name]:.4g} now"
        for kind, key in (("new structures", ""), ("old domain", "old_"))
        if (before := compared.get(f"{key}before")) and (after := compared[f"{key}after"])
        for label, name in ((n, key.format("mae")) for n, key in named_errors(before).items())
        if before[name] is not None
    )


def _findings(card: dict[str, Any]) -> list[dict[str, Any]]:
    return list(card["audit"].get("findings", ()))


def _lines(findings: list[dict[str, Any]]) -> str:
    return "\n".join(f"{f['check']}: {f['verdict']}, {f['text']}" for f in findings)


def _states(states: list[list[int]]) -> str:
    """List the multiplicities of each charge."""
    charges: dict[int, list[int]] = {}
    for charge, multiplicity, _ in states:
        charges.setdefault(charge, []).append(multiplicity)
    return "\n".join(
        f"charge {charge:+d}: multiplicity {', '.join(map(str, sorted(of_charge)))}"
        for charge, of_charge in sorted(charges.items())
    )


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
