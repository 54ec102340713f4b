"""A model of TorchSim (0.3): many systems in one state, each with its charge and multiplicity.

A state of TorchSim knows neither, so that the model is told them, one for each system in their
order. All else is what the calculator does: the fastest engine that is right, and its warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor
from torch_sim.models.interface import ModelInterface
from torch_sim.state import SimState

from polcalc.calculator.calculator import PolarizedCalculator


class PolarizedModel(ModelInterface):  # type: ignore[misc]  # untyped
    """Energies (S,) eV, forces (N, 3) eV/Å, and of crystals stresses (S, 3, 3) eV/Å^3.

    Parameters
    ----------
    calculator : PolarizedCalculator
    charges : sequence of int          e, of each system; None: those of the calculator, else 0
    multiplicities : sequence of int   2S + 1, of each system; None: those of the calculator, else
                                       the lowest that fit

    Raises
    ------
    ValueError                         charges and multiplicities of different lengths
    """

    def __init__(
        self,
        calculator: PolarizedCalculator,
        charges: Sequence[int] | None = None,
        multiplicities: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        given = {"charge": charges, "multiplicity": multiplicities}
        self._states = {name: list(values) for name, values in given.items() if values is not None}
        lengths = {len(values) for values in self._states.values()}
        if len(lengths) > 1:
            raise ValueError(
                "`charges` and `multiplicities` must be one for each system; got"
                f" {len(charges or ())} and {len(multiplicities or ())}. Correct them."
            )
        self._n_systems = lengths.pop() if lengths else None
        self._calculator = calculator
        self._device = torch.device(calculator.parameters["device"])
        self._dtype = torch.float64  # of geometry and energies, whatever the network has
        self._compute_forces = self._compute_stress = True

    def forward(self, state: SimState | dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Evaluate all systems of a state.

        Raises
        ------
        ValueError   another number of systems than charges or multiplicities; what the calculator
                     refuses
        """
        if isinstance(state, dict):
            state = SimState(**{"masses": torch.ones_like(state["positions"][:, 0])} | state)
        systems = self._systems(state)
        evaluations = self._calculator.evaluate_many(systems)
        results = {
            "energy": np.array([evaluation.energy for evaluation in evaluations]),
            "forces": np.concatenate([evaluation.forces for evaluation in evaluations]),
        }
        if state.pbc:
            results["stress"] = np.stack([evaluation.stress for evaluation in evaluations])
        return {
            name: torch.as_tensor(value, dtype=state.dtype, device=state.device)
            for name, value in results.items()
        }

    def _systems(self, state: SimState) -> list[Atoms]:
        """Take a state apart; rows of a cell are lattice vectors here, columns there."""
        numbers, positions, cells = (
            tensor.detach().cpu().numpy()
            for tensor in (state.atomic_numbers, state.positions, state.row_vector_cell)
        )
        if self._n_systems not in (None, len(cells)):
            raise ValueError(
                f"`state` must hold {self._n_systems} systems, as charges and multiplicities are"
                f" for; got {len(cells)}. Give a model to each part of a state."
            )
        ends = np.cumsum(state.system_idx.bincount().cpu().numpy())
        return [
            Atoms(
                numbers=numbers[end - n : end],
                positions=positions[end - n : end],
                cell=cells[i],
                pbc=bool(state.pbc),
                info={name: values[i] for name, values in self._states.items()},
            )
            for i, (n, end) in enumerate(zip(np.diff(ends, prepend=0), ends, strict=True))
        ]
