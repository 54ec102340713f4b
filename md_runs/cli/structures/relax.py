"""``polcalc relax``: geometry relaxation of one or many structures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.console import Console

from md_runs.cli import options as opt
from md_runs.cli import report, session
from md_runs.cli.session import ModelOptions
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded
from md_runs.surfaces.relax import (
    Saddles,
    check_minima,
    check_relaxable,
    choose_optimizer,
    relax_all,
    remarks,
)

screen = Console(highlight=False, soft_wrap=True)


def command(
    structures: opt.Structures,
    model: opt.Model = None,
    optimizer: opt.Optimizer = "auto",
    fmax_ev_per_a: opt.FmaxEvPerA = 0.01,
    steps: opt.RelaxSteps = 500,
    cell: opt.Cell = False,
    allow_saddle: opt.AllowSaddle = False,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    partial_charges: opt.PartialCharges = None,
    fragments: opt.Fragments = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    output: opt.Output = Path("polcalc-relax"),
) -> None:
    """Relax one or many structures.

    Writes relaxed.extxyz, relax.csv (step, energy, largest force) and manifest.json. Exit code 1
    when a frame did not converge, or came to rest on a saddle that it could not leave.
    """
    saddles: Saddles = "keep" if allow_saddle else "leave"
    search = {
        "optimizer": optimizer,
        "fmax_eV_per_A": fmax_ev_per_a,
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
        check_relaxable(atoms, fmax_ev_per_a, cell)
        choose_optimizer(optimizer, len(atoms))
    described = session.describe(calculator)
    manifest = make_manifest(
        "relax", search, structures=[session.fingerprint(p) for p in structures], **described
    )
    with recorded(output, manifest):
        results = relax_all(frames, output, partial(report.tracked, work="relaxing"), **search)
        manifest["not_converged"] = sum(not r.converged for r in results)
        manifest["on_saddle"] = sum(r.on_saddle for r in results)
    screen.print(report.relax_table(results))
    for number, result in enumerate(results):
        for text in remarks(result):
            screen.print(f"frame {number}: {text}", markup=False)
    screen.print(f"Results in {output}")
    check_minima(results, fmax_ev_per_a, steps, saddles)
