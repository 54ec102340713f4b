"""How the dipole and the polarizability of a structure change when its atoms move."""

from __future__ import annotations

import torch
from torch import Tensor

from potentials.potential import Potential
from potentials.structure.graph import AtomicGraph


def by_positions(potential: Potential, graph: AtomicGraph, name: str) -> Tensor:
    """Differentiate a quantity of one structure by the positions of its atoms.

    Parameters
    ----------
    name : str   of a quantity per structure, of shape (...)

    Returns
    -------
    (N, 3, ...)   its unit per Å, float64
    """
    positions = graph.positions.detach().requires_grad_()
    values: Tensor = getattr(potential(graph._replace(positions=positions)), name)[0]
    rows = [
        torch.autograd.grad(value, positions, retain_graph=True, materialize_grads=True)[0]
        for value in values.flatten()
    ]
    return torch.stack(rows, dim=-1).reshape(*positions.shape, *values.shape)
