"""``polcalc relax``: geometry relaxation of one or many structures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.table import Table
from rich.text import Text

from md_runs import session
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded
from md_runs.screen import screen, tracked
from md_runs.session import ModelOptions
from md_runs.surfaces.relax import (
    Relaxation,
    Saddles,
    check_minima,
    check_relaxable,
    choose_optimizer,
    lowest,
    relax_all,
    remarks,
)

SHOWN = 30  # frames listed one by one at most


def relax_files(
    structures: list[Path],
    model: str | None = None,
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    cell: bool = False,
    allow_saddle: bool = False,
    charge: int | None = None,
    multiplicity: int | None = None,
    partial_charges: str | None = None,
    fragments: Path | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    output: Path = Path("polcalc-relax"),
) -> None:
    """Relax one or many structures.

    Writes relaxed.extxyz, relax.csv (step, energy, largest force) and manifest.json. Exit code 1
    when a frame did not converge, or came to rest on a saddle that it could not leave.
    """
    saddles: Saddles = "keep" if allow_saddle else "leave"
    search = {
        "optimizer": optimizer,
        "fmax_eV_per_A": fmax_eV_per_A,
        "steps": steps,
        "cell": cell,
        "saddles": saddles,
    }
    charges, groups = (
        session.read_partial_charges(partial_charges),
        session.read_fragments(fragments),
    )
    chosen = ModelOptions(model, device, dtype, engine, charge, multiplicity, charges, groups)
    check_free(output)
    frames = session.read_frames(structures)
    calculator = session.make_calculator(chosen)
    for atoms in frames:
        atoms.calc = calculator
        session.evaluate_first(atoms)
        check_relaxable(atoms, fmax_eV_per_A, cell)
        choose_optimizer(optimizer, len(atoms))
    described = session.describe(calculator)
    manifest = make_manifest(
        "relax", search, structures=[session.fingerprint(p) for p in structures], **described
    )
    with recorded(output, manifest):
        for line in session.state_lines(calculator.state_of(atoms) for atoms in frames):
            screen.print(line)
        results = relax_all(frames, output, partial(tracked, work="relaxing"), **search)
        manifest["not_converged"] = sum(not r.converged for r in results)
        manifest["on_saddle"] = sum(r.on_saddle for r in results)
    screen.print(relax_table(results))
    for number, result in enumerate(results):
        for text in remarks(result):
            screen.print(f"frame {number}: {text}")
    screen.print(f"Results in {output}")
    check_minima(results, fmax_eV_per_A, steps, saddles)


def relax_table(results: Sequence[Relaxation]) -> Table:
    """List frames with their energies before and after."""
    table = Table(box=None, pad_edge=False)
    for name in (
        "frame",
        "formula",
        "steps",
        "start (eV)",
        "end (eV)",
        "change (eV)",
        "fmax (eV/Å)",
        "curve (eV/Å²)",
        "minimum",
    ):
        table.add_column(name, justify="left" if name in ("formula", "minimum") else "right")
    for number, result in enumerate(results[:SHOWN]):
        start, end = result.steps[0].energy_eV, result.energy_eV
        numbers = (
            f"{start:.4f}",
            f"{end:.4f}",
            f"{end - start:+.4f}",
            f"{result.fmax_eV_per_A:.4f}",
            lowest(result),
        )
        table.add_row(
            str(number),
            result.atoms.get_chemical_formula(),
            str(result.steps[-1].step),
            *numbers,
            _verdict(result),
        )
    if len(results) > SHOWN:
        table.add_row("…", f"{len(results) - SHOWN} more in relax.csv")
    return table


def _verdict(result: Relaxation) -> Text:
    if not result.converged:
        return Text("no", "red")
    return Text("saddle", "red") if result.on_saddle else Text("yes")
