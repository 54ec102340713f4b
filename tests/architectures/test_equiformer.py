"""Spherical tensors: harmonics and products against e3nn's, fading attention, e3nn missing."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from e3nn import o3
from torch.testing import assert_close

from potentials.architectures.equiformer import Harmonics, Mixing, Norm, Product, wigner_3j
from potentials.build import build
from potentials.structure.geometry import Edges, neighbor_softmax, neighbor_sum

SPEC: dict[str, Any] = {
    "cutoff": 3.0,
    "architecture": {"name": "equiformer", "channels": 8, "n_layers": 2, "n_heads": 2},
    "radial": {"name": "exp_normal", "n_radial": 6},
}
SIZES, DEGREES = (8, 4, 2), (0, 1, 2)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def features(n: int = 3) -> tuple[torch.Tensor, ...]:
    return tuple(
        random(n, 2 * degree + 1, size) for degree, size in zip(DEGREES, SIZES, strict=True)
    )


def turned(values: tuple[torch.Tensor, ...], matrix: torch.Tensor) -> list[torch.Tensor]:
    """Turn features of natural parity by a rotation, with or without a reflection."""
    found = []
    for degree, x in enumerate(values):
        rotation = matrix * matrix.det()
        block = o3.Irrep(degree, 1).D_from_matrix(rotation) * matrix.det().sign() ** degree
        found.append(torch.einsum("ab,nb...->na...", block, x))
    return found


def test_harmonics_are_those_of_e3nn() -> None:
    u = torch.nn.functional.normalize(random(7, 3), dim=1)
    for degree, found in enumerate(Harmonics(4)(u)):
        assert_close(
            found,
            o3.spherical_harmonics(degree, u, normalize=False, normalization="component"),
            rtol=0.0,
            atol=1e-13,
        )


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_products_are_those_of_e3nn(group: str) -> None:
    """Path by path; e3nn calls them "uvu"."""
    product = Product(SIZES, 3, group)
    assert len(product.paths) == {"O(3)": 11, "SO(3)": 15}[group]
    assert product.n_weights == sum(product.sizes)
    x, y, weights = features(), Harmonics(2)(random(3, 3)), random(product.n_weights)
    found, parts = product(x, y, weights), weights.split(product.lengths)
    for degree, expected in enumerate(found):
        paths = [
            (path, part)
            for path, part in zip(product.paths, parts, strict=True)
            if path[2] == degree
        ]
        blocks = []
        for (a, b, c), part in paths:
            theirs = o3.FullTensorProduct(
                o3.Irreps([(1, (a, 1))]), o3.Irreps([(1, (b, 1))]), filter_ir_out=[o3.Irrep(c, 1)]
            ).double()
            # normalised alike
            each = [theirs(x[a][..., channel], y[b]) for channel in range(SIZES[a])]
            blocks.append(torch.stack(each, dim=-1) * part)
        # e3nn keeps its tables in float32
        assert_close(expected, torch.cat(blocks, dim=2), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_layers_turn_with_their_input(mirrored: bool) -> None:
    matrix = o3.rand_matrix().double() * (-1 if mirrored else 1)
    # orthogonal in float64
    matrix = torch.linalg.qr(matrix)[0] * torch.linalg.qr(matrix)[1].diag().sign()
    x, u = features(), random(3, 3)
    mix, norm, product = (
        Mixing(SIZES, SIZES).double(),
        Norm(SIZES).double(),
        Product(SIZES, 3, "O(3)"),
    )
    weights = random(product.n_weights)
    for layer in (mix, norm):
        for found, expected in zip(
            layer(tuple(turned(x, matrix))), turned(layer(x), matrix), strict=True
        ):
            assert_close(found, expected, rtol=0.0, atol=1e-5)  # e3nn turns in float32
    here, there = (
        product(v, Harmonics(2)(d), weights)
        for v, d in ((x, u), (tuple(turned(x, matrix)), u @ matrix.T))
    )
    for found, expected in zip(there, turned(here, matrix), strict=True):
        assert_close(found, expected, rtol=0.0, atol=1e-4)


def edges_of(envelope: list[float]) -> Edges:
    """A point 0 with neighbours 1, 2, …"""
    n = len(envelope)
    empty = torch.zeros(n, 3, dtype=torch.float64)
    phi = torch.tensor(envelope, dtype=torch.float64)
    return Edges(
        torch.zeros(n, dtype=torch.int64), torch.arange(n) + 1, empty, phi, phi, empty, n + 1
    )


def test_attention_is_shared_with_nothing() -> None:
    edges, scores = (
        edges_of([1.0, 0.5]),
        torch.log(torch.tensor([[2.0], [4.0], [1.0], [1.0]], dtype=torch.float64)),
    )
    attention = neighbor_softmax(scores, edges)
    assert_close(
        attention[:2, 0], torch.tensor([2.0, 4.0], dtype=torch.float64) / (1 + 2 + 0.5 * 4)
    )
    assert float(neighbor_sum(attention, edges)[0]) == pytest.approx((2 + 2) / 5)


def test_attention_to_the_last_neighbour_fades() -> None:
    for phi in (1e-2, 1e-4, 0.0):
        edges = edges_of([phi])
        assert (
            float(
                neighbor_sum(
                    neighbor_softmax(torch.zeros(2, 1, dtype=torch.float64), edges), edges
                )[0]
            )
            <= phi
        )


def test_large_scores_do_not_overflow() -> None:
    scores = torch.tensor([[2000.0], [-2000.0]], dtype=torch.float64)
    assert_close(
        neighbor_softmax(scores, edges_of([1.0])), torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    )


def test_without_e3nn_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "e3nn", None)
    with pytest.raises(ModuleNotFoundError, match=r"Install polcalc\[equiformer\]"):
        build(SPEC)


@pytest.mark.parametrize(
    "wrong",
    [{"n_heads": 3}, {"n_heads": 4}, {"max_degree": 0}, {"max_degree": 4}, {"group": "nonsense"}],
    ids=str,
)
def test_impossible_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match="n_heads" if wrong == {"max_degree": 4} else next(iter(wrong))
    ):
        build(SPEC | {"architecture": SPEC["architecture"] | wrong})


def test_higher_degrees() -> None:
    potential = build(
        SPEC | {"architecture": SPEC["architecture"] | {"max_degree": 3, "n_heads": 1}}
    )
    assert potential.trunk.architecture.embedding.sizes == [8, 4, 2, 1]


def test_couplings_are_in_float64() -> None:
    table = wigner_3j(2, 2, 2)
    assert table.dtype == torch.float64
    assert float(table.norm()) == pytest.approx(1.0, abs=1e-12)
