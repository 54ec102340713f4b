"""The variants that every contract test runs on: tiny, float64, random weights.

TensorNet is taken with each option of each door, one at a time; every other architecture plain and
in `COMBINATIONS`. A new architecture, encoding, kind of points or state factor is one line in its
table here.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from potentials.build import build
from potentials.parts.electrons import LocalElectrons
from potentials.potential import Potential

CUTOFF = 3.0  # Å
REFERENCES = {"H": -13.6, "C": -1030.1, "N": -1485.3, "O": -2042.6, "F": -2714.0}  # eV

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "tensornet-O(3)": {"name": "tensornet", "channels": 4, "n_layers": 2, "group": "O(3)"},
    "tensornet-SO(3)": {"name": "tensornet", "channels": 4, "n_layers": 2, "group": "SO(3)"},
    "schnet": {"name": "schnet", "channels": 4, "n_layers": 2},
    "egnn": {"name": "egnn", "channels": 4, "n_layers": 2},
    "equivariant_transformer": {
        "name": "equivariant_transformer",
        "channels": 4,
        "n_layers": 2,
        "n_heads": 2,
    },
    "dimenetpp": {
        "name": "dimenetpp",
        "channels": 4,
        "n_layers": 2,
        "n_basis": 3,
        "n_interaction": 2,
        "n_output": 5,
    },
    "equiformer": {"name": "equiformer", "channels": 8, "n_layers": 2, "n_heads": 2, "n_hidden": 5},
    "equiformer-SO(3)": {
        "name": "equiformer",
        "channels": 4,
        "n_layers": 2,
        "n_heads": 1,
        "n_hidden": 4,
        "group": "SO(3)",
    },
}
SCALED = {"tensornet-O(3)", "tensornet-SO(3)"}  # architectures that take a state factor
# architectures that tell a molecule from its mirror image
CHIRAL = {"tensornet-SO(3)", "equiformer-SO(3)"}

# The first of each table is the plain one.
RADIAL: dict[str, dict[str, Any]] = {
    "exp_normal": {"name": "exp_normal", "n_radial": 5},
    "gaussian": {"name": "gaussian", "n_radial": 5},
    "bessel": {"name": "bessel", "n_radial": 5},
    "learned": {"name": "learned", "n_radial": 5, "n_intervals": 12},
}
SMALL = {"n_angular": 3, "n_spherical": 2}
ANGULAR: dict[
    str, dict[str, dict[str, Any]]
] = {  # architectures that see angles: how, by radial encoding
    "dimenetpp": {
        name: (
            {"name": "learned", "n_intervals": 8, "n_distance_intervals": 10, **SMALL}
            if name == "learned"
            else {"name": "spherical_bessel", **SMALL}
        )
        for name in RADIAL
    },
}
POINTS: dict[str, dict[str, Any]] = {
    "fixed": {"name": "fixed"},
    "moving-paired": {"name": "moving", "links": "paired", "max_displacement": 0.4},
    "moving-full": {"name": "moving", "links": "full", "max_displacement": 0.4},
}
STATE: dict[str, dict[str, Any]] = {
    "blind": {"attributes": []},
    "charge+spin": {"attributes": ["total_charge", "unpaired_electrons"]},
    "charge+spin-per_layer": {
        "attributes": ["total_charge", "unpaired_electrons"],
        "strength": "per_layer",
    },
    "charge+spin-per_channel": {
        "attributes": ["total_charge", "unpaired_electrons"],
        "strength": "per_channel",
    },
    "partial": {"attributes": ["partial_charges"], "strength": "per_channel"},
}
EMBEDDINGS: dict[str, list[dict[str, Any]]] = {
    "species": [{"name": "species"}],
    "tables": [{"name": "species"}, {"name": "total_charge"}, {"name": "multiplicity"}],
    "partial_charges": [{"name": "species"}, {"name": "partial_charges"}],
    "electronic": [
        {"name": "species"},
        *({"name": "electronic", "attribute": a} for a in ("total_charge", "unpaired_electrons")),
    ],
}
ATTENTION: dict[str, dict[str, Any]] = {
    "none": {"name": "none"},
    "charged": {"name": "charged", "n_heads": 2, "n_values": 3},
}
ELECTRONS: dict[str, dict[str, Any]] = {
    "global": {"name": "global"},
    "local": {"name": "local"},
}
READOUT: list[dict[str, Any]] = [
    {"name": "readout", "scale": 0.7},
    {"name": "reference_energies", "energies_eV": REFERENCES},
]
TERMS: dict[str, list[dict[str, Any]]] = {
    "readout": READOUT,
    "zbl": [*READOUT, {"name": "zbl"}],
}


class Variant(NamedTuple):
    """One combination of options."""

    architecture: str
    radial: str
    points: str
    state: str
    embeddings: str
    terms: str
    attention: str
    electrons: str

    def __str__(self) -> str:
        plain = (next(iter(table)) for table in DOORS.values())
        options = [own for own, first in zip(self[1:], plain, strict=True) if own != first]
        return " ".join([self.architecture, *options])

    @property
    def spec(self) -> dict[str, Any]:
        angular = ANGULAR.get(self.architecture)
        return ({} if angular is None else {"angular": angular[self.radial]}) | {
            "cutoff": CUTOFF,
            "architecture": ARCHITECTURES[self.architecture],
            "radial": RADIAL[self.radial],
            "points": POINTS[self.points],
            "state_factor": STATE[self.state],
            "embeddings": EMBEDDINGS[self.embeddings],
            "terms": TERMS[self.terms],
            "attention": ATTENTION[self.attention],
            "electrons": ELECTRONS[self.electrons],
        }

    @property
    def mirrors(self) -> bool:
        """Whether a molecule and its mirror image have one energy."""
        return self.architecture not in CHIRAL

    @property
    def global_state(self) -> bool:
        """Whether the state of a structure acts in full on all its atoms, however far."""
        return (
            bool({"total_charge", "unpaired_electrons"} & build(self.spec).state_inputs)
            and not self.shared_state
        )

    @property
    def shared_state(self) -> bool:
        """Whether the state of a structure is shared out over its atoms."""
        return (
            self.embeddings == "electronic"
            or self.attention == "charged"
            or self.electrons == "local"
        )

    def build(self) -> Potential:
        """Build it with random weights, none of them at a special value."""
        torch.manual_seed(3)
        potential = build(self.spec).double().eval()
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in potential.parameters():
                if parameter.requires_grad:
                    parameter.add_(
                        0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                    )
        return potential


def without_formal_charges(potential: Potential) -> Potential:
    """Copy a potential and let it know no charged groups: all formal charges are 0."""
    found = copy.deepcopy(potential)
    if isinstance(found.trunk.electrons, LocalElectrons):
        with torch.no_grad():
            found.trunk.electrons.network[-1].weight[0] = 0.0  # of u
    return found


DOORS: dict[str, Mapping[str, Any]] = {
    "radial": RADIAL,
    "points": POINTS,
    "state": STATE,
    "embeddings": EMBEDDINGS,
    "terms": TERMS,
    "attention": ATTENTION,
    "electrons": ELECTRONS,
}
LAST = {"electrons": "global"}  # of the doors whose last option excludes those of others


COMBINATIONS: tuple[dict[str, str], ...] = (
    {},
    {"radial": "learned", "points": "moving-paired", "embeddings": "partial_charges"},
    {"points": "moving-full", "embeddings": "tables", "terms": "zbl"},
    {"points": "moving-paired", "electrons": "local"},
)


def _one_at_a_time() -> list[Variant]:
    found = []
    for architecture in ARCHITECTURES:
        plain = Variant(architecture, *(next(iter(table)) for table in DOORS.values()))
        if architecture not in SCALED:
            found += [plain._replace(**combination) for combination in COMBINATIONS]
            continue
        found.append(plain)
        found += [
            plain._replace(**{door: name})
            for door, table in DOORS.items()
            for name in list(table)[1:]
        ]
        last = {door: LAST.get(door, list(table)[-1]) for door, table in DOORS.items()}
        found += [
            Variant(architecture, **last),
            plain._replace(electrons="local", state="charge+spin-per_channel"),
        ]
    return found


VARIANTS = _one_at_a_time()


def _product() -> list[Variant]:
    """Every architecture × hand-made or learned × kind of points × with or without states."""
    found = []
    for architecture, radial, points in itertools.product(
        ARCHITECTURES, ("exp_normal", "learned"), POINTS
    ):
        plain = Variant(
            architecture, radial, points, "blind", "species", "readout", "none", "global"
        )
        found += [plain, plain._replace(embeddings="tables")]
        found += [plain._replace(state="charge+spin")] if architecture in SCALED else []
    return found


PRODUCT = _product()
