"""Where two potential energy surfaces cross at the lowest energy: the gate of a change of spin.

On the seam E₁ = E₂ the search goes downhill along it, off the seam straight to it: with x = ∇E₁ -
∇E₂ it follows ``(1 - x xᵀ/|x|²) ∇E`` and ``(E₁ - E₂) x / |x|²``. The projected ∇E₁ and ∇E₂ are the
same vector.

Source: M. J. Bearpark, M. A. Robb, H. B. Schlegel, Chem. Phys. Lett. 223, 269 (1994), eqs 4-6.
Differs: the part across the seam is divided by |x| once more, which makes its first step the one of
Newton's method whatever the slope.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.build import minimize_rotation_and_translation

from md_runs.readable import readable
from md_runs.surfaces.lockstep import Floats, Place, largest, search

STIFFNESS = 70.0  # eV/Å^2, the curvature that ASE's BFGS begins with
GAP_EV = 1e-3  # on the seam when nearer than this
FLATTEST = 1e-2  # eV/Å; where the surfaces are more parallel than this they show no way to the seam
PLACES = 11  # along the way from one minimum to the other, to begin with


class Surfaces(NamedTuple):
    """Two surfaces at one geometry."""

    energies: Floats  # (2,) eV
    forces: Floats  # (2, N, 3) eV/Å

    @property
    def gap(self) -> float:
        """E₁ - E₂ in eV."""
        return float(self.energies[0] - self.energies[1])


Pair = Callable[[Sequence[Atoms]], Sequence[Surfaces]]


@readable
class Crossing(NamedTuple):
    """Where a search ended."""

    atoms: Atoms
    energies: Floats  # (2,) eV
    converged: bool

    def summary(self) -> dict[str, str]:
        """Say where two states meet, if they do."""
        return {
            "formula": self.atoms.get_chemical_formula(),
            "energy": f"{float(self.energies.mean()):.4f} eV",
            "apart": f"{abs(float(self.energies[1] - self.energies[0])):.4f} eV",
            "search": "converged" if self.converged else "not converged",
        }


def find_crossings(
    minima: Sequence[tuple[Atoms, Atoms]], surfaces: Pair, fmax_eV_per_A: float, steps: int
) -> list[Crossing]:
    """Find the lowest crossing of each molecule, starting between the minima of its two surfaces.

    Parameters
    ----------
    minima : list of pairs   minimum of each surface
    surfaces : Callable      evaluates both surfaces at many geometries at once
    fmax_eV_per_A : float    converged when the force along the seam is below this
    steps : int              at most
    """
    frames = [_start(a, b, surfaces) for a, b in minima]

    def evaluate(active: Sequence[Atoms]) -> list[Place]:
        return [_place(found, fmax_eV_per_A) for found in surfaces(active)]

    converged = search(frames, evaluate, steps)
    found = surfaces(frames)
    return [
        Crossing(atoms, at.energies, done)
        for atoms, at, done in zip(frames, found, converged, strict=True)
    ]


def split(found: Surfaces) -> tuple[Floats, Floats]:
    """Return the force along the seam and the displacement that leads to it.

    (N, 3) eV/Å, (N, 3) Å.
    """
    slope = found.forces[1] - found.forces[0]  # ∇E₁ - ∇E₂
    squared = max(float((slope**2).sum()), FLATTEST**2)
    force = found.forces.mean(0)
    return force - (force * slope).sum() / squared * slope, -found.gap / squared * slope


def _place(found: Surfaces, fmax_eV_per_A: float) -> Place:
    along, across = split(found)
    done = largest(along) <= fmax_eV_per_A and abs(found.gap) <= GAP_EV
    return Place(float(found.energies.mean()), along + STIFFNESS * across, done)


def _start(a: Atoms, b: Atoms, surfaces: Pair) -> Atoms:
    """Pick the geometry of the smallest gap on the straight way from one minimum to the other."""
    other = b.copy()
    minimize_rotation_and_translation(a, other)
    way: list[Atoms] = []
    for part in np.linspace(0, 1, PLACES):
        atoms = a.copy()
        atoms.positions = (1 - part) * a.positions + part * other.positions
        way.append(atoms)
    gaps = [abs(found.gap) for found in surfaces(way)]
    return way[int(np.argmin(gaps))]
