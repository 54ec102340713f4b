"""Second derivatives of the energy, by differentiating the forces once more.

A Hessian has a row per coordinate. Rows are independent of each other, so that a batch of copies of
the structure gives as many rows in one pass: small molecules fill the machine, large ones take a
few rows at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from potentials.potential import Potential
from potentials.structure.graph import AtomicGraph, collate

BATCH_ATOMS = 1000  # atoms per pass; a pass takes about three times the memory of forces


def hessian(
    potential: Potential, graph: AtomicGraph, moving: Sequence[int] | None = None
) -> Tensor:
    """Differentiate the energy twice by the positions of some atoms, the others held in place.

    Parameters
    ----------
    potential : Potential
    graph : AtomicGraph         of one structure
    moving : sequence of int    n atoms, at least one; None is all

    Returns
    -------
    (3n, 3n) eV/Å^2, float64, symmetric
    """
    n_atoms = len(graph.positions)
    atoms = torch.arange(n_atoms) if moving is None else torch.tensor(moving, dtype=torch.int64)
    places = (3 * atoms[:, None] + torch.arange(3)).flatten()  # (3n,) among the 3N coordinates
    rows = [_rows(potential, graph, some) for some in places.split(max(1, BATCH_ATOMS // n_atoms))]
    matrix = torch.cat(rows)[:, places.to(graph.positions.device)]
    return 0.5 * (matrix + matrix.T)


def _rows(potential: Potential, graph: AtomicGraph, places: Tensor) -> Tensor:
    """Return the rows of some coordinates, (n, 3N): one copy of the structure for each."""
    copies = collate([graph] * len(places))
    positions = copies.positions.detach().requires_grad_()
    energies = potential(copies._replace(positions=positions)).energies
    (gradient,) = torch.autograd.grad(energies.sum(), positions, create_graph=True)
    chosen = gradient.view(len(places), -1)[torch.arange(len(places)), places]
    (rows,) = torch.autograd.grad(chosen.sum(), positions, materialize_grads=True)
    return rows.view(len(places), -1)
