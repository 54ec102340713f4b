"""Uncertainties from the hidden layer that compiled code hands out."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from potentials.quantities import Evaluation
from potentials.terms.uncertainty import USUAL, Uncertainty

Floats = NDArray[np.float64]


class OfHidden:
    """What `Uncertainty` says, in few calls of numpy."""

    def __init__(self, term: Uncertainty) -> None:
        self._term = term
        self._energy = term.energy_factor.cpu().numpy()
        # rows for the hidden layer, and for the one
        self._forces, self._shift = np.split(term.forces_factor.cpu().numpy(), [-1])
        self._scales: dict[tuple[int, int], tuple[float, float]] = {}

    def __call__(self, hidden: Floats, charge: int, multiplicity: int) -> dict[str, Any]:
        """Return uncertainties of a structure by name, of its hidden layer (N, H)."""
        energy_scale, forces_scale = self._scales_of(charge, multiplicity)
        whole = np.append(hidden.sum(0), len(hidden)) @ self._energy
        lengths = hidden @ self._forces
        lengths += self._shift
        return {
            "energy_uncertainty": energy_scale * float(np.sqrt(whole @ whole)),
            "forces_uncertainty": forces_scale * np.sqrt(np.einsum("nk,nk->n", lengths, lengths)),
        }

    def _scales_of(self, charge: int, multiplicity: int) -> tuple[float, float]:
        """Return the scales of a state, eV and eV/Å; those of a state are remembered."""
        state = charge, multiplicity
        if state not in self._scales:
            row = int(self._term.row_of(*(torch.tensor([value]) for value in map(float, state))))
            self._scales[state] = (
                float(self._term.energy_scales[row, USUAL]),
                float(self._term.forces_scales[row, USUAL]),
            )
        return self._scales[state]


class Uncertain(Evaluation):
    """An evaluation that finds its uncertainties when it is asked for them: most never are."""

    @classmethod
    def of(
        cls, evaluation: Evaluation, known: OfHidden, hidden: Floats, charge: int, multiplicity: int
    ) -> Uncertain:
        """Add to an evaluation what its uncertainties follow from."""
        found: Uncertain = tuple.__new__(cls, evaluation)  # type: ignore[type-var]
        found.source = known, hidden, charge, multiplicity
        return found

    source: tuple[OfHidden, Floats, int, int]

    @cached_property
    def _uncertainties(self) -> dict[str, Any]:
        known, hidden, charge, multiplicity = self.source
        return known(hidden, charge, multiplicity)

    @property
    def energy_uncertainty(self) -> float:
        """As in the table of quantities, eV."""
        found: float = self._uncertainties["energy_uncertainty"]
        return found

    @property
    def forces_uncertainty(self) -> Floats:
        """As in the table of quantities, (N,) eV/Å."""
        found: Floats = self._uncertainties["forces_uncertainty"]
        return found
