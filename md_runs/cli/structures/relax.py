"""``polcalc relax``: geometry relaxation of one or many structures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.console import Console

from md_runs.cli import options as opt
from md_runs.cli import report, session
from md_runs.cli.session import ModelOptions
from md_runs.errors import NotConverged
from md_runs.records.manifest import make_manifest, now
from md_runs.records.output import MANIFEST, check_free, claim, to_json
from md_runs.surfaces.relax import check_relaxable, relax_all
from potentials.files import write_text

screen = Console(highlight=False, soft_wrap=True)


def command(
    structures: opt.Structures,
    model: opt.Model = None,
    optimizer: opt.Optimizer = "bfgs",
    fmax_ev_per_a: opt.FmaxEvPerA = 0.01,
    steps: opt.RelaxSteps = 500,
    cell: opt.Cell = False,
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
    when a frame did not converge.
    """
    search = {"optimizer": optimizer, "fmax_eV_per_A": fmax_ev_per_a, "steps": steps, "cell": cell}
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
    described = session.describe(calculator)
    manifest = make_manifest(
        "relax", search, structures=[session.fingerprint(p) for p in structures], **described
    )
    claim(output, manifest)
    results = relax_all(frames, output, partial(report.tracked, work="relaxing"), **search)
    n_failed = sum(not r.converged for r in results)
    write_text(
        output / MANIFEST,
        to_json(manifest | {"status": "finished", "ended": now(), "not_converged": n_failed}),
    )
    screen.print(report.relax_table(results))
    screen.print(f"Results in {output}")
    if n_failed:
        raise NotConverged(
            f"{n_failed} of {len(results)} structures did not reach {fmax_ev_per_a} eV/Å in {steps}"
            " steps."
        )
