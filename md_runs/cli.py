"""The ``polcalc`` command: each subcommand reads its options, calls one function, and prints what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from md_runs import audit, build, doctor, encodings, import_torchmd, md, neb, polarization, report, session, specialise, states, train, vib
from md_runs import options as opt
from md_runs.analyse import command as analyse
from md_runs.data import app as data_commands
from md_runs.errors import InputError, NotConverged, as_input_error, clear_endings, errors
from md_runs.info import info_table, model_info
from md_runs.labels import app as labels_commands
from md_runs.manifest import make_manifest, now
from md_runs.output import MANIFEST, check_free, claim, to_json
from md_runs.reactions import entries_table, errors_by_set, judge, sets_table, with_model, write_csv
from md_runs.relax import check_relaxable, relax_all
from md_runs.session import ModelOptions
from md_runs.validate import compare, metrics, plot_states, read_labelled
from polcalc import PolarizedCalculator
from potentials.datasets.gscdb import is_reactions, read_reactions
from potentials.files import write_text

app = typer.Typer(
    name="polcalc",
    help="Molecular dynamics, relaxation and validation with trained potentials that know total charge and spin.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Item = TypeVar("Item")

screen = Console(highlight=False, soft_wrap=True)

app.add_typer(data_commands, name="data")
app.add_typer(labels_commands, name="labels")
app.command("build")(clear_endings()(build.command))
app.command("md")(clear_endings()(md.command))
app.command("audit")(clear_endings()(audit.command))
app.command("doctor")(clear_endings()(doctor.command))
app.command("analyse")(clear_endings()(analyse.command))
app.command("neb")(clear_endings()(neb.command))
app.command("vib")(clear_endings()(vib.command))
app.command("states")(clear_endings()(states.command))
app.command("polarization")(clear_endings()(polarization.command))
app.command("encodings")(clear_endings()(encodings.command))
app.command("train")(clear_endings()(train.command))
app.command("specialise")(clear_endings()(specialise.command))
app.command("import-torchmd")(clear_endings()(import_torchmd.command))


@app.command()
@clear_endings()
def relax(
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

    Writes relaxed.extxyz, relax.csv (step, energy, largest force) and manifest.json. Exit code 1 when a frame did not converge.
    """
    search = {"optimizer": optimizer, "fmax_eV_per_A": fmax_ev_per_a, "steps": steps, "cell": cell}
    charges, groups = session.read_partial_charges(partial_charges), session.read_fragments(fragments)
    chosen = ModelOptions(model, device, dtype, engine, charge, multiplicity, charges, groups)
    check_free(output)
    frames = session.read_frames(structures)
    calculator = session.make_calculator(chosen)
    for atoms in frames:
        atoms.calc = calculator
        session.evaluate_first(atoms)
        check_relaxable(atoms, fmax_ev_per_a, cell)
    described = session.describe(calculator)
    manifest = make_manifest("relax", search, structures=[session.fingerprint(p) for p in structures], **described)
    claim(output, manifest)
    results = relax_all(frames, output, partial(_tracked, work="relaxing"), **search)
    n_failed = sum(not r.converged for r in results)
    write_text(output / MANIFEST, to_json(manifest | {"status": "finished", "ended": now(), "not_converged": n_failed}))
    screen.print(report.relax_table(results))
    screen.print(f"Results in {output}")
    if n_failed:
        raise NotConverged(f"{n_failed} of {len(results)} structures did not reach {fmax_ev_per_a} eV/Å in {steps} steps.")


@app.command()
@clear_endings()
def validate(
    data: opt.Data,
    model: opt.Model = None,
    json: opt.JsonFile = None,
    output: opt.MaybeOutput = None,
    entries: opt.Entries = False,
    partial_charges: opt.PartialCharges = None,
    fragments: opt.Fragments = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float32",
    engine: opt.Engine = "auto",
) -> None:
    """Compare a model with reference energies and forces, or with reference energies of reactions.

    Prints mean absolute, root mean square and largest errors, overall and by charge and multiplicity; of reactions set by set.
    """
    charges, groups = session.read_partial_charges(partial_charges), session.read_fragments(fragments)
    chosen = ModelOptions(model, device, dtype, engine, partial_charges=charges, fragments=groups)
    if json is not None and json.exists():
        raise InputError(f"`--json` must be a new file; got {json}, which exists. Choose another name.")
    if output is not None:
        check_free(output)
    calculator = session.make_calculator(chosen)
    verdict = _judge_reactions(data, calculator, entries) if is_reactions(data) else _judge_frames(data, calculator)
    found = {"data": data, "model": session.describe(calculator)["model"]} | verdict.numbers
    for table in verdict.tables:
        screen.print(table)
    if json is not None:
        write_text(json, to_json(found))
    if output is not None:
        claim(output, make_manifest("validate", {"data": data, **asdict(chosen)}, status="finished", errors=found))
        verdict.write(output)
        screen.print(f"Results in {output}")


class Verdict(NamedTuple):
    """What came out of a validation."""

    numbers: dict[str, Any]
    tables: list[Table]
    write: Callable[[Path], object]  # figures and tables into a directory


def _judge_frames(data: str, calculator: PolarizedCalculator) -> Verdict:
    frames = read_labelled(data)
    comparisons = list(compare(calculator, frames, partial(_tracked, work="validating")))
    numbers, title = metrics(comparisons), f"{calculator.parameters['model']} on {data}"
    return Verdict(numbers, [report.errors_table(numbers)], lambda output: plot_states(comparisons, output, title))


def _judge_reactions(data: str, calculator: PolarizedCalculator, entries: bool) -> Verdict:
    with as_input_error():
        results = judge(read_reactions(data), with_model(calculator))
    sets = errors_by_set(results)
    numbers = {"sets": sets, "entries": [r._asdict() | {"error_kcal_per_mol": r.error_kcal_per_mol} for r in results]}
    tables = [*([entries_table(results)] if entries else []), sets_table(sets)]
    return Verdict(numbers, tables, lambda output: write_csv(output, results, sets))


@app.command()
@clear_endings()
def info(model: opt.ModelArgument, json: opt.AsJson = False) -> None:
    """Show what a model is: its card, checksum, size and units."""
    facts = model_info(model)
    print(to_json(facts), end="") if json else screen.print(info_table(facts))


def _tracked(items: Sequence[Item], work: str) -> Iterable[Item]:
    return track(items, description=work, console=errors, transient=True)


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
