"""Small things to run: a molecule of springs that costs nothing, an untrained model in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress

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
    """Equal springs (eV/Å^2) between all atoms, at rest in the given structure.

    Free to drift and to turn.
    """

    implemented_properties: ClassVar = ["energy", "free_energy", "forces"]

    def __init__(self, atoms: Atoms, strength: float = 5.0) -> None:
        super().__init__()
        self.strength, self.rest, self.seen = strength, atoms.get_all_distances(), b""

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        if (positions := atoms.positions.tobytes()) != self.seen:
            self.calculate(atoms)
            self.seen = positions
        return np.copy(self.results[name])[()]

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        vectors = atoms.positions[None] - atoms.positions[:, None]  # (N, N, 3)
        distances = np.sqrt(np.einsum("ijk,ijk->ij", vectors, vectors)) + np.eye(len(vectors))
        stretch = (distances - self.rest) * (1 - np.eye(len(vectors)))
        energy = 0.25 * self.strength * np.sum(stretch**2)
        forces = np.einsum("ij,ijk->ik", self.strength * stretch / distances, vectors)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


class Lattice(Calculator):
    """Springs between the neighbours of a crystal, through its walls too.

    Energy, forces and stress for a moving cell.
    """

    implemented_properties: ClassVar = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, atoms: Atoms, cutoff: float, strength: float = 3.0) -> None:
        super().__init__()
        self.i, self.j, self.rest, self.shift = neighbor_list("ijdS", atoms, cutoff)
        self.strength = strength

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        # every pair twice
        vectors = atoms.positions[self.j] - atoms.positions[self.i] + self.shift @ atoms.cell.array
        length = np.sqrt(np.einsum("pk,pk->p", vectors, vectors))
        stretch = length - self.rest
        pull = (self.strength * stretch / length)[:, None] * vectors
        forces = np.zeros_like(atoms.positions)
        np.add.at(forces, self.i, pull)
        energy = 0.25 * self.strength * float(np.sum(stretch**2))
        stress = 0.5 * (pull.T @ vectors) / atoms.get_volume()
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces,
            "stress": full_3x3_to_voigt_6_stress(stress),
        }


def crystal(strength: float = 3.0) -> Atoms:
    """Sixteen neon atoms in a cell that is not cubic, with springs to nearest and next ones."""
    atoms = bulk("Ne", "fcc", a=4.0, orthorhombic=True) * (2, 2, 2)
    atoms.calc = Lattice(atoms, 4.2, strength)
    return atoms


def sprung(name: str = "CH3CH2OH", strength: float = 5.0) -> Atoms:
    """A molecule held together by springs."""
    atoms = molecule(name)
    atoms.calc = Springs(atoms, strength)
    return atoms


def write_small_model(path: Path) -> Path:
    """Write an untrained model for H, C, O that knows singlets of charge 0, -1 and triplets."""
    torch.manual_seed(3)
    card = Card(
        name="small",
        description="untrained",
        elements=[1, 6, 8],
        states=[[0, 1, 10], [-1, 1, 5], [0, 3, 5]],
    )
    save(path, build(SPEC), card)
    return path
