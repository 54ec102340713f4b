"""``polcalc serve``: keep models loaded and answer other programs."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from md_runs import session
from md_runs.errors import as_input_error
from md_runs.screen import screen
from md_runs.session import ModelOptions
from polcalc.interfaces.serve import Answers, Server, default_socket
from potentials.shipped import DEFAULT


def serve(
    models: list[str] | None = None,
    socket: Path | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
) -> None:
    """Answer on a Unix socket until interrupted.

    Raises
    ------
    InputError   unknown model; the socket is in use or cannot be made
    """
    names = models or [DEFAULT]
    calculators = {
        name: session.make_calculator(ModelOptions(name, device, dtype, engine)) for name in names
    }
    path = socket or default_socket()
    with as_input_error():
        server = Server(path, Answers(calculators))
    with server:
        screen.print(Text(f"{', '.join(calculators)} answers at {path}; Ctrl-C ends it."))
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            screen.print("ended")
