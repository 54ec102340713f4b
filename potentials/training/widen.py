"""A wider network that says what a narrower one says.

What was learnt by few channels need not be learnt again by many.

Every channel is there k times. What reads a channel reads its copies with weights that sum to the
one before, drawn at random: with equal ones the copies would have equal gradients, and stay one
channel for ever.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from potentials.architectures.tensornet import TensorNet
from potentials.parts.conditioning import Electronic
from potentials.potential import Potential

UNEVENNESS = 0.5  # of the weights of two copies: between 1/4 and 3/4


@torch.no_grad()
def widened(narrow: Potential, wide: Potential) -> dict[str, Tensor]:
    """Return values for the weights of ``wide`` with which it predicts what ``narrow`` does.

    Both have the same spec but for channels.

    Raises
    ------
    ValueError   the architecture is not TensorNet, the channels are not a multiple, or an embedding
                 weighs channels by their number

    Source: arXiv 1511.05641, a wider network that computes the same function. Differs: all channels
    as often, split at random.
    """
    few, many = (p.trunk.architecture.channels for p in (narrow, wide))
    if not isinstance(narrow.trunk.architecture, TensorNet) or any(
        isinstance(e, Electronic) for e in wide.trunk.embeddings
    ):
        raise ValueError(
            f"`start` must have as many channels as [potential], {many}, but for a TensorNet"
            f" without electronic embedding; got {few}. Make them equal."
        )
    if many % few:
        raise ValueError(
            f"`channels` must be a multiple of those of `start`, {few}; got {many}. Take"
            f" {few * -(-many // few)}."
        )
    generator = torch.Generator().manual_seed(0)
    values: dict[str, Tensor] = {}
    shapes = {name: p.shape for name, p in wide.named_parameters()}
    for name, module in narrow.named_modules():
        # the dimension of its weights that reads channels, as the module says itself
        inputs = 1 if isinstance(module, nn.Linear) else getattr(module, "channel_axis", None)
        for part, p in module.named_parameters(recurse=False):
            full = f"{name}.{part}"
            if full not in shapes or not p.numel():
                continue
            value, shape = p, shapes[full]
            for dim in range(p.ndim):
                copies = shape[dim] // p.shape[dim]
                if copies > 1:
                    weights = (
                        _shares(value, dim, copies, generator)
                        if dim == inputs
                        else [torch.ones_like(value)] * copies
                    )
                    value = _repeated(value, dim, min(few, p.shape[dim]), weights)
            values[full] = value
    return values


def _shares(value: Tensor, dim: int, copies: int, generator: torch.Generator) -> list[Tensor]:
    """Draw the share of each copy in a weight; they sum to 1."""
    uneven = UNEVENNESS * (torch.rand(copies, *value.shape, generator=generator) - 0.5).to(value)
    return list((1 / copies + uneven - uneven.mean(0)).unbind())


def _repeated(value: Tensor, dim: int, length: int, weights: list[Tensor]) -> Tensor:
    """Put the copies of every run of so many channels side by side."""
    runs = [(value * weight).split(length, dim) for weight in weights]
    return torch.cat([run for copies in zip(*runs, strict=True) for run in copies], dim)
