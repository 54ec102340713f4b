"""How far the energies and forces of a structure may be off, and differences of energies."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from polcalc.engines.base import Structure
from potentials.experts import Experts
from potentials.potential import Potential
from potentials.structure.graph import AtomicGraph
from potentials.terms.uncertainty import GAP, PERCENT, RELATIVE, USUAL, Uncertainty


class ErrorBars(NamedTuple):
    """What errors against the method of the training data lie within.

    68 % of new molecules of the kind that calibrated the model, unless another share was asked for.
    """

    energy_eV: float
    forces_eV_per_A: NDArray[np.float64]  # (N,), of each component of the force on an atom


def term_of(potential: Potential) -> Uncertainty | None:
    """Return what knows the uncertainty of a potential, or None."""
    return next((term for term in potential.terms if isinstance(term, Uncertainty)), None)


def of_share(
    potential: Potential, structure: Structure, bars: ErrorBars, percent: float
) -> ErrorBars:
    """Widen or narrow error bars to those of another share of molecules.

    Raises
    ------
    ValueError   a share without scales
    """
    term = term_of(_expert(potential, structure))
    column = next((n for n, share in enumerate(PERCENT) if abs(share - percent) < 0.5), None)
    if column is None or term is None:
        known = ", ".join(f"{share:g}" for share in PERCENT)
        raise ValueError(f"`percent` must be one of {known}; got {percent}. Take one of them.")
    state = (torch.tensor([float(x)]) for x in (structure.charge, structure.multiplicity))
    row = int(term.row_of(*state))
    energy, forces = (
        float(scales[row, column] / scales[row, USUAL])
        for scales in (term.energy_scales, term.forces_scales)
    )
    return ErrorBars(energy * bars.energy_eV, forces * bars.forces_eV_per_A)


def of_difference(
    potential: Potential,
    a: Structure,
    b: Structure,
    graph_of: Callable[[Structure], AtomicGraph],
) -> float | None:
    """Return what 68 % of errors of E(b) - E(a) in eV lie within; None where it is not known.

    Errors of one molecule are alike in its geometries and states: only where what the read-out sees
    of them differs can the difference be wrong. Of two molecules both err by themselves.
    """
    vectors, widths = [], []
    for structure in (a, b):
        expert = _expert(potential, structure)
        if (term := term_of(expert)) is None:
            return None
        vectors.append(_vector(expert, term, graph_of(structure)))
        state = (torch.tensor([float(x)]) for x in (structure.charge, structure.multiplicity))
        scale = term.energy_scales[int(term.row_of(*state)), USUAL]
        widths.append(float(scale * vectors[-1].norm()))
    same_atoms = sorted(a.atomic_numbers.tolist()) == sorted(b.atomic_numbers.tolist())
    one_network = _expert(potential, a) is _expert(potential, b) or not isinstance(
        potential, Experts
    )
    if not (same_atoms and one_network):
        return float(np.hypot(widths[0], widths[1]))
    kind = RELATIVE if (a.charge, a.multiplicity) == (b.charge, b.multiplicity) else GAP
    term = term_of(_expert(potential, a))
    assert term is not None
    return float(term.difference_scales[kind, USUAL] * (vectors[1] - vectors[0]).norm())


def _expert(potential: Potential, structure: Structure) -> Potential:
    if not isinstance(potential, Experts):
        return potential
    return potential.of(structure.charge, structure.multiplicity)


@torch.no_grad()
def _vector(potential: Potential, term: Uncertainty, graph: AtomicGraph) -> torch.Tensor:
    """Return what the read-out sees of a structure, in units of what it is unsure of: (K,)."""
    scalars = potential.features(graph).scalars
    return term.rows(scalars).sum(0) @ term.energy_factor
