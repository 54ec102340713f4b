"""A small untrained model of charges, shells, dipole, polarizability and unpaired electrons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from potentials.build import build
from potentials.card import Card
from potentials.checkpoint import Model, save

SPEC: dict[str, Any] = {
    "cutoff": 4.5,
    "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1},
    "radial": {"name": "exp_normal", "n_radial": 8},
    "state_factor": {"attributes": ["total_charge", "unpaired_electrons"]},
    "electrons": {"name": "local"},
    "terms": [
        {"name": name}
        for name in ("readout", "zbl", "split_charges", "shells", "shell_dipole", "polarizability")
    ],
}
CARD = Card(
    name="polar",
    description="untrained",
    elements=[1, 6, 8],
    states=[[0, 1, 9], [-1, 2, 5], [0, 3, 5], [1, 2, 5], [1, 1, 1]],
)


def polar_model(*without: str, points: str = "fixed") -> Model:
    """Make the model, without some of its terms, or without its electrons."""
    torch.manual_seed(3)
    terms = [term for term in SPEC["terms"] if term["name"] not in without]
    spec = {name: part for name, part in SPEC.items() if name not in without}
    potential = build(spec | {"terms": terms, "points": {"name": points}})
    for weight in potential.parameters():  # no weight is at a special value
        weight.data += 0.1 * torch.randn_like(weight)
    return Model(potential.double(), CARD, "0" * 64, Path("polar.pt"))


def write_polar_model(path: Path, *without: str, points: str = "fixed") -> Path:
    """Write the model to a file."""
    save(path, polar_model(*without, points=points).potential.float(), CARD)
    return path
