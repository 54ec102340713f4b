"""The teacher of closed shells: AIMNet2, four networks trained on ωB97M-D3(BJ)/def2-TZVPP.

It is read as TorchScript from the installed wheel of Auto3D, which is never imported. It knows no
spin. One thread, float32; structures of a batch are padded with atoms of number 0, which the
networks leave out.
Sizes in comments: S structures, N atoms of the largest.
"""

from __future__ import annotations

import warnings
from functools import cache
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.jit._fuser import optimized_execution

Array = NDArray[Any]

PACKAGE, VERSION, FILE = "auto3d", "2.3.1", "models/aimnet2_wb97m_ens_f.jpt"
SHA256 = "e34e147e"  # begins with
ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53)
THEORY = "AIMNet2 ensemble of four networks, of ωB97M-D3(BJ)/def2-TZVPP"
LICENCE = "MIT"
CITATION = "D. M. Anstine, R. Zubatyuk, O. Isayev, Chem. Sci. 16, 10228 (2025)"
URL = "https://doi.org/10.1039/D4SC08572H"


class Structures(NamedTuple):
    """Structures of one batch, padded with zeros behind their atoms."""

    atomic_numbers: Array  # (S, N) int64
    positions: Array  # (S, N, 3) Å, float32
    total_charge: Array  # (S,) e


class Labels(NamedTuple):
    """What the ensemble says: means over its networks, and how far these differ."""

    energy: Array  # (S,) eV, float64
    forces: Array  # (S, N, 3) eV/Å
    charges: Array  # (S, N) e
    energy_std: Array  # (S,) eV
    forces_std: Array  # (S, N, 3) eV/Å


def pad(numbers: list[Array], positions: list[Array], total_charge: list[int]) -> Structures:
    """Put structures of different size into one batch."""
    shape = len(numbers), max(map(len, numbers))
    batch = Structures(
        np.zeros(shape, np.int64), np.zeros((*shape, 3), np.float32), np.array(total_charge)
    )
    for n, (z, x) in enumerate(zip(numbers, positions, strict=True)):
        batch.atomic_numbers[n, : len(z)] = z
        batch.positions[n, : len(z)] = x
    return batch


class Teacher:
    """The ensemble, and its first network alone at a quarter of the price, to follow a path."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
            self._ensemble = torch.jit.load(_file())
        self._first = getattr(self._ensemble.models, "0")

    def label(self, structures: Structures) -> Labels:
        """Compute labels by all four networks."""
        said = self._call(self._ensemble, structures)
        return Labels(
            *(
                said[name].numpy()
                for name in ("energy", "forces", "charges", "energy_std", "forces_std")
            )
        )

    def follow(self, structures: Structures) -> Array:
        """Compute forces (S, N, 3) eV/Å by one network."""
        forces: Array = self._call(self._first, structures)["forces"].numpy()
        return forces

    def _call(self, network: Any, structures: Structures) -> dict[str, Tensor]:
        inputs = {
            "coord": torch.tensor(structures.positions, dtype=torch.float32),
            "numbers": torch.tensor(structures.atomic_numbers),
            "charge": torch.tensor(structures.total_charge, dtype=torch.float32),
        }
        with optimized_execution(False):  # compiling each new shape takes longer than it saves
            said: dict[str, Tensor] = network(inputs)
        return {name: array.detach() for name, array in said.items()}


@cache
def teacher() -> Teacher:
    """Load the ensemble once in a process.

    Raises
    ------
    ModuleNotFoundError   it is not installed
    ValueError            another file
    """
    torch.set_num_threads(1)
    return Teacher()


def is_installed() -> bool:
    """Whether the wheel that brings the networks is there."""
    return find_spec("Auto3D") is not None


def _file() -> str:
    found = find_spec("Auto3D")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            f"`{PACKAGE}` must be installed for labels of closed shells; got none. "
            f"Run: pip install --no-deps {PACKAGE}=={VERSION}, as the extra `teacher` says."
        )
    path = Path(found.submodule_search_locations[0]) / FILE
    if not path.is_file() or not (digest := sha256(path.read_bytes()).hexdigest()).startswith(
        SHA256
    ):
        told = digest[:8] if path.is_file() else "no such file"
        raise ValueError(
            f"`{FILE}` must begin with sha256 {SHA256}; got {told} "
            f"in {PACKAGE} {metadata.version(PACKAGE)}. Install version {VERSION}."
        )
    return str(path)
