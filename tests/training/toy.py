"""Small labelled structures that cost nothing.

Molecules of springs, neutral and charged, of two sizes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from potentials.build import build
from potentials.datasets import Frames, make_frames, split
from potentials.datasets.statistics import atom_energies
from potentials.potential import Potential
from potentials.training.config import Config, from_dict
from potentials.training.preparation import TrainingTask, assemble
from tests.small import Springs

SPEC: dict[str, Any] = {
    "cutoff": 4.0,
    "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1},
    "radial": {"name": "exp_normal", "n_radial": 8},
    "state_factor": {"attributes": ["total_charge"]},
}


def labelled(name: str, count: int, seed: int, charge: int = 0) -> list[Any]:
    """Shaken molecules with energies and forces of springs, on top of the free atoms' energies."""
    rng = np.random.default_rng(seed)
    springs = Springs(molecule(name))
    found = []
    for _ in range(count):
        atoms = molecule(name)
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        atoms.calc = springs
        energy, forces = (
            atoms.get_potential_energy() + atom_energies(atoms.numbers).sum() - charge,
            atoms.get_forces(),
        )
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        atoms.info |= {"charge": charge, "multiplicity": 1}
        found.append(atoms)
    return found


def frames(atoms: list[Any]) -> Frames:
    return make_frames(
        n_atoms=np.array([len(a) for a in atoms]),
        atomic_numbers=np.concatenate([a.numbers for a in atoms]),
        positions=np.concatenate([a.positions for a in atoms]),
        energy=np.array([a.get_potential_energy() for a in atoms]),
        forces=np.concatenate([a.get_forces() for a in atoms]),
        total_charge=np.array([float(a.info["charge"]) for a in atoms]),
        multiplicity=1,
    )


def waters(count: int = 24, seed: int = 0) -> Frames:
    return frames(labelled("H2O", count, seed))


def mixture() -> Frames:
    """Water and ammonia, and ammonium with a charge."""
    return frames(
        [*labelled("H2O", 4, 1), *labelled("NH3", 5, 2), *labelled("CH3", 3, 3, charge=1)]
    )


def config(**changes: Any) -> Config:
    """A training of two minutes' patience; ``changes`` are tables or entries."""
    values: dict[str, Any] = {
        "name": "toy",
        "data": {"train": "toy.extxyz", "n_train": 16, "n_validation": 8},
        "potential": SPEC,
        "schedule": {"max_epochs": 3, "warm_up_steps": 2},
        "training": {
            "batch_size": 4,
            "checkpoint_every_min": 0.0,
            "validate_every_epochs": 1,
            "ema_decay": 0.9,
        },
    }
    for name, value in changes.items():
        values[name] = values.get(name, {}) | value if isinstance(value, dict) else value
    return from_dict(values)


def task(chosen: Config, structures: Frames | None = None) -> TrainingTask:
    """Prepare a training without a file."""
    drawn = split(
        waters() if structures is None else structures,
        chosen.data.n_train,
        chosen.data.n_validation,
        0,
    )
    return assemble(chosen, drawn.train, drawn.validation, drawn.validation)


def without_forces(structures: Frames) -> Frames:
    return replace(structures, forces=None)


def write_config(folder: Path, text: str = "", epochs: int = 30, optimizer: str = "soap") -> Path:
    """Write toy.extxyz and train.toml into a folder."""
    write(folder / "toy.extxyz", labelled("H2O", 24, 0))
    path = folder / "train.toml"
    path.write_text(
        f"""name = "toy"
limits = "water alone; take a better model for ice"
[data]
train = "{folder / "toy.extxyz"}"
n_train = 16
n_validation = 8
test = "{folder / "toy.extxyz"}"
[potential]
cutoff = 4.0
architecture = {{ name = "tensornet", channels = 8, n_layers = 1 }}
radial = {{ name = "exp_normal", n_radial = 8 }}
[optimizer]
name = "{optimizer}"
[schedule]
max_epochs = {epochs}
warm_up_steps = 2
[training]
batch_size = 4
checkpoint_every_min = 0
{text}""",
        encoding="utf-8",
    )
    return path


def build_untrained() -> Potential:
    return build(SPEC)
