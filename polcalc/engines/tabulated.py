"""The tabulated engine: eager, with every radial filter read from a table."""

from __future__ import annotations

import torch

from polcalc.engines.base import Unavailable
from polcalc.engines.eager import Eager
from polcalc.engines.tables import tabulated
from potentials.potential import Potential


class Tabulated(Eager):
    """`predict` with every radial filter read from a table.

    Float32 alone, for float64 a table takes hundreds of megabytes.
    """

    def __init__(self, potential: Potential, device: torch.device, skin: float = 0.5) -> None:
        if potential.dtype != torch.float32:
            raise Unavailable("tables are for float32")
        try:
            table, self.error = tabulated(potential)
        except ValueError as error:
            raise Unavailable("the potential owns no radial filters") from error
        super().__init__(table, device, skin)
