"""What was measured of ions and far molecules, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.physics.ions.paths import COULOMB_FROM_A, FREE_A

ADDITIVE_MEV, COULOMB_MEV, CHARGE, JUMP_MEV_PER_A = 1.0, 10.0, 0.02, 1.0  # targets
NONE = "–"


def text(report: Mapping[str, Any]) -> str:
    """Write all tables, a column for each contestant."""
    found = report["contestants"]
    parts = [
        f"Ions and far molecules. {json.dumps(report['machine'])}",
        _targets(found),
        _apart(found),
        _pairs(found),
        _handovers(found),
        _crowds(found),
    ]
    return "\n\n".join(parts) + "\n"


def _targets(found: Mapping[str, Any]) -> str:
    """Count how many systems keep each target."""
    rows = []
    for target, values in (
        ("closed shells far apart add up, 1 meV", lambda c: _additive(c, closed=True)),
        ("open shells far apart add up, 1 meV", lambda c: _additive(c, closed=False)),
        ("ions of pairs keep ±1 e, 0.02 e, from 5 Å on", lambda c: _kept(c)),
        (
            "pairs from 8 Å on as Coulomb, 10 meV",
            lambda c: [r["off_coulomb_meV"] <= COULOMB_MEV for r in c["pairs"]],
        ),
        (
            "no jump on a path, 1 meV/Å",
            lambda c: [
                r["jump_meV_per_A"] <= JUMP_MEV_PER_A for r in (*c["pairs"], *c["handovers"])
            ],
        ),
        (
            "ions of crowds and boxes have ±1 e, 0.02 e",
            lambda c: [
                r["excess"] <= CHARGE
                for r in (*c["crowds"], *c["boxes"])
                if r["excess"] is not None
            ],
        ),
    ):
        cells = [_counted(values(contestant)) for contestant in found.values()]
        rows.append([target, *cells])
    return _table(["systems that keep the target", *found], rows)


def _apart(found: Mapping[str, Any]) -> str:
    """List deviations from additivity, and the charge that the first molecule keeps."""
    by_name = [{row["system"]: row for row in c["apart"]} for c in found.values()]
    rows = []
    for row in next(iter(found.values()))["apart"]:
        rows.append([row["system"], *(_deviation(named.get(row["system"])) for named in by_name)])
    return (
        "**E(all) - Σ E(each) - Coulomb energy of the charges that each has alone**, meV, at 15 /"
        " 30 / 60 / 300 Å, or at 30 Å; in brackets the charge of the first molecule at the last\n\n"
    ) + _table(["system", *found], rows)


def _pairs(found: Mapping[str, Any]) -> str:
    rows = [
        [
            row["pair"],
            name,
            _off_one(row, "excess_of_cation", 0.0),
            _off_one(row, "charge_of_cation", FREE_A),
            f"{row['off_coulomb_nearer_meV']:.0f}",
            f"{row['off_coulomb_meV']:.1f}",
            f"{row['jump_meV_per_A']:.2g}",
            f"{row['steepest_eV_per_A2']:.0f} at {row['steepest_at_A']:.2f} Å",
        ]
        for name, contestant in found.items()
        for row in contestant["pairs"]
    ]
    head = [
        "pair",
        "",
        "shared charge off ±1, e",
        f"charge off ±1 from {FREE_A:g} Å, e",
        f"off Coulomb from {FREE_A:g} Å, meV",
        f"from {COULOMB_FROM_A:g} Å",
        "jump, meV/Å",
        "steepest, eV/Å²",
    ]
    return "**Ion pairs from 1.6 to 40 Å**\n\n" + _table(head, rows)


def _handovers(found: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{row['pair']}, {row['heavy_A']:g} Å",
            name,
            _largest(row["left_to_share"]),
            f"{row['jump_meV_per_A']:.2g}",
            f"{row['steepest_eV_per_A2']:.0f} at {row['steepest_at_A']:.2f} Å",
        ]
        for name, contestant in found.items()
        for row in contestant["handovers"]
    ]
    head = ["proton", "", "left by formal charges, e", "jump, meV/Å", "steepest, eV/Å²"]
    return "**A proton handed over from acid to base**\n\n" + _table(head, rows)


def _crowds(found: Mapping[str, Any]) -> str:
    rows = []
    for name, contestant in found.items():
        for row in (*contestant["crowds"], *contestant["boxes"]):
            if row["excess"] is None:
                continue
            off = row.get("off_ewald_meV")
            energy = NONE if off is None else f"{off:.1f}"
            rows.append(
                [row["system"], name, f"{row['excess']:.4f}", f"{row['charges']:.4f}", energy]
            )
    head = ["system", "", "shared charge off ±1, e", "charge off ±1, e", "off Ewald, meV"]
    return "**Zwitterions, salt bridges, boxes**\n\n" + _table(head, rows)


def _additive(contestant: Mapping[str, Any], closed: bool) -> list[bool]:
    return [
        max(abs(value["meV"]) for value in row["found"]) <= ADDITIVE_MEV
        for row in contestant["apart"]
        if None not in row["found"] and row["closed"] == closed
    ]


def _kept(contestant: Mapping[str, Any]) -> list[bool]:
    return [
        all(abs(q - 1) <= CHARGE for q in _from(row, "charge_of_cation", FREE_A))
        for row in contestant["pairs"]
        if row["charge_of_cation"][0] is not None
    ]


def _from(row: Mapping[str, Any], name: str, distance_A: float) -> list[float]:
    pairs = zip(row["distance_A"], row[name], strict=True)
    return [value for at, value in pairs if at >= distance_A and value is not None]


def _off_one(row: Mapping[str, Any], name: str, from_A: float) -> str:
    values = _from(row, name, from_A)
    return f"{max(abs(v - 1) for v in values):.4f}" if values else NONE


def _largest(values: list[float | None]) -> str:
    known = [abs(v) for v in values if v is not None]
    return f"{max(known):.2f}" if known else NONE


def _deviation(row: Mapping[str, Any] | None) -> str:
    if row is None or None in row["found"]:
        return NONE
    numbers = " / ".join(_meV(value["meV"]) for value in row["found"])
    charge = row["found"][-1]["charge"]
    return numbers if charge is None else f"{numbers} ({charge:+.4f})"


def _meV(value: float) -> str:
    return f"{value:+,.0f}" if abs(value) >= 10 else f"{value:+.2f}" if abs(value) >= 0.01 else "0"


def _counted(kept: list[bool]) -> str:
    return f"{sum(kept)} of {len(kept)}" if kept else NONE


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Write a table; brackets of SMILES in its first column would be links."""
    names = [[f"`{row[0]}`" if "[" in row[0] else row[0], *row[1:]] for row in rows]
    lines = [head, ["---"] * len(head), *names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
