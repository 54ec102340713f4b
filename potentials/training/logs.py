"""The logs of a training: log.csv, and event files for TensorBoard where it is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from potentials.deviations import named_errors
from potentials.files import write_text

LOG = "log.csv"


class Logs:
    """Writes one row per validation. Rows after the point where a training resumes are dropped.

    Parameters
    ----------
    output : Path
    history : rows     of the training so far
    step : int         steps done so far
    """

    def __init__(self, output: Path, history: Sequence[Mapping[str, Any]], step: int) -> None:
        self.path = output / LOG
        self._writer = None
        if importlib.util.find_spec("tensorboard"):
            from lightning.fabric.loggers.tensorboard import TensorBoardLogger

            self._writer = TensorBoardLogger(
                output, name="tensorboard", version="", purge_step=step + 1
            )
        write_text(self.path, "".join(_line(row, header=n == 0) for n, row in enumerate(history)))

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(row, header=file.tell() == 0))
        if self._writer is not None:
            shown = {
                name: value
                for name, value in row.items()
                if value is not None and name not in ("step", "epoch")
            }
            self._writer.log_metrics(shown, row["step"])
            self._writer.save()


def by_state(errors: Mapping[str, Any]) -> dict[str, float | None]:
    """Name the mean absolute errors of each charge and multiplicity, and of gaps, as columns.

    None where there is one state.
    """
    if len(errors["by_state"]) < 2:
        return {}
    columns = {
        f"charge{state['charge']:+d}_multiplicity{state['multiplicity']}_{name}": state[name]
        for state in errors["by_state"]
        for name in (error.format("mae") for error in named_errors(state).values())
        if not name.endswith("_per_atom")
    }
    for gap in errors["gaps"]:
        lower, higher = gap["multiplicities"]
        columns[f"charge{gap['charge']:+d}_gap{lower}to{higher}_mae_meV"] = gap["gap_mae_meV"]
    return columns


def _line(row: Mapping[str, Any], *, header: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(row)
    writer.writerow(row.values())
    return text.getvalue()
