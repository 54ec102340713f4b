"""TensorNet on the CPU: energy, forces and virial of one structure per call."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

instruction_set: str  # the best that this processor has

class Engine:
    def __init__(
        self,
        settings: Mapping[str, object],
        arrays: Mapping[str, NDArray[np.float64]],
        double_precision: bool,
        n_threads: int,
        instruction_set: str = "",
    ) -> None: ...
    def evaluate(
        self,
        species: NDArray[np.int64],
        kinds: NDArray[np.int64],
        positions: NDArray[np.float64],
        idx_i: NDArray[np.int64],
        idx_j: NDArray[np.int64],
        shifts: NDArray[np.float64] | None,
        factors: NDArray[np.float64],
        molecules: tuple[NDArray[np.int64], NDArray[np.float64]] | None,
        gradients: bool,
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
    def set_species(self, table: NDArray[np.float64]) -> None: ...
    def set_arrays(self, arrays: Mapping[str, NDArray[np.floating[Any]]]) -> None: ...
    def clear_gradients(self, factor_rows: int) -> None: ...
    def add_gradients(
        self,
        species: NDArray[np.int64],
        kinds: NDArray[np.int64],
        positions: NDArray[np.float64],
        idx_i: NDArray[np.int64],
        idx_j: NDArray[np.int64],
        shifts: NDArray[np.float64] | None,
        factors: NDArray[np.floating[Any]],
        molecules: tuple[NDArray[np.int64], NDArray[np.float64]] | None,
        seeds: NDArray[np.float64],
    ) -> None: ...
    def evaluate_and_add(
        self,
        species: NDArray[np.int64],
        kinds: NDArray[np.int64],
        positions: NDArray[np.float64],
        idx_i: NDArray[np.int64],
        idx_j: NDArray[np.int64],
        shifts: NDArray[np.float64] | None,
        factors: NDArray[np.floating[Any]],
        molecules: tuple[NDArray[np.int64], NDArray[np.float64]] | None,
        seeds: NDArray[np.float64],
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
    def gradients(self) -> dict[str, NDArray[np.floating[Any]]]: ...
    @property
    def bytes(self) -> int: ...
