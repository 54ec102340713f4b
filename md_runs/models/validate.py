"""``polcalc validate``: errors of a model against reference energies and forces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from md_runs import session
from md_runs.errors import as_input_error
from md_runs.models.errors_table import errors_table, offsets_line
from md_runs.models.reactions import (
    entries_table,
    errors_by_set,
    judge,
    sets_table,
    with_model,
    write_csv,
)
from md_runs.models.validation import (
    compare,
    known_elements,
    metrics,
    plot_states,
    read_labelled,
)
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, check_new, claim, to_json
from md_runs.screen import screen, tracked
from md_runs.session import ModelOptions
from polcalc import PolarizedCalculator
from potentials.datasets.sets.gscdb import is_reactions, read_reactions
from potentials.files import write_text


def validate(
    data: str,
    model: str | None = None,
    json: Path | None = None,
    output: Path | None = None,
    entries: bool = False,
    partial_charges: str | None = None,
    fragments: Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
    engine: str = "auto",
) -> None:
    """Compare a model with reference energies and forces, or with energies of reactions.

    Prints mean absolute, root mean square and largest errors, overall and by charge and
    multiplicity, and those of energies without the offsets of elements that fit best; of reactions
    set by set.
    """
    charges, groups = (
        session.read_partial_charges(partial_charges),
        session.read_fragments(fragments),
    )
    chosen = ModelOptions(model, device, dtype, engine, partial_charges=charges, fragments=groups)
    if json is not None:
        check_new(json, "--json")
    if output is not None:
        check_free(output)
    calculator = session.make_calculator(chosen)
    verdict = (
        _judge_reactions(data, calculator, entries)
        if is_reactions(data)
        else _judge_frames(data, calculator)
    )
    found = {"data": data, "model": session.describe(calculator)["model"]} | verdict.numbers
    for table in verdict.tables:
        screen.print(table)
    if verdict.remark:
        screen.print(verdict.remark)
    if json is not None:
        write_text(json, to_json(found))
    if output is not None:
        claim(
            output,
            make_manifest(
                "validate", {"data": data, **asdict(chosen)}, status="finished", errors=found
            ),
        )
        verdict.write(output)
        screen.print(f"Results in {output}")


class Verdict(NamedTuple):
    """What came out of a validation."""

    numbers: dict[str, Any]
    tables: list[Table]
    remark: str  # below the tables
    write: Callable[[Path], object]  # figures and tables into a directory


def _judge_frames(data: str, calculator: PolarizedCalculator) -> Verdict:
    every = read_labelled(data)
    frames, remark = known_elements(every, calculator)
    comparisons = list(compare(calculator, frames, partial(tracked, work="validating")))
    numbers, title = metrics(comparisons), f"{calculator.parameters['model']} on {data}"
    numbers["left_out"] = len(every) - len(frames)
    return Verdict(
        numbers,
        [errors_table(numbers)],
        "\n".join(filter(None, [offsets_line(numbers), remark])),
        lambda output: plot_states(comparisons, output, title),
    )


def _judge_reactions(data: str, calculator: PolarizedCalculator, entries: bool) -> Verdict:
    with as_input_error():
        results = judge(read_reactions(data), with_model(calculator))
    sets = errors_by_set(results)
    listed = [r._asdict() | {"error_kcal_per_mol": r.error_kcal_per_mol} for r in results]
    tables = [*([entries_table(results)] if entries else []), sets_table(sets)]
    return Verdict(
        {"sets": sets, "entries": listed},
        tables,
        "",
        lambda output: write_csv(output, results, sets),
    )
