"""The model file: a dict of plain values and tensors. Opening one never runs code.

It holds ``format`` (a number), ``spec`` (what `build` makes the module from), ``weights`` and
``card``.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch

from potentials.build import build
from potentials.experts import compact, expanded
from potentials.files import write_bytes
from potentials.potential import Potential
from potentials.shipped import resolve

FORMAT = 1
UPGRADES: dict[
    int, Callable[[dict[str, Any]], dict[str, Any]]
] = {}  # format n -> n + 1, one function per number


@dataclass
class Card:
    """What a user must know of a model."""

    name: str = ""
    description: str = ""
    limits: str = ""  # where it fails, and what to take instead
    elements: list[int] = field(default_factory=list)  # atomic numbers seen in training
    states: list[list[int]] = field(default_factory=list)  # [charge, multiplicity, count]
    known_errors: list[list[Any]] = field(
        default_factory=list
    )  # [formula, charge, multiplicity, eV]: states found to be wrong
    closest_distances_A: dict[str, float] = field(
        default_factory=dict
    )  # "C-H" -> Å, symbols sorted
    energy_range_eV: list[float] = field(
        default_factory=list
    )  # per atom, references subtracted: [lowest, highest]
    force_max_eV_per_A: float | None = None
    units: dict[str, str] = field(
        default_factory=lambda: {"energy": "eV", "length": "Å", "forces": "eV/Å", "charge": "e"}
    )
    reference_energies_eV: dict[str, float] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)  # name, source, licence, sha256
    test_errors: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # configuration and what came of it
    audit: dict[str, Any] = field(default_factory=dict)  # what `polcalc audit --store` found
    command: str = ""
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, whatever subclass of str or float they came as.

        A reader allows nothing else.
        """
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Card:
        """Read plain values; entries of a newer version that this one does not know are refused."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"`card` must hold known entries; got {', '.join(sorted(unknown))}. Update polcalc."
            )
        return cls(**values)


class Model(NamedTuple):
    """A potential with its card and the checksum of the file that both came from."""

    potential: Potential
    card: Card
    sha256: str
    path: Path


def save(path: str | Path, potential: Potential, card: Card) -> str:
    """Write a model file at once or not at all; return its SHA-256."""
    weights = compact(
        {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in potential.state_dict().items()
        }
    )
    return _write(
        Path(path),
        {"format": FORMAT, "spec": potential.spec, "weights": weights, "card": card.to_dict()},
    )


def store_card(path: Path, card: Card) -> str:
    """Give a model file another card, weights and spec untouched, at once or not at all.

    Return its new SHA-256.
    """
    content = _upgraded(torch.load(path, map_location="cpu", weights_only=True), path)
    return _write(path, content | {"card": card.to_dict()})


def _write(path: Path, content: dict[str, Any]) -> str:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def load(
    model: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Model:
    """Open a model file, or a shipped model by its name.

    Raises
    ------
    FileNotFoundError   neither a file nor a shipped name
    ValueError          not a model file, or one of a newer format
    """
    path = resolve(model)
    data = path.read_bytes()
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"`model` must be a polcalc model file; {path} is something else. Check the name."
        )
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
        KeyError,
        IndexError,
    ) as error:
        raise ValueError(
            f"`model` must be a polcalc model file; {path} cannot be read as one. Check the file."
        ) from error
    content = _upgraded(content, path)
    potential = build(content["spec"])
    _cast_network(potential, dtype)  # first, so that float64 weights are not rounded on the way
    potential.load_state_dict(expanded(content["weights"]))
    return Model(
        potential.to(device).eval(),
        Card.from_dict(content["card"]),
        hashlib.sha256(data).hexdigest(),
        path,
    )


def _upgraded(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or not {"format", "spec", "weights", "card"} <= set(content):
        raise ValueError(
            f"`model` must be a polcalc model file; {path} holds something else. Check the file."
        )
    if content["format"] > FORMAT:
        raise ValueError(
            f"`model` must have format {FORMAT} or older; {path} has {content['format']}. Update"
            " polcalc."
        )
    upgraded: dict[str, Any] = content
    for number in range(content["format"], FORMAT):
        upgraded = UPGRADES[number](upgraded)
    return upgraded


def _cast_network(potential: Potential, dtype: torch.dtype) -> None:
    """Cast the parameters, not the float64 buffers of the energy terms."""
    for parameter in potential.parameters():
        parameter.data = parameter.data.to(dtype)
