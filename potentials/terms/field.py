"""A structure in a uniform electric field: its energy and its dipole.

F in V/Å, μ in e Å about the origin of the coordinates, α in e Å²/V. The sign is that of physics: a
positive charge is pulled along the field, and -dE/dF is the dipole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from potentials.quantities import Prediction
from potentials.structure.graph import AtomicGraph

FIELD = "electric_field_V_per_A"  # of `AtomicGraph`


def in_field(graph: AtomicGraph, said: Prediction) -> Prediction:
    """Add the answer to the field of each structure: E - μ·F - ½ F·α·F, and the dipole μ + α·F.

    Without a polarizability the charges stay as they are. The energy belongs to the structure; its
    atoms share it equally.

    Parameters
    ----------
    said : Prediction   without the field: energies (N,) eV, dipole (S, 3), perhaps polarizability
                        (S, 3, 3)
    """
    field, dipole = graph.electric_field_V_per_A, said.dipole
    energy = -(dipole * field).sum(1)  # (S,)
    if said.polarizability is not None:
        more = induced(said.polarizability, graph)
        energy, dipole = energy - 0.5 * (more * field).sum(1), dipole + more
    return said._replace(energies=said.energies + _shared(energy, graph), dipole=dipole)


def induced(polarizability: Tensor, graph: AtomicGraph) -> Tensor:
    """Return the dipole α·F (S, 3) e Å that a field induces."""
    return torch.einsum("sab,sb->sa", polarizability, graph.electric_field_V_per_A)


def _shared(energy: Tensor, graph: AtomicGraph) -> Tensor:
    """Divide energies (S,) among the atoms of each structure, (N,)."""
    n_atoms = torch.zeros_like(energy).index_add(
        0, graph.batch, torch.ones_like(graph.batch, dtype=energy.dtype)
    )
    return (energy / n_atoms)[graph.batch]
