"""SOAP is Adam in a basis that turns with the problem."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from potentials.training.config import OptimizerConfig
from potentials.training.optimizers import SOAP, make_optimizer


def rotation(n: int, seed: int) -> Tensor:
    return torch.linalg.qr(
        torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    )[0]


def descend(left: Tensor, right: Tensor) -> Tensor:
    """Minimise a fixed quadratic of U W V from a fixed start; return U W V."""
    generator = torch.Generator().manual_seed(7)
    start, goal, weight = (
        torch.randn(4, 4, dtype=torch.float64, generator=generator) for _ in range(3)
    )
    w = (left.T @ start @ right.T).requires_grad_()
    optimizer = SOAP([w], lr=0.02, refresh_every=2)
    for _ in range(9):
        optimizer.zero_grad()
        (weight * (left @ w @ right - goal)).square().sum().backward()
        optimizer.step()
    return left @ w.detach() @ right


def test_the_path_does_not_depend_on_the_basis():
    """Adam's does; that of SOAP turns with the weights."""
    unit = torch.eye(4, dtype=torch.float64)
    assert_close(descend(rotation(4, 1), rotation(4, 2)), descend(unit, unit), rtol=0, atol=1e-7)


def test_a_matrix_and_its_transpose_take_the_same_path():
    """They are stacked together; so are matrices of one shape, without seeing each other."""
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(5, 3, generator=generator) for _ in range(2))
    together = [x.clone().requires_grad_(), y.T.clone().requires_grad_()]
    alone = [x.clone().requires_grad_(), y.clone().requires_grad_()]
    for optimizer, params in ((SOAP(together), together), *((SOAP([p]), [p]) for p in alone)):
        for _ in range(12):
            optimizer.zero_grad()
            sum((p**4).sum() for p in params).backward()
            optimizer.step()
    assert_close(together[0], alone[0])
    assert_close(together[1], alone[1].T)


def test_a_vector_takes_the_steps_of_adam():
    start = torch.tensor([1.0, -2.0, 3.0])
    found = []
    for kind in (
        lambda p: SOAP(p, lr=0.1, betas=(0.9, 0.95)),
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.9, 0.95)),
    ):
        x = start.clone().requires_grad_()
        optimizer = kind([x])
        for _ in range(5):
            optimizer.zero_grad()
            (x**4).sum().backward()
            optimizer.step()
        found.append(x.detach())
    assert_close(*found)


def test_sides_that_are_too_large_are_not_turned():
    """With none turned it is Adam, one step late.

    With the smaller one turned it is neither Adam nor the whole.
    """
    generator = torch.Generator().manual_seed(5)
    start, weight, goal = (
        torch.randn(5, 3, dtype=torch.float64, generator=generator) for _ in range(3)
    )

    def path(optimizer_of, steps=8):
        w = start.clone().requires_grad_()
        optimizer = optimizer_of([w])
        for _ in range(steps):
            optimizer.zero_grad()
            (weight * (w - goal)).square().sum().backward()
            optimizer.step()
        return w.detach()

    adam = path(lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.9, 0.9)), steps=7)
    none, smaller, both = (
        path(lambda p, n=n: SOAP(p, lr=0.1, betas=(0.9, 0.9), largest=n)) for n in (2, 3, 5)
    )
    assert_close(none, adam)
    assert min((smaller - none).abs().max(), (smaller - both).abs().max()) > 1e-3


def test_preconditioners_take_in_every_nth_gradient():
    """Of gradients that do not change, the average is the same whatever the n."""
    found = []
    for every in (1, 4):
        w = torch.zeros(3, 2, dtype=torch.float64).requires_grad_()
        optimizer = SOAP([w], lr=0.0, average_every=every)
        for _ in range(9):
            w.grad = torch.arange(6, dtype=torch.float64).view(3, 2)
            optimizer.step()
        found.append(optimizer.state[w]["left"])
    assert_close(*found)


def test_no_eigensolver_is_asked_in_single_precision(monkeypatch):
    """It returned NaN for products of gradients that fade out to denormal numbers.

    Here it always does.
    """
    solve = torch.linalg.eigh
    monkeypatch.setattr(
        torch.linalg,
        "eigh",
        lambda m: solve(m) if m.dtype == torch.float64 else [x * torch.nan for x in solve(m)],
    )
    w = torch.randn(6, 4).requires_grad_()
    optimizer = SOAP([w], refresh_every=1)
    for _ in range(3):
        optimizer.zero_grad()
        (w**4).sum().backward()
        optimizer.step()
    assert torch.isfinite(w).all()


def test_the_bases_stay_orthonormal():
    torch.manual_seed(4)
    w = torch.randn(2, 4, 6).requires_grad_()
    optimizer = SOAP([w], refresh_every=1)
    for _ in range(20):
        optimizer.zero_grad()
        (w**4).sum().backward()
        optimizer.step()
    state = optimizer.state[w]
    for side in ("basis_left", "basis_right"):
        q = state[side]
        assert_close(q.mT @ q, torch.eye(q.shape[-1]).expand_as(q), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "soap"])
def test_a_stored_state_goes_on_to_the_same_bits(name):
    torch.manual_seed(0)
    shapes = [(4, 3), (3, 4), (6,), (2, 5, 5), ()]
    params = [torch.randn(s).requires_grad_() for s in shapes]
    optimizer = make_optimizer(OptimizerConfig(name, 0.01), params)

    def steps(optimizer, params, count):
        for _ in range(count):
            optimizer.zero_grad()
            sum((p**4).sum() for p in params).backward()
            optimizer.step()

    steps(optimizer, params, 23)
    copies = [p.detach().clone().requires_grad_() for p in params]
    other = make_optimizer(OptimizerConfig(name, 0.01), copies)
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    steps(optimizer, params, 17)
    steps(other, copies, 17)
    assert all(torch.equal(a, b) for a, b in zip(params, copies, strict=True))


def test_unknown_names_and_options_are_refused():
    params = [torch.zeros(2).requires_grad_()]
    with pytest.raises(ValueError, match=r"adamw, soap.*'sgd'"):
        make_optimizer(OptimizerConfig("sgd"), params)
    with pytest.raises(ValueError, match=r"options.*refresh"):
        make_optimizer(OptimizerConfig("adamw", options={"refresh": 3}), params)
