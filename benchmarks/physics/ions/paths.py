"""Ion pairs from contact to 40 Å, and protons that go from acid to base: charges, energies, jumps.

Where forces change over a step of a path more than over the steps beside it, it is halved again and
again: at last only a jump is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.physics.ions.apart import coulomb_eV
from benchmarks.physics.ions.contestants import Contestant, Said
from benchmarks.physics.ions.molecules import donor_of, facing, in_state, joined, molecule

PAIRS = (  # and the element of the anion that a proton points at
    ("[NH4+]", "[Cl-]", "Cl"),
    ("[NH4+]", "CC(=O)[O-]", "O"),
    ("c1c[nH]c[nH+]1", "O=[N+]([O-])[O-]", "O"),
    ("[OH3+]", "[OH-]", "O"),
)
HANDOVERS = (  # a cation or an acid, what takes its proton, and how far they are apart
    ("[NH4+]", "[Cl-]", "Cl", 3.0),
    ("[NH4+]", "CC(=O)[O-]", "O", 2.8),
    ("[OH3+]", "[OH-]", "O", 2.6),
    ("[OH3+]", "N", "N", 2.7),
    ("CC(=O)O", "CC(=O)[O-]", "O", 2.6),
    ("c1c[nH]c[nH+]1", "c1c[nH]cn1", "N", 2.8),
)
FREE_A = 5.0  # no message goes between ions from here on
COULOMB_FROM_A = 8.0  # energies are judged from here on
STEPS_A = np.concatenate([np.arange(1.6, 12.0, 0.05), np.arange(12.0, 40.1, 0.5)])
BOND_A = 1.0  # at either end of the way of a proton
N_STEPS = 60  # of that way
AXIS = np.array([1.0, 0.0, 0.0])  # that molecules face each other along
N_SUSPECTS, HALVINGS = 40, 20  # steps that are halved, and how often
Place = Callable[[float], Atoms]


def measure_pairs(contestant: Contestant) -> list[dict[str, Any]]:
    """Follow each ion pair from contact to 40 Å between proton and anion."""
    return [_pair(contestant, *pair) for pair in PAIRS]


def measure_handovers(contestant: Contestant) -> list[dict[str, Any]]:
    """Move each proton on a straight line between two heavy atoms that stay."""
    return [_handover(contestant, *pair) for pair in HANDOVERS]


def _pair(contestant: Contestant, cation: str, anion: str, symbol: str) -> dict[str, Any]:
    one, two = molecule(cation), molecule(anion)

    def parts(distance_A: float) -> tuple[Atoms, Atoms]:
        return facing(one, two, symbol, distance_A)

    said = contestant.ask([joined(parts(d)) for d in STEPS_A])
    alone = contestant.ask([one, two])
    energies = np.array([s.energy for s in said]) - sum(each.energy for each in alone)
    expected = np.array([coulomb_eV(parts(d), alone) for d in STEPS_A])
    off = 1000 * np.abs(energies - expected)
    n = len(one)
    return {
        "pair": f"{cation} … {anion}",
        "distance_A": STEPS_A.tolist(),
        "interaction_eV": energies.tolist(),
        "coulomb_eV": expected.tolist(),
        "excess_of_cation": _sums([s.excess for s in said], n),
        "charge_of_cation": _sums([s.charges for s in said], n),
        "off_coulomb_meV": float(off[STEPS_A >= COULOMB_FROM_A].max()),
        "off_coulomb_nearer_meV": float(off[STEPS_A >= FREE_A].max()),
    } | _smoothness(contestant, lambda d: joined(parts(d)), STEPS_A, said)


def _handover(
    contestant: Contestant, acid: str, base: str, symbol: str, heavy_A: float
) -> dict[str, Any]:
    one, two = molecule(acid), molecule(base)
    proton, heavy = donor_of(one)
    bond = one.get_distance(proton, heavy)
    whole = joined(facing(one, two, symbol, heavy_A - bond))
    origin = whole.positions[heavy].copy()

    def place(along_A: float) -> Atoms:
        moved = whole.copy()
        moved.positions[proton] = origin + along_A * AXIS
        return in_state(moved, whole.info["charge"])

    steps = np.linspace(BOND_A, heavy_A - BOND_A, N_STEPS + 1)
    said = contestant.ask([place(x) for x in steps])
    energies = np.array([s.energy for s in said])
    left = [_left(s, whole.info["charge"]) for s in said]
    return {
        "pair": f"{acid} → {base}",
        "heavy_A": heavy_A,
        "along_A": steps.tolist(),
        "energy_eV": (energies - energies.min()).tolist(),
        "left_to_share": left,
    } | _smoothness(contestant, place, steps, said)


def _smoothness(
    contestant: Contestant, place: Place, steps: np.ndarray, said: Sequence[Said]
) -> dict[str, float]:
    """Find the largest jump of a force on a path, and the steepest change of one, eV/Å²."""
    forces = np.array([s.forces for s in said])
    changes = np.abs(np.diff(forces, axis=0)).max((1, 2))
    unlike = changes - 0.5 * (np.roll(changes, 1) + np.roll(changes, -1))
    suspects = np.argsort(unlike)[-N_SUSPECTS:]
    low, high = steps[suspects], steps[suspects + 1]
    at_low, at_high = forces[suspects], forces[suspects + 1]
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        at = np.array([s.forces for s in contestant.ask([place(float(x)) for x in middle])])
        first = np.abs(at - at_low).max((1, 2)) >= np.abs(at_high - at).max((1, 2))
        high, low = np.where(first, middle, high), np.where(first, low, middle)
        at_high = np.where(first[:, None, None], at, at_high)
        at_low = np.where(first[:, None, None], at_low, at)
    jumps = np.abs(at_high - at_low).max((1, 2))
    steepest = int(np.argmax(changes / np.diff(steps)))
    return {
        "jump_meV_per_A": 1000 * float(jumps.max()),
        "over_A": float((high - low).max()),
        "steepest_eV_per_A2": float((changes / np.diff(steps))[steepest]),
        "steepest_at_A": float(steps[steepest]),
    }


def _sums(values: Sequence[np.ndarray | None], n: int) -> list[float | None]:
    return [None if v is None else float(v[:n].sum()) for v in values]


def _left(said: Said, charge: int) -> float | None:
    """Say what formal charges leave of the total charge."""
    return None if said.formal is None else charge - float(said.formal.sum())
