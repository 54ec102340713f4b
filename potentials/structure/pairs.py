"""Stateless pair search: the atoms closer than a cutoff.

Every undirected pair is listed once, with i <= j and ``r_ij = r_j + shift @ cell - r_i``; of a pair
of an atom with its own image the one whose first non-zero shift is positive. The comparison is
strict: a pair at exactly the cutoff is left out. All back ends search a hair further and share one
final filter, so they agree pair for pair.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList as VesinList

Pairs = tuple[Tensor, Tensor, Tensor]

ALL_PAIRS_LIMIT = (
    64  # atoms; above it a cell list is faster than the square of the number of atoms (measured)
)
HAIR = 1e-6  # Å; the back ends round differently, the last filter decides


def find_pairs(
    positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float, backend: str = "auto"
) -> Pairs:
    """Find every pair of atoms closer than the cutoff, once.

    Parameters
    ----------
    positions : (N, 3)  Å, float64, inside or outside the cell
    cell : (3, 3)       Å, rows are lattice vectors; rows of open directions are ignored
    pbc : (3,)          bool
    cutoff : float      Å
    backend : str       "auto", "all-pairs" (open only), "vesin", "torch-cluster" (open only)

    Returns
    -------
    idx_i, idx_j, shift : (P,) int64, (P,) int64, (P, 3) float64

    Raises
    ------
    ValueError          unknown back end, positions that are not finite, lattice vectors that span
                        no volume
    """
    positions, cell = positions.detach(), cell.detach()
    _check(positions, cell, pbc, cutoff)
    name = _choose(positions, pbc) if backend == "auto" else backend
    if name not in BACKENDS:
        raise ValueError(
            f"`backend` must be one of auto, {', '.join(BACKENDS)}; got {backend!r}. Pass one of"
            " these."
        )
    if name in OPEN_ONLY and bool(pbc.any()):
        raise ValueError(
            f"`backend` must be vesin for a periodic structure; got {name!r}. Pass backend='auto'."
        )
    idx_i, idx_j, shift = _canonical(*BACKENDS[name](positions, cell, pbc, cutoff + HAIR))
    vectors = positions[idx_j] + shift @ cell - positions[idx_i]
    near = vectors.square().sum(-1) < cutoff**2
    return idx_i[near], idx_j[near], shift[near]


def all_pairs(n_atoms: int, device: torch.device | str = "cpu") -> Pairs:
    """List every pair i < j of an open structure, whatever its distance."""
    idx_i, idx_j = torch.triu_indices(n_atoms, n_atoms, offset=1, device=device)
    return idx_i, idx_j, torch.zeros(len(idx_i), 3, dtype=torch.float64, device=device)


def _all_pairs(positions: Tensor, cell: Tensor, pbc: Tensor, reach: float) -> Pairs:
    return all_pairs(len(positions), positions.device)


def _vesin(positions: Tensor, cell: Tensor, pbc: Tensor, reach: float) -> Pairs:
    """Cell lists on the CPU."""
    search = VesinList(cutoff=reach, full_list=False, n_threads=1)
    found = search.compute(
        positions.cpu().numpy(), cell.cpu().numpy(), pbc.cpu().numpy(), quantities="PS", copy=False
    )
    pairs, shift = (
        torch.from_numpy(x).to(positions.device)
        for x in (found[0].astype(np.int64), found[1].astype(np.float64))
    )
    return pairs[:, 0], pairs[:, 1], shift


def _torch_cluster(positions: Tensor, cell: Tensor, pbc: Tensor, reach: float) -> Pairs:
    """Radius graph of torch-cluster.

    It truncates silently, so the room per atom grows until no atom fills it.
    """
    try:
        from torch_cluster import radius_graph
    except ImportError as error:
        raise ImportError(
            "`backend` 'torch-cluster' needs the package torch-cluster; it is not installed."
            " Install polcalc[cluster]."
        ) from error
    n_atoms, room = len(positions), 32
    while True:
        edges = radius_graph(
            positions, r=reach, loop=False, max_num_neighbors=room
        )  # (2, E) directed
        counts = torch.bincount(edges[1], minlength=n_atoms)
        if room >= n_atoms or int(counts.max()) < room:
            break
        room *= 2
    once = edges[0] < edges[1]
    return (
        edges[0, once],
        edges[1, once],
        torch.zeros(int(once.sum()), 3, dtype=torch.float64, device=positions.device),
    )


BACKENDS: dict[str, Callable[[Tensor, Tensor, Tensor, float], Pairs]] = {
    "all-pairs": _all_pairs,
    "vesin": _vesin,
    "torch-cluster": _torch_cluster,
}
OPEN_ONLY = ("all-pairs", "torch-cluster")


def _choose(positions: Tensor, pbc: Tensor) -> str:
    if bool(pbc.any()):
        return "vesin"
    if len(positions) <= ALL_PAIRS_LIMIT:
        return "all-pairs"
    return (
        "torch-cluster"
        if positions.is_cuda and importlib.util.find_spec("torch_cluster")
        else "vesin"
    )


def _check(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float) -> None:
    if not cutoff > 0:
        raise ValueError(
            f"`cutoff` must be positive; got {cutoff} Å. Pass the cutoff of the potential."
        )
    if not bool(torch.isfinite(positions).all()):
        atom = int((~torch.isfinite(positions)).any(1).nonzero()[0])
        raise ValueError(
            f"`positions` must be finite; got {positions[atom].tolist()} Å for atom {atom}. Check"
            " the structure."
        )
    periodic = cell[pbc.to(cell.device)]
    lengths = torch.linalg.vector_norm(periodic, dim=-1)
    # the Gram determinant is the squared volume spanned by the periodic vectors
    if len(periodic) and not bool(
        torch.linalg.det(periodic @ periodic.T) > 1e-12 * lengths.prod() ** 2
    ):
        raise ValueError(
            f"`cell` must have independent vectors where pbc is true; got {cell.tolist()} Å, pbc"
            f" {pbc.tolist()}. Set the cell."
        )


def _canonical(idx_i: Tensor, idx_j: Tensor, shift: Tensor) -> Pairs:
    """Orient every pair: i <= j, and the first non-zero shift of a self image positive."""
    leading = shift @ shift.new_tensor([1e12, 1e6, 1.0])  # sign of the first non-zero component
    flip = (idx_i > idx_j) | ((idx_i == idx_j) & (leading < 0))
    return (
        torch.where(flip, idx_j, idx_i),
        torch.where(flip, idx_i, idx_j),
        torch.where(flip[:, None], -shift, shift),
    )
