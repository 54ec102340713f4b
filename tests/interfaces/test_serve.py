"""The server: what it answers, whom, and what becomes of clients that do not behave."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from polcalc import PolarizedCalculator
from polcalc.interfaces import serve
from polcalc.interfaces.serve import Answers, Server, claim, user_of
from tests.small import write_small_model

WATER = molecule("H2O")


def question(atoms: Atoms = WATER, **further: Any) -> dict[str, Any]:
    return {
        "atomic_numbers": atoms.numbers.tolist(),
        "positions_A": atoms.positions.tolist(),
    } | further


@pytest.fixture(scope="module")
def calculator(tmp_path_factory) -> PolarizedCalculator:
    path = write_small_model(tmp_path_factory.mktemp("model") / "m.pt")
    return PolarizedCalculator(path, dtype="float64")


@pytest.fixture
def server(calculator, tmp_path) -> Iterator[Server]:
    with Server(tmp_path / "s.sock", Answers({"small": calculator})) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()
    assert not (tmp_path / "s.sock").exists()


class Client:
    """A well-behaved client, and one that sends any bytes."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(server.server_address))
        self.file = self.socket.makefile("rb")

    def ask(self, asked: dict[str, Any] | bytes) -> dict[str, Any]:
        line = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        self.socket.sendall(line + b"\n")
        answer: dict[str, Any] = json.loads(self.file.readline())
        return answer

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_an_answer_is_what_the_calculator_says(server, calculator):
    client = Client(server)
    ion = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"charge": -1})
    for atoms, state in ((WATER, {}), (ion, {"charge": -1}), (WATER, {"multiplicity": 3})):
        answer = client.ask(question(atoms, **state))
        expected = atoms.copy()
        expected.info.update(state)
        right = calculator.calculate_many([expected])[0]
        assert answer["energy_eV"] == pytest.approx(right["energy"], abs=1e-9)
        assert np.allclose(answer["forces_eV_per_A"], right["forces"], atol=1e-9)
        assert np.shape(answer["energies_eV"]) == (len(atoms),)
        assert answer["model"] == "small" and answer["sha256"] == calculator.model.sha256
        assert (answer["charge"], answer["multiplicity"]) == (
            state.get("charge", 0),
            state.get("multiplicity", 1),
        )
    client.close()


def test_hessians_and_cells_are_answered(server, calculator):
    client = Client(server)
    answer = client.ask(question(hessian=True))
    assert np.allclose(
        answer["hessian_eV_per_A2"], calculator.get_hessian(WATER).reshape(9, 9), atol=1e-9
    )
    crystal = bulk("C")
    answer = client.ask(question(crystal, cell_A=crystal.cell.array.tolist()))
    right = calculator.calculate_many([crystal])[0]
    assert np.allclose(answer["stress_eV_per_A3"], right["stress"], atol=1e-9)
    client.close()


def test_a_warning_is_said_to_each_who_asks(server):
    for _ in range(2):
        client = Client(server)
        methyl = molecule("CH3")
        answer = client.ask(question(methyl))
        assert any("nothing says its charge" in text for text in answer["warnings"])
        said = client.ask(question(methyl, charge=0, multiplicity=2))["warnings"]
        assert len(said) == 1 and "never saw" in said[0]
        client.close()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (b"", "JSON object"),
        (b"hello", "JSON object"),
        (b"[1, 2]", "JSON object"),
        (b"\xff\xfe", "JSON object"),
        (b"[" * 100_000, "JSON object"),
        (b'{"atomic_numbers": ' + b"9" * 5000 + b"}", "JSON object"),
        (question(positions_A=[[0, 0, float("nan")]] * 3), "finite"),
        (question(positions_A=[[0, 0, 10**400]] * 3), "JSON object"),
        (question(positions_A=[[0, 0]] * 3), "3 rows of three"),
        (question(positions_A=[[0, 0, 0]] * 2), "3 rows of three"),
        (question(positions_A=[[0, 0, 0]] * 3), "atoms"),
        (question(atomic_numbers=[]), "rows of three"),
        (question(atomic_numbers=[8, 1, 119]), "1 to 118"),
        (question(atomic_numbers="H2O"), "list"),
        (question(Atoms("Xe2", [[0, 0, 0], [0, 0, 4]])), "elements"),
        (question(charge=0.5), "int"),
        (question(charge=True), "int"),
        (question(charge=10**30), "the protons"),
        (question(charge=-(10**30)), "the protons"),
        (question(multiplicity=2), "multiplicity"),
        (question(cell_A=[[1, 0, 0]]), "rows of three"),
        (question(pbc=[True] * 3), "cell_A"),
        (question(model="other"), "small"),
        (question(model="/etc/passwd"), "small"),
        (question(run="rm"), "Leave it out"),
        ({"atomic_numbers": [1]}, "positions_A"),
    ],
)
def test_what_is_wrong_is_refused_and_the_next_question_answered(server, asked, reason):
    client = Client(server)
    answer = client.ask(asked)
    assert answer["refused"] and reason in answer["error"], answer
    assert "energy_eV" in client.ask(question())
    client.close()


def test_a_question_too_long_ends_the_conversation(server, monkeypatch):
    monkeypatch.setattr(serve, "LONGEST_QUESTION", 1000)
    client = Client(server)
    assert "at most 1000 bytes" in client.ask(b"[" * 2000)["error"]
    assert client.file.readline() == b""
    client.close()


def test_what_fails_in_here_is_told_and_survived(server, calculator, monkeypatch, capfd):
    def fail(atoms: Atoms) -> None:
        raise RuntimeError("a fault of ours")

    client = Client(server)
    with monkeypatch.context() as broken:
        broken.setattr(calculator, "calculate", fail)
        answer = client.ask(question())
    assert answer == {"error": "RuntimeError: a fault of ours", "refused": False}
    assert "energy_eV" in client.ask(question())
    client.close()
    assert "a fault of ours" in capfd.readouterr().err


def test_clients_that_die_leave_nothing_behind(server, capfd):
    """In the middle of a question, before the answer, without a word."""
    Client(server).close()
    before = threads_and_files()
    for sent in (b"", b'{"atomic_numbers": [8', json.dumps(question()).encode() + b"\n"):
        for _ in range(20):
            client = Client(server)
            client.socket.sendall(sent)
            client.close()
    deadline = time.monotonic() + 20
    while threads_and_files() != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threads_and_files() == before
    client = Client(server)
    assert "energy_eV" in client.ask(question())
    client.close()
    assert capfd.readouterr().err == ""


def threads_and_files() -> tuple[int, int]:
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def test_a_client_that_stops_within_a_question_is_given_up(server, monkeypatch):
    monkeypatch.setattr(serve, "PATIENCE_S", 0.1)
    client = Client(server)
    client.socket.sendall(b"{")
    assert client.file.readline() == b""
    client.close()


def test_clients_are_answered_at_the_same_time(server, calculator):
    """Each gets its own answer; a silent one keeps nobody waiting."""
    silent, wrong = Client(server), []

    def ask(shift: float) -> None:
        client, atoms = Client(server), WATER.copy()
        atoms.positions[0, 0] += shift
        for _ in range(5):
            energy = client.ask(question(atoms))["energy_eV"]
            if energy != pytest.approx(calculator.calculate_many([atoms])[0]["energy"], abs=1e-9):
                wrong.append(shift)
        client.close()

    threads = [threading.Thread(target=ask, args=(0.01 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    silent.close()
    assert not wrong


def test_too_many_clients_are_told_so(calculator, tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "MOST_CLIENTS", 2)
    with Server(tmp_path / "s.sock", Answers({"small": calculator})) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        first, second, third = Client(server), Client(server), Client(server)
        answer = json.loads(third.file.readline())
        assert not answer["refused"] and "2 clients" in answer["error"]
        assert "energy_eV" in first.ask(question())
        for client in (first, second, third):
            client.close()
        server.shutdown()
        thread.join()


def test_the_socket_is_of_one_user(server, monkeypatch):
    path = Path(str(server.server_address))
    assert path.stat().st_mode & 0o777 == 0o600
    client = Client(server)
    assert user_of(client.socket) in (os.getuid(), None)
    client.close()
    monkeypatch.setattr(serve, "user_of", lambda connection: os.getuid() + 1)
    stranger = Client(server)
    with pytest.raises((ConnectionError, json.JSONDecodeError)):
        stranger.ask(question())
    stranger.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_another_user_may_not_even_connect(server):
    path = Path(str(server.server_address))
    for folder in path.parents:  # let him come as far as the socket itself
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-IS", "-c", script],
        user=65534,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError" in done.stderr


def test_what_a_killed_server_left_is_taken_over_and_nothing_else(server, tmp_path):
    with pytest.raises(ValueError, match="another server answers"):
        claim(Path(str(server.server_address)))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="must not be a file"):
        claim(tmp_path / "file")
    with pytest.raises(ValueError, match="100 bytes"):
        claim(tmp_path / ("x" * 100))
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ValueError, match="nobody else may write"):
        claim(tmp_path / "open" / "s.sock")
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "left.sock"))
    left.close()
    claim(tmp_path / "left.sock")
    assert not (tmp_path / "left.sock").exists()


def test_the_command_answers_until_it_is_ended(tmp_path):
    write_small_model(tmp_path / "m.pt")
    words = [sys.executable, "-m", "md_runs.cli", "serve", "--model", "m.pt", "--socket", "s"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "m.pt answers at s" in process.stdout.readline()
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "s"))
        client.sendall(json.dumps(question()).encode() + b"\n")
        assert json.loads(client.makefile("rb").readline())["model"] == "m.pt"
        process.terminate()
        assert process.wait(20) == 0
    client.close()
    assert not (tmp_path / "s").exists()
