"""Which atoms share a charge and a multiplicity, as compiled code is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potentials.parts.attention import shared_out
from potentials.structure.graph import States

Floats = NDArray[np.float64]


def parts_of(
    n_atoms: int,
    total_charge: float | Floats,
    multiplicity: int | NDArray[np.int64],
    fragments: NDArray[np.int64] | None,
) -> States[Tensor]:
    """Say which atoms share a charge and a multiplicity: those of a group, or all."""
    batch = (
        torch.zeros(n_atoms, dtype=torch.int64)
        if fragments is None
        else torch.from_numpy(fragments)
    )
    first = (
        np.zeros(min(n_atoms, 1), dtype=np.int64)
        if fragments is None
        else np.unique(fragments, return_index=True)[1]
    )
    charges, multiplicities = (
        torch.from_numpy(np.broadcast_to(x, n_atoms)[first]) for x in (total_charge, multiplicity)
    )
    return States(batch, charges, multiplicities)


def totals(states: States[Tensor]) -> dict[str, Any]:
    """Say what charges and unpaired electrons of which atoms add up to."""
    return {
        "parts": states.batch.numpy(),
        "part_charges": states.total_charge.double().numpy(),
        "part_unpaired": (states.multiplicity - 1).double().numpy(),
    }


def attending(states: States[Tensor]) -> tuple[NDArray[np.int64], Floats]:
    """Say which atoms attend to each other, and what they share out."""
    return states.batch.numpy(), shared_out(states).numpy()
