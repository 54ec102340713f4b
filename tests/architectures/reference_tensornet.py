"""A second TensorNet for tests.

Dense, slow, straight from the formulas of arXiv 2306.06482 and 2403.15073.

Explicit loops over atoms, neighbours and periodic images; full 3x3 matrices; float64. It shares no
code with the package.

Conventions: every atom carries a matrix of shape (C, 3, 3). The image loop runs over all lattice
translations that can come within the cutoff, the zero translation of an atom to itself being its
self loop.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu

Weights = Mapping[str, Tensor]
Encoding = Callable[[Tensor], Tensor]

_UNIT = torch.eye(3, dtype=torch.float64)
_EMBEDDING_SHAPES = {
    "species": ("Z", "C"),
    "pair.weight": ("C", "2C"),
    "pair.bias": ("C",),
    **{f"distance.{part}.weight": ("C", "K") for part in "IAS"},
    **{f"distance.{part}.bias": ("C",) for part in "IAS"},
    "norm.weight": ("C",),
    "norm.bias": ("C",),
    "gate.0.weight": ("2C", "C"),
    "gate.0.bias": ("2C",),
    "gate.1.weight": ("3C", "2C"),
    "gate.1.bias": ("3C",),
    **{f"mix.{part}": ("C", "C") for part in "IAS"},
}
_LAYER_SHAPES = {
    "filter.0.weight": ("C", "K"),
    "filter.0.bias": ("C",),
    "filter.1.weight": ("2C", "C"),
    "filter.1.bias": ("2C",),
    "filter.2.weight": ("3C", "2C"),
    "filter.2.bias": ("3C",),
    **{f"mix.{k}": ("C", "C") for k in range(6)},
}
_READOUT_SHAPES = {
    "out_norm.weight": ("3C",),
    "out_norm.bias": ("3C",),
    "out.weight": ("C", "3C"),
    "out.bias": ("C",),
    "head.0.weight": ("C/2", "C"),
    "head.0.bias": ("C/2",),
    "head.1.weight": (1, "C/2"),
    "head.1.bias": (1,),
}


def weight_shapes(
    channels: int, n_radial: int, n_layers: int, n_elements: int = 128
) -> dict[str, tuple[int, ...]]:
    """List every weight that the formulas need, with its shape."""
    sizes = {
        "Z": n_elements,
        "K": n_radial,
        "C": channels,
        "2C": 2 * channels,
        "3C": 3 * channels,
        "C/2": channels // 2,
        1: 1,
    }
    layers = {
        f"layers.{k}.{name}": shape
        for k in range(n_layers)
        for name, shape in _LAYER_SHAPES.items()
    }
    symbolic = {**_EMBEDDING_SHAPES, **layers, **_READOUT_SHAPES}
    return {name: tuple(sizes[size] for size in shape) for name, shape in symbolic.items()}  # type: ignore[index]


def exp_normal(cutoff: float, centers: Tensor, widths: Tensor) -> Encoding:
    """Return e_k(d) = φ(d) exp(-β_k (exp(-5d/r_c) - μ_k)²)."""
    return lambda d: (
        envelope(d, cutoff) * torch.exp(-widths * (torch.exp(-5.0 / cutoff * d) - centers) ** 2)
    )


def gaussian(centers: Tensor, coefficient: Tensor) -> Encoding:
    """Return e_k(d) = exp(c (d - μ_k)²)."""
    return lambda d: torch.exp(coefficient * (d - centers) ** 2)


def bessel(cutoff: float, frequencies: Tensor) -> Encoding:
    """Return e_k(d) = √(2/r_c) sin(ω_k d)/d, at d = 0 its limit √(2/r_c) ω_k."""
    amplitude = math.sqrt(2.0 / cutoff)
    return lambda d: (
        amplitude * (frequencies if d.item() == 0.0 else torch.sin(frequencies * d) / d)
    )


def b_spline(cutoff: float, table: Tensor) -> Encoding:
    """Return e(d) = Σ_k T_k β(d/h - k + 1), h = r_c/K, with a cubic bell.

    β(x) = ((2 - |x|)₊³ - 4 (1 - |x|)₊³)/6.
    """
    places = torch.arange(len(table), dtype=torch.float64) - 1.0

    def encode(d: Tensor) -> Tensor:
        x = (d * (len(table) - 3) / cutoff - places).abs()
        return ((torch.relu(2 - x) ** 3 - 4 * torch.relu(1 - x) ** 3) / 6) @ table

    return encode


def envelope(d: Tensor, cutoff: float) -> Tensor:
    """φ(d) = ½(cos(πd/r_c) + 1) inside the cutoff, 0 outside."""
    return (
        0.5 * (torch.cos(math.pi * d / cutoff) + 1.0)
        if d.item() < cutoff
        else torch.zeros((), dtype=torch.float64)
    )


def energies(
    weights: Weights,
    numbers: Tensor,
    positions: Tensor,
    *,
    cutoff: float,
    encode: Encoding,
    group: str = "O(3)",
    factors: Tensor | None = None,
    cell: Tensor | None = None,
    pbc: tuple[bool, bool, bool] = (False, False, False),
    amount: float = 0.0,
    totals: tuple[float, float] = (0.0, 0.0),
    strengths: Tensor | None = None,
) -> Tensor:
    """Compute the bare network energy ε_i of each atom.

    Parameters
    ----------
    weights : dict        tensors named and shaped as `weight_shapes` lists them
    numbers : (N,)        atomic numbers
    positions : (N, 3)    Å
    cutoff : float        Å
    encode : callable     d -> (K,)
    group : str           "O(3)" or "SO(3)"
    factors : (L, N, 1 or C)   state factor a; 1 where absent
    cell : (3, 3)         Å, rows are lattice vectors
    amount : float        |charge| + unpaired electrons, for the attention between layers, where
                          weights are given for it
    totals : floats       total charge and unpaired electrons, shared out after the first layer
                          where weights are given for that
    strengths : (L, 2, 1 or C)   λ of both shares in the state factor of the layers after it

    Returns
    -------
    (N,)                  before scale and reference energies
    """
    w = {name: tensor.double() for name, tensor in weights.items()}
    n_layers = len({name.split(".")[1] for name in w if name.startswith("layers.")})
    neighbors = [_neighbors(i, positions, cutoff, cell, pbc) for i in range(len(positions))]
    x = [_embed(i, neighbors[i], w, numbers, cutoff, encode) for i in range(len(positions))]
    for layer in range(n_layers):
        prefix = f"layers.{layer}."
        of_layer = {
            name.removeprefix(prefix): tensor
            for name, tensor in w.items()
            if name.startswith(prefix)
        }
        factor = (
            torch.ones(len(x), 1, dtype=torch.float64)
            if factors is None
            else factors[layer].double()
        )
        if "attend.own.weight" in of_layer:
            x = _attend(x, of_layer, amount)
        x = _interact(x, neighbors, of_layer, cutoff, encode, group, factor)
        if layer == 0 and "share.3.weight" in w:
            shares = share_out(x, w, *totals)
            x = [_told(matrix, share, w) for matrix, share in zip(x, shares, strict=True)]
            factors = torch.stack(
                [1 + sum(t * share[k] for k, t in enumerate(strengths.unbind(1)))  # type: ignore[union-attr]
                 for share in shares],
                dim=1,
            ) if strengths is not None and strengths.shape[1] else None  # fmt: skip
    return torch.stack([_read_out(matrix, w) for matrix in x])


def _neighbors(
    i: int, positions: Tensor, cutoff: float, cell: Tensor | None, pbc: tuple[bool, bool, bool]
) -> list[tuple[int, Tensor, Tensor]]:
    """List (j, d, u) of neighbour images inside the cutoff, and the self loop, d = 0, u = 0."""
    zero = torch.zeros((), dtype=torch.float64)
    found = [(i, zero, torch.zeros(3, dtype=torch.float64))]
    for j, shift in itertools.product(
        range(len(positions)), _translations(positions, cutoff, cell, pbc)
    ):
        if j == i and not any(shift):
            continue
        vector = positions[j] - positions[i]
        if cell is not None:
            vector = vector + torch.tensor(shift, dtype=torch.float64) @ cell
        d = torch.linalg.vector_norm(vector)
        if d.item() < cutoff:
            found.append((j, d, vector / d))
    return found


def _translations(
    positions: Tensor, cutoff: float, cell: Tensor | None, pbc: tuple[bool, bool, bool]
) -> list[tuple[int, int, int]]:
    """List lattice translations, enough on each side for the cutoff and atoms anywhere."""
    if cell is None or not any(pbc):
        return [(0, 0, 0)]
    box = cell.detach().clone()
    for axis in (
        axis for axis in range(3) if not pbc[axis]
    ):  # a thick slab: any vector off the others will do
        rest = torch.linalg.svd(box[[k for k in range(3) if k != axis]].nan_to_num()).Vh
        box[axis] = rest[-1]
    fractional = positions.detach() @ torch.linalg.inv(box)
    spread = (fractional.max(0).values - fractional.min(0).values).tolist()
    heights = (1.0 / torch.linalg.vector_norm(torch.linalg.inv(box), dim=0)).tolist()
    reach = [
        math.ceil(cutoff / h + s) if periodic else 0
        for h, s, periodic in zip(heights, spread, pbc, strict=True)
    ]
    return list(itertools.product(*(range(-n, n + 1) for n in reach)))  # type: ignore[arg-type]


def _embed(
    i: int,
    neighbors: list[tuple[int, Tensor, Tensor]],
    w: Weights,
    numbers: Tensor,
    cutoff: float,
    encode: Encoding,
) -> Tensor:
    """Make X_i of the embedding: (C, 3, 3)."""
    channels = w["species"].shape[1]
    scalar = torch.zeros(channels, 3, 3, dtype=torch.float64)
    vector, tensor = scalar.clone(), scalar.clone()
    for j, d, u in neighbors:
        pair = (
            w["pair.weight"] @ torch.cat([w["species"][numbers[i]], w["species"][numbers[j]]])
            + w["pair.bias"]
        )
        f = {
            p: (
                envelope(d, cutoff)
                * pair
                * (w[f"distance.{p}.weight"] @ encode(d) + w[f"distance.{p}.bias"])
            )
            for p in "IAS"
        }
        scalar = scalar + f["I"][:, None, None] * _UNIT
        vector = vector + f["A"][:, None, None] * _cross_matrix(u)
        # a self loop has no direction: 0
        tensor = tensor + f["S"][:, None, None] * (torch.outer(u, u) - (u @ u) / 3.0 * _UNIT)
    n = layer_norm(_norm(scalar + vector + tensor), (channels,), w["norm.weight"], w["norm.bias"])
    gates = silu(w["gate.0.weight"] @ n + w["gate.0.bias"])
    gates = silu(w["gate.1.weight"] @ gates + w["gate.1.bias"])
    g_scalar, g_vector, g_tensor = gates.split(channels)
    return (
        g_scalar[:, None, None] * _mix(w["mix.I"], scalar)
        + g_vector[:, None, None] * _mix(w["mix.A"], vector)
        + g_tensor[:, None, None] * _mix(w["mix.S"], tensor)
    )


def _interact(
    x: list[Tensor],
    neighbors: list[list[tuple[int, Tensor, Tensor]]],
    w: Weights,
    cutoff: float,
    encode: Encoding,
    group: str,
    factor: Tensor,
) -> list[Tensor]:
    """Apply one interaction layer, steps 1 to 7 of the paper's algorithm."""
    x = [matrix / (_norm(matrix) + 1.0)[:, None, None] for matrix in x]
    y = [_mix_parts(w["mix.0"], w["mix.1"], w["mix.2"], matrix) for matrix in x]
    result = []
    for i, own in enumerate(x):
        message = torch.zeros_like(own)
        for j, d, _ in neighbors[i]:
            f = encode(d)
            for k in range(3):
                f = silu(w[f"filter.{k}.weight"] @ f + w[f"filter.{k}.bias"])
            parts = zip((envelope(d, cutoff) * f).split(len(own)), _decompose(y[j]), strict=True)
            message = message + sum(filtered[:, None, None] * part for filtered, part in parts)
        a = factor[i][:, None, None]
        product = (
            a * (y[i] @ message + message @ y[i]) if group == "O(3)" else 2.0 * (y[i] @ message)
        )
        product = product / (_norm(product) + 1.0)[:, None, None]
        step = _mix_parts(w["mix.3"], w["mix.4"], w["mix.5"], product)
        result.append(own + step + a * (step @ step))
    return result


def _attend(x: list[Tensor], w: Weights, amount: float) -> list[Tensor]:
    """Tell every atom what all of them say, each head listening to where its score is highest."""

    def linear(name: str, values: Tensor) -> Tensor:
        return w[f"attend.{name}.weight"] @ values + w[f"attend.{name}.bias"]

    described = []
    for matrix in x:
        invariants = torch.cat([_norm(part) for part in _decompose(matrix)])
        described.append(
            layer_norm(invariants, invariants.shape, w["attend.norm.weight"], w["attend.norm.bias"])
        )
    n_heads = len(w["attend.scores.bias"])
    said = torch.zeros(n_heads, len(w["attend.values.bias"]) // n_heads, dtype=torch.float64)
    sums = torch.zeros(n_heads, dtype=torch.float64)
    for n in described:
        for head, score in enumerate(linear("scores", n)):
            sums[head] = sums[head] + torch.exp(score)
            said[head] = said[head] + torch.exp(score) * linear("values", n).view(n_heads, -1)[head]
    common = torch.cat([(said / sums[:, None]).flatten(), torch.log(sums / amount) / 5.0])
    told = [
        w["attend.output.weight"] @ silu(linear("own", n) + w["attend.common.weight"] @ common)
        for n in described
    ]
    return [
        matrix + t[:, None, None] / math.sqrt(3.0) * _UNIT
        for matrix, t in zip(x, told, strict=True)
    ]


def share_out(
    x: list[Tensor], w: Weights, charge: float, unpaired: float
) -> list[tuple[Tensor, Tensor]]:
    """Compute x_i = f_i + e_i and s_i of each atom, from its matrices after the first layer.

    f = P(u), δ = Q - Σ f, t = P(δ) within ±1, e_i = δ exp(a_i + b_i t) / Σ_j exp(a_j + b_j t) and
    s_i = 2S exp(c_i + d_i t) / Σ_j exp(c_j + d_j t).
    """
    said = []
    for matrix in x:
        invariants = torch.cat([_norm(part) for part in _decompose(matrix)])
        n = layer_norm(invariants, invariants.shape, w["share.0.weight"], w["share.0.bias"])
        said.append(w["share.3.weight"] @ silu(w["share.1.weight"] @ n + w["share.1.bias"]))
    formal = [plateaus(numbers[0]) for numbers in said]
    left = charge - sum(formal)
    sign = plateaus(left) if abs(left.item()) < 1 else torch.sign(left)  # type: ignore[arg-type]
    wanted = [torch.exp(numbers[1] + numbers[2] * sign) for numbers in said]
    spins = [torch.exp(numbers[3] + numbers[4] * sign) for numbers in said]
    return [
        (f + left * e / sum(wanted), unpaired * s / sum(spins))
        for f, e, s in zip(formal, wanted, spins, strict=True)
    ]


def plateaus(u: Tensor) -> Tensor:
    """P(u): the nearest integer within ¼ of it, between them a quintic."""
    nearest = torch.round(u.detach())
    beyond = u - nearest  # -½ … ½
    if abs(beyond.item()) <= 0.25:
        return nearest + 0 * u
    side = torch.sign(beyond.detach())
    t = 2 * (side * beyond - 0.25)
    return nearest + side * (6 * t**5 - 15 * t**4 + 10 * t**3)


def _told(matrix: Tensor, share: tuple[Tensor, Tensor], w: Weights) -> Tensor:
    """Add to the isotropic part what the shares of an atom embed as."""
    added = w["told.2.weight"] @ silu(w["told.0.weight"] @ torch.stack(share))
    return matrix + added[:, None, None] / math.sqrt(3.0) * _UNIT


def _read_out(matrix: Tensor, w: Weights) -> Tensor:
    """Map X_i to ε_i."""
    invariants = torch.cat([_norm(part) for part in _decompose(matrix)])  # ‖ι·1‖ is 3ι²
    n = layer_norm(invariants, invariants.shape, w["out_norm.weight"], w["out_norm.bias"])
    hidden = silu(w["out.weight"] @ n + w["out.bias"])
    hidden = silu(w["head.0.weight"] @ hidden + w["head.0.bias"])
    return (w["head.1.weight"] @ hidden + w["head.1.bias"])[0]


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scalar = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * _UNIT
    vector = 0.5 * (matrix - matrix.mT)
    return scalar, vector, 0.5 * (matrix + matrix.mT) - scalar


def _mix_parts(scalar: Tensor, vector: Tensor, tensor: Tensor, matrix: Tensor) -> Tensor:
    return sum(
        (_mix(m, p) for m, p in zip((scalar, vector, tensor), _decompose(matrix), strict=True)),
        torch.zeros_like(matrix),
    )


def _mix(weight: Tensor, matrices: Tensor) -> Tensor:
    return torch.einsum("dc,cij->dij", weight, matrices)


def _norm(matrix: Tensor) -> Tensor:
    """Squared Frobenius norm: (C, 3, 3) -> (C,)."""
    return matrix.square().sum((-2, -1))


def _cross_matrix(u: Tensor) -> Tensor:
    zero = torch.zeros_like(u[0])
    return torch.stack([zero, -u[2], u[1], u[2], zero, -u[0], -u[1], u[0], zero]).view(3, 3)
