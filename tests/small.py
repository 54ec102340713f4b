"""Small things to run: a molecule of springs that costs nothing, and an untrained model in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes

from potentials.build import build
from potentials.checkpoint import Card, save

SPEC: dict[str, Any] = {
    "cutoff": 4.5,
    "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1},
    "radial": {"name": "exp_normal", "n_radial": 8},
    "state_factor": {"attributes": ["total_charge", "unpaired_electrons"]},
    "terms": [{"name": "readout"}, {"name": "zbl"}],
}


class Springs(Calculator):
    """A spring of strength (eV/Å^2) between every two atoms, at rest in the structure it is made from: free to drift and to turn."""

    implemented_properties: ClassVar = ["energy", "free_energy", "forces"]

    def __init__(self, atoms: Atoms, strength: float = 5.0) -> None:
        super().__init__()
        self.strength, self.rest, self.seen = strength, atoms.get_all_distances(), b""

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        if (positions := atoms.positions.tobytes()) != self.seen:
            self.calculate(atoms)
            self.seen = positions
        return np.copy(self.results[name])[()]

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        vectors = atoms.positions[None] - atoms.positions[:, None]  # (N, N, 3)
        distances = np.sqrt(np.einsum("ijk,ijk->ij", vectors, vectors)) + np.eye(len(vectors))
        stretch = (distances - self.rest) * (1 - np.eye(len(vectors)))
        energy = 0.25 * self.strength * np.sum(stretch**2)
        forces = np.einsum("ij,ijk->ik", self.strength * stretch / distances, vectors)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


def sprung(name: str = "CH3CH2OH", strength: float = 5.0) -> Atoms:
    """A molecule held together by springs."""
    atoms = molecule(name)
    atoms.calc = Springs(atoms, strength)
    return atoms


def write_small_model(path: Path) -> Path:
    """Write an untrained model for H, C and O that knows closed shells of charge 0 and -1 and triplets."""
    torch.manual_seed(3)
    card = Card(name="small", description="untrained", elements=[1, 6, 8], states=[[0, 1, 10], [-1, 1, 5], [0, 3, 5]])
    save(path, build(SPEC), card)
    return path
