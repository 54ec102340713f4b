"""``polcalc drive``: compute what i-PI, or another program that speaks its protocol, sends."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from md_runs import session
from md_runs.errors import InputError, RunFailed, as_input_error
from md_runs.screen import screen
from md_runs.session import ModelOptions
from polcalc.interfaces.ipi import connect, driven


def drive(
    structure: Path,
    unix: str | None = None,
    host: str = "localhost",
    port: int | None = None,
    model: str | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    frame: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
) -> None:
    """Evaluate what a server sends until it ends.

    Raises
    ------
    InputError   bad input; no server listens
    RunFailed    the server broke off, sent another structure, or one that cannot be calculated
    """
    if (unix is None) == (port is None):
        raise InputError(
            "`--unix` or `--port` must say where the server listens. Give one of them."
        )
    atoms = session.read_structure(structure, frame)
    options = ModelOptions(model, device, dtype, engine, charge, multiplicity)
    atoms.calc = session.make_calculator(options)
    session.evaluate_first(atoms)
    for line in session.state_lines([atoms.calc.state]):
        screen.print(line)
    try:
        connection = connect(host, port) if unix is None else connect(unix)
    except OSError as error:
        raise InputError(
            f"A server must listen at {unix or f'{host}:{port}'}: {error.strerror}. Start it first."
        ) from error
    n_evaluations = 0
    with connection, as_input_error():
        try:
            for _ in driven(connection, atoms):
                n_evaluations += 1
        except OSError as error:
            raise RunFailed(f"the server broke off after {n_evaluations} evaluations.") from error
    screen.print(Text(f"{n_evaluations} evaluations"))
