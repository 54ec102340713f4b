"""What a method of electronic structure returns for one structure, and how it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Label(NamedTuple):
    """Energy, forces and charges of one structure in one state.

    The rest where the method tells it.
    """

    energy: float  # eV
    forces: Floats  # (N, 3) eV/Å
    charges: Floats  # (N,) e, of the method's own population analysis
    dipole: Floats | None = None  # (3,) e Å, about the origin of the coordinates
    spin_squared: float | None = None  # <S²>
    magmoms: Floats | None = None  # (N,) μB, unpaired electrons


# atomic numbers (N,), positions (N, 3) Å, charge e, multiplicity 2S + 1
Method = Callable[[Integers, Floats, int, int], Label]


class Failed(Exception):
    """The method has no answer for this structure; the message is one line."""
