"""Driven through a socket: by ASE's server, by i-PI itself, and by servers that misbehave."""

from __future__ import annotations

import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.socketio import SocketIOCalculator
from ase.io import read, write
from typer.testing import CliRunner

from md_runs.cli.app import app
from polcalc import PolarizedCalculator
from polcalc.interfaces.ipi import connect, driven
from tests.small import write_small_model

I_PI = Path(sysconfig.get_path("scripts")) / "i-pi"
REPLICAS = 8
INPUT = """
<simulation verbosity="quiet">
  <output prefix="out">
    <properties stride="1" filename="log">
      [step, conserved{electronvolt}, potential{electronvolt}, kinetic_cv{electronvolt}]
    </properties>
    <trajectory filename="x" stride="10" format="xyz" cell_units="angstrom">
      positions{angstrom}
    </trajectory>
    <trajectory filename="f" stride="10" format="xyz"> forces{ev/ang} </trajectory>
  </output>
  <total_steps> STEPS </total_steps>
  <prng> <seed> 7 </seed> </prng>
  <ffsocket name="polcalc" mode="unix" pbc="false"> <address> NAME </address> </ffsocket>
  <system>
    <initialize nbeads="REPLICAS">
      <file mode="xyz" units="angstrom"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 300 </velocities>
    </initialize>
    <forces> <force forcefield="polcalc"> </force> </forces>
    <motion mode="dynamics">
      <fixcom> True </fixcom>
      <dynamics mode="nve"> <timestep units="femtosecond"> 0.25 </timestep> </dynamics>
    </motion>
    <ensemble> <temperature units="kelvin"> 300 </temperature> </ensemble>
  </system>
</simulation>
"""


@pytest.fixture(scope="module")
def calculator(tmp_path_factory) -> PolarizedCalculator:
    path = write_small_model(tmp_path_factory.mktemp("model") / "m.pt")
    return PolarizedCalculator(path, dtype="float64")


def drive(name: str, atoms: Atoms) -> None:
    with connect(name) as connection:
        for _ in driven(connection, atoms):
            pass


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("atoms", [molecule("H2O"), bulk("C", cubic=True)], ids=["open", "crystal"])
def test_a_server_of_ase_reads_what_the_calculator_says(calculator, atoms, tmp_path):
    """Units, signs and the order of matrices; the cell is sheared to tell rows from columns."""
    atoms = atoms.copy()
    if atoms.pbc.any():
        sheared = atoms.cell.array @ [[1, 0.06, 0.03], [0, 1, 0], [0, 0, 1]]
        atoms.set_cell(sheared, scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    name = f"polcalc-{tmp_path.name}"
    client = atoms.copy()
    client.rattle(0.3, seed=2)
    client.calc = calculator
    with SocketIOCalculator(unixsocket=name) as server:
        thread = in_background(lambda: drive(name, client))
        atoms.calc = server
        forces, energy = atoms.get_forces(), atoms.get_potential_energy()
        right = atoms.copy()
        right.calc = calculator
        stress = atoms.get_stress() if atoms.pbc.any() else None
        if server.server is not None and server.server.protocol is not None:
            server.server.protocol.end()
        thread.join()
    assert energy == pytest.approx(right.get_potential_energy(), abs=1e-9)
    assert np.allclose(forces, right.get_forces(), atol=1e-9)
    if stress is not None:
        assert np.abs(stress).max() > 1e-3
        assert np.allclose(stress, right.get_stress(), atol=1e-9)


def run_i_pi(folder: Path, steps: int, words: list[str]) -> None:
    """Run a simulation in a folder that holds start.xyz, driven by the command of the shell."""
    name = f"polcalc-{time.monotonic_ns()}"
    text = INPUT.replace("STEPS", str(steps)).replace("NAME", name)
    (folder / "input.xml").write_text(text.replace("REPLICAS", str(REPLICAS)))
    with subprocess.Popen(
        [sys.executable, I_PI, "input.xml"], cwd=folder, stdout=subprocess.DEVNULL
    ) as server:
        path = Path(f"/tmp/ipi_{name}")
        deadline = time.monotonic() + 120
        while not path.exists() and server.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        done = CliRunner().invoke(app, ["drive", "start.xyz", "--unix", name, *words])
        assert done.exit_code == 0, done.output
        assert server.wait(60) == 0


@pytest.mark.skipif(not I_PI.exists(), reason="needs i-PI")
def test_i_pi_moves_a_molecule_of_eight_replicas(tmp_path, monkeypatch):
    """Forces of every replica are those of the calculator; the ring polymer keeps its energy."""
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    calculator = PolarizedCalculator("m.pt", dtype="float64")
    start = molecule("H2O")
    start.set_cell(np.eye(3) * 20)
    (tmp_path / "start.xyz").write_text(
        "3\n# CELL(abcABC): 20 20 20 90 90 90 positions{angstrom}\n"
        + "".join(f"{a.symbol} {a.x} {a.y} {a.z}\n" for a in start)
    )
    run_i_pi(tmp_path, 20, ["--model", "m.pt"])
    for replica in range(REPLICAS):
        positions = read(f"out.x_{replica}.xyz", ":", format="xyz")
        forces = read(f"out.f_{replica}.xyz", ":", format="xyz")
        assert len(positions) == 3
        for frame, expected in zip(positions, forces, strict=True):
            calculated = calculator.calculate_many([Atoms("OH2", frame.positions)])[0]["forces"]
            assert np.allclose(calculated, expected.positions, atol=2e-4)  # digits of the file
    log = np.loadtxt("out.log")
    assert len(log) == 21
    assert np.ptp(log[:, 1]) < 0.05 * np.ptp(log[:, 2])


class Server:
    """A server that sends what it is told."""

    def __init__(self, path: Path) -> None:
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self.path = path

    def send(self, data: bytes, atoms: Atoms) -> list[Atoms]:
        client = connect(str(self.path))
        with self.listening.accept()[0] as end:
            end.sendall(data)
        with client:
            return list(driven(client, atoms))

    def close(self) -> None:
        self.listening.close()


def position_data(n_atoms: int) -> bytes:
    numbers = np.eye(3).tobytes() * 2 + np.int32(n_atoms).tobytes()
    return b"POSDATA     " + numbers + np.random.default_rng(0).random(3 * n_atoms).tobytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HELLO       ", "HELLO"),
        (b"GETFORCE    ", "GETFORCE"),
        (b"\xff" * 12, "protocol"),
        (position_data(1), "3 atoms"),
        (b"INIT        " + np.int32([0, -5]).tobytes(), "-5 bytes"),
        (b"POSDATA     " + np.full(9, np.nan).tobytes()[:10], "hung up"),
        (
            b"POSDATA     " + np.zeros(18).tobytes() + np.int32(3).tobytes() + bytes(72),
            "on top of each other",
        ),
    ],
)
def test_what_is_not_the_protocol_ends_with_a_reason(calculator, tmp_path, data, reason):
    server = Server(tmp_path / "s")
    atoms = molecule("H2O")
    atoms.calc = calculator
    with pytest.raises((ValueError, ConnectionError), match=reason):
        server.send(data, atoms)
    server.close()


def test_a_server_that_ends_is_no_failure(calculator, tmp_path):
    server = Server(tmp_path / "s")
    atoms = molecule("H2O")
    atoms.calc = calculator
    assert server.send(b"", atoms) == []
    assert server.send(b"EXIT        ", atoms) == []
    server.close()


def test_the_command_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_small_model(tmp_path / "m.pt")
    write("w.xyz", molecule("H2O"))
    for words, reason in (
        ("--model m.pt", "`--unix` or `--port`"),
        ("--model m.pt --unix none", "Start it first"),
        ("--model m.pt --port 1", "Start it first"),
        ("--model m.pt --unix none --multiplicity 2", "must fit"),
    ):
        done = CliRunner().invoke(app, ["drive", "w.xyz", *words.split()])
        assert done.exit_code == 2 and reason in done.output, done.output
