"""Loaded models that answer other programs on a Unix socket: a JSON object a line, in and out.

A question holds plain values and names one of the models that are loaded. Nothing in it names a
file or a module, so that no question can open one or run code. Who may ask is decided by the
operating system: the socket belongs to one user and nobody else may write to it.

A question: ``atomic_numbers`` (N), ``positions_A`` (N, 3); and where they are meant ``charge`` (e),
``multiplicity`` (2S + 1), ``cell_A`` (3, 3), ``pbc`` (3), ``model``, ``hessian`` (true or false).

An answer: every quantity that the model has, with its unit in its name (``energy_eV``,
``forces_eV_per_A``, …; ``stress_eV_per_A3`` in Voigt order xx, yy, zz, yz, xz, xy),
``hessian_eV_per_A2`` (3N, 3N) where it was asked for; ``model``, ``sha256``, ``charge`` and
``multiplicity``, ``state`` (who said them), ``warnings``. Or ``error`` and ``refused``: true where
the question must be changed, false where it may be asked again.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import struct
import sys
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from polcalc.calculator.calculator import PolarizedCalculator
from potentials.card import fits
from potentials.quantities import QUANTITIES, unit_key

LONGEST_QUESTION = 64 * 2**20  # bytes; some 500,000 atoms
MOST_CLIENTS = 64  # at once; each has a thread
PATIENCE_S = 60.0  # for the rest of a question, and for a client that does not read its answer
KINDS: dict[str, Any] = {  # of the entries of a question
    "atomic_numbers": list[int],
    "positions_A": list[list[float]],
    "charge": int,
    "multiplicity": int,
    "cell_A": list[list[float]],
    "pbc": list[bool],
    "model": str,
    "hessian": bool,
}
Answer = dict[str, Any]


class Refusal(Exception):
    """A question that must be changed before it is asked again."""


class Question(NamedTuple):
    """What a client asks: a structure, one of the models, and whether the Hessian is wanted."""

    atoms: Atoms
    model: str
    hessian: bool


def default_socket() -> Path:
    """Name the socket where neither an option nor ``POLCALC_SOCKET`` does."""
    if named := os.environ.get("POLCALC_SOCKET"):
        return Path(named)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "polcalc.sock"
    return Path(f"/tmp/polcalc-{os.getuid()}") / "serve.sock"


class Answers:
    """Answer questions with loaded models, one at a time.

    Parameters
    ----------
    calculators : dict   by the names that questions use; the first answers those that name none
    """

    def __init__(self, calculators: Mapping[str, PolarizedCalculator]) -> None:
        self._calculators = dict(calculators)
        self._turn = Lock()  # what a calculator warns of belongs to one question

    def answer(self, line: bytes) -> Answer:
        """Answer a line; whatever goes wrong becomes the answer."""
        try:
            question = read_question(line, list(self._calculators))
            with self._turn:
                return self._answer(question)
        except Refusal as refusal:
            return {"error": str(refusal), "refused": True}
        except Exception as error:
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}", "refused": False}

    def _answer(self, question: Question) -> Answer:
        calculator, atoms = self._calculators[question.model], question.atoms
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                state = calculator.check(atoms)
                calculator.calculate(atoms)
                hessian = calculator.get_hessian(atoms) if question.hessian else None
            except (ValueError, OverflowError) as error:
                raise Refusal(str(error)) from error
        answer: Answer = {
            f"{quantity.name}_{unit_key(quantity.unit)}".rstrip("_"): plain(results)
            for quantity in QUANTITIES.values()
            if quantity.ase and (results := calculator.results.get(quantity.ase)) is not None
        }
        if not np.isfinite(answer["energy_eV"]):
            raise Refusal("`positions_A` must have a finite energy. Check the structure.")
        if hessian is not None:
            answer["hessian_eV_per_A2"] = hessian.reshape(3 * len(atoms), -1).tolist()
        return answer | {
            "model": question.model,
            "sha256": calculator.model.sha256,
            "charge": state.charge,
            "multiplicity": state.multiplicity,
            "state": str(state),
            "warnings": [str(warning.message) for warning in said],
        }


def plain(value: Any) -> Any:
    """Turn a result into numbers and lists of numbers."""
    return value.tolist() if isinstance(value, np.ndarray) else float(value)


def read_question(line: bytes, models: list[str]) -> Question:
    """Read and check a question.

    Parameters
    ----------
    models : list of str   names of the models that are loaded, the default first

    Raises
    ------
    Refusal                not an object in JSON, or an entry that is missing, unknown or wrong
    """
    try:
        given = json.loads(line)
        wrong = next((k for k, v in given.items() if k in KINDS and not fits(v, KINDS[k])), None)
    except (ValueError, OverflowError, RecursionError, AttributeError) as error:
        raise Refusal(
            f"A question must be one JSON object in one line; got {line[:60]!r}. Correct it."
        ) from error
    if wrong is not None:
        kind = KINDS[wrong]
        named = kind.__name__ if isinstance(kind, type) else str(kind)
        raise Refusal(f"`{wrong}` must be {named}, finite; got {given[wrong]!r:.60}. Correct it.")
    if unknown := sorted(given.keys() - KINDS):
        raise Refusal(f"`{unknown[0]:.60}` must be one of {', '.join(KINDS)}. Leave it out.")
    if missing := [name for name in ("atomic_numbers", "positions_A") if name not in given]:
        raise Refusal(f"`{missing[0]}` must be given; got none. Add it.")
    model = given.get("model", models[0])
    if model not in models:
        raise Refusal(
            f"`model` must be one that is loaded: {', '.join(models)}; got {model!r:.60}. Start"
            " polcalc serve with it."
        )
    return Question(_structure(given), model, given.get("hessian", False))


def _structure(given: Mapping[str, Any]) -> Atoms:
    numbers, positions = given["atomic_numbers"], given["positions_A"]
    cell = given.get("cell_A")
    for name, rows, length in (
        ("positions_A", positions, len(numbers)),
        ("cell_A", cell or [], 3 if cell is not None else 0),
    ):
        if len(rows) != length or any(len(row) != 3 for row in rows):
            raise Refusal(f"`{name}` must be {length} rows of three. Correct it.")
    if not numbers or not all(1 <= number <= 118 for number in numbers):
        raise Refusal("`atomic_numbers` must be from 1 to 118, one or more. Correct them.")
    if abs(given.get("charge", 0)) > sum(numbers):
        raise Refusal(f"`charge` must be at most {sum(numbers)}, the protons, either way.")
    pbc = given.get("pbc", [cell is not None] * 3)
    if len(pbc) != 3 or (any(pbc) and cell is None):
        raise Refusal("`pbc` must be three, and false without `cell_A`. Correct it.")
    info = {name: given[name] for name in ("charge", "multiplicity") if name in given}
    return Atoms(numbers, np.array(positions, dtype=float), cell=cell, pbc=pbc, info=info)


class Conversation(socketserver.StreamRequestHandler):
    """One client: question, answer, question, … until it hangs up."""

    server: Server

    def handle(self) -> None:
        """Answer line by line; a client may be silent between questions, not within one."""
        while True:
            self.connection.settimeout(None)
            if not self.rfile.peek(1):  # type: ignore[attr-defined]
                return
            self.connection.settimeout(PATIENCE_S)
            line = self.rfile.readline(LONGEST_QUESTION + 1)
            if not line.endswith(b"\n"):
                if len(line) > LONGEST_QUESTION:
                    self._say(_no(f"A question must be at most {LONGEST_QUESTION} bytes long."))
                return
            self._say(self.server.answers.answer(line))

    def _say(self, answer: Answer) -> None:
        self.connection.sendall(as_line(answer))


def as_line(answer: Answer) -> bytes:
    """Write an answer as it is sent."""
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def _no(reason: str, refused: bool = True) -> Answer:
    return {"error": reason, "refused": refused}


class Server(socketserver.ThreadingUnixStreamServer):
    """A Unix socket of one user, and a thread for each client.

    Parameters
    ----------
    path : Path         of the socket; made with permissions 0600, removed at the end
    answers : Answers

    Raises
    ------
    ValueError          the path is too long, in use, or not a socket
    OSError             no such directory, no permission
    """

    daemon_threads = True
    request_queue_size = MOST_CLIENTS

    def __init__(self, path: Path, answers: Answers) -> None:
        claim(path)
        self.answers = answers
        self._free = BoundedSemaphore(MOST_CLIENTS)
        super().__init__(str(path), Conversation)

    def server_bind(self) -> None:
        """Make the socket so that nobody else may ever write to it."""
        before = os.umask(0o177)
        try:
            super().server_bind()
        finally:
            os.umask(before)

    def server_close(self) -> None:
        """Take the socket away."""
        super().server_close()
        Path(str(self.server_address)).unlink(missing_ok=True)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Listen to this user alone, where the system tells who calls."""
        return user_of(request) in (os.getuid(), None)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a client a thread, or tell it that there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.setblocking(False)
        request.send(as_line(_no(f"{MOST_CLIENTS} clients are being answered. Ask later.", False)))
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Talk with one client, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that died or fell silent; others stay as they were."""
        if not isinstance(sys.exception(), OSError):
            traceback.print_exc()


def user_of(connection: socket.socket) -> int | None:
    """Ask the system which user is at the other end; None where it does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    form = "3i"  # process, user, group
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    return int(struct.unpack(form, found)[1])


def claim(path: Path) -> None:
    """Make room for a socket: its own directory, and what a killed server left behind.

    Raises
    ------
    ValueError   too long, in use, or another kind of file
    """
    if len(os.fsencode(path)) > 100:  # the system allows 104 to 108
        raise ValueError(f"`socket` must be at most 100 bytes long; got {path}. Name another.")
    if path == default_socket():
        path.parent.mkdir(mode=0o700, exist_ok=True)
    folder = path.parent.stat()
    others_write = folder.st_mode & 0o022 and not folder.st_mode & 0o1000  # not as in /tmp
    if others_write or folder.st_uid not in (os.getuid(), 0):
        raise ValueError(
            f"`socket` must be in a directory where nobody else may write; got {path}. Name"
            " another."
        )
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:  # its server was killed
                path.unlink()
            else:
                raise ValueError(
                    f"`socket` must be free; another server answers at {path}. Name another, or"
                    " end that one."
                )
    elif path.exists():
        raise ValueError(f"`socket` must not be a file that is there; got {path}. Name another.")
