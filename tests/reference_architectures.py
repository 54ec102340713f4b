"""Second implementations for tests: dense, slow, straight from the formulas of each paper, one atom and one neighbour at a time.

They share no code with the package. ``w`` reads a weight by its name; neighbours are (j, r_ij, d); ``encode`` maps a distance to
(R,). Every function returns the scalars (N, C) that the read-out sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu, softplus

Weights = Callable[[str], Tensor]
Neighbors = Sequence[Sequence[tuple[int, Tensor, Tensor]]]
Encoding = Callable[[Tensor], Tensor]
Envelope = Callable[[Tensor], Tensor]


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    """W x + b."""
    return w(f"{name}.weight") @ x + w(f"{name}.bias")


def ssp(x: Tensor) -> Tensor:
    """ln(½eˣ + ½)."""
    return softplus(x) - math.log(2.0)


def schnet(w: Weights, x: Tensor, around: Neighbors, encode: Encoding, phi: Envelope, n_layers: int) -> Tensor:
    """x_i ← x_i + W₂ ssp(W₁ Σ_j φ W(d) ⊙ (A x_j))."""
    for n in range(n_layers):
        rows = []
        for i, neighbors in enumerate(around):
            total = torch.zeros_like(x[0])
            for j, _, d in neighbors:
                hidden = ssp(linear(w, f"{n}.filter.network.0", encode(d)))
                total = total + phi(d) * linear(w, f"{n}.filter.network.2", hidden) * (w(f"{n}.mix.weight") @ x[j])
            rows.append(x[i] + linear(w, f"{n}.update.2", ssp(linear(w, f"{n}.update.0", total))))
        x = torch.stack(rows)
    return x


def egnn(w: Weights, h: Tensor, around: Neighbors, encode: Encoding, phi: Envelope, n_layers: int) -> Tensor:
    """φ_e's first matrix is [W_i W_j W_e] on [h_i, h_j, e(d)]."""
    for n in range(n_layers):
        first = torch.cat([w(f"{n}.receiver.weight"), w(f"{n}.sender.weight"), w(f"{n}.filter.network.weight")], dim=1)
        rows = []
        for i, neighbors in enumerate(around):
            total = torch.zeros_like(h[0])
            for j, _, d in neighbors:
                hidden = silu(first @ torch.cat([h[i], h[j], encode(d)]) + w(f"{n}.filter.network.bias"))
                m = silu(linear(w, f"{n}.message.1", hidden))
                total = total + phi(d) * torch.sigmoid(linear(w, f"{n}.gate.0", m)) * m
            rows.append(h[i] + linear(w, f"{n}.update.2", silu(linear(w, f"{n}.update.0", torch.cat([h[i], total])))))
        h = torch.stack(rows)
    return h


def equivariant_transformer(
    w: Weights, z: Tensor, around: Neighbors, encode: Encoding, phi: Envelope, n_layers: int, n_heads: int, top: Weights
) -> Tensor:
    """The self loop is a neighbour at distance 0 whose direction is 0 and whose envelope is 1."""
    n_channels = z.shape[1]
    rows = []
    for i, neighbors in enumerate(around):
        total = torch.zeros_like(z[0])
        for j, _, d in neighbors:
            total = total + phi(d) * linear(top, "embedding.filter.network", encode(d)) * (top("embedding.neighbor.weight") @ z[j])
        rows.append(linear(top, "embedding.combine", torch.cat([z[i], total])))
    x, v = torch.stack(rows), torch.zeros(len(z), n_channels, 3, dtype=z.dtype)  # v: (N, C, 3)
    nothing = torch.zeros(3, dtype=z.dtype)
    for n in range(n_layers):
        xs, vs = [], []
        normed = [layer_norm(row, (n_channels,), w(f"{n}.norm.weight"), w(f"{n}.norm.bias")) for row in x]
        for i, neighbors in enumerate(around):
            y, vectors = torch.zeros_like(x[0]), torch.zeros_like(v[0])
            for j, r, d in [*neighbors, (i, nothing, torch.zeros((), dtype=z.dtype))]:
                u, weight = (r / d, phi(d)) if d > 0 else (nothing, 1.0)
                dk, dv1, dv2, dv3 = silu(linear(w, f"{n}.filter.network.0", encode(d))).chunk(4)
                product = linear(w, f"{n}.query", normed[i]) * linear(w, f"{n}.key", normed[j]) * dk
                attention = torch.cat([silu(head.sum()).expand(len(head)) for head in product.chunk(n_heads)])
                v1, v2, v3 = linear(w, f"{n}.value", normed[j]).chunk(3)
                y = y + weight * attention * v1 * dv1
                vectors = vectors + weight * (v[j] * (v2 * dv2)[:, None] + (v3 * dv3)[:, None] * u)
            o1, o2, o3 = linear(w, f"{n}.output", y).chunk(3)
            u1, u2, u3 = (w(f"{n}.mix.linear.weight") @ v[i]).chunk(3) if n else (v[i], v[i], v[i])
            xs.append(x[i] + (u1 * u2).sum(1) * o2 + o3)
            vs.append(v[i] + u3 * o1[:, None] + vectors)
        x, v = torch.stack(xs), torch.stack(vs)
    return torch.stack([layer_norm(row, (n_channels,), top("norm.weight"), top("norm.bias")) for row in x])
