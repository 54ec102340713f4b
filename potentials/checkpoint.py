"""The model file: a dict of plain values and tensors. Opening one never runs code.

It holds ``format`` (a number), ``spec`` (what `build` makes the module from), ``weights`` and
``card``.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from potentials.build import build
from potentials.card import Card, fits
from potentials.contents import is_whole
from potentials.experts import compact, expanded
from potentials.files import write_bytes
from potentials.integrity import asks_for_more, check_weights, digest
from potentials.potential import Potential
from potentials.shipped import resolve

FORMAT = 1
# format n -> n + 1, one function per number
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


class Model(NamedTuple):
    """A potential with its card and the checksum of the file that both came from."""

    potential: Potential
    card: Card
    sha256: str
    path: Path
    has_digest: bool = True  # of spec, weights and card; older files have none

    def __repr__(self) -> str:
        """Return one line: the potential and its card fill pages."""
        return f"Model({self.card.name or self.path.name}, SHA-256 {self.sha256[:8]}…)"

    def _repr_html_(self) -> str:
        """Lay the card out for a notebook."""
        return self.card._repr_html_()


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
        {
            "format": FORMAT,
            "spec": potential.spec,
            "weights": weights,
            "n_parameters": sum(p.numel() for p in potential.parameters()),
            "card": card.to_dict(),
        },
    )


def store_card(path: Path, card: Card) -> str:
    """Give a model file another card, weights and spec untouched, at once or not at all.

    Return its new SHA-256.
    """
    content = _read(path.read_bytes(), path)
    return _write(path, content | {"card": card.to_dict()})


def _write(path: Path, content: dict[str, Any]) -> str:
    buffer = io.BytesIO()
    torch.save(content | {"digest": digest(content)}, buffer)
    write_bytes(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def load(
    model: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Model:
    """Open a model file, or a shipped model by its name.

    Raises
    ------
    FileNotFoundError   neither a file nor a shipped name
    ValueError          not a model file, damaged, of a newer format, or of wrong kinds
    """
    path = resolve(model)
    data = path.read_bytes()
    content = _read(data, path)
    try:
        card = Card.from_dict(content["card"])
        potential = _built(content["spec"], expanded(content["weights"]), dtype)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"`model` must be a polcalc model file; {path} does not hold one: {reason:.300}"
        ) from error
    return Model(
        potential.to(device).eval(),
        card,
        hashlib.sha256(data).hexdigest(),
        path,
        "digest" in content,
    )


def _built(spec: dict[str, Any], weights: dict[str, torch.Tensor], dtype: torch.dtype) -> Potential:
    """Build a potential and give it its weights."""
    if asks_for_more(spec, weights):
        with torch.device("meta"):
            asked = sum(x.numel() for x in build(spec).state_dict().values())
        if asked > sum(x.numel() for x in weights.values()):
            raise ValueError(
                f"`spec` must ask for the weights that are there; it asks for {asked}."
            )
    potential = build(spec)
    cast_network(potential, dtype)  # first, so that float64 weights are not rounded on the way
    potential.load_state_dict(weights)
    return potential


def _read(data: bytes, path: Path) -> dict[str, Any]:
    """Read what a model file holds, and see that it is what was written."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError(
            f"`model` must be a polcalc model file; {path} is something else. Check the name."
        )
    damaged = ValueError(
        f"`model` must be a whole model file; {path} was damaged after it was written. Copy it"
        " again."
    )
    if not is_whole(data):
        raise damaged
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
    _check_form(content, path)
    try:
        check_weights(content["weights"])
    except ValueError as error:
        raise ValueError(f"`model` must hold a potential; {path} does not: {error}") from error
    if "digest" in content and content["digest"] != digest(content):
        raise damaged
    return _upgraded(content)


def _check_form(content: Any, path: Path) -> None:
    """See that a file holds what every format has, and is none of a newer one."""
    if not isinstance(content, dict) or not {"format", "spec", "weights", "card"} <= set(content):
        raise ValueError(
            f"`model` must be a polcalc model file; {path} holds something else. Check the file."
        )
    if not fits(content["format"], int) or content["format"] < 1:
        raise ValueError(
            f"`model` must have a whole number as format; {path} has {content['format']!r:.60}."
            " Check the file."
        )
    if content["format"] > FORMAT:
        raise ValueError(
            f"`model` must have format {FORMAT} or older; {path} has {content['format']}. Update"
            " polcalc."
        )


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    upgraded = content
    for number in range(content["format"], FORMAT):
        upgraded = UPGRADES[number](upgraded)
    return upgraded


def cast_network(potential: Potential, dtype: torch.dtype) -> None:
    """Cast the parameters, not the float64 buffers of the energy terms."""
    for parameter in potential.parameters():
        parameter.data = parameter.data.to(dtype)
