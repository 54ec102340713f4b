"""``polcalc specialise``: give a model weights of its own for each electronic state."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import torch

from md_runs.errors import InputError, as_input_error
from md_runs.models.errors_table import errors_table
from md_runs.records.output import check_writable
from md_runs.screen import screen
from polcalc.engines.native.training import GRADIENTS
from potentials.checkpoint import load
from potentials.processes import process_pool
from potentials.structure.graph import State
from potentials.training import Config, read_config
from potentials.training.specialise import save_combined, train_expert


def specialise(
    base: str,
    config: Path,
    output: Path = Path("polcalc-specialise"),
    state: list[str] | None = None,
    data: Path | None = None,
    processes: int = 1,
) -> None:
    """Train an expert for each state from MODEL and write them as one model.

    CONFIG.toml says how long and with which optimizer each is trained, on which data; the spec is
    that of MODEL. Where MODEL has experts, theirs go on. Interrupted, the same command goes on.
    Writes model.pt, and a folder for each state.
    """
    check_writable(output)
    line = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    with as_input_error():
        chosen, text, start = read_config(config), config.read_text(encoding="utf-8"), load(base)
        if not chosen.data.test:
            raise InputError(
                "`test` of [data] must name structures for the errors of the whole model; got none."
                " Add it."
            )
    known = [(int(charge), int(multiplicity)) for charge, multiplicity, _ in start.card.states]
    wanted = [_read(word) for word in state] if state else known
    if unknown := [s for s in wanted if s not in known]:
        raise InputError(
            f"`--state` must be a state that the base was trained on, {known}; got {unknown}. Leave"
            " it out."
        )
    screen.print(
        f"{len(wanted)} experts, {processes} at a time; each writes log.csv in its folder of"
        f" {output}",
    )
    with process_pool(processes) as pool:
        tasks = [pool.submit(_train, chosen, base, one, output, data, line) for one in wanted]
        for task in tasks:
            with as_input_error():
                screen.print(task.result())
    with as_input_error():
        found = save_combined(chosen, start, wanted, output, data=data, command=line, text=text)
    screen.print(f"{chosen.name}: errors on the test structures")
    screen.print(errors_table(found))
    screen.print(f"Results in {output}")


def _train(
    config: Config, base: str, state: State, output: Path, data: Path | None, line: str
) -> str:
    torch.set_num_threads(1)
    return train_expert(
        config, load(base), state, output, data=data, gradients=GRADIENTS, command=line
    )


def _read(word: str) -> State:
    try:
        charge, multiplicity = (int(part) for part in word.split(","))
    except ValueError as error:
        raise InputError(
            f"`--state` must be a charge and a multiplicity, such as -1,2; got {word!r}."
            " Correct it."
        ) from error
    return charge, multiplicity
