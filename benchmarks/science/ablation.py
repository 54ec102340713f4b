"""Train what an experiment compares, run by run, and sum it up.

    python -m benchmarks.science.ablation benchmarks/science/experiments/toy-charge-A.toml
    python -m benchmarks.science.ablation TABLE.toml --only moving --device cuda
        # a part of the runs, on a GPU
    python -m benchmarks.science.ablation TABLE.toml --list

One table or several. A table says what is run (`experiment`). A run lies in WORK/<table>/<run>/,
where it goes on after an interruption, and where its result appears; a run whose result is known is
skipped. RESULTS/<table>.json holds the results of all that have finished and their summary, which
RESULTS/<table>.md and .png show. Runs of one comparison that differ in budget are never put
together: the table is refused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, command_line, machine
from benchmarks.science.comparison import picture, summarise, table
from benchmarks.science.degeneracy import blind_floor, gap_mae_meV, predicted_energies
from benchmarks.science.experiment import Experiment, Run, read_experiment
from polcalc.engines.native.training import GRADIENTS
from potentials.files import write_text
from potentials.training import Training, prepare, write_model
from potentials.training.config import Config, from_dict

TABLES = "benchmarks/science/experiments"
RESULTS = ROOT / "benchmarks" / "results" / "ablation"
RESULT = "result.json"
HISTORY = ("step", "elapsed_s", "energy_mae_meV", "forces_mae_meV_per_A", "validation_loss")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__, "--device", "--data")
    parser.add_argument(
        "tables", metavar="table", type=Path, nargs="+", help="experiment, a TOML file; one or more"
    )
    parser.add_argument("--only", default="", help="runs whose name holds this text")
    parser.add_argument(
        "--list", action="store_true", help="show the runs and which are finished; run nothing"
    )
    parser.add_argument(
        "--summary", action="store_true", help="sum up what is finished; run nothing"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs/ablation"), help="checkpoints and models"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    try:
        experiments = [read_experiment(table) for table in options.tables]
        for experiment in experiments:
            if options.list:
                _list(experiment, options.work, options.results)
            else:
                _run(experiment, options)
    except (ValueError, FileNotFoundError) as error:
        parser.exit(2, f"{error}\n")


def _run(experiment: Experiment, options: argparse.Namespace) -> None:
    """Train what is missing, and print the summary."""
    chosen = [run for run in experiment.runs if options.only in run.key]
    if not chosen:
        raise ValueError(
            f"`--only` must name runs of {experiment.name}; got {options.only!r}. See --list."
        )
    # what is refused is refused here, before hours of training
    finished(experiment, options.work, options.results)
    for run in () if options.summary else chosen:
        run_one(experiment, run, options.work, options.results, options.device, options.data)
    print(sum_up(experiment, options.work, options.results))


def run_one(
    experiment: Experiment,
    run: Run,
    work: Path,
    results: Path,
    device: str = "cpu",
    data: Path | None = None,
) -> dict[str, Any]:
    """Train, or go on, and measure; or read the result that is there."""
    folder = work / experiment.name / run.key
    for result in finished(experiment, work, results):
        if _key(result) == run.key:
            return result
    _claim(folder, run)
    task = prepare(run.config, data)
    training = Training(
        task,
        folder,
        device=device,
        resume=True,
        on_validation=lambda row: _say(run, row),
        gradients=GRADIENTS,
    )
    training.run()
    result = _measure(experiment, run, training, device)
    _write(folder / RESULT, json.dumps(result, indent=1) + "\n")
    return result


def finished(experiment: Experiment, work: Path, results: Path) -> list[dict[str, Any]]:
    """Read the results of the runs of a table that have finished, in its order.

    Raises
    ------
    ValueError   a result of another budget or other settings than the table says now
    """
    file = results / f"{experiment.name}.json"
    stored = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
    known = {_key(result): (result, f"{file.name}, {_key(result)}") for result in stored}
    for run in experiment.runs:
        path = work / experiment.name / run.key / RESULT
        if path.exists():
            known[run.key] = json.loads(path.read_text(encoding="utf-8")), str(path)
    for run in experiment.runs:
        if run.key in known:
            result, where = known[run.key]
            _check_same(result["config"], run, where)
    return [known[run.key][0] for run in experiment.runs if run.key in known]


def _key(result: Mapping[str, Any]) -> str:
    """Name the run of a result as `Run.key` does."""
    return "{comparison}--{data}--{plugin}--seed{seed}".format_map(result)


def sum_up(experiment: Experiment, work: Path, results: Path) -> str:
    """Write and return the summary of what has finished."""
    found = finished(experiment, work, results)
    rows = summarise(found)
    text = table(experiment.title, rows, experiment.columns, experiment.beside)
    missing = len(experiment.runs) - len(found)
    text += f"{missing} of {len(experiment.runs)} runs are not there yet.\n" if missing else ""
    _write(results / f"{experiment.name}.json", as_json(experiment.title, rows, found))
    _write(results / f"{experiment.name}.md", text)
    if found:
        picture(experiment.title, found).savefig(results / f"{experiment.name}.png", dpi=110)
    return text


def as_json(
    title: str, rows: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]
) -> str:
    """Lay out the file of a table, a line for each row of the summary and each run."""
    parts = {"title": json.dumps(title)} | {
        name: "[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]"
        for name, lines in (("rows", rows), ("runs", runs))
    }
    return "{" + ",\n".join(f'"{name}": {text}' for name, text in parts.items()) + "}\n"


def _measure(experiment: Experiment, run: Run, training: Training, device: str) -> dict[str, Any]:
    test = training.task.test
    assert test is not None
    report = write_model(
        training,
        f"python -m benchmarks.science.ablation {TABLES}/{experiment.name}.toml --only {run.key}",
    )
    predicted = predicted_energies(training.potential, test, training.fabric.device.type)
    summary = report["training"]
    return {
        "experiment": experiment.name,
        "comparison": run.comparison,
        "data": run.data,
        "plugin": run.plugin,
        "seed": run.seed,
        "budget": budget(run, device),
        "config": _plain(run.config),
        "training": (
            summary | {"ms_per_step": round(60_000 * summary["minutes"] / summary["steps"], 2)}
        ),
        "errors": report["errors"],
        "blind_floor": blind_floor(test),
        "gap_mae_meV": gap_mae_meV(test, predicted),
        "history": [{name: row[name] for name in HISTORY} for row in report["history"]],
        "machine": machine(training.fabric.device.type),
    }


def budget(run: Run, device: str = "cpu") -> dict[str, Any]:
    """Say what a run may use; only runs of equal budget are compared.

    Where time counts, the machine belongs to it.
    """
    used: dict[str, Any] = {
        **run.budget,
        "n_train": run.config.data.n_train,
        "batch_size": run.config.training.batch_size,
    }
    if "seconds" in run.budget:
        about = machine(device)
        used |= {"device": about["device"], "processor": about["processor"]}
    return used


def _claim(folder: Path, run: Run) -> None:
    """Let a run start in an empty folder, or go on where the same run stopped."""
    started = folder / "run.json"
    if started.exists():
        _check_same(json.loads(started.read_text(encoding="utf-8")), run, str(started))
    _write(started, json.dumps(_plain(run.config), indent=1) + "\n")


def _check_same(before: dict[str, Any], run: Run, where: str) -> None:
    # settings that came later have their defaults
    before, now = _plain(from_dict(before)), _plain(run.config)
    differing = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if differing:
        raise ValueError(
            f"`{', '.join(differing)}` must be as in the run that {where} holds; the table says"
            " otherwise, and budgets or settings are never mixed. Restore the table, give the"
            " experiment another name, or move that file away."
        )


def _plain(config: Config) -> dict[str, Any]:
    """Return a configuration as JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return plain


def _list(experiment: Experiment, work: Path, results: Path) -> None:
    known = {_key(result) for result in finished(experiment, work, results)}
    for run in experiment.runs:
        print(
            f"{'finished' if run.key in known else '        '}  {run.key}  {run.budget} "
            f" {run.config.data.train}, n_train {run.config.data.n_train}"
        )


def _say(run: Run, row: Mapping[str, Any]) -> None:
    forces = row["forces_mae_meV_per_A"]
    found = f"{row['energy_mae_meV']:.2f} meV" + ("" if forces is None else f" {forces:.2f} meV/Å")
    print(f"{run.key}  step {row['step']}  {found}  {row['ms_per_step']:.1f} ms/step", flush=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


if __name__ == "__main__":
    main()
