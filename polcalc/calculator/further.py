"""What a model says beyond the properties that ASE knows: attributes of the calculator."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from polcalc.calculator.sharing import Shareable, in_turn
from polcalc.calculator.uncertainty import ErrorBars
from potentials.checkpoint import Model
from potentials.quantities import Evaluation, named


class Further(Shareable):
    """A calculator's answers of its last calculation, where ASE has no place for them."""

    model: Model
    _evaluation: Evaluation  # of the last calculation; empty before the first

    @property
    def atoms(self) -> Atoms | None:
        """The structure of the last calculation."""
        raise NotImplementedError

    @property
    @in_turn
    def quantities(self) -> dict[str, Any]:
        """What the model said in the last calculation, by the names of `QUANTITIES`; copies."""
        return {name: np.copy(value)[()] for name, value in named(self._evaluation).items()}

    @in_turn
    def _said_last(self) -> dict[str, str]:
        """Tell the last calculation in a few words; nothing before the first."""
        if self._evaluation.energy is None:
            return {}
        largest = np.linalg.norm(self._evaluation.forces, axis=1).max()
        return {
            "energy": f"{self._evaluation.energy:.6f} eV",
            "largest force": f"{largest:.4f} eV/Å",
        }

    @property
    @in_turn
    def uncertainty(self) -> ErrorBars:
        """What 68 % of errors lie within: of the energy in eV, of force components in eV/Å (N,).

        Errors against the method of the training data, of new molecules of its kind.
        """
        energy, forces = self._evaluation.energy_uncertainty, self._evaluation.forces_uncertainty
        if energy is None:
            raise PropertyNotImplementedError(
                "the uncertainty is known after a calculation with a calibrated model; polcalc"
                " calibrate makes one of any that polcalc train made"
            )
        return ErrorBars(float(energy), forces.copy())

    def _after(self, *names: str) -> str:
        """Say what has to come before a quantity is known: a calculation, or another model."""
        predicts = self.model.potential.predicts
        if not set(names) & set(predicts):
            return f"of a model that predicts it; this one predicts {', '.join(predicts)}"
        return "after a calculation"

    @property
    @in_turn
    def polarizability(self) -> Any:
        """Change of the dipole with the electric field in e Å^2/V, (3, 3)."""
        if self._evaluation.polarizability is None:
            raise PropertyNotImplementedError(
                f"polarizability is known {self._after('polarizability')}"
            )
        return self._evaluation.polarizability.copy()

    @property
    @in_turn
    def polarization_vectors(self) -> Any:
        """Displacement of the moving points from their nuclei in Å, (N, 3).

        Of shells of electrons where the model has them.
        """
        said = self._evaluation
        vectors = said.polarization if said.shells is None else said.shells
        if vectors is None:
            raise PropertyNotImplementedError(
                f"polarization_vectors are known {self._after('shells', 'polarization')}"
            )
        return vectors.copy()

    @property
    @in_turn
    def virtual_points(self) -> Any:
        """Positions of the moving points in Å, (N, 3)."""
        vectors = self.polarization_vectors
        assert self.atoms is not None
        return self.atoms.positions + vectors
