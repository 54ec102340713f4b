"""One step of training: batch, loss, gradients, clip, optimizer, averaged weights.

On a GPU as one CUDA graph where that is possible.

A CUDA graph replays fixed addresses and shapes without the host. It is possible where every batch
has the same shapes (one molecule, or atoms and pairs in equal numbers), on one device, with an
optimizer that keeps all its state there (AdamW).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from potentials.training.average import Average
from potentials.training.data import Batch, StructureSet
from potentials.training.loss import Differentiate

if TYPE_CHECKING:
    from lightning.fabric import Fabric

WARM_UP = 3  # runs before a capture, as torch asks for


class Step:
    """A step, from the numbers of its structures.

    Parameters
    ----------
    differentiate : callable        loss of a batch; adds its gradients to those of the parameters
    structures : StructureSet       to train on
    optimizer : Optimizer
    average : Average               of the parameters that are trained
    gradient_clip : float           norm of the gradient
    fabric : Fabric                 the device, and the processes that share a batch
    """

    def __init__(
        self,
        differentiate: Differentiate,
        structures: StructureSet,
        optimizer: torch.optim.Optimizer,
        average: Average,
        gradient_clip: float,
        fabric: Fabric,
    ) -> None:
        self.differentiate, self.structures = differentiate, structures
        self.optimizer, self.average, self.gradient_clip, self.fabric = (
            optimizer,
            average,
            gradient_clip,
            fabric,
        )

    def __call__(self, indices: Tensor, learning_rate: float, n_steps: int) -> tuple[float, float]:
        """Do a step and return its loss and the norm of its gradient.

        Parameters
        ----------
        indices : (B,)          structures of the batch, on the CPU
        learning_rate : float
        n_steps : int           steps with this one

        Raises
        ------
        FloatingPointError      the gradient is not finite; the parameters are as they were
        """
        self._set_learning_rate(learning_rate)
        loss, norm = self._gradients(self.structures.batch(indices))
        self._check(float(norm), n_steps)
        self._update(self.average.weight(n_steps))
        return float(loss), float(norm)

    def try_out(self, indices: Tensor) -> None:
        """Evaluate once, so that compilation counts neither as time nor as training."""
        with torch.random.fork_rng():
            self._gradients(self.structures.batch(indices))
        self.optimizer.zero_grad()

    def _gradients(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Evaluate loss and clipped gradients."""
        self.optimizer.zero_grad()
        loss = self.differentiate(*batch)
        self._average_gradients()
        return loss, torch.nn.utils.clip_grad_norm_(
            self.average.params, self.gradient_clip, foreach=True
        )

    def _update(self, weight: float | Tensor) -> None:
        self.optimizer.step()
        self.average.update(weight)

    def _average_gradients(self) -> None:
        if self.fabric.world_size == 1:
            return
        gradients = [p.grad for p in self.average.params if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        mean: Any = self.fabric.all_reduce(flat, reduce_op="mean")
        sizes = [g.numel() for g in gradients]
        for gradient, new in zip(gradients, mean.split(sizes), strict=True):
            gradient.copy_(new.view_as(gradient))

    def _set_learning_rate(self, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate

    def _check(self, norm: float, n_steps: int) -> None:
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"`gradient` must be finite; got {norm} in step {n_steps - 1}. Lower learning_rate,"
                " or check the structures."
            )


class GraphStep(Step):
    """A step that reads its inputs from fixed tensors and leaves its outcome there.

    Captured once, replayed.

    The host learns the norm of the gradient after the update: one that is not finite still raises,
    the parameters are lost then.
    """

    def prepare(self, batch_size: int) -> None:
        """Make the fixed tensors."""
        device = self.structures.device
        self.indices = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self.weight = torch.zeros((), dtype=torch.float32, device=device)
        self.outcome = torch.zeros(2, dtype=torch.float64, device=device)  # loss, norm

    def __call__(self, indices: Tensor, learning_rate: float, n_steps: int) -> tuple[float, float]:
        """Do a step and return its loss and the norm of its gradient."""
        self.indices.copy_(indices, non_blocking=True)
        self._set_learning_rate(learning_rate)
        self.weight.fill_(self.average.weight(n_steps))
        self.replay()
        loss, norm = self.outcome.tolist()
        self._check(norm, n_steps)
        return loss, norm

    def replay(self) -> None:
        """Run the step; after `capture`, by the graph."""
        loss, norm = self._gradients(self.structures.equal_batch(self.indices))
        self._update(self.weight)
        self.outcome[0].copy_(loss)
        self.outcome[1].copy_(norm)

    def capture(self) -> None:
        """Record the step as a CUDA graph; parameters, average and optimizer are as before."""
        kept = [x.detach().clone() for x in self._state()]
        aside = torch.cuda.Stream(self.structures.device)
        aside.wait_stream(torch.cuda.current_stream(self.structures.device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.replay()
        torch.cuda.current_stream(self.structures.device).wait_stream(aside)
        self.optimizer.zero_grad()  # the gradients of the graph lie in its own memory
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.replay()
        new = self._state()
        with torch.no_grad():
            for n, x in enumerate(new):
                x.copy_(kept[n]) if n < len(kept) else x.zero_()
        self.replay = graph.replay  # type: ignore[method-assign]

    def _state(self) -> list[Tensor]:
        """What a step changes.

        The optimizer's part last, since the first step makes it, of zeros.
        """
        moments = [
            x
            for p in self.average.params
            for x in self.optimizer.state.get(p, {}).values()
            if isinstance(x, Tensor)
        ]
        return [*self.average.params, *self.average.values, *moments]


def replayable(structures: StructureSet, optimizer: torch.optim.Optimizer, fabric: Fabric) -> bool:
    """Whether a step can be one CUDA graph."""
    return (
        structures.device.type == "cuda"
        and fabric.world_size == 1
        and structures.equal
        and isinstance(optimizer, torch.optim.AdamW)
        and all(group["capturable"] for group in optimizer.param_groups)
    )
