"""Every architecture but TensorNet against a second implementation, and their sizes."""

from __future__ import annotations

import math

import pytest
import torch
from ase.neighborlist import neighbor_list
from torch import Tensor
from torch.nn.functional import silu
from torch.testing import assert_close

from potentials.build import build
from potentials.potential import Potential, predict
from tests.architectures import reference_architectures as reference
from tests.architectures import reference_tensornet
from tests.contract.structures import ALL, graph_of
from tests.contract.variants import CUTOFF, SCALED, VARIANTS, Variant

OTHERS = [
    v
    for v in VARIANTS
    if v.architecture not in SCALED
    and v == v._replace(radial="exp_normal", points="fixed", embeddings="species")
]


def _mixing(sizes: tuple[int, ...], out: tuple[int, ...], bias: bool = True) -> int:
    return sum(a * b for a, b in zip(sizes, out, strict=False)) + bias * out[0]


def _radial(r: int, n_weights: int, hidden: int = 64) -> int:
    return (r + 1) * hidden + (hidden + 1) * hidden + 4 * hidden + (hidden + 1) * n_weights


def _met(c: int) -> tuple[int, ...]:
    """Channels of each degree where three degrees met harmonics.

    000 110 220, 011 101 121 211, 022 112 202 222.
    """
    return c + c // 2 + c // 4, c + 2 * (c // 2) + c // 4, c + c // 2 + 2 * (c // 4)


def _attention(c: int, r: int) -> int:
    """Up to the gated message: a norm, both ends, weights of the distance, scores, heads, gate."""
    sizes, met = (c, c // 2, c // 4), _met(c)
    ends = _mixing(sizes, sizes) + _mixing(sizes, sizes, bias=False)
    return (
        2 * c
        + c // 2
        + c // 4
        + ends
        + _radial(r, sum(met))
        + (met[0] + 1) * c
        + c
        + _mixing(met, (sum(sizes), *sizes[1:]))
    )


def _outwards(c: int, out: tuple[int, ...]) -> int:
    """Values, heads, output, a norm, and the feed-forward network."""
    met = _met(c)[: len(out)]
    wide = tuple(3 * size for size in out)
    return (
        sum(met) + _mixing(met, out) + _mixing(out, out) + c + sum(out)
        + _mixing(out, (sum(wide), *wide[1:])) + _mixing(wide, out)
    )  # fmt: skip


SIZES = {  # trained numbers of the architecture alone, by C, R and layers L
    "schnet": lambda c, r, n: n * ((r + 1) * c + (c + 1) * c + c * c + 2 * (c + 1) * c),
    "egnn": lambda c, r, n: (
        n * ((2 * c + r + 1) * c + (c + 1) * c + (c + 1) + (2 * c + 1) * c + (c + 1) * c)
    ),
    "equivariant_transformer": lambda c, r, n: (
        (r + 1) * c + c * c + (2 * c + 1) * c  # embedding
        + n * (2 * c + (r + 1) * 4 * c + 2 * (c + 1) * c + 2 * (c + 1) * 3 * c)
        + (n - 1) * 3 * c * c + 2 * c
    ),
    "equiformer": lambda c, r, n: (
        _radial(r, c * 7 // 4) + _mixing((c, c // 2, c // 4), (c, c // 2, c // 4))  # embedding
        + n * _attention(c, r) + (n - 1) * _outwards(c, (c, c // 2, c // 4)) + _outwards(c, (c,))
        + 2 * c
    ),
    "dimenetpp": lambda c, r, n: (
        (r + 1) * c + 3 * c * c + c  # embedding
        + (n + 1) * (r * c + 2 * c * c + 3 * (2 * c + 1) * 2 * c + 2 * c * c)  # output blocks
        + n * (8 * r + 8 * c + 42 * 8 + 8 * c // 2 + c * c + 9 * (c + 1) * c)
    ),
}  # fmt: skip

WITH_MORE_THAN_LAYERS = {  # what their second implementations need beside the weights of the layers
    "equivariant_transformer": lambda spec: {"n_heads": spec["architecture"]["n_heads"]},
    "equiformer": lambda spec: {
        "n_heads": spec["architecture"]["n_heads"],
        "odd": spec["architecture"].get("group") == "SO(3)",
    },
    "dimenetpp": lambda spec: {
        "sizes": (spec["angular"]["n_angular"], spec["angular"]["n_spherical"]),
        "cutoff": CUTOFF,
    },
}


@pytest.mark.parametrize("structure", ALL)
@pytest.mark.parametrize("variant", OTHERS, ids=str)
def test_agrees_with_the_formulas(variant: Variant, structure: str) -> None:
    """Energy of each atom, and forces, to 1e-10."""
    potential, atoms = variant.build(), ALL[structure]()
    graph = graph_of(atoms, CUTOFF)
    positions = graph.positions.clone().requires_grad_()
    i, j, shifts = neighbor_list("ijS", atoms, CUTOFF)
    vectors = positions[j] - positions[i] + torch.as_tensor(shifts @ atoms.cell.array)
    around: list[list[tuple[int, Tensor, Tensor]]] = [[] for _ in atoms]
    for n, vector in enumerate(vectors):
        around[i[n]].append((int(j[n]), vector, vector.norm()))
    expected = reference_energies(potential, graph.atomic_numbers, around)
    (gradient,) = torch.autograd.grad(expected.sum(), positions)
    answer = predict(potential, graph)
    assert_close(answer.energies, expected.detach(), rtol=0.0, atol=1e-10)
    assert_close(answer.forces, -gradient, rtol=0.0, atol=1e-10)
    assert float(gradient.abs().max()) > 1e-5  # not a network that has gone silent


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    """Counted from the formulas."""
    spec = {
        "cutoff": 5.0,
        "architecture": {"name": name, "channels": 16, "n_layers": 3},
        "radial": {"name": "gaussian", "n_radial": 7},
    }
    architecture = build(spec).trunk.architecture
    assert sum(p.numel() for p in architecture.parameters()) == SIZES[name](16, 7, 3)


def test_heads_must_divide_the_channels() -> None:
    spec = {
        "cutoff": 5.0,
        "architecture": {
            "name": "equivariant_transformer",
            "channels": 16,
            "n_layers": 2,
            "n_heads": 3,
        },
    }
    with pytest.raises(ValueError, match="n_heads"):
        build(spec)


@pytest.mark.parametrize("name", SIZES)
def test_a_state_factor_is_refused(name: str) -> None:
    """There is no product of features to scale, so the option must not be dropped silently."""
    spec = {"cutoff": 5.0, "architecture": {"name": name, "channels": 16, "n_layers": 2}}
    with pytest.raises(ValueError, match="state_factor"):
        build(spec | {"state_factor": {"attributes": ["total_charge"]}})


def reference_energies(
    potential: Potential, numbers: Tensor, around: reference.Neighbors
) -> Tensor:
    own = {name: tensor.detach() for name, tensor in potential.state_dict().items()}
    radial = own["trunk.radial.centers"], own["trunk.radial.widths"]
    encode = reference_tensornet.exp_normal(CUTOFF, *radial)
    arguments = {
        "around": around,
        "encode": encode,
        "phi": lambda d: 0.5 * (torch.cos(math.pi * d / CUTOFF) + 1.0),
        "n_layers": potential.trunk.architecture.n_layers,
    }
    name = potential.spec["architecture"]["name"]
    if name in WITH_MORE_THAN_LAYERS:
        arguments |= {
            "top": lambda name: own[f"trunk.architecture.{name}"],
            **WITH_MORE_THAN_LAYERS[name](potential.spec),
        }
    function = getattr(reference, name)
    z = own["trunk.embeddings.0.table.weight"][numbers]
    scalars = function(lambda name: own[f"trunk.architecture.layers.{name}"], z, **arguments)
    hidden = silu(scalars @ own["terms.0.network.0.weight"].T + own["terms.0.network.0.bias"])
    energies = hidden @ own["terms.0.network.2.weight"][0] + own["terms.0.network.2.bias"]
    return 0.7 * energies + own["terms.1.table"][numbers]
