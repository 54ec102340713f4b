"""A table of runs: what an experiment compares, read from a small TOML file.

    title = "…"
    seeds = [0, 1]
    columns = ["energy_mae_meV", "forces_mae_meV_per_A"]
        # of the summary, names in `comparison.COLUMNS`

    [budget]                 # epochs, steps (whole epochs of every run) or seconds: one of them
    epochs = 30

    [data.NAME]              # as [data] of a training; without a test file, what the split leaves
                             is the test

    [common]                 # tables of a training that all runs share
    [comparison.NAME.base]   # tables of a training
    [comparison.NAME.plugin.NAME]    # what this plug-in changes in them
    [[beside]]               # rows of the summary that others measured: name, source, and columns

The runs are the product of comparisons, plug-ins, data and seeds. The seed of a run is that of
weights and order, and of the split where the data name no ``split_seed``. A comparison may have a
budget of its own; its runs have one budget by construction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from potentials.datasets import Frames
from potentials.datasets.splits import numbered
from potentials.training.config import REST, Config, from_dict, read_toml

LENGTHS = ("epochs", "steps", "seconds")
KNOWN = {"title", "seeds", "columns", "budget", "data", "common", "comparison", "beside"}
NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class Run:
    """One training: where it stands in the table, and its configuration."""

    comparison: str
    data: str
    plugin: str
    seed: int
    budget: dict[str, float]  # one of `LENGTHS`
    config: Config

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.comparison}--{self.data}--{self.plugin}--seed{self.seed}"


@dataclass(frozen=True)
class Experiment:
    """A table."""

    name: str
    title: str
    columns: tuple[str, ...]
    runs: tuple[Run, ...]
    beside: tuple[dict[str, Any], ...]


def read_experiment(path: str | Path) -> Experiment:
    """Read a table.

    Raises
    ------
    FileNotFoundError   no such file
    ValueError          not TOML, an unknown or missing entry, a budget that is not one length
    """
    path = Path(path)
    return from_table(path.stem, read_toml(path, "TABLE"))


def from_table(name: str, table: Mapping[str, Any]) -> Experiment:
    """Make the runs of a table; ``name`` is that of the experiment."""
    if unknown := set(table) - KNOWN:
        raise ValueError(
            f"`{name}` must hold only {', '.join(sorted(KNOWN))}; got {', '.join(sorted(unknown))}."
            " Remove it."
        )
    if missing := {"title", "seeds", "data", "comparison"} - set(table):
        raise ValueError(f"`{name}` must have {', '.join(sorted(missing))}; got none. Add it.")
    for word in (
        *table["data"],
        *table["comparison"],
        *(p for c in table["comparison"].values() for p in c["plugin"]),
    ):
        if not NAME.fullmatch(word):
            raise ValueError(
                f"`names` must be letters, digits and . + - _; got {word!r}. They become file"
                " names: rename it."
            )
    runs = tuple(
        _run(name, table, comparison, data, plugin, seed)
        for comparison in table["comparison"]
        for data in table["data"]
        for seed in table["seeds"]
        for plugin in table["comparison"][comparison]["plugin"]
    )
    columns = tuple(table.get("columns", ("energy_mae_meV", "forces_mae_meV_per_A")))
    return Experiment(name, table["title"], columns, runs, tuple(table.get("beside", ())))


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Put one table over another, their subtables as well; lists are replaced."""
    both = {
        k: merge(below[k], above[k])
        for k in below
        if k in above and isinstance(below[k], Mapping) and isinstance(above[k], Mapping)
    }
    return {**below, **above, **both}


def _run(
    experiment: str, table: Mapping[str, Any], comparison: str, data: str, plugin: str, seed: int
) -> Run:
    compared, source = table["comparison"][comparison], dict(table["data"][data])
    budget = dict(compared.get("budget", table.get("budget", {})))
    settings = merge(
        merge(table.get("common", {}), compared.get("base", {})), compared["plugin"][plugin]
    )
    about = {
        "name": f"{experiment}-{comparison}-{data}-{plugin}",
        "data": {"split_seed": seed, "test": REST, **source},
        "seed": seed,
    }
    values = merge(settings, about)
    values["schedule"] = merge(settings.get("schedule", {}), _length(budget, values, experiment))
    return Run(comparison, data, plugin, seed, budget, from_dict(values))


def _length(
    budget: Mapping[str, float], values: Mapping[str, Any], experiment: str
) -> dict[str, float]:
    """Say a budget as the schedule of a training."""
    if (
        len(budget) != 1
        or not set(budget) <= set(LENGTHS)
        or not all(x > 0 for x in budget.values())
    ):
        raise ValueError(
            f"`budget` must be one of {', '.join(LENGTHS)}, positive; got {dict(budget)}. Correct"
            f" {experiment}."
        )
    [(kind, amount)] = budget.items()
    if kind == "seconds":
        return {"time_budget_min": amount / 60}
    if kind == "epochs":
        return {"max_epochs": amount}
    per_epoch = values["data"]["n_train"] // values.get("training", {}).get("batch_size", 8)
    if amount % per_epoch:
        raise ValueError(
            f"`steps` must be whole epochs of {per_epoch} steps; got {amount}. Change it, n_train"
            f" or batch_size in {experiment}."
        )
    return {"max_epochs": int(amount // per_epoch)}


def same_composition(frames: Frames) -> npt.NDArray[np.int64]:
    """Number the compositions (S,)."""
    return numbered(
        [np.sort(frames.atomic_numbers[frames.slice_of(n)]).tobytes() for n in range(len(frames))]
    )
