"""Door 1: how a distance is encoded, and the filters that depend on the distance alone.

An encoding maps lengths (P,) in Å to features (P, R). `RadialFilter` is a network on top of it,
called with the edges: a function of one number, which inference may replace by a table.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from potentials.ops.splines import SplineTable
from potentials.structure.geometry import Edges, cosine_envelope


class ExpNormal(nn.Module):
    """Encode by Gaussians in exp(-αd), times the cosine envelope.

    Parameters
    ----------
    cutoff : float     Å
    n_radial : int     number of functions

    Source: arXiv 2306.06482, with α = 5 Å/r_c in 1/Å, centres from exp(-r_c) to 1 (without α, as in
    the public code).
    """

    def __init__(self, cutoff: float, n_radial: int = 32, *, trainable: bool = False) -> None:
        super().__init__()
        self.cutoff, self.n_radial = cutoff, n_radial
        self.alpha = 5.0 / cutoff
        start = math.exp(-cutoff)
        centers = torch.linspace(start, 1.0, n_radial)
        widths = torch.full((n_radial,), (2.0 / n_radial * (1.0 - start)) ** -2)
        self.centers = nn.Parameter(centers, requires_grad=trainable)
        self.widths = nn.Parameter(widths, requires_grad=trainable)

    def forward(self, length: Tensor) -> Tensor:
        """Encode lengths (P,) Å: (P, R)."""
        distance = length[:, None]
        away = (
            torch.exp(-self.alpha * distance) - self.centers
        )  # (P, R); its square as a product has the cheaper derivatives
        gaussians = torch.exp(-self.widths * (away * away))
        return cosine_envelope(distance, self.cutoff) * gaussians


class Gaussian(nn.Module):
    """Encode by equally spaced Gaussians between 0 and the cutoff (arXiv 1706.08566).

    Their width is the spacing.
    """

    def __init__(self, cutoff: float, n_radial: int = 32, *, trainable: bool = False) -> None:
        super().__init__()
        self.cutoff, self.n_radial = cutoff, n_radial
        centers = torch.linspace(0.0, cutoff, n_radial)
        self.centers = nn.Parameter(centers, requires_grad=trainable)
        self.coefficient = nn.Parameter(
            -0.5 / (centers[1] - centers[0]) ** 2, requires_grad=trainable
        )

    def forward(self, length: Tensor) -> Tensor:
        """Encode lengths (P,) Å: (P, R)."""
        away = length[:, None] - self.centers  # (P, R)
        return torch.exp(self.coefficient * (away * away))


class Bessel(nn.Module):
    """Encode by spherical Bessel functions √(2/r_c) sin(nπd/r_c)/d (arXiv 2003.03123, equation 7).

    Finite at d = 0.
    """

    def __init__(self, cutoff: float, n_radial: int = 8, *, trainable: bool = False) -> None:
        super().__init__()
        self.cutoff, self.n_radial = cutoff, n_radial
        frequencies = torch.arange(1, n_radial + 1, dtype=torch.get_default_dtype()) * (
            math.pi / cutoff
        )
        self.frequencies = nn.Parameter(frequencies, requires_grad=trainable)

    def forward(self, length: Tensor) -> Tensor:
        """Encode lengths (P,) Å: (P, R)."""
        distance = length[:, None]
        at_zero = distance == 0
        # torch.sinc has no second derivative at 0, and force training needs it
        safe = distance.masked_fill(at_zero, 1.0)
        waves = torch.where(at_zero, self.frequencies, torch.sin(self.frequencies * safe) / safe)
        return math.sqrt(2.0 / self.cutoff) * waves


BASES = {"exp_normal": ExpNormal, "gaussian": Gaussian, "bessel": Bessel}


class LearnedEncoding(nn.Module):
    """Encode by learned functions of the distance, B-splines that start at a hand-made encoding.

    Parameters
    ----------
    cutoff : float       Å
    n_radial : int       number of functions
    base : str           name in `BASES`, fitted at the start
    n_intervals : int    of the grid over [0, cutoff]
    order : 1, 2 or 3    difference of neighbouring control points that `penalty` takes
    strength : float     λ, factor of the penalty

    Source: arXiv 2211.12773; grid, kernel and form of the penalty are ours.
    """

    def __init__(
        self,
        cutoff: float,
        n_radial: int = 32,
        *,
        base: str = "exp_normal",
        n_intervals: int = 64,
        order: int = 2,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        if base not in BASES:
            raise ValueError(
                f"`base` must be one of {', '.join(BASES)}; got {base!r}. Correct the spec."
            )
        self.cutoff, self.n_radial = cutoff, n_radial
        self.splines = SplineTable(
            0.0, cutoff, n_intervals, BASES[base](cutoff, n_radial), order, strength
        )

    def forward(self, length: Tensor) -> Tensor:
        """Encode lengths (P,) Å: (P, R)."""
        return self.splines(length)  # type: ignore[no-any-return]


RADIAL = {**BASES, "learned": LearnedEncoding}


class RadialFilter(nn.Module):
    """Filter of a pair by a network on the encoded length: a function of the length alone.

    Parameters
    ----------
    network : Module   (P, R) -> (P, T * C)
    n_parts : int      T
    """

    def __init__(self, network: nn.Module, n_parts: int) -> None:
        super().__init__()
        self.network, self.n_parts = network, n_parts

    def forward(self, edges: Edges) -> tuple[Tensor, Tensor]:
        """Return the filter of each pair (P, T, C), and of a self loop, of length zero (T, C)."""
        values = self.network(edges.radial)  # (1 + P, T * C), or at the nodes (G, T * C)
        at_pairs = values[1:] if edges.stencil is None else edges.stencil.interpolate(values)
        n_channels = values.shape[1] // self.n_parts  # C; without pairs a view could not infer it
        return at_pairs.view(-1, self.n_parts, n_channels), values[0].view(self.n_parts, n_channels)


def both_ways(filters: Tensor) -> Tensor:
    """Give the filter of a pair (P, ...) to both of its directed messages: (2P, ...)."""
    return torch.cat([filters, filters])
