"""Be driven by i-PI, or by any program that speaks its protocol, through a socket.

The server asks, the client answers: headers of 12 bytes, then numbers in atomic units, matrices by
columns. The server tells positions and cell, not elements nor the state: these are those of a
structure that the client is given.

Source: V. Kapil et al., Comput. Phys. Commun. 236, 214 (2019), and the manual of i-PI,
"Communication protocol".
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from polcalc.engines.base import Floats

HEADER = 12  # bytes
UNIX_PREFIX = "/tmp/ipi_"  # before the name of a Unix socket, as i-PI has it
MOST_BYTES = 2**30  # of one message; more is not this protocol


class Ended(ConnectionError):
    """The server hung up."""


def connect(address: str, port: int | None = None) -> socket.socket:
    """Connect to a server.

    Parameters
    ----------
    address : str        host, or where ``port`` is None the name of a Unix socket below /tmp/ipi_,
                         or its whole path

    Raises
    ------
    OSError              no server listens there
    """
    if port is not None:
        return socket.create_connection((address, port))
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address if "/" in address else UNIX_PREFIX + address)
    except OSError:
        connection.close()
        raise
    return connection


def driven(connection: socket.socket, atoms: Atoms) -> Iterator[Atoms]:
    """Evaluate what the server sends until it ends; yield the structure after each evaluation.

    Parameters
    ----------
    atoms : Atoms   elements, state, periodicity and a calculator; moved by the server

    Raises
    ------
    ValueError      another number of atoms; a message that is none of the protocol; whatever the
                    calculator refuses
    """
    answer: bytes | None = None
    while True:
        try:
            header = _receive(connection, HEADER).decode("ascii", "replace").strip()
        except Ended:
            return
        if header == "EXIT":
            return
        if header == "STATUS":
            _send(connection, b"READY" if answer is None else b"HAVEDATA")
        elif header == "INIT":
            _numbers(connection, 1, np.int32)  # which replica
            _receive(connection, int(_numbers(connection, 1, np.int32)[0]))
        elif header == "POSDATA":
            _read_structure(connection, atoms)
            answer = _answer(atoms)
            yield atoms
        elif header == "GETFORCE" and answer is not None:
            _send(connection, b"FORCEREADY", answer)
            answer = None
        else:
            raise ValueError(f"The server must follow the protocol of i-PI; got {header!r}.")


def _read_structure(connection: socket.socket, atoms: Atoms) -> None:
    cell = _numbers(connection, 9, np.float64).reshape(3, 3)  # columns are lattice vectors
    _numbers(connection, 9, np.float64)  # its inverse
    n_atoms = int(_numbers(connection, 1, np.int32)[0])
    if n_atoms != len(atoms):
        raise ValueError(
            f"The server must send {len(atoms)} atoms, as the structure has; got {n_atoms}. Give"
            " both the same structure."
        )
    positions = _numbers(connection, 3 * n_atoms, np.float64).reshape(-1, 3)
    if atoms.pbc.any():
        atoms.cell[:] = cell.T * units.Bohr
    atoms.positions[:] = positions * units.Bohr


def _answer(atoms: Atoms) -> bytes:
    """Write energy, forces and virial of a structure, and its dipole where there is one."""
    results: dict[str, Any] = {}
    calculator = atoms.calc
    if "dipole" in calculator.implemented_properties:
        results["dipole"] = (atoms.get_dipole_moment() / units.Bohr).tolist()  # e bohr
    extras = json.dumps(results).encode()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    parts: tuple[NDArray[Any], ...] = (
        np.array([energy / units.Ha], np.float64),
        np.array([len(atoms)], np.int32),
        np.array(forces * units.Bohr / units.Ha, np.float64),
        np.array(_virial(atoms).T / units.Ha, np.float64),
        np.array([len(extras)], np.int32),
    )
    return b"".join(part.tobytes() for part in parts) + extras


def _virial(atoms: Atoms) -> Floats:
    """Return -dE/dε in eV, (3, 3); zeros for an open structure, which has none."""
    if not atoms.pbc.any():
        return np.zeros((3, 3))
    virial: Floats = -atoms.get_volume() * atoms.get_stress(voigt=False)
    return virial


def _numbers(connection: socket.socket, n: int, dtype: Any) -> NDArray[Any]:
    return np.frombuffer(_receive(connection, n * np.dtype(dtype).itemsize), dtype)


def _receive(connection: socket.socket, n_bytes: int) -> bytes:
    if not 0 <= n_bytes <= MOST_BYTES:
        raise ValueError(f"The server must follow the protocol of i-PI; got {n_bytes} bytes.")
    received = bytearray()
    while len(received) < n_bytes:
        piece = connection.recv(min(n_bytes - len(received), 2**20))
        if not piece:
            raise Ended("The server hung up.")
        received += piece
    return bytes(received)


def _send(connection: socket.socket, header: bytes, body: bytes = b"") -> None:
    connection.sendall(header.ljust(HEADER) + body)
