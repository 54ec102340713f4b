"""Second implementations for tests.

Dense, slow, straight from the formulas of each paper, one atom and one neighbour at a time.

They share no code with the package. ``w`` reads a weight by its name; neighbours are (j, r_ij, d);
``encode`` maps a distance to (R,). Every function returns the scalars (N, C) that the read-out
sees.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import spherical_jn
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


def schnet(
    w: Weights, x: Tensor, around: Neighbors, encode: Encoding, phi: Envelope, n_layers: int
) -> Tensor:
    """x_i ← x_i + W₂ ssp(W₁ Σ_j φ W(d) ⊙ (A x_j))."""
    for n in range(n_layers):
        rows = []
        for i, neighbors in enumerate(around):
            total = torch.zeros_like(x[0])
            for j, _, d in neighbors:
                hidden = ssp(linear(w, f"{n}.filter.network.0", encode(d)))
                total = total + phi(d) * linear(w, f"{n}.filter.network.2", hidden) * (
                    w(f"{n}.mix.weight") @ x[j]
                )
            rows.append(x[i] + linear(w, f"{n}.update.2", ssp(linear(w, f"{n}.update.0", total))))
        x = torch.stack(rows)
    return x


def egnn(
    w: Weights, h: Tensor, around: Neighbors, encode: Encoding, phi: Envelope, n_layers: int
) -> Tensor:
    """φ_e's first matrix is [W_i W_j W_e] on [h_i, h_j, e(d)]."""
    for n in range(n_layers):
        first = torch.cat(
            [w(f"{n}.receiver.weight"), w(f"{n}.sender.weight"), w(f"{n}.filter.network.weight")],
            dim=1,
        )
        rows = []
        for i, neighbors in enumerate(around):
            total = torch.zeros_like(h[0])
            for j, _, d in neighbors:
                hidden = silu(
                    first @ torch.cat([h[i], h[j], encode(d)]) + w(f"{n}.filter.network.bias")
                )
                m = silu(linear(w, f"{n}.message.1", hidden))
                total = total + phi(d) * torch.sigmoid(linear(w, f"{n}.gate.0", m)) * m
            rows.append(
                h[i]
                + linear(
                    w, f"{n}.update.2", silu(linear(w, f"{n}.update.0", torch.cat([h[i], total])))
                )
            )
        h = torch.stack(rows)
    return h


def equivariant_transformer(
    w: Weights,
    z: Tensor,
    around: Neighbors,
    encode: Encoding,
    phi: Envelope,
    n_layers: int,
    n_heads: int,
    top: Weights,
) -> Tensor:
    """The self loop is a neighbour at distance 0 whose direction is 0 and whose envelope is 1."""
    n_channels = z.shape[1]
    rows = []
    for i, neighbors in enumerate(around):
        total = torch.zeros_like(z[0])
        for j, _, d in neighbors:
            total = total + phi(d) * linear(top, "embedding.filter.network", encode(d)) * (
                top("embedding.neighbor.weight") @ z[j]
            )
        rows.append(linear(top, "embedding.combine", torch.cat([z[i], total])))
    x, v = torch.stack(rows), torch.zeros(len(z), n_channels, 3, dtype=z.dtype)  # v: (N, C, 3)
    nothing = torch.zeros(3, dtype=z.dtype)
    for n in range(n_layers):
        xs, vs = [], []
        normed = [
            layer_norm(row, (n_channels,), w(f"{n}.norm.weight"), w(f"{n}.norm.bias")) for row in x
        ]
        for i, neighbors in enumerate(around):
            y, vectors = torch.zeros_like(x[0]), torch.zeros_like(v[0])
            for j, r, d in [*neighbors, (i, nothing, torch.zeros((), dtype=z.dtype))]:
                u, weight = (r / d, phi(d)) if d > 0 else (nothing, 1.0)
                dk, dv1, dv2, dv3 = silu(linear(w, f"{n}.filter.network.0", encode(d))).chunk(4)
                product = linear(w, f"{n}.query", normed[i]) * linear(w, f"{n}.key", normed[j]) * dk
                attention = torch.cat(
                    [silu(head.sum()).expand(len(head)) for head in product.chunk(n_heads)]
                )
                v1, v2, v3 = linear(w, f"{n}.value", normed[j]).chunk(3)
                y = y + weight * attention * v1 * dv1
                vectors = vectors + weight * (v[j] * (v2 * dv2)[:, None] + (v3 * dv3)[:, None] * u)
            o1, o2, o3 = linear(w, f"{n}.output", y).chunk(3)
            u1, u2, u3 = (w(f"{n}.mix.linear.weight") @ v[i]).chunk(3) if n else (v[i], v[i], v[i])
            xs.append(x[i] + (u1 * u2).sum(1) * o2 + o3)
            vs.append(v[i] + u3 * o1[:, None] + vectors)
        x, v = torch.stack(xs), torch.stack(vs)
    return torch.stack(
        [layer_norm(row, (n_channels,), top("norm.weight"), top("norm.bias")) for row in x]
    )


def equiformer(
    w: Weights,
    z: Tensor,
    around: Neighbors,
    encode: Encoding,
    phi: Envelope,
    n_layers: int,
    top: Weights,
    n_heads: int,
    odd: bool,
) -> Tensor:
    """Degrees 0, 1, 2 as scalars, vectors and traceless symmetric matrices.

    Their products need no tables of coefficients.
    """
    sizes = [z.shape[1] // 2**degree for degree in range(3)]
    x = [[] for _ in range(3)]  # by degree, then by atom: (2l+1, C_l)
    for i, neighbors in enumerate(around):
        sums = [
            torch.zeros(2 * degree + 1, size, dtype=z.dtype) for degree, size in enumerate(sizes)
        ]
        for _, r, d in neighbors:
            filters = radial_network(top, "embedding.filter.network", encode(d)).split(sizes)
            sums = [
                s + phi(d) * torch.outer(y, f)
                for s, y, f in zip(sums, solid(r / d), filters, strict=True)
            ]
        sums = mixed(top, "embedding.mix", sums)
        sums[0] = sums[0] + z[i]
        for degree in range(3):
            x[degree].append(sums[degree])
    for n in range(n_layers):
        n_out = 3 if n < n_layers - 1 else 1
        normed = [
            normalised(w, f"{n}.norm", [x[degree][i] for degree in range(3)])
            for i in range(len(around))
        ]
        new: list[list[Tensor]] = [[] for _ in range(n_out)]
        for i, neighbors in enumerate(around):
            total = torch.ones(n_heads, dtype=z.dtype)
            sums = [
                torch.zeros(2 * degree + 1, sizes[degree], dtype=z.dtype) for degree in range(n_out)
            ]
            for j, r, d in neighbors:
                ends = zip(
                    mixed(w, f"{n}.attention.receiver", normed[i]),
                    mixed(w, f"{n}.attention.sender", normed[j]),
                    strict=True,
                )
                weights = radial_network(w, f"{n}.attention.filter.network", encode(d))
                message = product([a + b for a, b in ends], solid(r / d), weights, 3, odd)
                hidden = linear(w, f"{n}.attention.score", message[0][0])
                hidden = 0.6 * hidden + 0.4 * hidden * (2 * torch.sigmoid(hidden) - 1)
                score = torch.exp((hidden.view(n_heads, -1) * w(f"{n}.attention.attend")).sum(1))
                gate = gated(w, f"{n}.attention.gate.mix", message, sizes)
                values = mixed(
                    w,
                    f"{n}.attention.heads",
                    product(gate, solid(r / d), w(f"{n}.attention.weights"), n_out, odd),
                )
                total = total + phi(d) * score
                sums = [
                    s + phi(d) * v * score.repeat_interleave(v.shape[1] // n_heads)
                    for s, v in zip(sums, values, strict=True)
                ]
            sums = [s / total.repeat_interleave(s.shape[1] // n_heads) for s in sums]
            here = [
                x[degree][i] + change
                for degree, change in enumerate(mixed(w, f"{n}.attention.output", sums))
            ]
            wide = gated(
                w,
                f"{n}.feed_forward.gate.mix",
                normalised(w, f"{n}.second_norm", here),
                [3 * size for size in sizes[:n_out]],
            )
            for degree, change in enumerate(mixed(w, f"{n}.feed_forward.mix", wide)):
                new[degree].append(here[degree] + change)
        x = new
    return torch.stack(
        [layer_norm(row[0], (sizes[0],), top("norm.weight"), top("norm.bias")) for row in x[0]]
    )


def solid(u: Tensor) -> list[Tensor]:
    """1, √3 u and √15/2 times the components of u uᵀ."""
    return [
        torch.ones(1, dtype=u.dtype),
        math.sqrt(3) * u,
        math.sqrt(7.5) * torch.einsum("mab,a,b->m", MATRICES, u, u),
    ]


def product(
    x: list[Tensor], y: list[Tensor], weights: Tensor, n_out: int, odd: bool
) -> list[Tensor]:
    """Every coupling of degrees (l1, l2, l3) with its own weights, side by side."""
    found: list[list[Tensor]] = [[] for _ in range(n_out)]
    for a, b, c in itertools.product(range(3), range(3), range(n_out)):
        if not abs(a - b) <= c <= a + b or ((a + b + c) % 2 and not odd):
            continue
        weight, weights = weights[: x[a].shape[1]], weights[x[a].shape[1] :]
        found[c].append(
            math.sqrt(2 * c + 1)
            * torch.einsum("abc,am,b->cm", coupling(a, b, c), x[a], y[b])
            * weight
        )
    assert len(weights) == 0
    return [torch.cat(parts, dim=1) for parts in found]


def mixed(w: Weights, name: str, x: list[Tensor]) -> list[Tensor]:
    """A matrix for every degree, and a bias for scalars where there is one."""
    found = [x[degree] @ w(f"{name}.linears.{degree}.weight").T for degree in range(len(x))]
    with contextlib.suppress(KeyError):
        found[0] = found[0] + w(f"{name}.linears.0.bias")
    return found


def gated(w: Weights, name: str, x: list[Tensor], sizes: list[int]) -> list[Tensor]:
    """SiLU of scalars, sigmoids of further scalars times vectors and matrices."""
    first, *others = mixed(w, name, x)
    scalars, *gates = first.split(sizes, dim=1)
    return [silu(scalars), *(o * torch.sigmoid(g) for o, g in zip(others, gates, strict=True))]


def normalised(w: Weights, name: str, x: list[Tensor]) -> list[Tensor]:
    """Layer norm of scalars, root mean square of the others."""
    scalars = layer_norm(
        x[0][0], (x[0].shape[1],), w(f"{name}.scalars.weight"), w(f"{name}.scalars.bias")
    )[None]
    return [
        scalars,
        *(
            o / torch.sqrt((o * o).mean() + 1e-2) * w(f"{name}.weights.{n}")
            for n, o in enumerate(x[1:])
        ),
    ]


def radial_network(w: Weights, name: str, x: Tensor) -> Tensor:
    """Linear, norm, SiLU, twice; linear."""
    for k in (0, 3):
        x = linear(w, f"{name}.{k}", x)
        x = silu(layer_norm(x, x.shape, w(f"{name}.{k + 1}.weight"), w(f"{name}.{k + 1}.bias")))
    return linear(w, f"{name}.6", x)


def _matrices() -> Tensor:
    """Orthonormal traceless symmetric matrices in the order of e3nn.

    Xz, xy, 2y² - x² - z², yz, z² - x².
    """
    found = torch.zeros(5, 3, 3, dtype=torch.float64)
    for m, (a, b) in {0: (0, 2), 1: (0, 1), 3: (1, 2)}.items():
        found[m, a, b] = found[m, b, a] = math.sqrt(0.5)
    found[2] = torch.diag(torch.tensor([-1.0, 2.0, -1.0], dtype=torch.float64)) / math.sqrt(6)
    found[4] = torch.diag(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)) / math.sqrt(2)
    return found


MATRICES = _matrices()


@cache
def coupling(a: int, b: int, c: int) -> Tensor:
    """The one invariant of degrees a, b, c, of unit norm, with e3nn's sign: (2a+1, 2b+1, 2c+1)."""
    from e3nn import o3

    basis = [torch.eye(3, dtype=torch.float64)[None], _cross(), MATRICES]  # as 3x3 matrices
    table = torch.einsum("aij,bjk,cki->abc", basis[a], basis[b], basis[c])
    table = table / table.norm()
    theirs = o3.wigner_3j(a, b, c, dtype=torch.float64)
    return table * torch.sign((table * theirs).sum())


def _cross() -> Tensor:
    found = torch.zeros(3, 3, 3, dtype=torch.float64)
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        found[a, b, c], found[a, c, b] = -1.0, 1.0
    return found


def dimenetpp(
    w: Weights,
    z: Tensor,
    around: Neighbors,
    encode: Encoding,
    phi: Envelope,
    n_layers: int,
    top: Weights,
    sizes: tuple[int, int],
    cutoff: float,
) -> Tensor:
    """A message for each atom and neighbour.

    At the neighbour it meets all messages but the one that it sends back.
    """
    edges = [(i, j, r, d) for i, neighbors in enumerate(around) for j, r, d in neighbors]

    def embedded(i: int, j: int, d: Tensor) -> Tensor:
        hidden = linear(
            top,
            "embedding.filter.network.2",
            silu(linear(top, "embedding.filter.network.0", encode(d))),
        )
        return silu(
            hidden + top("embedding.receiver.weight") @ z[i] + top("embedding.sender.weight") @ z[j]
        )

    def output(v: Weights, name: str, m: list[Tensor]) -> Tensor:
        sums = [torch.zeros_like(z[0]) for _ in around]
        for (i, _, _, d), message in zip(edges, m, strict=True):
            sums[i] = sums[i] + phi(d) * message * (v(f"{name}.filter.network.weight") @ encode(d))
        rows = []
        for t in sums:
            t = v(f"{name}.up.weight") @ t
            for k in (0, 2, 4):
                t = silu(linear(v, f"{name}.dense.{k}", t))
            rows.append(v(f"{name}.last.weight") @ t)
        return torch.stack(rows)

    waves = [spherical_waves(d, sizes, cutoff) for _, _, _, d in edges]
    messages = [embedded(i, j, d) for i, j, _, d in edges]
    x = z + output(top, "output", messages)
    for n in range(n_layers):
        down, new = [], []
        for message, (_, _, _, d) in zip(messages, edges, strict=True):
            rbf = w(f"{n}.interaction.filter.network.1.weight") @ (
                w(f"{n}.interaction.filter.network.0.weight") @ encode(d)
            )
            small = silu(
                w(f"{n}.interaction.down.weight")
                @ (silu(linear(w, f"{n}.interaction.other", message)) * rbf)
            )
            down.append(phi(d) * small)
        sbf = w(f"{n}.interaction.expand.weight") @ w(f"{n}.interaction.compress.weight")
        for m, (i, j, r, d) in zip(messages, edges, strict=True):
            total = torch.zeros(len(sbf), dtype=z.dtype)
            for small, wave, (at, k, r_other, d_other) in zip(down, waves, edges, strict=True):
                if at != j or (k == i and bool((r + r_other).abs().max() < 1e-9)):
                    continue
                angle = harmonics(-(r * r_other).sum() / (d * d_other), sizes[0])
                total = total + small * (sbf @ (wave * angle[:, None]).flatten())
            h = silu(linear(w, f"{n}.interaction.own", m)) + silu(
                w(f"{n}.interaction.up.weight") @ total
            )
            h = (
                silu(
                    linear(w, f"{n}.interaction.skip", residual(w, f"{n}.interaction.before.0", h))
                )
                + m
            )
            new.append(
                residual(w, f"{n}.interaction.after.1", residual(w, f"{n}.interaction.after.0", h))
            )
        messages = new
        x = x + output(w, f"{n}.output", messages)
    return x


def residual(w: Weights, name: str, x: Tensor) -> Tensor:
    """x + σ(W₂ σ(W₁ x))."""
    return x + silu(linear(w, f"{name}.network.2", silu(linear(w, f"{name}.network.0", x))))


def spherical_waves(d: Tensor, sizes: tuple[int, int], cutoff: float) -> Tensor:
    """√2/|j_(l+1)(z_ln)| j_l(z_ln d/r_c), by the upward recursion: (A, N)."""
    n_angular, n_spherical = sizes
    rows = []
    for degree in range(n_angular):
        roots = torch.tensor(bessel_roots(degree, n_spherical), dtype=torch.float64)
        x = roots * d / cutoff
        bessel = [x.sin() / x, x.sin() / x**2 - x.cos() / x]
        while len(bessel) <= degree:
            bessel.append((2 * len(bessel) - 1) / x * bessel[-1] - bessel[-2])
        rows.append(
            math.sqrt(2.0)
            / torch.tensor(spherical_jn(degree + 1, roots.numpy())).abs()
            * bessel[degree]
        )
    return torch.stack(rows)


def harmonics(cosine: Tensor, n_angular: int) -> Tensor:
    """√((2l+1)/4π) P_l(cos θ), written out: (A,)."""
    legendre = [torch.ones_like(cosine), cosine, 0.5 * (3 * cosine**2 - 1)][:n_angular]
    return torch.stack(
        [math.sqrt((2 * degree + 1) / (4 * math.pi)) * p for degree, p in enumerate(legendre)]
    )


@cache
def bessel_roots(degree: int, n_roots: int) -> list[float]:
    """Roots of j_l, looked for in steps of 0.1 from l on."""
    x = degree + 0.5 + 0.1 * np.arange(400)
    y = spherical_jn(degree, x)
    changes = np.flatnonzero(y[:-1] * y[1:] < 0)[:n_roots]
    return [brentq(lambda t: spherical_jn(degree, t), x[k], x[k + 1], xtol=1e-14) for k in changes]
