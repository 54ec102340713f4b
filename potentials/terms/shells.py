"""Shells: the electrons of each atom as a point of their own, beside its nucleus."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from potentials.parts.conditioning import MAX_ATOMIC_NUMBER
from potentials.parts.points import SecondPoint
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features, Term

# electrons of the core from this element on: noble gases, and d and f shells once they are full
CORES = {1: 0, 3: 2, 11: 10, 19: 18, 31: 28, 37: 36, 49: 46, 55: 54, 72: 68, 81: 78, 87: 86}


class Shells(Term):
    """A shell of charge -n_i at r_i + d_i; the core at r_i has q_i + n_i.

    d_i is a step of a second point by the last vectors, from the nucleus, or from where points of
    the layers moved; n_i > 0 belongs to the element, at the start its valence electrons.

    Parameters
    ----------
    channels : int            not read
    n_vectors : int           V, vectors that the architecture knows of each atom
    max_displacement : float  d_max, Å
    """

    name = "shells"
    compiled = True
    predicts = ("shells", "shell_charges")
    reads_vectors = True

    def __init__(self, channels: int, n_vectors: int, max_displacement: float = 0.5) -> None:
        super().__init__()
        self.point = SecondPoint(n_vectors, 1, max_displacement)
        valence = [valence_electrons(z) for z in range(MAX_ATOMIC_NUMBER)]
        logarithm = torch.tensor(valence, dtype=torch.get_default_dtype()).log()
        self.log_charges = nn.Embedding.from_pretrained(logarithm[:, None], freeze=False)

    def forward(
        self, graph: AtomicGraph, features: Features, predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the displacements d (N, 3) Å and the electrons n (N,) of the shells."""
        start = predicted.get("polarization", torch.zeros_like(graph.positions))
        charges = self.log_charges(graph.atomic_numbers).squeeze(1).double().exp()
        return {
            "shells": self.point.moved(start, features.vectors, 0),
            "shell_charges": charges,
        }


def valence_electrons(atomic_number: int) -> int:
    """Count the electrons outside the core; at least one, also for what is no element."""
    core = max((core for first, core in CORES.items() if first <= atomic_number), default=0)
    return max(atomic_number - core, 1)
