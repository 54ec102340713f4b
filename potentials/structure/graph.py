"""The containers that every part of the package exchanges.

Conventions: always batched (one structure is S = 1). Each undirected pair is listed once and acts
both ways; ``r_ij = r_j + shift @ cell - r_i`` points from the central atom i to its neighbour j.
Geometry is float64 throughout, whatever the dtype of the network. Units: Å, eV, e.

Sizes in comments: N atoms, S structures, P pairs, M points, C channels, R radial functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from potentials.structure.pairs import find_pairs

if TYPE_CHECKING:
    from ase import Atoms


class Fragments(NamedTuple):
    """Groups of atoms, each with a charge and multiplicity of its own."""

    batch: Tensor  # (N,) int64, group of each atom, in any order
    charge: Tensor  # (F,) e, float64
    multiplicity: Tensor  # (F,) int64, 2S + 1


class AtomicGraph(NamedTuple):
    """One or many structures with their pairs."""

    atomic_numbers: Tensor  # (N,) int64
    positions: Tensor  # (N, 3) Å, float64
    cell: Tensor  # (S, 3, 3) Å, rows are lattice vectors, zero where open
    pbc: Tensor  # (S, 3) bool
    batch: Tensor  # (N,) int64, structure of each atom, sorted
    idx_i: Tensor  # (P,) int64
    idx_j: Tensor  # (P,) int64
    shift: Tensor  # (P, 3) float64, lattice vectors crossed
    total_charge: Tensor  # (S,) e, float64
    multiplicity: Tensor  # (S,) int64, 2S + 1
    partial_charges: Tensor  # (N,) e, float64, zeros when unused
    cutoff: float  # Å, the pair list is complete up to here; longer pairs are inert
    fragments: Fragments | None = (
        None  # where atoms are to know the charge and multiplicity of their part alone
    )

    @property
    def molecules(self) -> Fragments:
        """Groups of atoms that share a charge and multiplicity.

        The fragments where they are given, else the structures.
        """
        return (
            Fragments(self.batch, self.total_charge, self.multiplicity)
            if self.fragments is None
            else self.fragments
        )

    @property
    def n_structures(self) -> int:
        """Number of structures S."""
        return self.cell.shape[0]


class Targets(NamedTuple):
    """Reference labels of a batch."""

    energy: Tensor  # (S,) eV, float64
    forces: Tensor | None = None  # (N, 3) eV/Å
    stress: Tensor | None = None  # (S, 3, 3) eV/Å^3


class Prediction(NamedTuple):
    """What a potential says of a batch."""

    energy: Tensor  # (S,) eV, float64
    energies: Tensor  # (N,) eV, float64
    forces: Tensor | None = None  # (N, 3) eV/Å, float64
    stress: Tensor | None = None  # (S, 3, 3) eV/Å^3, float64
    polarization: Tensor | None = None  # (N, 3) Å, displacement of the moving points


def from_ase(
    atoms: Atoms,
    cutoff: float,
    *,
    charge: float = 0,
    multiplicity: int = 1,
    partial_charges: np.ndarray | None = None,
) -> AtomicGraph:
    """Make a graph of one structure, with its own pair list.

    Parameters
    ----------
    atoms : Atoms               positions in Å
    cutoff : float              Å, at least that of the potential
    charge : float              total charge in e
    multiplicity : int          2S + 1
    partial_charges : (N,)      e, per atom
    """
    positions = torch.as_tensor(np.array(atoms.get_positions(), dtype=np.float64))
    cell = torch.as_tensor(np.array(atoms.cell.array, dtype=np.float64))
    pbc = torch.as_tensor(np.array(atoms.pbc, dtype=bool))
    idx_i, idx_j, shift = find_pairs(positions, cell, pbc, cutoff)
    n_atoms = len(positions)
    return AtomicGraph(
        atomic_numbers=torch.as_tensor(np.array(atoms.numbers, dtype=np.int64)),
        positions=positions,
        cell=cell[None],
        pbc=pbc[None],
        batch=torch.zeros(n_atoms, dtype=torch.int64),
        idx_i=idx_i,
        idx_j=idx_j,
        shift=shift,
        total_charge=torch.tensor([charge], dtype=torch.float64),
        multiplicity=torch.tensor([multiplicity], dtype=torch.int64),
        partial_charges=(
            torch.zeros(n_atoms, dtype=torch.float64)
            if partial_charges is None
            else torch.as_tensor(np.array(partial_charges, dtype=np.float64))
        ),
        cutoff=float(cutoff),
    )


def collate(graphs: Sequence[AtomicGraph]) -> AtomicGraph:
    """Join graphs into one batch; the cutoff is the smallest of theirs."""
    if not graphs:
        raise ValueError(
            "`graphs` must hold at least one graph; got none. Pass a non-empty sequence."
        )
    atoms_before = np.cumsum([0] + [len(g.positions) for g in graphs]).tolist()
    structures_before = np.cumsum([0] + [g.n_structures for g in graphs]).tolist()
    plain = (
        "atomic_numbers",
        "positions",
        "cell",
        "pbc",
        "shift",
        "total_charge",
        "multiplicity",
        "partial_charges",
    )
    joined = {name: torch.cat([getattr(g, name) for g in graphs]) for name in plain}
    return AtomicGraph(
        **joined,
        fragments=_joined_fragments(graphs),
        batch=torch.cat([g.batch + n for g, n in zip(graphs, structures_before, strict=False)]),
        idx_i=torch.cat([g.idx_i + n for g, n in zip(graphs, atoms_before, strict=False)]),
        idx_j=torch.cat([g.idx_j + n for g, n in zip(graphs, atoms_before, strict=False)]),
        cutoff=min(g.cutoff for g in graphs),
    )


def to_device(graph: AtomicGraph, device: torch.device | str) -> AtomicGraph:
    """Move every tensor of a graph."""
    moved: dict[str, Any] = {
        name: x.to(device) for name, x in graph._asdict().items() if isinstance(x, Tensor)
    }
    if graph.fragments is not None:
        moved["fragments"] = Fragments(*(x.to(device) for x in graph.fragments))
    return graph._replace(**moved)


def _joined_fragments(graphs: Sequence[AtomicGraph]) -> Fragments | None:
    if all(g.fragments is None for g in graphs):
        return None
    molecules = [g.molecules for g in graphs]
    before = np.cumsum([0] + [len(m.charge) for m in molecules]).tolist()
    return Fragments(
        batch=torch.cat([m.batch + n for m, n in zip(molecules, before, strict=False)]),
        charge=torch.cat([m.charge for m in molecules]),
        multiplicity=torch.cat([m.multiplicity for m in molecules]),
    )
