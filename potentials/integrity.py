"""What a model file must be before it is believed: whole, finite, and of the right kinds.

A digest over spec, weights and card is written into every file and checked by every reader. Files
without one are older; the checksums that the ZIP format has for each entry guard them.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import torch
from torch import Tensor

# a spec whose whole numbers stay below the root of so many times its weights is built at once;
# others are first built without memory
ROOMY = 100


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of spec, weights and card."""
    found = hashlib.sha256()
    for name in ("format", "spec", "card"):
        found.update(json.dumps(content[name], sort_keys=True, default=str).encode())
    for name, tensor in sorted(content["weights"].items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def is_whole(data: bytes) -> bool:
    """Whether every entry of a ZIP file has the checksum that it was written with."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.testzip() is None
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        NotImplementedError,
        RuntimeError,
    ):
        return False


def check_weights(weights: Any) -> None:
    """Refuse weights that are no named tensors, or not finite.

    Raises
    ------
    ValueError
    """
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(weight, Tensor) for name, weight in weights.items()
    ):
        raise ValueError("`weights` must be tensors by name.")
    for name, weight in weights.items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise ValueError(f"`weights` must be finite; {name} is not.")


def asks_for_more(spec: Mapping[str, Any], weights: Mapping[str, Tensor]) -> bool:
    """Whether a spec may ask for more memory than its weights fill, by the numbers in it."""
    n_weights = sum(weight.numel() for weight in weights.values())
    return any(number**2 > ROOMY * n_weights for number in _whole_numbers(spec))


def _whole_numbers(value: Any) -> Iterator[int]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _whole_numbers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _whole_numbers(inner)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value is of the kind that an annotation says; numbers must be finite."""
    if kind is Any:
        return True
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(v, inner[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            isinstance(k, str) and fits(v, inner[1]) for k, v in value.items()
        )
    if kind is float:
        return _is_number(value) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, NoneType if kind is None else kind)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
