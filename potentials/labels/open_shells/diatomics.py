"""organic-open-shells: every two atoms in their lowest states, from pressed together to apart.

The most important ones come first: two of one element and hydrides of H, C, N, O, F, S, Cl, then
their other pairs, then ions, then all with P, Br, I.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers

from potentials.labels.gfn2 import gfn2
from potentials.labels.method import Failed, Integers
from potentials.labels.open_shells.curves import curve
from potentials.structure.graph import State

FACTORS = (0.75, 0.85, 0.93, 1, 1.08, 1.18, 1.3, 1.45, 1.65, 1.9, 2.2, 2.6, 3.1, 3.8, 4.8, 6)
FURTHEST, FURTHEST_ION = 4.45, 1.9  # Å, where the models end; of the length at the minimum
MOST_FORCE = 40.0  # eV/Å
COMMON, RARE = ("H", "C", "N", "O", "F", "S", "Cl"), ("P", "Br", "I")
TRIPLETS = frozenset(  # lowest
    ("HN", "OO", "OS", "SS", "NF", "NCl", "HP", "FP", "ClP", "NBr", "NI", "PBr", "PI")
)
NAME = "diatomics"


class Diatomic(NamedTuple):
    """A job: two atoms in one state at all distances."""

    symbols: tuple[str, str]
    state: State

    @property
    def key(self) -> str:
        """Name the job, the same in every run and every list."""
        return f"{NAME}-{''.join(self.symbols)}{self.state[0]:+d}{self.state[1]}"

    @property
    def number(self) -> int:
        """Number the two atoms, the same in every run and every list."""
        return int(sha256("-".join(self.symbols).encode()).hexdigest()[:8], 16)

    @property
    def order(self) -> tuple[int, int, int]:
        """Place the job among all."""
        a, b = self.symbols
        rare = sum(s in RARE for s in self.symbols)
        first = a == b or "H" in self.symbols
        charge, multiplicity = self.state
        lowest = 3 if a + b in TRIPLETS else 1
        later = multiplicity % 2 == 1 and multiplicity != lowest
        size = int(atomic_numbers[a] + atomic_numbers[b])
        return 2 * rare + 4 * bool(charge) + later, not first, size


def diatomics() -> list[Diatomic]:
    """List every pair in each state that is looked at, the most important first."""
    found = [
        Diatomic((a, b), state)
        for a, b in combinations_with_replacement(COMMON + RARE, 2)
        for state in _states(a, b)
    ]
    return sorted(found, key=lambda d: d.order)


def compute(job: Diatomic) -> dict[str, Any]:
    """Label a curve.

    Raises
    ------
    Failed   the state is there at no distance
    """
    numbers = np.array([atomic_numbers[s] for s in job.symbols])
    length = _length(numbers)
    furthest = min(FURTHEST, FURTHEST_ION * length * 1.001) if job.state[0] else FURTHEST
    distances = [float(np.float32(f * length)) for f in FACTORS if f * length <= furthest]
    labels = curve(numbers, distances, length, *job.state)
    kept = {r: x for r, x in labels.items() if np.abs(x.forces).max() < MOST_FORCE}
    every = list(kept.values())
    return {
        "atomic_numbers": numbers,
        "positions": np.array([[[0, 0, -r / 2], [0, 0, r / 2]] for r in kept]).astype(np.float32),
        "total_charge": np.full(len(kept), job.state[0]),
        "multiplicity": np.full(len(kept), job.state[1]),
        "energy": np.array([x.energy for x in every]),
        "forces": np.array([x.forces for x in every]),
        "charges": np.array([x.charges for x in every]),
        "magmoms": np.array([x.magmoms for x in every]),
        "dipole": np.array([x.dipole for x in every]),
        "spin_squared": np.array([x.spin_squared for x in every]),
    }


def _states(a: str, b: str) -> tuple[State, ...]:
    if (atomic_numbers[a] + atomic_numbers[b]) % 2:
        return ((0, 2), (1, 1), (-1, 1), (1, 3), (-1, 3))
    return ((0, 1), (0, 3), (1, 2), (-1, 2))


def _length(numbers: Integers) -> float:
    """Find the bond length in Å of the neutral pair with GFN2-xTB, in its lower state."""
    states = [(0, m) for m in ((2,) if int(numbers.sum()) % 2 else (1, 3))]
    trial = np.geomspace(0.6, 3.2, 60)
    energies = [min(_gfn2_energy(numbers, r, state) for state in states) for r in trial]
    return float(trial[int(np.argmin(energies))])


def _gfn2_energy(numbers: Integers, distance: float, state: State) -> float:
    """Compute an energy in eV; infinite where the field does not converge."""
    try:
        return gfn2(numbers, np.array([[0, 0, 0], [0, 0, distance]]), *state).energy
    except Failed:
        return np.inf
