"""Errors of a potential on labelled structures, overall and by electronic state.

Units: meV per molecule, meV/atom, meV/Å per force component.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from potentials.datasets.gaps import gap_errors
from potentials.potential import Potential, predict
from potentials.training.data import StructureSet

BATCH_ATOMS = 512  # evaluated at once


def errors(potential: Potential, structures: StructureSet) -> dict[str, Any]:
    """Compare predictions with the labels.

    Returns
    -------
    dict   ``n_frames``, ``energy_mae_meV``, ``energy_mae_meV_per_atom``, ``forces_mae_meV_per_A``,
           also ``rmse`` and ``max``, and the same under ``by_state`` with ``charge`` and
           ``multiplicity``; ``gaps`` as of `gap_errors`
    """
    energy, forces = _differences(potential, structures)
    n_atoms = structures.n_atoms
    states = torch.stack([structures.charges, structures.multiplicities], dim=1)  # (S, 2)
    table = []
    for charge, multiplicity in torch.unique(states, dim=0).tolist():
        chosen = (states == torch.tensor([charge, multiplicity])).all(1)
        of_atoms = chosen.repeat_interleave(n_atoms)
        found = _errors(
            energy[chosen], n_atoms[chosen], None if forces is None else forces[of_atoms]
        )
        table.append({"charge": int(charge), "multiplicity": int(multiplicity)} | found)
    return _errors(energy, n_atoms, forces) | {"by_state": table, "gaps": _gaps(structures, energy)}


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


def _differences(potential: Potential, structures: StructureSet) -> tuple[Tensor, Tensor | None]:
    """Predicted minus reference: energies (S,) eV and forces (N, 3) eV/Å, on the CPU."""
    energy, forces = [], []
    for graph, targets in structures.batches(BATCH_ATOMS):
        predicted = predict(potential, graph, forces=targets.forces is not None)
        energy.append((predicted.energy - targets.energy).cpu())
        if predicted.forces is not None and targets.forces is not None:
            forces.append((predicted.forces - targets.forces).cpu())
    return torch.cat(energy), torch.cat(forces) if forces else None


def _errors(energy: Tensor, n_atoms: Tensor, forces: Tensor | None) -> dict[str, Any]:
    return {
        "n_frames": len(energy),
        "n_atoms": int(n_atoms.sum()),
        **_sizes(energy, "energy_{}_meV"),
        **_sizes(energy / n_atoms, "energy_{}_meV_per_atom"),
        **_sizes(forces, "forces_{}_meV_per_A"),
    }


def _sizes(differences: Tensor | None, name: str) -> dict[str, float | None]:
    if differences is None or not len(differences):
        return {name.format(kind): None for kind in ("mae", "rmse", "max")}
    size = differences.abs() * 1000
    values = {"mae": size.mean(), "rmse": size.square().mean().sqrt(), "max": size.max()}
    return {name.format(kind): float(value) for kind, value in values.items()}
