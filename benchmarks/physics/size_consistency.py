"""Do far molecules have the sum of their energies?

Ion and molecule 30 Å apart, and copies of an ion.

    python -m benchmarks.physics.size_consistency --model runs/ablation/toy-charge-B/NAME/model.pt
        --output benchmarks/results/size_consistency.json

The charge is said as a total, by fragments, or by partial charges, as far as the model knows them.
Structures are the first of each kind in toy-charge-B. Target with fragments: 1 meV. A total charge
acts on every atom, however far: its error is reported, not judged.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from benchmarks.measure import command_line, machine, write
from polcalc import PolarizedCalculator
from polcalc.calculator.domain import ExtrapolationWarning
from potentials.checkpoint import Model, load
from potentials.datasets import load_frames

APART_A = 30.0  # between the centres of mass of neighbours
PAIRS = (
    (("H4N", 1), ("H2O", 0)),
    (("CH4O", 1), ("H3N", 0)),
    (("H3O", 1), ("CH4O", 0)),
    (("HO", -1), ("H2O", 0)),
    (("CH3O", -1), ("H3N", 0)),
)  # formula and charge
COPIES = (("H4N", 1), ("CH4O", 1), ("HO", -1))
N_COPIES = (2, 3, 4)
TARGET_MEV = 1.0
ROUNDING_MEV = 1e-6  # smaller ones are all the same


class Molecule(NamedTuple):
    """A structure with its charge and, in its calculator, its partial charges."""

    atoms: Atoms
    charge: int  # e


# how a calculator is told the charge of molecules that are far apart
Way = Callable[[Sequence[Molecule]], dict[str, Any]]


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__, "--output")
    parser.add_argument("--model", required=True, action="append", help="model file; repeatable")
    arguments = parser.parse_args(given)
    rows = [row for model in arguments.model for row in measure(model)]
    report = {"machine": machine(), "apart_A": APART_A, "rows": rows}
    write(report, text(report), arguments.output)


def measure(path: str | Path) -> list[dict[str, Any]]:
    """Deviations from additivity in meV of one model, by each way to say the charge that it knows.

    None where it refuses the state.
    """
    model, parts = load(path), _structures()
    name = model.card.name or Path(path).name
    systems = {f"{_signed(*a)} … {_signed(*b)}": [parts[a], parts[b]] for a, b in PAIRS}
    systems |= {f"{n} × {_signed(*ion)}": [parts[ion]] * n for ion in COPIES for n in N_COPIES}
    return [
        {"model": name, "system": system, **_deviations(model, molecules)}
        for system, molecules in systems.items()
    ]


def together(molecules: Sequence[Atoms]) -> Atoms:
    """Put molecules side by side."""
    joined = Atoms()
    for n, molecule in enumerate(molecules):
        placed = molecule.copy()
        placed.positions += [n * APART_A, 0, 0] - placed.get_center_of_mass()
        joined += placed
    joined.info.clear()
    return joined


def total_charge(molecules: Sequence[Molecule]) -> dict[str, Any]:
    """Say the charge of all of them together."""
    charge = sum(m.charge for m in molecules)
    return {
        "charge": charge,
        "multiplicity": 1 + (sum(int(m.atoms.numbers.sum()) for m in molecules) - charge) % 2,
    }


def fragments(molecules: Sequence[Molecule]) -> dict[str, Any]:
    """Say the charge of each."""
    ends = np.cumsum([len(m.atoms) for m in molecules]).tolist()
    return {
        "fragments": [
            {"atoms": list(range(end - len(m.atoms), end)), "charge": m.charge}
            for m, end in zip(molecules, ends, strict=True)
        ]
    }


def partial_charges(molecules: Sequence[Molecule]) -> dict[str, Any]:
    """Say the charge of each atom."""
    return total_charge(molecules) | {
        "partial_charges": np.concatenate([m.atoms.get_charges() for m in molecules])
    }


WAYS = {"total_charge": total_charge, "fragments": fragments, "partial_charges": partial_charges}


def _deviations(model: Model, molecules: Sequence[Molecule]) -> dict[str, float | None]:
    seen = model.potential.state_inputs
    known = {
        "total_charge": "total_charge" in seen,
        "fragments": "total_charge" in seen,
        "partial_charges": "partial_charges" in seen,
    }
    return {
        f"{name}_meV": _deviation(model, molecules, way) if known[name] else None
        for name, way in WAYS.items()
    }


def _deviation(model: Model, molecules: Sequence[Molecule], way: Way) -> float | None:
    apart = sum(_energy(model, m.atoms, way([m])) for m in molecules)
    try:
        return 1000 * abs(
            _energy(model, together([m.atoms for m in molecules]), way(molecules)) - apart
        )
    except ValueError:  # a state that the model has never seen and has in a table
        return None


def _energy(model: Model, atoms: Atoms, state: Mapping[str, Any]) -> float:
    copy = atoms.copy()
    copy.info.clear()
    with warnings.catch_warnings():
        # many ions together are meant to be beyond the card
        warnings.simplefilter("ignore", ExtrapolationWarning)
        copy.calc = PolarizedCalculator(
            model, device="cpu", dtype="float64", engine="eager", **state
        )
        return float(copy.get_potential_energy())


def _structures() -> dict[tuple[str, int], Molecule]:
    """First structure of each formula and charge."""
    found: dict[tuple[str, int], Molecule] = {}
    for atoms in load_frames("toy-charge-B"):
        key = atoms.get_chemical_formula(), atoms.info["charge"]
        found.setdefault(key, Molecule(atoms, atoms.info["charge"]))
    return found


def _signed(formula: str, charge: int) -> str:
    return formula + {1: "+", -1: "-", 0: ""}[charge]


def text(report: Mapping[str, Any]) -> str:
    """Write the deviations as Markdown, a table for each model."""
    lines = [
        (
            f"|E(all) - Σ E(each)| in meV, neighbours {report['apart_A']:g} Å apart, float64; –: a"
            " way that the model does not know, or a state that it refuses. Target with fragments:"
            f" below {TARGET_MEV:g} meV. {json.dumps(report['machine'])}"
        ),
        "",
    ]
    for model in dict.fromkeys(row["model"] for row in report["rows"]):
        lines += [
            f"**{model}**",
            "",
            "| system | " + " | ".join(way.replace("_", " ") for way in WAYS) + " |",
            "|---" * (1 + len(WAYS)) + "|",
        ]
        for row in report["rows"]:
            if row["model"] == model:
                lines.append(
                    f"| {row['system']} | "
                    + " | ".join(_number(row[f"{way}_meV"]) for way in WAYS)
                    + " |"
                )
        lines.append("")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return (
        f"{value:,.0f}"
        if value >= 1
        else f"{value:.1g}"
        if value >= ROUNDING_MEV
        else f"< {ROUNDING_MEV:g}"
    )


if __name__ == "__main__":
    main()
