"""Multilinear products, closed under differentiation, each with one place for a fast implementation.

A form Φ(a, b, …, g) that is linear in each of its tensors defines one function per slot: the derivative of Φ with respect to
that slot, given the others. The value of a product is the slot of g; its gradients are the other slots; and the gradients of
those are slots again. Force training, which differentiates twice, therefore needs nothing else.

* `convolve`: y_i = Σ_j f_ij ⊙ x_j over undirected pairs, with the same filter both ways.
* `embed_pairs`: y_i = Σ_j f_ij ⊙ Y(u_ij) ⊙ (c_i + n_j), the harmonics Y odd or even under i <-> j.
* `symmetric_product` and `matrix_product`: 3x3 matrices XY + YX and XY, in nine orthonormal components.

On the CPU the compiled extension `potentials._kernels` is used where it was built; everything works without.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

try:
    from potentials import _kernels
except ImportError:  # no compiler at installation
    _kernels = None  # type: ignore[assignment]

PART = (0, 1, 1, 1, 2, 2, 2, 2, 2)  # which filter acts on each of the nine components: I, A (3), S (5)
ODD = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0)  # parity of the components under u -> -u, and under transposition


def convolve(filters: Tensor, values: Tensor, idx_i: Tensor, idx_j: Tensor) -> Tensor:
    """Sum filter times neighbour value over pairs, both ways.

    Parameters
    ----------
    filters : (P, 3, C)    for I, A and S
    values : (9, M, C)
    idx_i, idx_j : (P,)

    Returns
    -------
    (9, M, C)
    """
    return _evaluate(PairConvolution(idx_i, idx_j, values.shape[1]), 2, (filters, values, None))


def embed_pairs(filters: Tensor, harmonics: Tensor, species: Tensor, idx_i: Tensor, idx_j: Tensor) -> Tensor:
    """Sum filter times harmonic times species factor over pairs, both ways.

    Parameters
    ----------
    filters : (P, 3, C)
    harmonics : (P, 9)       of the direction from i to j
    species : (2, M, C)      contribution of the receiving and of the sending point
    idx_i, idx_j : (P,)

    Returns
    -------
    (9, M, C)
    """
    return _evaluate(PairEmbedding(idx_i, idx_j, species.shape[1]), 3, (filters, harmonics, species, None))


def symmetric_product(x: Tensor, y: Tensor) -> Tensor:
    """Compute XY + YX of 3x3 matrices given as components (9, M, C)."""
    return _evaluate(SYMMETRIC, 2, (x, y, None))


def matrix_product(x: Tensor, y: Tensor) -> Tensor:
    """Compute XY of 3x3 matrices given as components (9, M, C)."""
    return _evaluate(PLAIN, 2, (x, y, None))


class Form(Protocol):
    """A multilinear form: ``slot(k, tensors)`` is its derivative with respect to tensor k, which is None among the tensors."""

    def slot(self, k: int, tensors: tuple[Tensor | None, ...]) -> Tensor:
        """Return a tensor shaped like slot k."""


class _Slot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, form: Form, k: int, *tensors: Tensor | None) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.form, ctx.k = form, k
        return form.slot(k, tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = list(ctx.saved_tensors)
        tensors[ctx.k] = grad
        gradients: list[Tensor | None] = [None] * len(tensors)
        for n in range(len(tensors)):
            if n != ctx.k and ctx.needs_input_grad[n + 2]:
                gradients[n] = _evaluate(ctx.form, n, (*tensors[:n], None, *tensors[n + 1 :]))
        return None, None, *gradients


def _evaluate(form: Form, k: int, tensors: tuple[Tensor | None, ...]) -> Tensor:
    return _Slot.apply(form, k, *tensors)  # type: ignore[no-untyped-call, no-any-return]


def _native(*tensors: Tensor | None) -> bool:
    """Whether the compiled kernels apply: all on the CPU, all of one real dtype."""
    present = [t for t in tensors if t is not None]
    return (
        _kernels is not None
        and all(t.device.type == "cpu" for t in present)
        and all(t.dtype == present[0].dtype for t in present)
        and present[0].dtype in (torch.float32, torch.float64)
    )


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class PairConvolution:
    """Φ = Σ_pairs Σ_k f ⊙ (x_j ⊙ g_i + x_i ⊙ g_j); slots: filters (P, 3, C), values (9, M, C), result (9, M, C)."""

    def __init__(self, idx_i: Tensor, idx_j: Tensor, n_points: int) -> None:
        self.idx_i, self.idx_j, self.n_points = idx_i, idx_j, n_points

    def slot(self, k: int, tensors: tuple[Tensor | None, ...]) -> Tensor:
        """Convolve the filters with the other field, or contract the two fields to a filter."""
        if _native(*tensors):
            return self._native_slot(k, tensors)
        filters, values, result = tensors
        if k == 0:
            assert values is not None and result is not None
            return self._contract(values, result)
        field = values if k == 2 else result
        assert filters is not None and field is not None
        return self._convolve(filters, field)

    def _convolve(self, filters: Tensor, field: Tensor) -> Tensor:
        result = torch.zeros_like(field)
        weights = filters.transpose(0, 1)[list(PART)]  # (9, P, C)
        result.index_add_(1, self.idx_i, weights * field.index_select(1, self.idx_j))
        return result.index_add_(1, self.idx_j, weights * field.index_select(1, self.idx_i))

    def _contract(self, left: Tensor, right: Tensor) -> Tensor:
        both = left.index_select(1, self.idx_j) * right.index_select(1, self.idx_i)
        both = both + left.index_select(1, self.idx_i) * right.index_select(1, self.idx_j)  # (9, P, C)
        return torch.stack([part.sum(0) for part in both.split((1, 3, 5))], dim=1)

    def _native_slot(self, k: int, tensors: tuple[Tensor | None, ...]) -> Tensor:
        tensors = tuple(t if t is None else t.contiguous() for t in tensors)
        n_pairs, channels = len(self.idx_i), next(t for t in tensors if t is not None).shape[-1]
        like = next(t for t in tensors if t is not None)
        shape = (n_pairs, 3, channels) if k == 0 else (9, self.n_points, channels)
        out = like.new_empty(shape) if k == 0 else like.new_zeros(shape)
        filters, field, other = (out, tensors[1], tensors[2]) if k == 0 else (tensors[0], tensors[3 - k], out)
        call = _kernels.contract if k == 0 else _kernels.convolve
        call(
            like.dtype == torch.float64,
            (n_pairs, self.n_points, channels),
            (self.idx_i.data_ptr(), self.idx_j.data_ptr()),
            (_pointer(filters), _pointer(field), _pointer(other)),
        )
        return out


class PairEmbedding:
    """Φ = Σ_pairs Σ_k f Y_k ((c_i + n_j) g_ki ± (c_j + n_i) g_kj); slots: filters, harmonics (P, 9), species (2, M, C), result."""

    def __init__(self, idx_i: Tensor, idx_j: Tensor, n_points: int) -> None:
        self.idx_i, self.idx_j, self.n_points = idx_i, idx_j, n_points

    def slot(self, k: int, tensors: tuple[Tensor | None, ...]) -> Tensor:
        """Return the derivative of the form with respect to slot k."""
        if _native(*tensors):
            return self._native_slot(k, tensors)
        filters, harmonics, species, result = tensors
        odd = None if harmonics is None else harmonics * harmonics.new_tensor(ODD)
        if k == 3:
            there, back = self._species_factors(species)
            weights = filters.transpose(0, 1)[list(PART)]  # (9, P, C)
            result = weights.new_zeros(9, self.n_points, weights.shape[-1])
            result.index_add_(1, self.idx_i, weights * harmonics.T[:, :, None] * there)
            return result.index_add_(1, self.idx_j, weights * odd.T[:, :, None] * back)
        g_i, g_j = result.index_select(1, self.idx_i), result.index_select(1, self.idx_j)  # (9, P, C)
        if k == 2:
            weights = filters.transpose(0, 1)[list(PART)]
            there = (weights * harmonics.T[:, :, None] * g_i).sum(0)  # (P, C)
            back = (weights * odd.T[:, :, None] * g_j).sum(0)
            receiving = there.new_zeros(self.n_points, there.shape[1]).index_add_(0, self.idx_i, there).index_add_(0, self.idx_j, back)
            sending = there.new_zeros(self.n_points, there.shape[1]).index_add_(0, self.idx_j, there).index_add_(0, self.idx_i, back)
            return torch.stack([receiving, sending])
        there, back = self._species_factors(species)
        if k == 1:
            signs = there.new_tensor(ODD)[:, None, None]
            weights = filters.transpose(0, 1)[list(PART)]
            return (weights * (there * g_i + signs * back * g_j)).sum(-1).T
        each = harmonics.T[:, :, None] * g_i * there + odd.T[:, :, None] * g_j * back
        return torch.stack([part.sum(0) for part in each.split((1, 3, 5))], dim=1)

    def _species_factors(self, species: Tensor) -> tuple[Tensor, Tensor]:
        central, neighbor = species
        there = central.index_select(0, self.idx_i) + neighbor.index_select(0, self.idx_j)
        return there, central.index_select(0, self.idx_j) + neighbor.index_select(0, self.idx_i)

    def _native_slot(self, k: int, tensors: tuple[Tensor | None, ...]) -> Tensor:
        given = [t if t is None else t.contiguous() for t in tensors]
        n_pairs = len(self.idx_i)
        like = next(t for n, t in enumerate(given) if t is not None and n != 1)
        channels = like.shape[-1]
        shape = ((n_pairs, 3, channels), (n_pairs, 9), (2, self.n_points, channels), (9, self.n_points, channels))[k]
        given[k] = like.new_zeros(shape)
        _kernels.embed_pairs(
            like.dtype == torch.float64,
            k,
            (n_pairs, self.n_points, channels),
            (self.idx_i.data_ptr(), self.idx_j.data_ptr()),
            tuple(_pointer(t) for t in given),
        )
        return given[k]  # type: ignore[return-value]


class MatrixProduct:
    """Φ = tr((XY)ᵀG), or tr((XY + YX)ᵀG); slots: x, y and the result, each (9, M, C)."""

    def __init__(self, *, symmetric: bool) -> None:
        self.symmetric = symmetric

    def slot(self, k: int, tensors: tuple[Tensor | None, ...]) -> Tensor:
        """Return XY, G Yᵀ or Xᵀ G, symmetrised if asked."""
        x, y, result = tensors
        left, right, transposed = ((result, y, 2), (x, result, 1), (x, y, 0))[k]
        assert left is not None and right is not None
        if _native(left, right):
            left, right = left.contiguous(), right.contiguous()
            out = torch.empty_like(left)
            _kernels.product(
                left.dtype == torch.float64, self.symmetric, transposed, left[0].numel(), (_pointer(left), _pointer(right), _pointer(out))
            )
            return out
        left = transpose(left) if transposed == 1 else left
        right = transpose(right) if transposed == 2 else right
        product = _multiply(left, right)
        return product + _multiply(right, left) if self.symmetric else product


SYMMETRIC, PLAIN = MatrixProduct(symmetric=True), MatrixProduct(symmetric=False)


def transpose(x: Tensor) -> Tensor:
    """Transpose 3x3 matrices given as components: the antisymmetric three change sign."""
    return torch.cat([x[:1], -x[1:4], x[4:]])


def _multiply(x: Tensor, y: Tensor) -> Tensor:
    basis = matrix_basis(x.dtype, x.device).view(9, 9)
    a = (basis.T @ x.reshape(9, -1)).view(3, 3, 1, -1)
    b = (basis.T @ y.reshape(9, -1)).view(1, 3, 3, -1)
    product = a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]  # (3, 3, M * C)
    return (basis @ product.reshape(9, -1)).view(x.shape)


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
