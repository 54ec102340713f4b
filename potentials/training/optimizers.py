"""Optimisers beside those of torch.

SOAP, Adam in the slowly rotating eigenbasis of Shampoo's preconditioner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from potentials.training.config import OptimizerConfig


class SOAP(torch.optim.Optimizer):
    """Run Adam in the eigenbasis of the averaged G Gᵀ and Gᵀ G of each weight matrix.

    Plain Adam on vectors.

    Matrices of one shape, or of the transposed shape, are stacked and treated together: small
    networks on the CPU are limited by the number of operations.

    Parameters
    ----------
    params : tensors, groups stacks (..., m, n) are treated as many matrices
    lr : float
    betas : (float, float)   of the gradient average, and of its square and the preconditioners
    eps : float
    refresh_every : int      steps between updates of the eigenbasis, each one QR step of power
                             iteration
    average_every : int      steps between gradients that the preconditioners take in
    largest : int            rows or columns of a matrix; a side with more of them is not turned

    Source: arXiv 2409.11321, algorithm 3. Differs: no weight decay; the first step only fills the
    preconditioners.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        refresh_every: int = 10,
        average_every: int = 1,
        largest: int = 10_000,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps}
        super().__init__(
            params,
            defaults
            | {
                "refresh_every": refresh_every,
                "average_every": average_every,
                "largest": largest,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the parameters by their gradients."""
        for group in self.param_groups:
            for shape, params in _by_shape(group["params"]).items():
                state = self.state[params[0]]
                if len(shape) == 1:
                    self._step_vectors(params, state, group)
                else:
                    self._step_matrices(params, state, group)

    def _step_vectors(
        self, params: list[Tensor], state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        grads = torch.cat([p.grad.reshape(-1) for p in params])  # type: ignore[union-attr]
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(grads), "square": torch.zeros_like(grads)}
        update = _adam(grads, state, group)
        for p, u in zip(params, update.split([p.numel() for p in params]), strict=True):
            p.sub_(u.view(p.shape), alpha=group["lr"])

    def _step_matrices(
        self, params: list[Tensor], state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        grads = torch.cat([_tall(p.grad) for p in params])  # type: ignore[arg-type]
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(grads), "square": torch.zeros_like(grads)}
            for side in (
                side for side, dim in SIDES.items() if grads.shape[dim] <= group["largest"]
            ):
                state[side] = (1 - group["betas"][1]) * _spread(grads, side)
                state[f"basis_{side}"] = _eigenvectors(state[side])
            return
        update = _turned_back(_adam(_turned(grads, state), state, group), state)
        counts = [_tall(p).shape[0] for p in params]
        for p, u in zip(params, update.split(counts), strict=True):
            p.sub_(_like(u, p), alpha=group["lr"])
        if state["step"] % group["average_every"] == 0:
            memory = group["betas"][1] ** group["average_every"]
            for side in SIDES.keys() & state:
                state[side].baddbmm_(*_factors(grads, side), beta=memory, alpha=1 - memory)
        if state["step"] % group["refresh_every"] == 0:
            _refresh(state)


SIDES = {"left": -2, "right": -1}  # of a matrix, and their dimension


def _factors(grads: Tensor, side: str) -> tuple[Tensor, Tensor]:
    return (grads, grads.mT) if side == "left" else (grads.mT, grads)


def _spread(grads: Tensor, side: str) -> Tensor:
    left, right = _factors(grads, side)
    return left @ right


def _turned(x: Tensor, state: dict[str, Any]) -> Tensor:
    """Express matrices in the eigenbases."""
    x = state["basis_left"].mT @ x if "left" in state else x
    return x @ state["basis_right"] if "right" in state else x


def _turned_back(x: Tensor, state: dict[str, Any]) -> Tensor:
    """Undo `_turned`."""
    x = state["basis_left"] @ x if "left" in state else x
    return x @ state["basis_right"].mT if "right" in state else x


def _by_shape(params: list[Tensor]) -> dict[tuple[int, ...], list[Tensor]]:
    """Collect the parameters that have gradients.

    Matrices by their tall shape, everything else as vectors.
    """
    groups: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
    for p in params:
        if p.grad is not None:
            is_matrix = p.ndim >= 2 and min(p.shape[-2:]) > 1
            groups[tuple(sorted(p.shape[-2:], reverse=True)) if is_matrix else (1,)].append(p)
    return groups


def _tall(matrix: Tensor) -> Tensor:
    """View a stack of matrices (..., m, n) as (B, max, min)."""
    stack = matrix.reshape(-1, *matrix.shape[-2:])
    return stack if stack.shape[-2] >= stack.shape[-1] else stack.mT


def _like(stack: Tensor, p: Tensor) -> Tensor:
    """Undo `_tall`."""
    return (stack if p.shape[-2] >= p.shape[-1] else stack.mT).reshape(p.shape)


def _adam(grads: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Return the update of Adam, without the learning rate."""
    state["step"] += 1
    (first, second), n = group["betas"], state["step"]
    state["mean"].lerp_(grads, 1 - first)
    state["square"].lerp_(grads.square(), 1 - second)
    denominator = (state["square"] / (1 - second**n)).sqrt_().add_(group["eps"])
    update: Tensor = state["mean"] / (1 - first**n) / denominator
    return update


def _eigenvectors(matrix: Tensor) -> Tensor:
    """Find them in double precision.

    Of matrices that are singular in single precision LAPACK may return NaN.
    """
    vectors: Tensor = torch.linalg.eigh(matrix.double())[1]
    return vectors.flip(-1).to(matrix.dtype)


def _refresh(state: dict[str, Any]) -> None:
    """Turn the eigenbases by one step of power iteration, and the averages with them."""
    mean = _turned_back(state["mean"], state)
    for side, dim in SIDES.items():
        if side not in state:
            continue
        basis, matrix = state[f"basis_{side}"], state[side]
        power = matrix @ basis
        order = (
            (basis * power).sum(-2).argsort(dim=-1, descending=True)
        )  # (B, n), by estimated eigenvalue
        state[f"basis_{side}"] = torch.linalg.qr(
            power.gather(-1, order[:, None, :].expand_as(power))
        )[0]
        index = (order[:, :, None] if dim == -2 else order[:, None, :]).expand_as(state["square"])
        state["square"] = state["square"].gather(dim, index)
    state["mean"] = _turned(mean, state)


def _adamw(
    params: Iterable[Any],
    lr: float,
    device: torch.device,
    weight_decay: float = 0.0,
    **options: Any,
) -> torch.optim.Optimizer:
    if device.type == "cuda":  # everything on the device, so that a step can be one CUDA graph
        return torch.optim.AdamW(
            params,
            lr=torch.tensor(lr, device=device),
            weight_decay=weight_decay,
            fused=True,
            capturable=True,
            **options,
        )
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=True, **options)


def _soap(
    params: Iterable[Any], lr: float, device: torch.device, **options: Any
) -> torch.optim.Optimizer:
    return SOAP(params, lr=lr, **options)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": _adamw, "soap": _soap}


def make_optimizer(
    config: OptimizerConfig,
    params: Iterable[Tensor] | Iterable[dict[str, Any]],
    device: torch.device | str = "cpu",
) -> torch.optim.Optimizer:
    """Make the optimizer that a configuration names, for parameters on a device.

    Raises
    ------
    ValueError   an unknown name or option
    """
    if config.name not in OPTIMIZERS:
        raise ValueError(
            f"`optimizer` must be one of {', '.join(OPTIMIZERS)}; got {config.name!r}. Correct the"
            " configuration."
        )
    try:
        return OPTIMIZERS[config.name](
            params, lr=config.learning_rate, device=torch.device(device), **config.options
        )
    except TypeError as error:
        raise ValueError(
            f"`optimizer.options` must be arguments of {config.name}; got {config.options}:"
            f" {error}. Correct them."
        ) from error
