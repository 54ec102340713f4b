"""``polcalc export``: write a model for programs that run TorchScript."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from rich.text import Text

from md_runs.errors import InputError, as_input_error
from md_runs.screen import screen
from potentials.shipped import DEFAULT


def export(
    charge: int,
    multiplicity: int,
    model: str | None = None,
    output: Path | None = None,
) -> None:
    """Write a file of metatomic for one electronic state; of the default name where none is given.

    Raises
    ------
    InputError   metatomic is missing, unknown model, a state that it was not trained on, a file
                 that is there
    """
    name = model or DEFAULT
    output = output or Path(f"{Path(name).stem}{charge:+d}_{multiplicity}.pt")
    if output.exists():
        raise InputError(f"`--output` must not be there yet; got {output}. Name another file.")
    try:
        metatomic = import_module("polcalc.interfaces.metatomic")
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is missing. Install it: pip install 'polcalc[metatomic]'."
        ) from error
    with as_input_error():
        metatomic.export(name, output, charge, multiplicity)
    screen.print(Text(f"{name}, charge {charge:+d}, multiplicity {multiplicity}: {output}"))
