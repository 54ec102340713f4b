"""Products that are closed under differentiation: the gradient of each is made of the same few products.

Force training differentiates twice. Written as autograd functions whose backward calls another of them, these products
keep their second derivatives as cheap as their values, and each has one place where a faster kernel may stand.

* `convolve` and `contract`: y_i = Σ_j f_ij ⊙ x_j over undirected pairs, and its derivative with respect to f.
* `symmetric_product` and `matrix_product`: 3x3 matrices XY + YX and XY, in nine orthonormal components.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Sizes = tuple[int, ...]


def convolve(filters: Tensor, values: Tensor, idx_i: Tensor, idx_j: Tensor, sizes: Sizes) -> Tensor:
    """Sum filter times neighbour value over pairs, both ways.

    Parameters
    ----------
    filters : (P, T, C)
    values : (K, M, C)     components grouped in T parts of the given sizes
    idx_i, idx_j : (P,)

    Returns
    -------
    (K, M, C)
    """
    return _Convolve.apply(filters, values, idx_i, idx_j, sizes)  # type: ignore[no-untyped-call, no-any-return]


def contract(left: Tensor, right: Tensor, idx_i: Tensor, idx_j: Tensor, sizes: Sizes) -> Tensor:
    """Sum left_i ⊙ right_j + left_j ⊙ right_i over the components of each part: (P, T, C)."""
    return _Contract.apply(left, right, idx_i, idx_j, sizes)  # type: ignore[no-untyped-call, no-any-return]


def symmetric_product(x: Tensor, y: Tensor) -> Tensor:
    """Compute XY + YX of 3x3 matrices given as components (9, M, C)."""
    return _SymmetricProduct.apply(x, y)  # type: ignore[no-untyped-call, no-any-return]


def matrix_product(x: Tensor, y: Tensor) -> Tensor:
    """Compute XY of 3x3 matrices given as components (9, M, C)."""
    return _MatrixProduct.apply(x, y)  # type: ignore[no-untyped-call, no-any-return]


def transpose(x: Tensor) -> Tensor:
    """Transpose 3x3 matrices given as components: the antisymmetric three change sign."""
    return torch.cat([x[:1], -x[1:4], x[4:]])


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, filters: Tensor, values: Tensor, idx_i: Tensor, idx_j: Tensor, sizes: Sizes) -> Tensor:
        ctx.save_for_backward(filters, values, idx_i, idx_j)
        ctx.sizes = sizes
        return _convolve(filters, values, idx_i, idx_j, sizes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        filters, values, idx_i, idx_j = ctx.saved_tensors
        pairs = idx_i, idx_j, ctx.sizes
        return (
            contract(grad, values, *pairs) if ctx.needs_input_grad[0] else None,
            convolve(filters, grad, *pairs) if ctx.needs_input_grad[1] else None,
            *(None,) * 3,
        )


class _Contract(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, idx_i: Tensor, idx_j: Tensor, sizes: Sizes) -> Tensor:
        ctx.save_for_backward(left, right, idx_i, idx_j)
        ctx.sizes = sizes
        return _contract(left, right, idx_i, idx_j, sizes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right, idx_i, idx_j = ctx.saved_tensors
        pairs = idx_i, idx_j, ctx.sizes
        return (
            convolve(grad, right, *pairs) if ctx.needs_input_grad[0] else None,
            convolve(grad, left, *pairs) if ctx.needs_input_grad[1] else None,
            *(None,) * 3,
        )


class _SymmetricProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return _product(x, y, symmetrize=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        return (
            symmetric_product(grad, transpose(y)) if ctx.needs_input_grad[0] else None,
            symmetric_product(grad, transpose(x)) if ctx.needs_input_grad[1] else None,
        )


class _MatrixProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return _product(x, y, symmetrize=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        return (
            matrix_product(grad, transpose(y)) if ctx.needs_input_grad[0] else None,
            matrix_product(transpose(x), grad) if ctx.needs_input_grad[1] else None,
        )


def _convolve(filters: Tensor, values: Tensor, idx_i: Tensor, idx_j: Tensor, sizes: Sizes) -> Tensor:
    result = torch.zeros_like(values)
    start = 0
    for part, size in enumerate(sizes):
        here = values[start : start + size]
        weight = filters[:, part]  # (P, C)
        result[start : start + size].index_add_(1, idx_i, weight * here.index_select(1, idx_j))
        result[start : start + size].index_add_(1, idx_j, weight * here.index_select(1, idx_i))
        start += size
    return result


def _contract(left: Tensor, right: Tensor, idx_i: Tensor, idx_j: Tensor, sizes: Sizes) -> Tensor:
    both = left.index_select(1, idx_i) * right.index_select(1, idx_j)
    both.addcmul_(left.index_select(1, idx_j), right.index_select(1, idx_i))  # (K, P, C)
    return torch.stack([part.sum(0) for part in both.split(sizes)], dim=1)


def _product(x: Tensor, y: Tensor, *, symmetrize: bool) -> Tensor:
    shape = x.shape
    basis = matrix_basis(x.dtype, x.device).view(9, 9)
    a = (basis.T @ x.reshape(9, -1)).view(3, 3, -1)
    b = (basis.T @ y.reshape(9, -1)).view(3, 3, -1)
    result = torch.einsum("ikn,kjn->ijn", a, b)
    if symmetrize:
        result = result + torch.einsum("ikn,kjn->ijn", b, a)
    return (basis @ result.reshape(9, -1)).view(shape)


_BASES: dict[tuple[torch.dtype, torch.device], Tensor] = {}


def matrix_basis(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return nine orthonormal 3x3 matrices (9, 3, 3): the unit matrix, three antisymmetric, five symmetric traceless.

    The antisymmetric three are the cross-product matrices [e_x]_×, [e_y]_×, [e_z]_× divided by √2. The symmetric five are,
    in this order, xy, yz, 3z² - 1, xz, x² - y².
    """
    key = dtype, device
    if key not in _BASES:
        _BASES[key] = _make_basis().to(dtype=dtype, device=device)
    return _BASES[key]


def _make_basis() -> Tensor:
    half = math.sqrt(0.5)
    basis = torch.zeros(9, 3, 3, dtype=torch.float64)
    basis[0] = torch.eye(3) / math.sqrt(3)
    for k, (row, column) in enumerate([(2, 1), (0, 2), (1, 0)], start=1):
        basis[k, row, column], basis[k, column, row] = half, -half
    for k, (row, column) in zip((4, 5, 7), [(0, 1), (1, 2), (0, 2)], strict=True):
        basis[k, row, column] = basis[k, column, row] = half
    basis[6] = torch.diag(torch.tensor([-1.0, -1.0, 2.0])) / math.sqrt(6)
    basis[8] = torch.diag(torch.tensor([1.0, -1.0, 0.0])) * half
    return basis
