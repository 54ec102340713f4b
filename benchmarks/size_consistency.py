"""Do far molecules have the sum of their energies? Ion and molecule 30 Å apart, and copies of an ion, by total charge and by fragments.

    python benchmarks/size_consistency.py --model runs/ablation/toy-charge-B/NAME/model.pt --output benchmarks/results/size_consistency.json

The structures are the first of each kind in toy-charge-B. Target with fragments: 1 meV. A total charge acts on every atom, however far:
its error is reported, not judged.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

sys.path.insert(0, str(Path(__file__).parent))
from measure import machine, write

from polcalc import PolarizedCalculator
from polcalc.domain import ExtrapolationWarning
from potentials.datasets import load_frames

APART_A = 30.0  # between the centres of mass of neighbours
PAIRS = (("H4N", 1, "H2O", 0), ("CH4O", 1, "H3N", 0), ("H3O", 1, "CH4O", 0), ("HO", -1, "H2O", 0), ("CH3O", -1, "H3N", 0))
COPIES = (("H4N", 1), ("CH4O", 1), ("HO", -1))
N_COPIES = (2, 3, 4)
TARGET_MEV = 1.0
Energy = Callable[..., float]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, action="append", help="model file; repeatable")
    parser.add_argument("--output", type=Path, help="JSON with all numbers; the table is written beside it as .md")
    arguments = parser.parse_args(given)
    rows = [row for model in arguments.model for row in measure(model, Path(model).parent.name)]
    report = {"machine": machine(), "apart_A": APART_A, "rows": rows}
    write(report, text(report), arguments.output)


def measure(model: str | Path, name: str) -> list[dict[str, Any]]:
    """Deviations from additivity in meV of one model, by both ways to say the charge; None where the model refuses a state."""
    parts = _structures()
    rows = []
    for first, charge, second, other in PAIRS:
        molecules = [(parts[first, charge], charge), (parts[second, other], other)]
        rows.append({"model": name, "system": f"{_signed(first, charge)} … {_signed(second, other)}", **_deviations(model, molecules)})
    for first, charge in COPIES:
        for n in N_COPIES:
            rows.append(
                {"model": name, "system": f"{n} × {_signed(first, charge)}", **_deviations(model, [(parts[first, charge], charge)] * n)}
            )
    return rows


def together(molecules: Sequence[Atoms]) -> Atoms:
    """Put molecules side by side."""
    joined = Atoms()
    for n, molecule in enumerate(molecules):
        placed = molecule.copy()
        placed.positions += [n * APART_A, 0, 0] - placed.get_center_of_mass()
        joined += placed
    joined.info.clear()
    return joined


def _deviations(model: str | Path, molecules: Sequence[tuple[Atoms, int]]) -> dict[str, float | None]:
    apart = sum(_energy(model, atoms, charge=charge) for atoms, charge in molecules)
    joined = together([atoms for atoms, _ in molecules])
    ends = np.cumsum([len(atoms) for atoms, _ in molecules])
    fragments = [
        {"atoms": list(range(int(end) - len(atoms), int(end))), "charge": charge}
        for (atoms, charge), end in zip(molecules, ends, strict=True)
    ]
    ways: dict[str, dict[str, Any]] = {
        "total_charge_meV": {"charge": sum(charge for _, charge in molecules), "multiplicity": _multiplicity(molecules)},
        "fragments_meV": {"fragments": fragments},
    }
    return {name: _difference(model, joined, apart, way) for name, way in ways.items()}


def _difference(model: str | Path, joined: Atoms, apart: float, way: Mapping[str, Any]) -> float | None:
    try:
        return 1000 * abs(_energy(model, joined, **way) - apart)
    except ValueError:  # a state that the model has never seen and cannot tell from another
        return None


def _energy(model: str | Path, atoms: Atoms, **state: Any) -> float:
    copy = atoms.copy()
    copy.info.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)  # many ions together are meant to be beyond the card
        copy.calc = PolarizedCalculator(model, device="cpu", dtype="float64", engine="eager", **state)
        return float(copy.get_potential_energy())


def _multiplicity(molecules: Sequence[tuple[Atoms, int]]) -> int:
    return 1 + sum(int(atoms.numbers.sum()) - charge for atoms, charge in molecules) % 2


def _structures() -> dict[tuple[str, int], Atoms]:
    """First structure of each formula and charge."""
    found: dict[tuple[str, int], Atoms] = {}
    for atoms in load_frames("toy-charge-B"):
        found.setdefault((atoms.get_chemical_formula(), atoms.info["charge"]), atoms)
    return found


def _signed(formula: str, charge: int) -> str:
    return formula + {1: "+", -1: "-", 0: ""}[charge]


def text(report: Mapping[str, Any]) -> str:
    """Write the deviations as Markdown."""
    lines = [
        f"|E(all) - Σ E(each)| in meV, neighbours {report['apart_A']:g} Å apart, float64; –: the model refuses the state. "
        f"Target with fragments: below {TARGET_MEV:g} meV. {json.dumps(report['machine'])}",
        "",
        "| model | system | total charge | fragments |",
        "|---|---|---|---|",
    ]
    for row in report["rows"]:
        values = ("–" if row[k] is None else f"{row[k]:.3g}" for k in ("total_charge_meV", "fragments_meV"))
        lines.append(f"| {row['model']} | {row['system']} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
