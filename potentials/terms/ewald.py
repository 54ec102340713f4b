"""Ewald's method: the part of a lattice sum of charges that varies slowly, in reciprocal space.

Q_a Q_b / r = Q_a Q_b [1 - erf(α r)] / r + Q_a Q_b erf(α r) / r. The first part vanishes within a
reach, and pairs are summed; the second is smooth and has a short series of plane waves. α follows
from the reach, and this from the size of the cell, so that both sums cost about as much. Both are
cut where exp(-`ACCURACY`²) is left.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from potentials.structure.geometry import at
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import COULOMB_EV_ANGSTROM

ACCURACY = 4.8  # exp(-4.8²) is 1e-10
BALANCE = 0.45  # of the reach, from what a pair and a plane wave cost
SERIES = [2 / math.sqrt(math.pi) * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(20)]


class Lattice(NamedTuple):
    """How the sums over images of each structure are divided."""

    reach: float  # Å, of pairs
    screening: Tensor  # (S,) α, 1/Å; 0 of open structures, which have no second part


def real_space(graph: AtomicGraph, squared_widths: Tensor, offsets: Tensor) -> Lattice:
    """Choose the reach of the sum over pairs and α of each structure.

    Charges of finite width must look like points beyond the reach, wherever the sites of an atom
    are.

    Parameters
    ----------
    squared_widths : (N,)   Å², of the charges of each atom
    offsets : (N, K, 3)     Å, of the sites of each atom
    """
    periodic = graph.pbc.all(1)
    if not bool(periodic.any()):
        return Lattice(1.0, torch.zeros_like(graph.total_charge))
    n_atoms = torch.bincount(graph.batch, minlength=graph.n_structures)
    volume = torch.linalg.det(graph.cell.detach()).abs()
    balanced = ACCURACY * BALANCE * (volume.square() / n_atoms) ** (1 / 6)  # (S,)
    widest = 2 * squared_widths.detach()[periodic[graph.batch]].max().sqrt()  # √2 σ
    reaches = balanced.clamp(min=float(ACCURACY * widest))
    screening = torch.where(periodic, ACCURACY / reaches, 0.0)
    apart = 2 * offsets.detach().norm(dim=-1).max()
    return Lattice(float(reaches[periodic].max() + apart), screening)


def lattice_energies(
    graph: AtomicGraph, charges: Tensor, offsets: Tensor, lattice: Lattice
) -> Tensor:
    """Return the energies (N,) eV of the smooth part, less that of each atom with itself.

    Parameters
    ----------
    charges : (N, K)      e, of the sites of each atom
    offsets : (N, K, 3)   Å, from the nucleus
    """
    energies = torch.zeros_like(graph.partial_charges)
    for n in graph.pbc.all(1).nonzero().flatten().tolist():
        atoms = (graph.batch == n).nonzero().flatten()
        own, places = at(charges, atoms), at(graph.positions, atoms)[:, None] + at(offsets, atoms)
        potential = _plane_waves(own.flatten(), places.view(-1, 3), graph.cell[n], lattice, n)
        potential = potential.view(own.shape) - _of_itself(own, at(offsets, atoms), lattice, n)
        energies = energies.index_add(
            0, atoms, 0.5 * COULOMB_EV_ANGSTROM * (own * potential).sum(1)
        )
    return energies


def _plane_waves(charges: Tensor, places: Tensor, cell: Tensor, lattice: Lattice, n: int) -> Tensor:
    """Potential (M,) e/Å of Gaussian charges (M,) at places (M, 3) and of the background."""
    alpha = float(lattice.screening[n])
    longest = 2 * alpha * ACCURACY  # 1/Å
    counts = (longest * cell.detach().norm(dim=1) / (2 * math.pi)).long().tolist()
    axes = [torch.arange(-count, count + 1, device=cell.device) for count in counts]
    waves = torch.cartesian_prod(*axes)
    order = waves @ waves.new_tensor([1, 1 << 20, 1 << 40])
    inverse = torch.linalg.inv(cell)
    with torch.no_grad():  # one of each two that are opposite
        squared = (2 * math.pi * waves.double() @ inverse.T).square().sum(1)
        waves = waves[(order > 0) & (squared < longest**2)].double()
    squared = (2 * math.pi * waves @ inverse.T).square().sum(1)  # (G,) 1/Å²
    volume = torch.linalg.det(cell).abs()
    strength = 8 * math.pi / volume * torch.exp(-squared / (4 * alpha**2)) / squared
    phases = 2 * math.pi * (places @ inverse) @ waves.T  # (M, G)
    cosines, sines = phases.cos(), phases.sin()
    potential = cosines @ (strength * (charges @ cosines)) + sines @ (strength * (charges @ sines))
    background = math.pi / (volume * alpha**2) * charges.sum()
    total: Tensor = potential - background
    return total


def _of_itself(charges: Tensor, offsets: Tensor, lattice: Lattice, n: int) -> Tensor:
    """Potential (N, K) e/Å of erf(α r) / r of the sites of the same atom."""
    alpha = lattice.screening[n]
    apart = (offsets[:, None] - offsets[:, :, None]).square().sum(-1)  # (N, K, K) Å²
    kernel = alpha * _erf_over_root(alpha.square() * apart)
    return (kernel * charges[:, None]).sum(-1)


def _erf_over_root(x: Tensor) -> Tensor:
    """erf(√x) / √x, with derivatives of every order at 0."""
    near, far = x.clamp(max=1.0), x.clamp(min=1.0).sqrt()
    series = torch.full_like(x, SERIES[-1])
    for coefficient in reversed(SERIES[:-1]):
        series = series * near + coefficient
    return torch.where(x < 1, series, torch.erf(far) / far)
