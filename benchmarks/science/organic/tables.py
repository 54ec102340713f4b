"""The report of the benchmark of the default model as Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from benchmarks.science.organic.gates import GATES, number, verdict


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
        numbers = [number(found[name], gate) for name in found]
        judgement = verdict(number(found[judged], gate), gate)
        lines += _row(
            gate.name, *map(_shown, numbers), _shown(gate.goal), _shown(gate.limit), judgement
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
            cells.append(_shown(mae(sets, s)) + of if s in sets else "–")
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


def _crystals(found: Mapping[str, Any]) -> list[str]:
    """Volumes, crystal by crystal."""
    parts = {n: p["crystals"] for n, p in found.items() if "crystals" in p}
    shown = {n: p for n, p in parts.items() if "missing" not in p}
    names = next(iter(shown.values()), {}).get("volume_off_percent", {})
    lines = [*_row("crystal", *shown), "|---" * (len(shown) + 1) + "|"]
    for name in names:
        cells = [
            f"{p['volume_off_percent'][name]:+.1f}"
            + " (not at rest)" * (name in p["not_converged"])
            for p in shown.values()
        ]
        lines += _row(name, *cells)
    return lines if shown else []


SECTIONS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "GSCDB development sets, kcal/mol. A bare proton has the energy 0; GFN2-xTB gives it 144, and "
    "would be off by 21 in PA26 with that": _sets,
    "Labels of new molecules: forces meV/Å / energies meV/atom": _states("labels"),
    "Own DFT of new species: forces meV/Å / energies meV/atom": _states("open-shells"),
    "Dipoles and charges, mean absolute errors": _plain(
        "charges",
        {
            "n_dipole_D_neutral": "neutral labels of the teacher",
            "dipole_D_neutral": "dipole, neutral, D per component",
            "n_dipole_D_ions": "ions of the teacher",
            "dipole_D_ions": "dipole, ions, D per component",
            "charges_e_neutral": "charges, neutral, e",
            "charges_e_ions": "charges, ions, e",
            "formal_charges_percent": "all formal charges right, % of structures",
            "dft_n_dipole_D_neutral": "neutral singlets of DFT",
            "dft_dipole_D_neutral": "dipole against DFT, neutral singlets",
            "dft_dipole_D_ions": "dipole against DFT, ions of closed shells",
            "dft_dipole_D_open": "dipole against DFT, open shells",
        },
    ),
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
    "Runs of new molecules, ions and radicals": _plain(
        "stable",
        {
            "n_run": "molecules",
            "length_ps": "ps each",
            "n_stable_300K": "stable at 300 K",
            "n_stable_500K": "stable at 500 K",
        },
    ),
    "64 molecules of water at 300 K and 1 bar": _plain(
        "water",
        {
            "length_ps": "ps after half as long an equilibration from SPC",
            "density_g_per_cm3": "density, g/cm³",
            "density_error_g_per_cm3": "its standard error",
            "first_peak_A": "first O–O peak, Å",
            "drift_meV_per_atom_per_ps": "drift of the conserved energy, meV/atom/ps",
            "ms_per_step": "a step, ms",
            "crashed": "crashed",
        },
    ),
    "Relaxed volumes of crystals less those of experiment, %": _crystals,
    "Energy and forces of 27 atoms, one thread; the teacher by one of its four networks": _plain(
        "speed",
        {
            "processor_ms": "processor, median, ms",
            "median_ms": "clock, median, ms",
            "min_ms": "clock, shortest, ms",
        },
    ),
}


def mae(sets: Mapping[str, Any], name: str) -> float:
    """Read the error of a set in kcal/mol."""
    return float(sets[name]["mae_kcal_per_mol"])


def _row(*cells: str) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]


def _shown(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    if value is None or value == inf:
        return "–"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
