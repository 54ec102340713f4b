"""What charges, their Coulomb energy and dispersion cost, in the native engine and by themselves.

    python -m benchmarks.speed.far --output benchmarks/results/far.json

Energy and forces of water, open drops and periodic cells of the density of the liquid, on one
thread: TensorNet of 128 channels and 2 layers with more and more terms, in turns, and the sums
alone with one charge for each atom or with a core and a shell. Of each the least processor time
counts: others work on the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

from benchmarks.measure import command_line, machine, take_turns, write
from polcalc.engines.base import Structure
from polcalc.engines.native import _native
from polcalc.engines.native.export import dispersion_tables
from polcalc.engines.native.structures import Native
from potentials.build import build
from potentials.terms.coulomb import Coulomb
from potentials.terms.dispersion import Dispersion

MOLECULES = (3, 10, 33, 168, 333)
DENSITY = 0.1  # atoms/Å³
READOUT, CHARGES, SHELLS, COULOMB = (
    {"name": name} for name in ("readout", "charges", "shells", "coulomb")
)
DISPERSION = {"name": "dispersion", "method": "wb97m"}
TERMS: dict[str, list[dict[str, Any]]] = {
    "network": [READOUT],
    "with charges": [READOUT, CHARGES],
    "with Coulomb energy": [READOUT, CHARGES, COULOMB],
    "with dispersion": [READOUT, CHARGES, COULOMB, DISPERSION],
    "with shells": [READOUT, CHARGES, SHELLS, COULOMB, DISPERSION],
}


def main() -> None:
    """Measure all sizes, open and periodic."""
    asked = command_line(__doc__, "--output").parse_args()
    torch.set_num_threads(1)
    engines = _engines()
    rows = []
    for n_molecules in MOLECULES:
        for periodic in (False, True):
            atoms = waters(n_molecules)
            atoms.pbc = periodic
            structure = Structure(
                atoms.numbers, atoms.positions, atoms.cell.array, np.asarray(atoms.pbc), 0, 1
            )
            calls: dict[str, Callable[[], Any]] = {
                name: (lambda engine=engine, at=structure: engine.evaluate(at))
                for name, engine in engines.items()
            }
            found = take_turns(calls | sums(atoms), 60 if len(atoms) < 200 else 25)
            rows.append(
                {"n_atoms": len(atoms), "periodic": periodic}
                | {name: numbers["min_processor_ms"] for name, numbers in found.items()}
            )
    write({"machine": machine(), "milliseconds": rows}, table(rows), asked.output)


def _engines() -> dict[str, Native]:
    engines = {}
    for name, terms in TERMS.items():
        torch.manual_seed(0)
        spec = {
            "cutoff": 4.5,
            "architecture": {"name": "tensornet", "channels": 128, "n_layers": 2},
            "radial": {"name": "exp_normal", "n_radial": 32},
            "terms": terms,
        }
        engines[name] = Native(build(spec), torch.device("cpu"))
    return engines


def sums(atoms: Atoms) -> dict[str, Callable[[], Any]]:
    """Make the calls of the sums alone."""
    rng, n = np.random.default_rng(1), len(atoms)
    charges = np.where(atoms.numbers == 8, -0.8, 0.4)
    place = {
        "species": atoms.numbers.astype(np.int64),
        "positions": atoms.positions,
        "lattice": atoms.cell.array if atoms.pbc.all() else None,
    }
    widths = Coulomb(channels=1).widths_A.detach().double().numpy()
    charged = place | {"charges": charges, "widths": widths}
    shells = {"shells": 0.05 * rng.normal(size=(n, 3)), "electrons": np.full(n, 2.0)}
    term = Dispersion(channels=1, method="wb97m")
    tables = {name: x.numpy().ravel() for name, x in dispersion_tables(term, 60).items()}
    return {
        "Coulomb alone": lambda: _native.coulomb(**charged),
        "Coulomb of shells alone": lambda: _native.coulomb(**charged, **shells),
        "dispersion alone": lambda: _native.dispersion(**place, tables=tables),
    }


def waters(n_molecules: int) -> Atoms:
    """Turn molecules at random on a lattice of the density of the liquid."""
    rng = np.random.default_rng(0)
    edge = (3 * n_molecules / DENSITY) ** (1 / 3)  # Å
    per_edge = int(np.ceil(n_molecules ** (1 / 3)))
    atoms = Atoms(cell=[edge] * 3)
    for place in list(np.ndindex(per_edge, per_edge, per_edge))[:n_molecules]:
        water = molecule("H2O")
        water.euler_rotate(*(360 * rng.random(3)))
        water.translate(np.array(place) * edge / per_edge)
        atoms += water
    return atoms


def table(rows: list[dict[str, Any]]) -> str:
    """Write a table: milliseconds, and times the network."""
    names = [name for name in rows[0] if name not in ("n_atoms", "periodic")]
    lines = [
        "# Charges, Coulomb energy and dispersion in compiled code",
        "",
        "Processor milliseconds of energy and forces, one thread, the least of many calls; in"
        " brackets times the network.",
        "",
        f"| atoms | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for row in rows:
        cells = [f"{row['n_atoms']}, {'periodic' if row['periodic'] else 'open'}"]
        for name in names:
            ratio = f" ({row[name] / row['network']:.2f})" if name.startswith("with ") else ""
            cells.append(f"{row[name]:.3f}{ratio}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
