"""TensorNet on the CPU: energy, forces and virial of one structure per call.

Arguments are checked: `ValueError` and `TypeError` name what does not fit.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

instruction_set: str  # the best that this processor has
interface: int  # of the sources that it was built of

Floats = NDArray[np.float64]
# energy, energies, forces, virial, charges, shells, electrons, what is shared out, dipoles,
# roots of polarizabilities, hidden layer
Answer = tuple[
    float, Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats
]  # in the order of `engine.Answer`

def coulomb(
    *,
    species: NDArray[np.int64],  # (N,) rows of the widths
    positions: NDArray[np.floating[Any]],  # (N, 3) Å
    lattice: NDArray[np.floating[Any]] | None,  # (3, 3) Å
    charges: NDArray[np.floating[Any]],  # (N,) e
    widths: NDArray[np.floating[Any]],  # Å
    shells: NDArray[np.floating[Any]] | None = None,  # (N, 3) Å
    electrons: NDArray[np.floating[Any]] | None = None,  # (N,)
    instruction_set: str = "",
) -> dict[str, NDArray[np.float64]]:
    """Return energies (N,) eV and gradients of their sum by the name of what is given."""

def dispersion(
    *,
    species: NDArray[np.int64],  # (N,) rows of the tables
    positions: NDArray[np.floating[Any]],  # (N, 3) Å
    lattice: NDArray[np.floating[Any]] | None,  # (3, 3) Å, zero where open
    tables: Mapping[str, NDArray[np.floating[Any]]],
    instruction_set: str = "",
) -> dict[str, NDArray[np.float64]]:
    """Return energies (N,) eV and gradients of their sum."""

def array_sizes(settings: Mapping[str, object]) -> dict[str, int]: ...

class Structure:
    """What is evaluated; it keeps the arrays, which must not change while it is used."""

    def __init__(
        self,
        *,
        species: NDArray[np.int64],  # (N,) rows in the tables of elements
        kinds: NDArray[np.int64],  # (N,) rows in the species table of the network
        positions: NDArray[np.floating[Any]],  # (N, 3) Å
        idx_i: NDArray[np.int64],  # (P,)
        idx_j: NDArray[np.int64],  # (P,)
        shifts: NDArray[np.floating[Any]] | None = None,  # (P, 3) Å
        factors: NDArray[np.floating[Any]],  # (L, N or 1, C or 1)
        molecules: NDArray[np.int64] | None = None,  # (N,) whose atoms attend to each other
        shared_out: NDArray[np.floating[Any]] | None = None,  # by each of them
        systems: NDArray[np.int64] | None = None,  # (N,) ascending; what is far acts within one
        lattices: NDArray[np.floating[Any]] | None = None,  # (systems, 3, 3) Å, zero where open
        parts: NDArray[np.int64] | None = None,  # (N,) over which charges add up
        part_charges: NDArray[np.floating[Any]] | None = None,  # to these, e
        part_unpaired: NDArray[np.floating[Any]] | None = None,  # and unpaired electrons to these
        fields: NDArray[np.floating[Any]] | None = None,  # (systems, 3) V/Å, of open ones
    ) -> None: ...

class Engine:
    def __init__(
        self,
        settings: Mapping[str, object],
        arrays: Mapping[str, NDArray[np.float64]],
        double_precision: bool,
        n_threads: int,
        instruction_set: str = "",
    ) -> None: ...
    def evaluate(self, structure: Structure, gradients: bool) -> Answer: ...
    def set_species(self, table: NDArray[np.floating[Any]]) -> None: ...
    def set_arrays(self, arrays: Mapping[str, NDArray[np.floating[Any]]]) -> None: ...
    def clear_gradients(self, factor_rows: int) -> None: ...
    def add_gradients(
        self,
        structure: Structure,
        seeds: NDArray[np.floating[Any]],  # (N,) of the energies, one of each structure
        others: Mapping[str, NDArray[np.floating[Any]]] = {},  # charges, shells, shell_charges,
        # shared, dipoles, roots: of an answer
    ) -> None: ...
    def evaluate_and_add(
        self, structure: Structure, seeds: NDArray[np.floating[Any]]
    ) -> Answer: ...
    def gradients(self) -> dict[str, NDArray[np.floating[Any]]]: ...
    @property
    def bytes(self) -> int: ...
