"""What a training must remember to go on as if it had never stopped.

Written at once or not at all.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from potentials.files import write_bytes

CHECKPOINT = "checkpoint.pt"


@dataclass
class Progress:
    """A training between two steps.

    The order of an epoch's structures follows from seed and epoch.
    """

    config: dict[str, Any]
    step: int = 0  # steps done in all
    elapsed_s: float = 0.0  # spent training, over all sessions
    loss_sum: float = 0.0  # since the last validation, of so many steps
    loss_steps: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)  # one row per validation
    best_loss: float = float("inf")  # lowest validation loss so far
    best_epoch: int = 0
    stopped: bool = False  # early, by patience
    best: list[Tensor] = field(default_factory=list)  # averaged weights there
    weights: dict[str, Tensor] = field(default_factory=dict)
    average: list[Tensor] = field(default_factory=list)
    optimizer: dict[str, Any] = field(default_factory=dict)
    random: Tensor | None = None  # state of torch's generator


def save_progress(path: Path, progress: Progress) -> None:
    """Replace the checkpoint by a newer one."""
    buffer = io.BytesIO()
    torch.save({f.name: getattr(progress, f.name) for f in fields(progress)}, buffer)
    write_bytes(path, buffer.getvalue())


def load_progress(path: Path) -> Progress:
    """Read a checkpoint; this runs no code of it.

    Raises
    ------
    FileNotFoundError   none there
    ValueError          damaged, or something else
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"`--resume` must find {path.name} in {path.parent}; got none. Start without --resume."
        )
    try:
        with zipfile.ZipFile(path) as file:
            if (damaged := file.testzip()) is not None:  # torch reads without looking
                raise zipfile.BadZipFile(damaged)
        return Progress(**torch.load(path, map_location="cpu", weights_only=True))
    except (
        *(pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, TypeError),
        *(zlib.error, ValueError, LookupError, OSError, struct.error, AttributeError),
    ) as error:
        raise ValueError(
            f"`{path}` must be a checkpoint of a training; it cannot be read as one. Start anew."
        ) from error
