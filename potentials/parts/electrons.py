"""Door: what each atom knows of the charge and the unpaired electrons of its molecule.

`GlobalElectrons`: every atom knows the totals, however far. `LocalElectrons`: after the first layer
the totals are shared out, and the later layers see the share of the atom alone.

Either way a layer finds them in ``graph.states``: there each atom is a part of its own once the
totals are shared out. Positive charge is missing electrons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from potentials.structure.graph import AtomicGraph, States

Reader = Callable[[], Tensor]  # of the invariants (N, I) of the atoms

FLAT = 0.25  # of a formal charge on either side of an integer, where it does not change
N_NUMBERS = 5  # that an atom says of itself: u, a, b, c, d


class Electrons(NamedTuple):
    """What atoms know of charge and unpaired electrons."""

    graph: AtomicGraph  # whose states are those that the atoms know
    predicted: Mapping[str, Tensor] = MappingProxyType({})  # quantities by name
    scalars: Tensor | None = None  # (N, C) to be added to those of the atoms


class GlobalElectrons(nn.Module):
    """Every atom knows charge and multiplicity of its molecule or fragment from the start."""

    predicts: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()  # of the state of a molecule, from the other parts
    compiled = True

    def __init__(self, channels: int, n_invariants: int) -> None:
        super().__init__()

    def start(self, graph: AtomicGraph) -> Electrons:
        """Take the graph as it is."""
        return Electrons(graph)

    def settle(
        self, electrons: Electrons, graph: AtomicGraph, layer: int, invariants: Reader
    ) -> Electrons:
        """Return what it was given."""
        return electrons


class LocalElectrons(nn.Module):
    """Share out charge and unpaired electrons over the atoms, after the first layer.

    From its invariants n_i each atom says five numbers, u a b c d. Its formal charge is that of its
    group, from local chemistry alone: f_i = P(u_i), with P the nearest integer, C², which is
    constant within ¼ of each. What formal charges leave of the total, δ = Q - Σ_i f_i, goes where
    it is wanted most, e_i = δ softmax_i(a_i + b_i t), and so do unpaired electrons, s_i = 2S
    softmax_i(c_i + d_i t), over the atoms of the molecule, or of each fragment. t = P(δ), kept
    within ±1, tells electrons too few from too many. Σ_i (f_i + e_i) = Q and Σ_i s_i = 2S exactly,
    and where formal charges add up to Q no molecule feels a far one.

    The later layers see x_i = f_i + e_i and s_i in place of Q and 2S: in the state factor, and in
    an embedding that is added to the scalars, W SiLU(V [x_i, s_i]), 0 where both are.

    P has no gradient where it is flat, so that training compares u itself with the formal charges
    of the labels (``unrounded_formal_charges``).

    Parameters
    ----------
    channels : int       C
    n_invariants : int   of the architecture

    Source: partial charges as attributes, the third option of arXiv 2403.15073, here predicted.
    """

    predicts = (
        "formal_charges",
        "unrounded_formal_charges",
        "excess_charges",
        "unpaired_electrons",
    )
    state_inputs = hides = ("total_charge", "unpaired_electrons")
    compiled = True

    def __init__(self, channels: int, n_invariants: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.LayerNorm(n_invariants),
            nn.Linear(n_invariants, channels),
            nn.SiLU(),
            nn.Linear(channels, N_NUMBERS, bias=False),  # a constant would cancel in softmax
        )
        self.embedding = nn.Sequential(
            nn.Linear(2, channels, bias=False),
            nn.SiLU(),
            nn.Linear(channels, channels, bias=False),
        )

    def start(self, graph: AtomicGraph) -> Electrons:
        """Let every atom begin as part of a neutral singlet."""
        zeros = torch.zeros_like(graph.partial_charges)
        return Electrons(_known(graph, zeros, zeros))

    def settle(
        self, electrons: Electrons, graph: AtomicGraph, layer: int, invariants: Reader
    ) -> Electrons:
        """Share out the totals of a graph after the first layer."""
        if layer > 0:
            return electrons
        numbers = self.network(invariants())  # (N, 5)
        u, a, b, c, d = numbers.double().unbind(-1)
        totals = graph.states
        formal = rounded(u)
        zeros = torch.zeros_like(totals.total_charge)
        left = totals.total_charge - zeros.index_add(0, totals.batch, formal)  # (F,) δ
        sign = rounded(left.clamp(-1.0, 1.0))[totals.batch]  # (N,) t
        excess = formal + shared_out(left, a + b * sign, totals.batch)
        unpaired = shared_out(totals.multiplicity.to(u.dtype) - 1, c + d * sign, totals.batch)
        said = {
            "formal_charges": formal,
            "unrounded_formal_charges": u,
            "excess_charges": excess,
            "unpaired_electrons": unpaired,
        }
        both = torch.stack([excess, unpaired], dim=1)  # (N, 2)
        added = self.embedding(both.to(numbers.dtype))
        return Electrons(_known(graph, excess, unpaired), said, added)

    @torch.no_grad()
    def silence(self) -> None:
        """Add nothing, yet, and know no formal charge: for a model that goes on from another."""
        self.network[-1].weight[0] = 0.0  # type: ignore[operator]
        self.embedding[-1].weight.zero_()  # type: ignore[operator]


ELECTRONS = {"global": GlobalElectrons, "local": LocalElectrons}


def rounded(x: Tensor) -> Tensor:
    """Round to the nearest integer, twice differentiable: constant within ¼ of each integer.

    Between k + ¼ and k + ¾ it climbs as t³(10 - 15 t + 6 t²), t from 0 to 1.
    """
    below = x.detach().floor()
    t = ((x - below - FLAT) / (1 - 2 * FLAT)).clamp(0.0, 1.0)
    return below + t * t * t * (10 + t * (6 * t - 15))


def shared_out(amounts: Tensor, scores: Tensor, parts: Tensor) -> Tensor:
    """Share out amounts (F,) of parts over their atoms by softmax of scores (N,): (N,).

    Parts (N,) is the part of each atom.
    """
    largest = torch.full_like(amounts, -torch.inf)
    largest = largest.scatter_reduce(0, parts, scores.detach(), "amax")  # (F,)
    weights = torch.exp(scores - largest[parts])
    sums = torch.zeros_like(amounts).index_add(0, parts, weights)
    return (amounts / sums)[parts] * weights


def _known(graph: AtomicGraph, charge: Tensor, unpaired: Tensor) -> AtomicGraph:
    """Let each atom know its own charge (N,) e and unpaired electrons (N,) alone."""
    atoms = torch.arange(len(graph.batch), device=graph.batch.device)
    return graph._replace(fragments=States(atoms, charge, 1 + unpaired))
