"""AdamW against SOAP, mean square against Huber, on rMD17 ethanol in equal time on one thread.

    python -m benchmarks.speed.optimizers --minutes 5 --data DIR
        --output benchmarks/results/optimizers.json

Each optimiser has its usual learning rate and starts from fresh weights; all else is the
configuration of the shipped model. The figure is written beside the numbers.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.measure import ROOT, command_line, machine, write

CONFIG = ROOT / "potentials" / "trained" / "ethanol-rmd17" / "recipe" / "dft-labels.toml"
ADAMW = 'name = "adamw"\nlearning_rate = 2e-3\ngradient_clip = 10.0\n'
SOAP = (
    'name = "soap"\nlearning_rate = 3e-3\noptions = { refresh_every = 16 }\ngradient_clip = 10.0\n'
)
SQUARE = 'name = "mse"\n'
HUBER = 'name = "huber"\ndelta = 0.01\n'
FRESH = (  # no model to start from
    "batch_size = 8\nema_decay = 0.999\ncompile = true\nvalidate_every_epochs = 5\n"
)
CONTESTANTS = {
    "AdamW 2e-3": {"optimizer": ADAMW, "loss": SQUARE, "training": FRESH},
    "SOAP 3e-3": {"optimizer": SOAP, "loss": SQUARE, "training": FRESH},
    "SOAP 3e-3, Huber": {"optimizer": SOAP, "loss": HUBER, "training": FRESH},
}


def main() -> None:
    parser = command_line(__doc__, "--output", "--data")
    parser.add_argument("--minutes", type=float, default=5.0, help="training time of each")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, sections) in enumerate(CONTESTANTS.items()):
            results[name] = _train(
                Path(folder) / str(number), sections, arguments.minutes, arguments.data
            )
    report = {"machine": machine(), "minutes": arguments.minutes, "runs": results}
    write(report, _table(results), arguments.output)
    if arguments.output:
        _draw(results, arguments.output.with_suffix(".png"))


def _train(
    folder: Path, sections: dict[str, str], minutes: float, data: Path | None
) -> dict[str, Any]:
    folder.mkdir()
    config = folder / "train.toml"
    config.write_text(_with(CONFIG.read_text(), sections))
    tomllib.loads(config.read_text())
    command = [
        sys.executable,
        "-m",
        "md_runs.cli.app",
        "train",
        str(config),
        "--output",
        str(folder / "run"),
        "--time-budget-min",
        str(minutes),
    ]
    command += ["--data", str(data)] if data else []
    subprocess.run(
        command,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.DEVNULL,
    )
    with (folder / "run" / "log.csv").open() as file:
        curve = [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]
    report = json.loads((folder / "run" / "report.json").read_text())
    return {"curve": curve, "test": report["errors"]["test"]}


def _with(text: str, sections: dict[str, str]) -> str:
    """Replace whole sections of a configuration."""
    for name, entries in sections.items():
        before, _, rest = text.partition(f"[{name}]\n")
        _, begins, after = rest.partition("\n[")
        text = f"{before}[{name}]\n{entries}{begins}{after}"
    return text


def _table(results: dict[str, Any]) -> str:
    lines = ["| | energy MAE (meV) | forces MAE (meV/Å) |", "|---|---|---|"]
    lines += [
        f"| {name} | {r['test']['energy_mae_meV']:.2f} | {r['test']['forces_mae_meV_per_A']:.2f} |"
        for name, r in results.items()
    ]
    return "\n".join(lines) + "\n"


def _draw(results: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    panels = (
        ("forces_mae_meV_per_A", "forces MAE (meV/Å)"),
        ("energy_mae_meV", "energy MAE (meV)"),
    )
    for axis, (column, label) in zip(axes, panels, strict=True):
        for name, result in results.items():
            minutes = [row["elapsed_s"] / 60 for row in result["curve"]]
            axis.semilogy(
                minutes,
                [row[column] for row in result["curve"]],
                label=f"{name}; test {result['test'][column]:.2f}",
            )
        axis.set(xlabel="training time (min)", ylabel=f"validation {label}")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
