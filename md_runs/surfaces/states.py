"""``polcalc states``: compare the electronic states of molecules: gaps, minima and crossings."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from rich.text import Text

from md_runs import session
from md_runs.errors import InputError, NotConverged
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded, to_json, write_figure
from md_runs.records.structures import write_structures
from md_runs.screen import screen, show
from md_runs.session import ModelOptions
from md_runs.surfaces import levels as lv
from md_runs.surfaces.levels import Levels
from md_runs.surfaces.relax import Saddles
from md_runs.surfaces.states_report import plot_levels, refusal, states_lines, states_tables
from potentials.files import write_text
from potentials.shipped import DEFAULT

DRAWN = 12  # structures in the figure at most


def states(
    structures: list[Path],
    model: str | None = None,
    charges: str = "auto",
    multiplicities: str = "auto",
    relax: bool = False,
    crossing: str | None = None,
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    allow_saddle: bool = False,
    partial_charges: str | None = None,
    electric_field_V_per_A: tuple[float, float, float] | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    output: Path = Path("polcalc-states"),
) -> None:
    """Compare the electronic states of one or many structures.

    Writes states.csv, states.json, levels.png, and with --relax relaxed.extxyz, with --crossing
    crossing.extxyz. States that the model does not cover are refused by name. Exit code 1 when one
    that was asked for is refused or a search did not converge, 2 when none is left.
    """
    check_free(output)
    if not fmax_eV_per_A > 0:
        raise InputError(
            f"`--fmax-eV-per-A` must be positive; got {fmax_eV_per_A} eV/Å. Take 0.01."
        )
    pair = _pair(crossing)
    asked = integers("--charges", charges), integers("--multiplicities", multiplicities)
    frames = session.read_frames(structures)
    given = session.read_partial_charges(partial_charges)
    calculator = session.make_calculator(
        ModelOptions(
            model,
            device,
            dtype,
            engine,
            partial_charges=given,
            electric_field_V_per_A=electric_field_V_per_A,
        )
    )
    found = [lv.choose(atoms, calculator.model.card, *asked) for atoms in frames]
    _check_some(found, pair)
    lv.evaluate(calculator, found)
    options = {
        "charges": charges,
        "multiplicities": multiplicities,
        "relax": relax,
        "crossing": crossing,
        "steps": steps,
        "electric_field_V_per_A": electric_field_V_per_A,
    }
    about = session.describe(calculator) | {
        "structures": [session.fingerprint(path) for path in structures],
        "state": None,
    }
    manifest = make_manifest("states", options | {"fmax_eV_per_A": fmax_eV_per_A}, **about)
    with recorded(output, manifest):
        if relax or pair:
            saddles: Saddles = "keep" if allow_saddle else "leave"
            lv.relax(calculator, found, fmax_eV_per_A, steps, saddles)
        if pair:
            lv.cross(calculator, found, pair, fmax_eV_per_A, steps)
        shown = {kind for levels in found for kind in levels.shown()}
        caveats = calculator.model.card.caveats(sorted(shown))
        _write(output, found, pair, about["model"], caveats)
    for table in states_tables(found):
        show(table)
    for line in states_lines(found, pair):
        screen.print(line)
    if caveats:
        screen.print(Text.assemble(("the card of the model: ", "yellow"), " ".join(caveats)))
    if theory := calculator.model.card.dataset.get("theory"):
        screen.print(
            f"Energies are learnt from {theory}; how far to trust them: polcalc info"
            f" {model or DEFAULT}",
        )
    screen.print(f"Results in {output}")
    _complain(found, pair, allow_saddle)


def facts(number: int, levels: Levels, pair: tuple[int, int] | None) -> dict[str, Any]:
    """Collect what was found for one structure as plain values."""
    return {
        "frame": number,
        "formula": levels.atoms.get_chemical_formula(),
        "states": [
            {
                "charge": q,
                "multiplicity": m,
                "energy_eV": levels.energies_eV[q, m],
                "relaxed_energy_eV": levels.relaxed_eV((q, m)),
                "converged": levels.converged.get((q, m)),
                "rearranged": str(levels.bond_changes((q, m))) if (q, m) in levels.minima else None,
                "saddle": levels.on_saddle((q, m)) if (q, m) in levels.curvatures else None,
            }
            for q, m in levels.states
        ],
        "refused": [refused._asdict() for refused in levels.refused],
        "gaps": levels.gaps(),
        "ionisations": levels.ionisations(),
        "crossings": [crossing_facts(levels, charge, pair) for charge in levels.crossings if pair],
    }


def crossing_facts(levels: Levels, charge: int, pair: tuple[int, int]) -> dict[str, Any]:
    """Collect what was found of one crossing; heights are above the minima of the two states."""
    crossing = levels.crossings[charge]
    energy = float(crossing.energies.mean())
    return {
        "charge": charge,
        "multiplicities": list(pair),
        "energy_eV": energy,
        "gap_eV": float(crossing.energies[1] - crossing.energies[0]),
        "heights_eV": [energy - levels.at_minima_eV[charge, m][charge, m] for m in pair],
        "converged": crossing.converged,
    }


def _write(
    output: Path,
    found: Sequence[Levels],
    pair: tuple[int, int] | None,
    model: dict[str, Any],
    caveats: Sequence[str],
) -> None:
    collected = [facts(number, levels, pair) for number, levels in enumerate(found)]
    said = {"model": model, "caveats": list(caveats), "structures": collected}
    write_text(output / "states.json", to_json(said))
    write_text(output / "states.csv", _csv(collected))
    write_figure(output / "levels.png", plot_levels(found[:DRAWN], pair, caveats))
    if any(levels.minima for levels in found):
        write_structures(output / "relaxed.extxyz", _minima(found))
    if pair:
        write_structures(output / "crossing.extxyz", _crossings(found, pair))


def _minima(found: Sequence[Levels]) -> Iterator[Atoms]:
    for number, levels in enumerate(found):
        for state, atoms in levels.minima.items():
            atoms.info |= {"frame": number, "converged": levels.converged[state]}
            yield atoms


def _crossings(found: Sequence[Levels], pair: tuple[int, int]) -> Iterator[Atoms]:
    for number, levels in enumerate(found):
        for charge, crossing in levels.crossings.items():
            atoms = crossing.atoms.copy()
            energies = {
                f"energy_multiplicity{m}_eV": float(e)
                for m, e in zip(pair, crossing.energies, strict=True)
            }
            atoms.info = {
                "frame": number,
                "charge": charge,
                "multiplicity": pair[0],  # one of two
                **energies,
                "converged": crossing.converged,
            }
            yield atoms


def _csv(collected: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "frame",
            "formula",
            "charge",
            "multiplicity",
            "energy_eV",
            "relaxed_energy_eV",
            "converged",
            "rearranged",
            "saddle",
        ]
    )
    for entry in collected:
        writer.writerows(
            [entry["frame"], entry["formula"], *state.values()] for state in entry["states"]
        )
    return text.getvalue()


def _check_some(found: Sequence[Levels], pair: tuple[int, int] | None) -> None:
    """Refuse what leaves nothing to do."""
    for number, levels in enumerate(found):
        if not levels.states:
            why = "; ".join(refusal(entry) for entry in levels.refused)
            raise InputError(
                "`--charges` and `--multiplicities` must leave a state that the model covers; got"
                f" none for structure {number} ({levels.atoms.symbols}){': ' + why if why else ''}."
                " Ask for others."
            )
        if pair and not any({(q, m) for m in pair} <= set(levels.states) for q, _ in levels.states):
            covered = ", ".join(f"{q:+d}/{m}" for q, m in levels.states)
            raise InputError(
                "`--crossing` must name two multiplicities of one charge that the model covers;"
                f" got {pair[0]},{pair[1]} for structure {number} ({levels.atoms.symbols}), which"
                f" has charge/multiplicity {covered}. Ask for these."
            )


def _complain(found: Sequence[Levels], pair: tuple[int, int] | None, allow_saddle: bool) -> None:
    n_refused = sum(len(levels.refused) for levels in found)
    n_minima = sum(not done for levels in found for done in levels.converged.values())
    n_saddles = sum(levels.on_saddle(state) for levels in found for state in levels.minima)
    n_crossings = sum(
        not crossing.converged for levels in found for crossing in levels.crossings.values()
    )
    wrong = {
        "states refused": n_refused,
        "minima not converged": n_minima,
        "minima that are saddles": 0 if allow_saddle else n_saddles,
        "crossings not found": n_crossings,
    }
    if any(wrong.values()):
        raise NotConverged(
            ", ".join(f"{count} {what}" for what, count in wrong.items() if count) + "."
        )


def _pair(text: str | None) -> tuple[int, int] | None:
    values = integers("--crossing", text) if text is not None else None
    if text is not None and (values is None or len(values) != 2 or values[0] == values[1]):
        raise InputError(
            f"`--crossing` must be two different multiplicities, as in 1,3; got {text}. Correct it."
        )
    return None if values is None else (min(values), max(values))


def integers(name: str, text: str) -> list[int] | None:
    """Read "-1,0,1"; None for auto.

    Raises
    ------
    InputError
    """
    if text == "auto":
        return None
    try:
        values = [int(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"`{name}` must be whole numbers between commas, as in -1,0,1, or auto; got {text}."
            " Correct it."
        ) from error
    if name != "--charges" and min(values) < 1:
        raise InputError(f"`{name}` must be at least 1 (2S+1); got {text}. Correct it.")
    return list(dict.fromkeys(values))
