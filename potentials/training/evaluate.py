"""Errors of a potential on labelled structures, overall and by electronic state.

Units are those of `potentials.quantities`; of vectors and tensors each component counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ase.data import chemical_symbols
from ase.formula import Formula
from torch import Tensor

from potentials.datasets.gaps import gap_errors
from potentials.deviations import summary
from potentials.potential import Potential, predict
from potentials.quantities import QUANTITIES, named
from potentials.training.data import StructureSet

BATCH_ATOMS = 512  # evaluated at once
# a species is wrong where the mean error of its energies is larger than both; an atomisation energy
# is right to a fraction of that, a conformer of a large molecule may be off by more
LARGE_EV, LARGE_EV_PER_ATOM = 0.3, 0.03
MOST_ATOMS = 200_000  # looked at for species that are wrong, the smallest structures first
MOST_SPECIES = 100  # told, the worst of them


def errors(potential: Potential, structures: StructureSet) -> dict[str, Any]:
    """Compare every quantity that is predicted with its label.

    Returns
    -------
    dict   ``n_frames``, ``energy_mae_meV``, ``energy_mae_meV_per_atom``, ``forces_mae_meV_per_A``
           and so on by the units of `QUANTITIES`, also ``rmse`` and ``max``; the same under
           ``by_state`` with ``charge`` and ``multiplicity``; ``gaps`` as of `gap_errors`
    """
    differences = _differences(potential, structures)
    n_atoms = structures.n_atoms
    states = torch.stack([structures.charges, structures.multiplicities], dim=1)  # (S, 2)
    table = []
    for charge, multiplicity in torch.unique(states, dim=0).tolist():
        chosen = (states == torch.tensor([charge, multiplicity])).all(1)
        rows = {"structure": chosen, "atom": chosen.repeat_interleave(n_atoms)}
        part = {name: x[rows[QUANTITIES[name].per]] for name, x in differences.items()}
        state = {"charge": int(charge), "multiplicity": int(multiplicity)}
        table.append(state | _summary(part, n_atoms[chosen]))
    return _summary(differences, n_atoms) | {
        "by_state": table,
        "gaps": _gaps(structures, differences["energy"]) if "energy" in differences else [],
    }


@torch.no_grad()
def wrong_species(
    potential: Potential, sets: Sequence[tuple[StructureSet, int]]
) -> list[tuple[str, int, int, float]]:
    """Find species whose energies the training left far from their labels.

    Parameters
    ----------
    sets : structures, and how many of them, the first ones, have labels that count

    Returns
    -------
    formula, charge, multiplicity, mean absolute error in eV; the worst first
    """
    found: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for structures, count in sets:
        order = structures.n_atoms[:count].argsort(stable=True)
        order = order[structures.n_atoms[order].cumsum(0) <= MOST_ATOMS // len(sets)]
        batch = structures.n_atoms[order].cumsum(0) // BATCH_ATOMS  # (S,) the number of its batch
        for indices in order.split(torch.bincount(batch)[batch.unique()].tolist()):
            graph, targets = structures.batch(indices)
            energies = predict(potential, graph, forces=False).energy
            assert energies is not None and targets.energy is not None
            wrong = (energies - targets.energy).abs().cpu().tolist()
            counts = structures.n_atoms[indices].tolist()
            numbers = graph.atomic_numbers.cpu().split(counts)
            states = zip(
                structures.charges[indices].tolist(),
                structures.multiplicities[indices].tolist(),
                strict=True,
            )
            for atoms, (charge, multiplicity), error in zip(numbers, states, wrong, strict=True):
                formula = str(
                    Formula.from_list([chemical_symbols[z] for z in atoms]).format("hill")
                )
                sizes[formula] = len(atoms)
                found[formula, charge, multiplicity].append(error)
    means = ((*species, sum(e) / len(e)) for species, e in found.items())
    large = [row for row in means if row[3] > max(LARGE_EV, LARGE_EV_PER_ATOM * sizes[row[0]])]
    return sorted(large, key=lambda row: -row[3])[:MOST_SPECIES]


def _summary(differences: Mapping[str, Tensor], n_atoms: Tensor) -> dict[str, Any]:
    return summary({name: x.numpy() for name, x in differences.items()}, n_atoms.numpy())


def _gaps(structures: StructureSet, energy: Tensor) -> list[dict[str, Any]]:
    """Compare vertical gaps; for energies the difference is added to the label."""
    labels = structures.energies.double().cpu()
    return gap_errors(
        structures.geometries,
        structures.charges.tolist(),
        structures.multiplicities.tolist(),
        labels.numpy(),
        (labels + energy.double()).numpy(),
    )


def _differences(potential: Potential, structures: StructureSet) -> dict[str, Tensor]:
    """Predicted minus reference, by quantity, on the CPU."""
    differences: dict[str, list[Tensor]] = defaultdict(list)
    for graph, targets in structures.batches(BATCH_ATOMS):
        said = predict(potential, graph, forces=targets.forces is not None)
        for name, label in named(targets).items():
            if (value := getattr(said, name)) is not None:
                differences[name].append((value - label).cpu())
    return {name: torch.cat(parts) for name, parts in differences.items()}
