"""What fine-tuning is worth: errors against the number of structures, beside training from nothing.

    python -m benchmarks.science.finetune --output benchmarks/results/finetune.json
    python -m benchmarks.science.finetune --only ethanol --structures 10 30 100 --minutes 3
    python -m benchmarks.science.finetune --dry-run

For each system, number of structures and way, one training of so many minutes on one thread: the
recipe of `polcalc finetune`, and the network of the rMD17 models from fresh weights. Both see the
same structures, and both are judged on the same ones of the official test file. A result lies in
WORK, where a run that is known is not repeated. Minutes are those of the clock; the table says how
many of them the processor had.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.measure import command_line, machine, write
from md_runs.models.finetune import choose_gradients
from polcalc.engines.native.training import GRADIENTS
from potentials.datasets import Frames, load_frames
from potentials.files import write_text
from potentials.finetuning import base_of, finish, plan
from potentials.finetuning.rehearsal import bare
from potentials.shipped import DEFAULT
from potentials.training import Training, write_model
from potentials.training.config import from_dict
from potentials.training.preparation import assemble

WAYS = ("fine-tuned", "from nothing")
STRUCTURES = (10, 30, 100, 300, 950)
N_TEST, SEED = 200, 0


class System(NamedTuple):
    """Where labels come from."""

    train: str
    test: str
    state: tuple[int, int] | None = None  # charge and multiplicity; None: all


SYSTEMS = {
    "ethanol": System("rmd17:ethanol:01:train", "rmd17:ethanol:01:test"),
    "malonaldehyde": System("rmd17:malonaldehyde:01:train", "rmd17:malonaldehyde:01:test"),
    "aspirin": System("rmd17:aspirin:01:train", "rmd17:aspirin:01:test"),
    "H3O2-": System("h3o2-minus:train", "h3o2-minus:validation"),
    # a radical cation; its labels are those of a cheap method
    "CH3OH+": System("toy-charge-A", "", (1, 2)),
}


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__, "--output", "--figure", "--data", "--model")
    parser.set_defaults(model=DEFAULT)
    parser.add_argument("--structures", type=int, nargs="+", default=STRUCTURES)
    parser.add_argument("--minutes", type=float, default=20.0, help="of each training")
    parser.add_argument("--only", default="", help="runs whose name holds this text")
    parser.add_argument("--dry-run", action="store_true", help="name the runs; run nothing")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/finetune"), help="models and results of the runs"
    )
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    rows = []
    for name, n, way in [(s, n, w) for s in SYSTEMS for n in options.structures for w in WAYS]:
        run = f"{name}-{n}-{way}-{options.minutes:g}min".replace(" ", "-")
        folder = options.work / run
        file = folder / "result.json"
        if options.only in run and not file.exists():
            print(run, flush=True)
            if not options.dry_run:
                folder.mkdir(parents=True, exist_ok=True)
                found = measured(name, n, way, options.model, options.minutes, folder, options.data)
                write_text(file, json.dumps(found))
        if file.exists():
            rows.append(json.loads(file.read_text(encoding="utf-8")))
    if options.dry_run:
        return
    report = {"machine": machine(), "model": options.model, "n_test": N_TEST, "rows": rows}
    write(report, table(rows), options.output)
    if options.figure is not None and rows:
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        curves(rows).savefig(options.figure, dpi=160)


def measured(
    name: str, n: int, way: str, model: str, minutes: float, folder: Path, data: Path | None
) -> dict[str, Any]:
    """Train on so many structures of a system, and say how wrong the model is."""
    frames, test = labels(SYSTEMS[name], n, data)
    began = time.process_time()
    base = base_of(model, frames)
    gradients = choose_gradients(base.potential, "cpu")
    tuning = plan(
        base,
        [frames],
        name=name,
        start=model,
        minutes=minutes,
        test=test,
        data=data,
        gradients=gradients,
        seed=SEED,
    )
    row: dict[str, Any] = {"system": name, "n": n, "way": way, "minutes": minutes}
    if way == "fine-tuned":
        training = Training(tuning.task, folder, device="cpu", gradients=GRADIENTS)
        training.run()
        report = finish(tuning, training)
        compared = report["training"]["compared"]
        row |= {"before": _errors(compared["before"]), "after": _errors(compared["after"])}
        if "old_before" in compared:
            row |= {key: _errors(compared[key]) for key in ("old_before", "old_after")}
    else:
        report = _from_nothing(tuning.task.labelled, tuning.task.validation, test, minutes, folder)
        row |= {"after": _errors(report["errors"]["test"])}
    return row | {
        "steps": report["training"]["steps"],
        "processor_minutes": (time.process_time() - began) / 60,
    }


def _from_nothing(
    train: Frames, validation: Frames, test: Frames, minutes: float, folder: Path
) -> dict[str, Any]:
    """Train the network of the rMD17 models, without attention and states, from fresh weights."""
    config = from_dict(
        {
            "name": "from nothing",
            "data": {"train": "", "n_train": len(train), "n_validation": len(validation)},
            "potential": {
                "cutoff": 4.5,
                "envelope": "cosine",
                "architecture": {"name": "tensornet", "channels": 64, "n_layers": 2},
                "radial": {"name": "exp_normal", "n_radial": 32},
                "terms": [{"name": "readout"}, {"name": "reference_energies"}],
            },
            "loss": {"name": "huber", "delta": 0.01},
            "optimizer": {
                "name": "soap",
                "learning_rate": 2e-3,
                "options": {"refresh_every": 16, "average_every": 4, "largest": 128},
            },
            "schedule": {"time_budget_min": minutes, "patience_epochs": 10**6},
            "training": {
                "batch_size": min(8, len(train)),
                "gradients": "native",
                "validate_every_epochs": max(1, 1600 // len(train)),
            },
        }
    )
    task = assemble(config, train, validation, test)
    training = Training(task, folder, device="cpu", gradients=GRADIENTS)
    training.run()
    return write_model(training, "")


def labels(system: System, n: int, data: Path | None) -> tuple[Frames, Frames]:
    """Draw the structures to train on, validation included, and those to test on."""
    rng = np.random.default_rng(SEED)
    frames = bare(load_frames(system.train, data=data))
    if system.state is not None:
        charge, multiplicity = system.state
        own = (frames.total_charge == charge) & (frames.multiplicity == multiplicity)
        frames = frames.select(own)
    order = rng.permutation(len(frames))
    if not system.test:
        return frames.select(order[N_TEST : N_TEST + n]), frames.select(order[:N_TEST])
    test = bare(load_frames(system.test, data=data))
    return frames.select(order[:n]), test.select(rng.permutation(len(test))[:N_TEST])


def _errors(found: Mapping[str, Any]) -> list[float]:
    """Mean absolute errors of energy, meV, and forces, meV/Å."""
    return [found["energy_mae_meV"], found["forces_mae_meV_per_A"]]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay the errors out, those of both ways beside each other."""
    lines = [
        "| system | structures | way | steps | minutes of one core | energy MAE (meV) |"
        " force MAE (meV/Å) | old domain, before and after (meV/Å) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        energy, forces = row["after"]
        old = "–"
        if "old_before" in row:
            old = f"{row['old_before'][1]:.0f}, {row['old_after'][1]:.0f}"
        lines.append(
            f"| {row['system']} | {row['n']} | {row['way']} | {row['steps']:,} |"
            f" {row['processor_minutes']:.1f} | {energy:.2f} | {forces:.1f} | {old} |"
        )
    return "\n".join(lines) + "\n"


def curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw force errors against the number of structures, a panel for each system."""
    systems = list(dict.fromkeys(row["system"] for row in rows))
    figure = Figure(figsize=(3.4 * len(systems), 3.0), layout="constrained")
    for axes, system in zip(
        figure.subplots(1, len(systems), squeeze=False)[0], systems, strict=True
    ):
        for way in WAYS:
            own = [row for row in rows if (row["system"], row["way"]) == (system, way)]
            axes.plot([r["n"] for r in own], [r["after"][1] for r in own], "o-", label=way, ms=4)
        before = [row["before"][1] for row in rows if row["system"] == system and "before" in row]
        if before:
            axes.axhline(np.mean(before), ls=":", color="0.5", label="before")
        axes.set(title=system, xlabel="structures", xscale="log", yscale="log")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.supylabel("force MAE (meV/Å)")
    return figure


if __name__ == "__main__":
    main()
