"""The moving average of the weights, which is what is validated and saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """Exponential moving average of tensors.

    It follows them closely at first, so that the start is forgotten.

    Parameters
    ----------
    params : tensors   averaged as they change
    decay : float      in the long run; at step t it is at most (1 + t) / (10 + t)
    """

    def __init__(self, params: Sequence[Tensor], decay: float) -> None:
        self.params, self.decay = params, decay
        self.values = [p.detach().clone() for p in params]

    def weight(self, step: int) -> float:
        """Return the weight of the tensors after so many steps."""
        return 1 - min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, weight: float | Tensor) -> None:
        """Take in the tensors with a weight, a number or a scalar on their device."""
        params = [p.detach() for p in self.params]
        if isinstance(weight, Tensor):
            torch._foreach_lerp_(
                self.values, params, [weight.to(p.dtype).expand_as(p) for p in params]
            )
        else:
            torch._foreach_lerp_(self.values, params, weight)

    @torch.no_grad()
    def set(self, values: Sequence[Tensor]) -> None:
        """Take over an average that was stored."""
        for value, new in zip(self.values, values, strict=True):
            value.copy_(new)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in place of the tensors for a while."""
        kept = [p.detach().clone() for p in self.params]
        self._write(self.values)
        try:
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, values: Sequence[Tensor]) -> None:
        for p, value in zip(self.params, values, strict=True):
            p.copy_(value)
