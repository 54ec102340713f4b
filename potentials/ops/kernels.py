"""Multilinear products, closed under differentiation, each with one place for a fast version.

A form Φ(a, b, …, g) that is linear in each of its tensors defines one function per slot: the
derivative of Φ with respect to that slot, given the others. The value of a product is the slot of
g; its gradients are the other slots; and the gradients of those are slots again. Force training,
which differentiates twice, therefore needs nothing else.

* `convolve`: y_i = Σ_j φ_ij f_ij ⊙ x_j over undirected pairs, with the same envelope and filter
  both ways.
* `embed_pairs`: y_i = Σ_j f_ij ⊙ Y(u_ij) ⊙ (c_i + n_j), the harmonics Y odd or even under i <-> j.
* `symmetric_product` and `matrix_product`: 3x3 matrices XY + YX and XY, in nine orthonormal
  components.
* `interpolate`: y_p = Σ_k w_pk t_(first_p + k), functions known at nodes, read between them.

They are registered as operators of torch, so that autograd and compilation see through them. On the
CPU the compiled extension `potentials.ops._kernels` computes them where it was built; everything
works without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, library

try:
    import potentials.ops._kernels as _kernels

    if getattr(_kernels, "interface", 1) != 2:  # built of older sources: build again
        raise ImportError
except ImportError:  # no compiler at installation
    _kernels = None

OPERATORS = library.Library("polcalc", "FRAGMENT")
PLAIN: dict[str, Callable[..., Tensor]] = {}  # functions behind the operators, by their names here
STENCIL = 8  # nodes that a value between them is made of
# which filter acts on each of the nine components: I, A (3), S (5)
PART = (0, 1, 1, 1, 2, 2, 2, 2, 2)
# parity of the components under u -> -u, and under transposition
ODD = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def _operator(function: Callable[..., Tensor]) -> Any:
    """Make an operator of torch of a function without side effects.

    `library.custom_op` would import the compiler of torch at the first call, half a second.
    """
    PLAIN[function.__name__] = function
    name = function.__name__.removeprefix("_")
    schema = name + library.infer_schema(function, mutates_args=())
    OPERATORS.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    OPERATORS.impl(name, function, "CompositeExplicitAutograd")
    return getattr(torch.ops.polcalc, name).default


@contextmanager
def in_plain_torch() -> Iterator[None]:
    """Make products of what every torch knows, for models that go where Python does not."""
    here = globals()
    before = {name: here[name] for name in (*PLAIN, "_kernels")}
    here.update(PLAIN, _kernels=None)
    try:
        yield
    finally:
        here.update(before)


def convolve(
    envelope: Tensor, filters: Tensor, values: Tensor, idx_i: Tensor, idx_j: Tensor
) -> Tensor:
    """Sum envelope times filter times neighbour value over pairs, both ways.

    Parameters
    ----------
    envelope : (P,)
    filters : (P, 3, C)    for I, A and S
    values : (9, M, C)
    idx_i, idx_j : (P,)

    Returns
    -------
    (9, M, C)
    """
    result: Tensor = _convolve_slot(3, envelope, filters, values, idx_i, idx_j)
    return result


@_operator
def _convolve_slot(k: int, a: Tensor, b: Tensor, c: Tensor, idx_i: Tensor, idx_j: Tensor) -> Tensor:
    """Differentiate Σ φ f (x_j g_i + x_i g_j) by slot k of (φ, f, x, g), given the others in order.

    The slots of x and g are alike.
    """
    if _compiled(a, b, c):
        tensors = [a.contiguous(), b.contiguous(), c.contiguous()]
        result = c.new_zeros(c.shape) if k == 3 else c.new_empty(_convolve_shape(k, c, len(idx_i)))
        tensors.insert(k, result)
        _kernels.convolve(k, *_arrays(_indices(idx_i), _indices(idx_j), *tensors))
        return result
    if k == 3:
        weights = (a[:, None, None] * b).transpose(0, 1)[list(PART)]  # (9, P, C)
        result = c.new_zeros(c.shape)
        result.index_add_(1, idx_i, weights * c.index_select(1, idx_j))
        return result.index_add_(1, idx_j, weights * c.index_select(1, idx_i))
    both = b.index_select(1, idx_j) * c.index_select(1, idx_i)
    both = _sum_parts(both + b.index_select(1, idx_i) * c.index_select(1, idx_j))  # (P, 3, C)
    return a[:, None, None] * both if k == 1 else (a * both).sum((1, 2))


def embed_pairs(
    filters: Tensor, harmonics: Tensor, species: Tensor, idx_i: Tensor, idx_j: Tensor
) -> Tensor:
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
    result: Tensor = _embed_slot(3, [filters, harmonics, species], idx_i, idx_j, species.shape[1])
    return result


def symmetric_product(x: Tensor, y: Tensor) -> Tensor:
    """Compute XY + YX of 3x3 matrices given as components (9, M, C)."""
    product: Tensor = _product(x, y, True, 0)
    return product


def matrix_product(x: Tensor, y: Tensor) -> Tensor:
    """Compute XY of 3x3 matrices given as components (9, M, C)."""
    product: Tensor = _product(x, y, False, 0)
    return product


def interpolate(first: Tensor, weights: Tensor, nodes: Tensor) -> Tensor:
    """Sum values at neighbouring nodes, each with its weight.

    Parameters
    ----------
    first : (P,)         int64, the first of the nodes of each pair
    weights : (P, K)     of this node and the following
    nodes : (G, F)       values at the nodes

    Returns
    -------
    (P, F)
    """
    result: Tensor = _interpolate_slot(2, weights, nodes, first, len(nodes))
    return result


@_operator
def _embed_slot(
    k: int, others: list[Tensor], idx_i: Tensor, idx_j: Tensor, n_points: int
) -> Tensor:
    """Differentiate Σ f Y ((c_i + n_j) g_i ± (c_j + n_i) g_j) by slot k of (f, Y, (c, n), g).

    The others are given in order.
    """
    shape = _embed_shape(k, others, len(idx_i), n_points)
    if _compiled(*others):
        result = others[0].new_zeros(shape)
        tensors = [t.contiguous() for t in others]
        tensors.insert(k, result)
        _kernels.embed_pairs(k, *_arrays(_indices(idx_i), _indices(idx_j), *tensors))
        return result
    slots = [*others[:k], others[0].new_zeros(shape), *others[k:]]
    return _EMBED_SLOTS[k](slots[0], slots[1], slots[2], slots[3], idx_i, idx_j)


@_operator
def _interpolate_slot(k: int, left: Tensor, right: Tensor, first: Tensor, n_nodes: int) -> Tensor:
    """Differentiate Σ w_pk t_(first_p + k) g_p by slot k of (w, t, g), given the other two."""
    shape = _interpolate_shape(k, right, len(first), n_nodes)
    if _compiled(left, right):
        result = left.new_zeros(shape) if k == 1 else left.new_empty(shape)
        tensors = [left.contiguous(), right.contiguous()]
        tensors.insert(k, result)
        _kernels.interpolate(k, *_arrays(_indices(first), *tensors))
        return result
    rows = first[:, None] + torch.arange(STENCIL, device=first.device)  # (P, K)
    if k == 0:
        return torch.einsum("pkf,pf->pk", left[rows], right)
    if k == 2:
        return torch.einsum("pk,pkf->pf", left, right[rows])
    spread = left[:, :, None] * right[:, None]  # (P, K, F)
    return right.new_zeros(shape).index_add_(0, rows.flatten(), spread.flatten(0, 1))


@_operator
def _product(x: Tensor, y: Tensor, symmetric: bool, transposed: int) -> Tensor:
    """Compute XY (transposed = 0), XᵀY (1) or XYᵀ (2), with the other order added if symmetric."""
    if _compiled(x, y):
        x, y = x.contiguous(), y.contiguous()
        result = torch.empty_like(x)
        _kernels.product(symmetric, transposed, *_arrays(x, y, result))
        return result
    x = transpose(x) if transposed == 1 else x
    y = transpose(y) if transposed == 2 else y
    product = _multiply(x, y)
    return product + _multiply(y, x) if symmetric else product


# Shapes, for compilation, and derivatives: slots of the same forms.


def _convolve_fake(k: int, a: Tensor, b: Tensor, c: Tensor, idx_i: Tensor, idx_j: Tensor) -> Tensor:
    return c.new_empty(_convolve_shape(k, c, len(idx_i)))


def _embed_fake(
    k: int, others: list[Tensor], idx_i: Tensor, idx_j: Tensor, n_points: int
) -> Tensor:
    return others[0].new_empty(_embed_shape(k, others, len(idx_i), n_points))


def _interpolate_fake(k: int, left: Tensor, right: Tensor, first: Tensor, n_nodes: int) -> Tensor:
    return right.new_empty(_interpolate_shape(k, right, len(first), n_nodes))


def _product_fake(x: Tensor, y: Tensor, symmetric: bool, transposed: int) -> Tensor:
    return x.new_empty(x.shape)


def _keep_convolve(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.k = inputs[0]
    ctx.save_for_backward(*inputs[1:])


def _keep_embed(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.k, ctx.n_points = inputs[0], inputs[4]
    ctx.save_for_backward(*inputs[1], *inputs[2:4])


def _keep_interpolate(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.k, ctx.n_nodes = inputs[0], inputs[4]
    ctx.save_for_backward(*inputs[1:4])


def _keep_product(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.symmetric, ctx.transposed = inputs[2:]


def _convolve_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, idx_i, idx_j = ctx.saved_tensors
    tensors.insert(ctx.k, grad)
    envelope, filters, values, others = tensors
    slots = [
        (0, filters, values, others),
        (1, envelope, values, others),
        (3, envelope, filters, others),
        (3, envelope, filters, values),
    ]
    gradients = [
        _convolve_slot(k, a, b, c, idx_i, idx_j)
        for n, (k, a, b, c) in enumerate(slots)
        if n != ctx.k
    ]
    return None, *gradients, None, None


def _embed_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    *others, idx_i, idx_j = ctx.saved_tensors
    tensors = [*others[: ctx.k], grad, *others[ctx.k :]]
    slots = [n for n in range(4) if n != ctx.k]
    gradients = [
        _embed_slot(n, [t for m, t in enumerate(tensors) if m != n], idx_i, idx_j, ctx.n_points)
        for n in slots
    ]
    return None, gradients, None, None, None


def _interpolate_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    left, right, first = ctx.saved_tensors
    tensors = [left, right]
    tensors.insert(ctx.k, grad)
    slots = [
        _interpolate_slot(n, *(t for m, t in enumerate(tensors) if m != n), first, ctx.n_nodes)
        for n in range(3)
        if n != ctx.k
    ]
    return None, *slots, None, None


def _product_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, y = ctx.saved_tensors
    symmetric = ctx.symmetric
    if ctx.transposed == 0:  # G = XY: G Yᵀ, Xᵀ G
        return _product(grad, y, symmetric, 2), _product(x, grad, symmetric, 1), None, None
    if ctx.transposed == 1:  # G = XᵀY: Y Gᵀ, X G
        return _product(y, grad, symmetric, 2), _product(x, grad, symmetric, 0), None, None
    # G = XYᵀ: G Y, Gᵀ X
    return (_product(grad, y, symmetric, 0), _product(grad, x, symmetric, 1), None, None)


library.register_fake(_convolve_slot, _convolve_fake, lib=OPERATORS)
library.register_fake(_embed_slot, _embed_fake, lib=OPERATORS)
library.register_fake(_interpolate_slot, _interpolate_fake, lib=OPERATORS)
library.register_fake(_product, _product_fake, lib=OPERATORS)
library.register_autograd(
    _convolve_slot, _convolve_gradient, setup_context=_keep_convolve, lib=OPERATORS
)
library.register_autograd(_embed_slot, _embed_gradient, setup_context=_keep_embed, lib=OPERATORS)
library.register_autograd(
    _interpolate_slot, _interpolate_gradient, setup_context=_keep_interpolate, lib=OPERATORS
)
library.register_autograd(_product, _product_gradient, setup_context=_keep_product, lib=OPERATORS)


# The compiled extension works on contiguous arrays, and checks shapes and indices.


def _compiled(*tensors: Tensor) -> bool:
    """Whether the extension applies: all on the CPU, all float32 or all float64."""
    dtype = tensors[0].dtype
    return (
        _kernels is not None
        and dtype in (torch.float32, torch.float64)
        and all(t.device.type == "cpu" and t.dtype == dtype for t in tensors)
    )


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    return tuple(t.detach().numpy() for t in tensors)


def _indices(tensor: Tensor) -> Tensor:
    """Return whole numbers as the extension reads them: int64, one behind the other."""
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"indices must be whole numbers; got {tensor.dtype}. Pass int64.")
    return tensor.to(torch.int64).contiguous()


# The same in plain torch.


def _embed_shape(k: int, others: list[Tensor], n_pairs: int, n_points: int) -> tuple[int, ...]:
    channels = others[-1].shape[-1]
    return ((n_pairs, 3, channels), (n_pairs, 9), (2, n_points, channels), (9, n_points, channels))[
        k
    ]


def _interpolate_shape(k: int, right: Tensor, n_pairs: int, n_nodes: int) -> tuple[int, int]:
    n_features = right.shape[1]  # of the result, or of the nodes
    return ((n_pairs, STENCIL), (n_nodes, n_features), (n_pairs, n_features))[k]


def _convolve_shape(k: int, c: Tensor, n_pairs: int) -> tuple[int, ...]:
    return ((n_pairs,), (n_pairs, 3, c.shape[-1]), (), tuple(c.shape))[k]


def _embed_weights(filters: Tensor, harmonics: Tensor) -> tuple[Tensor, Tensor]:
    """Filter times harmonic of i <- j and of j <- i: (9, P, C) twice."""
    there = filters.transpose(0, 1)[list(PART)] * harmonics.T[:, :, None]
    return there, there * harmonics.new_tensor(ODD)[:, None, None]


def _embed_species(species: Tensor, idx_i: Tensor, idx_j: Tensor) -> tuple[Tensor, Tensor]:
    central, neighbor = species
    there = central.index_select(0, idx_i) + neighbor.index_select(0, idx_j)
    return there, central.index_select(0, idx_j) + neighbor.index_select(0, idx_i)


def _embed_fields(
    species: Tensor, result: Tensor, idx_i: Tensor, idx_j: Tensor
) -> tuple[Tensor, Tensor]:
    """Species factor times result of both ways, the parity included: (9, P, C) twice."""
    there, back = _embed_species(species, idx_i, idx_j)
    signs = result.new_tensor(ODD)[:, None, None]
    return there * result.index_select(1, idx_i), signs * back * result.index_select(1, idx_j)


def _embed_to_filters(
    filters: Tensor,
    harmonics: Tensor,
    species: Tensor,
    result: Tensor,
    idx_i: Tensor,
    idx_j: Tensor,
) -> Tensor:
    there, back = _embed_fields(species, result, idx_i, idx_j)
    return _sum_parts(harmonics.T[:, :, None] * (there + back))


def _embed_to_harmonics(
    filters: Tensor,
    harmonics: Tensor,
    species: Tensor,
    result: Tensor,
    idx_i: Tensor,
    idx_j: Tensor,
) -> Tensor:
    there, back = _embed_fields(species, result, idx_i, idx_j)
    return (filters.transpose(0, 1)[list(PART)] * (there + back)).sum(-1).T.contiguous()


def _embed_to_species(
    filters: Tensor,
    harmonics: Tensor,
    species: Tensor,
    result: Tensor,
    idx_i: Tensor,
    idx_j: Tensor,
) -> Tensor:
    there, back = _embed_weights(filters, harmonics)
    there = (there * result.index_select(1, idx_i)).sum(0)  # (P, C)
    back = (back * result.index_select(1, idx_j)).sum(0)
    empty = result.new_zeros(result.shape[1:])
    receiving = empty.index_add(0, idx_i, there).index_add(0, idx_j, back)
    return torch.stack([receiving, empty.index_add(0, idx_j, there).index_add(0, idx_i, back)])


def _embed_to_result(
    filters: Tensor,
    harmonics: Tensor,
    species: Tensor,
    result: Tensor,
    idx_i: Tensor,
    idx_j: Tensor,
) -> Tensor:
    weight_there, weight_back = _embed_weights(filters, harmonics)
    there, back = _embed_species(species, idx_i, idx_j)
    return result.index_add(1, idx_i, weight_there * there).index_add(1, idx_j, weight_back * back)


_EMBED_SLOTS = (_embed_to_filters, _embed_to_harmonics, _embed_to_species, _embed_to_result)


def _sum_parts(components: Tensor) -> Tensor:
    """Sum the components of I, A and S: (9, P, C) -> (P, 3, C)."""
    return torch.stack([part.sum(0) for part in components.split((1, 3, 5))], dim=1)


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
    """Return nine orthonormal 3x3 matrices (9, 3, 3).

    The unit matrix, three antisymmetric, five symmetric traceless.

    The antisymmetric three are the cross-product matrices [e_x]_×, [e_y]_×, [e_z]_× divided by √2.
    The symmetric five are, in this order, xy, yz, 3z² - 1, xz, x² - y².
    """
    key = dtype, device
    if key not in _BASES:
        _BASES[key] = _make_basis().to(dtype=dtype, device=device)
    return _BASES[key]


def _make_basis() -> Tensor:
    half = math.sqrt(0.5)
    basis = torch.zeros(9, 3, 3, dtype=torch.float64)
    basis[0] = torch.eye(3, dtype=torch.float64) / math.sqrt(3)
    for k, (row, column) in enumerate([(2, 1), (0, 2), (1, 0)], start=1):
        basis[k, row, column], basis[k, column, row] = half, -half
    for k, (row, column) in zip((4, 5, 7), [(0, 1), (1, 2), (0, 2)], strict=True):
        basis[k, row, column] = basis[k, column, row] = half
    basis[6] = torch.diag(torch.tensor([-1.0, -1.0, 2.0], dtype=torch.float64)) / math.sqrt(6)
    basis[8] = torch.diag(torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)) * half
    return basis
