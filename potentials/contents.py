"""What a model file says of itself, read without torch and without running code.

The file is a ZIP archive as torch writes it: ``data.pkl`` with plain values, and one entry of bytes
for each tensor. Only the few names that a model file needs are unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import re
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from potentials.card import Card
from potentials.shipped import resolve

PARTS = {"format", "spec", "weights", "card"}
BYTES = {"torch.float64": 8, "torch.float32": 4, "torch.float16": 2, "torch.int64": 8}
STORAGES = {
    "DoubleStorage": "torch.float64",
    "FloatStorage": "torch.float32",
    "HalfStorage": "torch.float16",
    "LongStorage": "torch.int64",
}
CONSTANT = re.compile(r"(^|\.)terms\.\d+\.\w+$")  # of the terms of older files
EXPERT = "experts."  # before the names of weights that stand for differences from shared ones


class Stored(NamedTuple):
    """One tensor in the file."""

    dtype: str
    shape: tuple[int, ...]
    key: str  # of its bytes in the archive
    offset: int  # in numbers


class Contents(NamedTuple):
    """What a model file holds, but for its weights."""

    spec: dict[str, Any]
    card: Card
    n_parameters: int
    sha256: str
    path: Path
    has_digest: bool  # of spec, weights and card; older files have none


def read_contents(model: str | Path) -> Contents:
    """Read what a model file or a shipped model says of itself.

    Raises
    ------
    FileNotFoundError   neither a file nor a shipped name
    ValueError          not a model file, or a damaged one
    """
    path = resolve(model)
    data = path.read_bytes()
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError(
            f"`model` must be a polcalc model file; {path} is something else. Check the name."
        )
    if not is_whole(data):
        raise ValueError(_damaged(path))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        try:
            [pickled] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            content = _Reader(io.BytesIO(archive.read(pickled))).load()
            weights: dict[str, Stored] = dict(content["weights"])
            spec, card = dict(content["spec"]), Card.from_dict(content["card"])
            if "digest" in content and content["digest"] != digest_of(
                content, _bytes_of(weights, archive, pickled.removesuffix("data.pkl"))
            ):
                raise ValueError(_damaged(path))
            return Contents(
                spec,
                card,
                _n_parameters(content, weights),
                hashlib.sha256(data).hexdigest(),
                path,
                "digest" in content,
            )
        except (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"`model` must be a polcalc model file; {path} cannot be read as one. Check the"
                " file."
            ) from error


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


def digest_of(
    content: Mapping[str, Any], weights: Iterable[tuple[str, str, tuple[int, ...], bytes]]
) -> str:
    """Return the SHA-256 of spec, card, and weights in the order of their names.

    Each weight comes as name, type, shape and bytes.
    """
    found = hashlib.sha256()
    for name in ("format", "spec", "card"):
        found.update(json.dumps(content[name], sort_keys=True, default=str).encode())
    for name, dtype, shape, held in weights:
        found.update(f"{name} {dtype} {shape}".encode())
        found.update(held)
    return found.hexdigest()


class _Reader(pickle.Unpickler):
    """An unpickler that knows what a model file needs, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _stored
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _, dtype, key, *_ = pid
        return dtype, key


def _stored(storage: tuple[str, str], offset: int, shape: Any, *_: Any) -> Stored:
    return Stored(storage[0], tuple(shape), storage[1], offset)


def _bytes_of(
    weights: Mapping[str, Stored], archive: zipfile.ZipFile, folder: str
) -> Iterable[tuple[str, str, tuple[int, ...], bytes]]:
    for name, (dtype, shape, key, offset) in sorted(weights.items()):
        size = BYTES[dtype]
        start = offset * size
        held = archive.read(f"{folder}data/{key}")
        yield name, dtype, shape, held[start : start + size * math.prod(shape)]


def _n_parameters(content: Mapping[str, Any], weights: Mapping[str, Stored]) -> int:
    """Return what the file says; of an older one, count all but what a term holds itself.

    Weights of experts count at full length.
    """
    if "n_parameters" in content:
        return int(content["n_parameters"])
    shapes = (
        weights[name.removeprefix(EXPERT).partition(".")[2]].shape
        if name.startswith(EXPERT) and weight.dtype == "torch.float16"
        else weight.shape
        for name, weight in weights.items()
        if not CONSTANT.search(name)
    )
    return sum(math.prod(shape) for shape in shapes)


def _damaged(path: Path) -> str:
    return (
        f"`model` must be a whole model file; {path} was damaged after it was written. Copy it"
        " again."
    )
