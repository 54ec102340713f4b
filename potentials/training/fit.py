"""The loop: batches, steps, the averaged weights, validation, checkpoints.

Lightning's Fabric supplies the device, the processes of several devices and the TensorBoard log.
Each process takes its share of every batch and the gradients are averaged, so that the result does
not depend on their number but by rounding. A step costs well under a millisecond outside the
potential.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from potentials.build import build
from potentials.deviations import named_errors
from potentials.training.average import Average
from potentials.training.config import DTYPES, Config, from_dict, override
from potentials.training.data import StructureSet, epoch_order
from potentials.training.evaluate import errors
from potentials.training.initial_weights import take_over
from potentials.training.logs import Logs, by_state
from potentials.training.loss import Gradients, Loss, autograd, compiled, misfit, parameter_groups
from potentials.training.optimizers import make_optimizer
from potentials.training.preparation import TrainingTask
from potentials.training.progress import CHECKPOINT, Progress, load_progress, save_progress
from potentials.training.step import GraphStep, Step, replayable

if TYPE_CHECKING:
    from lightning.fabric import Fabric


GRADIENTS: dict[str, Gradients] = {"autograd": autograd, "compiled": compiled}
NO_OTHERS: Mapping[str, Gradients] = {}


class Training:
    """One training, in this process and on this device.

    Parameters
    ----------
    task : TrainingTask
    output : Path                directory for checkpoint and logs
    device : str                 "auto", "cpu" or "cuda"
    devices : int                processes, each with a device of its own
    resume : bool                go on from the checkpoint in ``output``, if there is one yet
    on_validation : callable     told each row of the history
    gradients : name -> function ways to differentiate that may be chosen besides those of
                                 `GRADIENTS`

    Raises
    ------
    ValueError                   the configuration does not fit the devices, the checkpoint, or the
                                 ways to differentiate
    """

    def __init__(
        self,
        task: TrainingTask,
        output: Path,
        *,
        device: str = "auto",
        devices: int = 1,
        resume: bool = False,
        on_validation: Callable[[Mapping[str, Any]], None] = lambda row: None,
        gradients: Mapping[str, Gradients] = NO_OTHERS,
    ) -> None:
        self.config, self.task, self.output, self.on_validation = (
            task.config,
            task,
            output,
            on_validation,
        )
        settings = self.config.training
        if settings.batch_size % devices:
            raise ValueError(
                f"`devices` must divide batch_size = {settings.batch_size}; got {devices}. Change"
                " one of them."
            )
        self.fabric = _fabric(device, devices)
        self.fabric.launch()
        torch.manual_seed(self.config.seed)
        self.potential = build(task.spec).to(self.fabric.device)
        for parameter in self.potential.parameters():
            parameter.data = parameter.data.to(DTYPES[settings.dtype])
        self.fresh = take_over(self.potential, task.start.potential) if task.start else []
        self.params = [p for p in self.potential.parameters() if p.requires_grad]
        self.average = Average(self.params, settings.ema_decay)
        self.optimizer = make_optimizer(
            self.config.optimizer, parameter_groups(self.potential), self.fabric.device
        )
        self.loss = Loss(self.config.loss, task.scale, task.spreads)
        self.train, self.validation = (
            StructureSet(f, self.potential.cutoff, self.fabric.device) for f in task[1:3]
        )
        self.steps_per_epoch = len(self.train) // settings.batch_size
        self.progress = Progress(config=self.config.to_dict())
        if resume and (output / CHECKPOINT).exists():
            self._resume()
        self.logs: Logs | None = None  # nothing is written before `run`
        self._step = self._make_step({**GRADIENTS, **gradients})
        self._order = (-1, torch.empty(0))
        self.done = 0.0  # fraction of the training, for those who watch

    @property
    def epoch(self) -> int:
        """Number of whole epochs done."""
        return self.progress.step // self.steps_per_epoch

    def run(self) -> None:
        """Train to the end of the schedule; leave the averaged weights in the potential.

        Those of the best validation where the schedule has patience.
        """
        if self.fabric.is_global_zero:
            self.logs = Logs(self.output, self.progress.history, self.progress.step)
        self._warm_up()
        clock = saved = time.perf_counter()
        while not self.progress.stopped and self._advance() < 1:
            self._train()
            at_end = (
                self.progress.step
                % (self.steps_per_epoch * self.config.training.validate_every_epochs)
                == 0
            )
            if at_end:
                self._validate()
            now = time.perf_counter()
            self.progress.elapsed_s, clock = self.progress.elapsed_s + now - clock, now
            if at_end or now - saved >= 60 * self.config.training.checkpoint_every_min:
                self.save()
                saved = now
        if not self.progress.history or self.progress.history[-1]["step"] != self.progress.step:
            self._validate()
        self.save()
        if self.config.schedule.patience_epochs is not None:
            self.average.set(self.progress.best)
        with torch.no_grad():
            for p, value in zip(self.params, self.average.values, strict=True):
                p.copy_(value)

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.fabric.is_global_zero:
            return
        progress = self.progress
        progress.weights, progress.average = self.potential.state_dict(), self.average.values
        progress.optimizer, progress.random = self.optimizer.state_dict(), torch.get_rng_state()
        save_progress(self.output / CHECKPOINT, progress)

    def _resume(self) -> None:
        """Take over the checkpoint."""
        progress = load_progress(self.output / CHECKPOINT)
        _check_same(from_dict(progress.config), self.config)
        progress.config = self.config.to_dict()
        self.potential.load_state_dict(progress.weights)
        self.average.set(progress.average)
        self.optimizer.load_state_dict(progress.optimizer)
        assert progress.random is not None
        torch.set_rng_state(progress.random)
        self.progress = progress

    def _make_step(self, ways: Mapping[str, Gradients]) -> Step:
        chosen = self.config.training.gradients
        if chosen not in ways:
            raise ValueError(
                f"`gradients` must be one of {', '.join(ways)}; got {chosen!r}. Correct [training]."
            )
        fixed = replayable(self.train, self.optimizer, self.fabric)
        kind = GraphStep if fixed and not self.potential.lists_pairs else Step
        differentiate = ways[chosen](self.potential, self.loss)
        return kind(
            differentiate,
            self.train,
            self.optimizer,
            self.average,
            self.config.optimizer.gradient_clip,
            self.fabric,
        )

    def _warm_up(self) -> None:
        indices = self._share(torch.arange(self.config.training.batch_size))
        self._step.try_out(indices)
        if isinstance(self._step, GraphStep):
            self._step.prepare(len(indices))
            self._step.capture()

    def _advance(self) -> float:
        """Find the fraction of the training that is done.

        Of epochs or of time, whichever is more advanced.
        """
        schedule, progress = self.config.schedule, self.progress
        fractions = []
        if schedule.max_epochs is not None:
            fractions.append(progress.step / (schedule.max_epochs * self.steps_per_epoch))
        if schedule.time_budget_min is not None:
            fractions.append(
                self._same_everywhere(progress.elapsed_s / (60 * schedule.time_budget_min))
            )
        self.done = min(max(fractions), 1.0)
        return self.done

    def _train(self) -> None:
        config, progress = self.config, self.progress
        warm_up = min(1.0, (progress.step + 1) / max(config.schedule.warm_up_steps, 1))
        learning_rate = (
            config.optimizer.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * self.done))
        )
        loss, _ = self._step(self._share(self._next()), learning_rate, progress.step + 1)
        progress.step += 1
        progress.loss_sum += loss
        progress.loss_steps += 1

    def _next(self) -> Tensor:
        """Return the structures of the next step (B,)."""
        epoch, place = divmod(self.progress.step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, epoch_order(len(self.train), self.config.seed, epoch)
        size = self.config.training.batch_size
        return self._order[1][place * size : (place + 1) * size]

    def _share(self, indices: Tensor) -> Tensor:
        return indices[self.fabric.global_rank :: self.fabric.world_size]

    def _same_everywhere(self, value: float) -> float:
        """Let all processes take the value of the first."""
        return value if self.fabric.world_size == 1 else float(self.fabric.broadcast(value))

    def _validate(self) -> None:
        progress, config = self.progress, self.config
        with self.average.applied():
            found = errors(self.potential, self.validation)
            loss = self._same_everywhere(self._validation_loss())
        row = {
            "epoch": progress.step / self.steps_per_epoch,
            "step": progress.step,
            "elapsed_s": round(progress.elapsed_s, 3),
            "ms_per_step": round(1000 * progress.elapsed_s / progress.step, 3),
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "train_loss": progress.loss_sum / max(progress.loss_steps, 1),
            "validation_loss": loss,
            **{
                name.format(kind): found[name.format(kind)]
                for name in named_errors(found).values()
                for kind in ("mae", "rmse")
            },
            **by_state(found),
        }
        progress.loss_sum, progress.loss_steps = 0.0, 0
        progress.history.append(row)
        self._compare_with_best(loss)
        if self.logs is not None:
            self.logs.add(row)
            self.on_validation(row)
        patience = config.schedule.patience_epochs
        progress.stopped = patience is not None and self.epoch - progress.best_epoch >= patience

    def _validation_loss(self) -> float:
        total = 0.0
        for graph, targets in self.validation.batches(max_atoms=512):
            graph.positions.requires_grad_()
            total += (
                float(misfit(self.potential, self.loss, graph, targets)[0].detach())
                * graph.n_structures
            )
        return total / len(self.validation)

    def _compare_with_best(self, loss: float) -> None:
        if loss < self.progress.best_loss:
            self.progress.best_loss, self.progress.best_epoch = loss, self.epoch
            self.progress.best = [value.clone() for value in self.average.values]


def _check_same(before: Config, now: Config) -> None:
    """Refuse to go on with another configuration; the length of the training may change."""
    before = override(
        before, max_epochs=now.schedule.max_epochs, time_budget_min=now.schedule.time_budget_min
    )
    differing = [name for name, value in now.to_dict().items() if before.to_dict()[name] != value]
    if differing:
        raise ValueError(
            f"`--resume` must have the configuration it started with; {', '.join(differing)}"
            " differ. Start in another directory."
        )


def _fabric(device: str, devices: int) -> Fabric:
    try:
        from lightning.fabric import Fabric
    except ImportError as error:
        raise ModuleNotFoundError(
            "`lightning` must be installed to train. Install polcalc[train]."
        ) from error
    return Fabric(
        accelerator={"cuda": "gpu"}.get(device, device),
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
    )
