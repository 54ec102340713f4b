"""What a model file must be before it is believed: whole, finite, and of the right kinds.

A digest over spec, weights and card is written into every file and checked by every reader. Files
without one are older; the checksums that the ZIP format has for each entry guard them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from potentials.contents import digest_of

# a spec whose whole numbers stay below the root of so many times its weights is built at once;
# others are first built without memory
ROOMY = 100


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of spec, weights and card."""
    weights = content["weights"]
    return digest_of(
        content,
        (
            (
                name,
                str(tensor.dtype),
                tuple(tensor.shape),
                tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(),
            )
            for name, tensor in sorted(weights.items())
        ),
    )


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
