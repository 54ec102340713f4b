"""Multilinear products: compiled against plain torch and matmul, first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from potentials.ops import kernels

P, M, C, G = 20, 7, 5, 12


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return {
        "idx_i": torch.randint(0, M, (P,), generator=generator),
        "idx_j": torch.randint(0, M, (P,), generator=generator),  # some pairs are self images
        "envelope": random(P) * (torch.arange(P) % 5 > 0),  # some pairs are beyond the cutoff
        "filters": random(P, 3, C),
        "harmonics": random(P, 9),
        "species": random(2, M, C),
        "x": random(9, M, C),
        "y": random(9, M, C),
        "first": torch.randint(0, G - kernels.STENCIL + 1, (P,), generator=generator),
        "weights": random(P, kernels.STENCIL),
        "nodes": random(G, C),
        "read": random(P, C),
    }


def products(t: dict[str, Tensor]) -> dict[str, Callable[[], Tensor]]:
    pairs = t["idx_i"], t["idx_j"]
    slots = [t["filters"], t["harmonics"], t["species"], t["x"]]
    table: dict[str, Callable[[], Tensor]] = {
        "convolve": lambda: kernels.convolve(t["envelope"], t["filters"], t["x"], *pairs),
        "convolve slot 0": lambda: kernels._convolve_slot(0, t["filters"], t["x"], t["y"], *pairs),
        "convolve slot 1": lambda: kernels._convolve_slot(1, t["envelope"], t["x"], t["y"], *pairs),
        "interpolate": lambda: kernels.interpolate(t["first"], t["weights"], t["nodes"]),
        "interpolate slot 0": lambda: kernels._interpolate_slot(
            0, t["nodes"], t["read"], t["first"], G
        ),
        "interpolate slot 1": lambda: kernels._interpolate_slot(
            1, t["weights"], t["read"], t["first"], G
        ),
    }
    for k in range(4):
        others = slots[:k] + slots[k + 1 :]
        table[f"embed slot {k}"] = lambda k=k, others=others: kernels._embed_slot(
            k, others, *pairs, M
        )
    for transposed in (0, 1, 2):
        for symmetric in (False, True):
            table[f"product {transposed} {symmetric}"] = lambda s=symmetric, n=transposed: (
                kernels._product(t["x"], t["y"], s, n)
            )
    return table


@pytest.mark.skipif(
    kernels._kernels is None,
    reason="the compiled kernels were not built (no compiler at installation)",
)
def test_compiled_kernels_agree_with_plain_torch(
    tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = {name: product() for name, product in products(tensors).items()}
    monkeypatch.setattr(kernels, "_kernels", None)
    for name, product in products(tensors).items():
        torch.testing.assert_close(compiled[name], product(), atol=1e-12, rtol=1e-12, msg=name)


def test_products_are_those_of_3x3_matrices(tensors: dict[str, Tensor]) -> None:
    basis = kernels.matrix_basis(torch.float64, torch.device("cpu"))

    def matrices(components: Tensor) -> Tensor:
        return torch.einsum("kab,kmc->mcab", basis, components)

    x, y = matrices(tensors["x"]), matrices(tensors["y"])
    torch.testing.assert_close(
        torch.einsum("kab,lab->kl", basis, basis), torch.eye(9, dtype=torch.float64)
    )
    torch.testing.assert_close(matrices(kernels.matrix_product(tensors["x"], tensors["y"])), x @ y)
    torch.testing.assert_close(
        matrices(kernels.symmetric_product(tensors["x"], tensors["y"])), x @ y + y @ x
    )


def test_convolution_is_the_sum_over_neighbours(tensors: dict[str, Tensor]) -> None:
    expected = torch.zeros(9, M, C, dtype=torch.float64)
    envelope, filters, x = tensors["envelope"], tensors["filters"], tensors["x"]
    for p, (i, j) in enumerate(
        zip(tensors["idx_i"].tolist(), tensors["idx_j"].tolist(), strict=True)
    ):
        for k in range(9):
            expected[k, i] += envelope[p] * filters[p, kernels.PART[k]] * x[k, j]
            expected[k, j] += envelope[p] * filters[p, kernels.PART[k]] * x[k, i]
    torch.testing.assert_close(
        kernels.convolve(envelope, filters, x, tensors["idx_i"], tensors["idx_j"]), expected
    )


def test_interpolation_is_the_sum_over_nodes(tensors: dict[str, Tensor]) -> None:
    first, weights, nodes = tensors["first"], tensors["weights"], tensors["nodes"]
    expected = torch.stack(
        [sum(weights[p, k] * nodes[first[p] + k] for k in range(kernels.STENCIL)) for p in range(P)]
    )  # type: ignore[misc]
    torch.testing.assert_close(kernels.interpolate(first, weights, nodes), expected)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives(check: Callable[..., bool], tensors: dict[str, Tensor]) -> None:
    for name in ("filters", "species", "x", "y", "nodes"):
        tensors[name] = tensors[name][..., :2].clone()  # channels
    e, f, h, s, x, y, w, n = (
        tensors[name].requires_grad_()
        for name in ("envelope", "filters", "harmonics", "species", "x", "y", "weights", "nodes")
    )
    pairs = tensors["idx_i"], tensors["idx_j"]
    assert check(lambda e, f, x: kernels.convolve(e, f, x, *pairs), (e, f, x))
    assert check(lambda w, n: kernels.interpolate(tensors["first"], w, n), (w, n))
    assert check(lambda f, h, s: kernels.embed_pairs(f, h, s, *pairs), (f, h, s))
    assert check(kernels.symmetric_product, (x, y))
    assert check(kernels.matrix_product, (x, y))
