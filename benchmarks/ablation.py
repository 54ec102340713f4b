"""Train what an experiment compares, run by run, and sum it up.

    python benchmarks/ablation.py benchmarks/experiments/toy-charge-A.toml
    python benchmarks/ablation.py TABLE.toml --only moving --device cuda
        # a part of the runs, on a GPU
    python benchmarks/ablation.py TABLE.toml --list

One table or several. A table says what is run (`experiment`). Each run leaves one JSON in
RESULTS/<table>/, and is skipped when that is there; until then its checkpoint lies in
WORK/<table>/, from where it goes on after an interruption. The summary of what has finished is
RESULTS/<table>.md and .json. Runs of one comparison that differ in budget are never put together:
the table is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from comparison import picture, summarise, table
from degeneracy import blind_floor, gap_mae_meV, predicted_energies
from experiment import Experiment, Run, read_experiment
from measure import machine

from polcalc.engines.native.training import GRADIENTS
from potentials.files import write_text
from potentials.training import Training, finish, prepare
from potentials.training.config import Config, from_dict

HERE = Path(__file__).parent
HISTORY = ("step", "elapsed_s", "energy_mae_meV", "forces_mae_meV_per_A", "validation_loss")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--data", type=Path, help="folder with the files of known data sets")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/ablation"), help="checkpoints and models"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results" / "ablation")
    options = parser.parse_args(arguments)
    try:
        experiments = [read_experiment(table) for table in options.tables]
        for experiment in experiments:
            if options.list:
                _list(experiment, options.results)
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
    finished(experiment, options.results)  # what is refused is refused before hours of training
    for run in () if options.summary else chosen:
        run_one(experiment, run, options.work, options.results, options.device, options.data)
    print(sum_up(experiment, options.results))


def run_one(
    experiment: Experiment,
    run: Run,
    work: Path,
    results: Path,
    device: str = "cpu",
    data: Path | None = None,
) -> dict[str, Any]:
    """Train, or go on, and measure; or read the result that is there."""
    result_file = results / experiment.name / f"{run.key}.json"
    if result_file.exists():
        return _read_result(result_file, run)
    folder = work / experiment.name / run.key
    _claim(folder, run)
    material = prepare(run.config, data)
    training = Training(
        material,
        folder,
        device=device,
        resume=True,
        on_validation=lambda row: _say(run, row),
        gradients=GRADIENTS,
    )
    training.run()
    result = _measure(experiment, run, training, device)
    _write(result_file, json.dumps(result, indent=1) + "\n")
    return result


def finished(experiment: Experiment, results: Path) -> list[dict[str, Any]]:
    """Read the results of the runs of a table that have finished."""
    files = [(results / experiment.name / f"{run.key}.json", run) for run in experiment.runs]
    return [_read_result(file, run) for file, run in files if file.exists()]


def sum_up(experiment: Experiment, results: Path) -> str:
    """Write and return the summary of what has finished."""
    found = finished(experiment, results)
    rows = summarise(found)
    text = table(experiment.title, rows, experiment.columns, experiment.beside)
    missing = len(experiment.runs) - len(found)
    text += f"{missing} of {len(experiment.runs)} runs are not there yet.\n" if missing else ""
    _write(
        results / f"{experiment.name}.json",
        json.dumps({"title": experiment.title, "rows": rows}, indent=1) + "\n",
    )
    _write(results / f"{experiment.name}.md", text)
    if found:
        picture(experiment.title, found).savefig(results / f"{experiment.name}.png", dpi=110)
    return text


def _measure(experiment: Experiment, run: Run, training: Training, device: str) -> dict[str, Any]:
    test = training.material.test
    assert test is not None
    report = finish(
        training,
        f"python benchmarks/ablation.py benchmarks/experiments/{experiment.name}.toml --only"
        f" {run.key}",
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


def _read_result(file: Path, run: Run) -> dict[str, Any]:
    """Read a finished run, if it is the one that the table describes."""
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    _check_same(result["config"], run, f"{file.parent.name}/{file.name}")
    return result


def _claim(folder: Path, run: Run) -> None:
    """Let a run start in an empty folder, or go on where the same run stopped."""
    started = folder / "run.json"
    if started.exists():
        _check_same(json.loads(started.read_text(encoding="utf-8")), run, str(started))
    _write(started, json.dumps(_plain(run.config), indent=1) + "\n")


def _check_same(before: dict[str, Any], run: Run, where: str) -> None:
    before, now = (
        _plain(from_dict(before)),
        _plain(run.config),
    )  # settings that came later have their defaults
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


def _list(experiment: Experiment, results: Path) -> None:
    for run in experiment.runs:
        done = (results / experiment.name / f"{run.key}.json").exists()
        print(
            f"{'finished' if done else '        '}  {run.key}  {run.budget} "
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
