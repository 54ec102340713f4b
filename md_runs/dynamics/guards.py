"""Live checks of a run: what is wrong, where, and the frames that led there.

At every step: energy and forces finite, no force beyond what the model knows. Every `EVERY` steps:
temperature, conserved energy, volume, closest distance per pair of elements against the model's
card, bonds broken or formed against the start. The numbers looked at are those of the step just
done, which the calculator holds; nothing is evaluated again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers as NUMBER_OF
from ase.data import chemical_symbols, covalent_radii

from md_runs.dynamics.momenta import kinetic_temperature
from polcalc.engines.neighbors import NeighborList
from potentials.card import Card

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# steps between the dearer checks: at most 12 fs at the usual steps, no bond breaks and heals in
# that
EVERY = 25
# of the largest force of the training data; where that is not known
FORCE_FACTOR, FORCE_EV_PER_A = 3.0, 100.0
# The temperature may reach 3 + 10 standard deviations of its canonical distribution, times its
# target.
HOT, SPREAD = 3.0, 10.0
# of the volume at the start, and its inverse: a solid or a liquid has come apart, or collapsed
VOLUME = 2.0
DRIFT_MEV_PER_ATOM = (
    100.0  # of the conserved energy from the start: four times kT at room temperature
)
CLOSE = 0.8  # of the closest distance of the training data
# of the sum of covalent radii: bonded at the start; a bond no more; a new bond
BOND, BROKEN, FORMED = 1.25, 1.6, 1.1


UNHELD = (
    "Nothing holds it together at this pressure and temperature: a model without attraction at long"
    " range evaporates a liquid, and no time step helps. Take --ensemble nvt at a known density, or"
    " another model."
)
USUAL = "A shorter time step or a relaxed start (--relax-first) may help."
RELAXED = (
    "A shorter time step may help, or the model does not know such structures: polcalc doctor."
)
UNSURE = (
    "The model does not know such structures: label the last frames and fine-tune it (polcalc"
    " finetune), or take another."
)
CRUSHED = (
    "The pressure is more than it withstands, or it began far too thin. Start nearer to its density"
    " (polcalc relax --cell), or at --ensemble nvt."
)


@dataclass(frozen=True)
class Alarm:
    """What is wrong, with which atoms, and what may help."""

    step: int
    what: str
    atoms: tuple[int, ...]
    advice: str = ""  # empty: `USUAL`, or `RELAXED` where the run began with a relaxation

    def __str__(self) -> str:
        """One line for people."""
        return f"step {self.step}: {self.what}"


class Alarmed(Exception):
    """A guard saw something; ends the loop of ASE."""

    def __init__(self, alarm: Alarm) -> None:
        super().__init__(str(alarm))
        self.alarm = alarm


class Limits(NamedTuple):
    """What a run must stay below."""

    force_eV_per_A: float
    temperature_K: float
    drift_meV_per_atom: float


class Frame(NamedTuple):
    """A step as it was, in arrays that nobody writes to any more."""

    step: int
    positions: Floats
    momenta: Floats
    cell: Floats
    energy: float
    forces: Floats


class Guards:
    """Watch a run.

    Parameters
    ----------
    atoms : Atoms              with a calculator whose ``results`` are those of its last call
    degrees_of_freedom : int
    temperature_K : float      that the run is meant to have
    card : Card or None        of the model
    n_frames : int             how many of the last steps are kept
    bonds : bool               whether a bond broken or formed is an alarm
    max_uncertainty_eV_per_A : float or None   of a force of a calibrated model; None: any
    """

    def __init__(
        self,
        atoms: Atoms,
        degrees_of_freedom: int,
        temperature_K: float,
        card: Card | None,
        n_frames: int,
        bonds: bool,
        max_uncertainty_eV_per_A: float | None = None,
    ) -> None:
        self._max_uncertainty = max_uncertainty_eV_per_A
        self.atoms, self.degrees_of_freedom = atoms, degrees_of_freedom
        known = (card.force_max_eV_per_A if card else None) or 0.0
        hot = temperature_K * (HOT + SPREAD * (2 / degrees_of_freedom) ** 0.5)
        self._set_limits(Limits(FORCE_FACTOR * known or FORCE_EV_PER_A, hot, DRIFT_MEV_PER_ATOM))
        self.frames: deque[tuple[int, Floats, Floats, Floats, float, Floats]] = deque(
            maxlen=n_frames
        )  # as `Frame`, made later
        self._arrays, self._calc = atoms.arrays, atoms.calc
        self._radii = covalent_radii[atoms.numbers]
        self._table = _closest_distances(card)
        # a bond that is not listed is broken
        far = max(2 * BROKEN * float(self._radii.max()), float(self._table.max())) + 1e-3
        self._neighbors = NeighborList(far, skin=1.0)
        self._bounds: tuple[Floats, Floats] | None = None
        self._pairs: tuple[Indices, Indices, Floats] = (
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros((0, 3)),
        )
        self._periodic = bool(atoms.pbc.any())
        self._conserved: float | None = None
        self._cell = atoms.cell.array.copy()
        self._volume = self._volume_now()
        self._bonds = self._find_bonds() if bonds else None

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What the run is compared with, for a checkpoint."""
        found: dict[str, npt.NDArray[Any]] = {
            "limits": np.array(self.limits),
            "volume": np.array(self._volume),
        }
        if self._conserved is not None:
            found["conserved"] = np.array(self._conserved)
        return (
            found if self._bonds is None else found | {"bonds": np.concatenate(self._bonds, axis=1)}
        )

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Compare with the start of the run, not with the restart."""
        self._set_limits(Limits(*state["limits"].tolist()))
        self._volume = float(state["volume"])
        if "conserved" in state:
            self._conserved = float(state["conserved"])
        self.restore_bonds(state)

    def restore_bonds(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Compare bonds with those of an earlier phase of the run; the rest starts anew."""
        if "bonds" in state:
            self._bonds = state["bonds"][:, :2].astype(np.int64), state["bonds"][:, 2:]

    def look(self, step: int) -> None:
        """Check what costs nothing, and keep the frame; called after every step.

        Raises
        ------
        Alarmed
        """
        results, arrays = self._calc.results, self._arrays
        forces, energy = results["forces"], results["energy"]
        cell = self.atoms.cell.array.copy() if self._periodic else self._cell
        self.frames.append(
            (step, arrays["positions"].copy(), arrays["momenta"].copy(), cell, energy, forces)
        )
        # while the squares of all together are below the limit, each is; NaN makes the comparison
        # false
        if not (np.vdot(forces, forces) <= self._force_limit2 and -inf < energy < inf):
            self._look_at_each(step, energy, forces)

    def inspect(self, step: int, conserved: float) -> None:
        """Check the rest, from time to time.

        Raises
        ------
        Alarmed
        """
        atoms = self.atoms
        self._conserved = conserved if self._conserved is None else self._conserved
        temperature = kinetic_temperature(atoms.get_kinetic_energy(), self.degrees_of_freedom)
        if not temperature <= self.limits.temperature_K:
            energies = (atoms.get_momenta() ** 2).sum(1) / atoms.get_masses()
            self._raise(
                step,
                f"the temperature is {temperature:.0f} K; the limit is"
                f" {self.limits.temperature_K:.0f} K.",
                [energies.argmax()],
            )
        drift = 1000 * (conserved - self._conserved) / len(atoms)
        if not abs(drift) <= self.limits.drift_meV_per_atom:
            limit = self.limits.drift_meV_per_atom
            self._raise(
                step,
                f"the conserved energy moved by {drift:+.0f} meV/atom since the start; the limit is"
                f" {limit:.0f} meV/atom.",
                [],
            )
        ratio = self._volume_now() / self._volume
        if not 1 / VOLUME <= ratio <= VOLUME:
            self._raise(
                step,
                f"the volume is {ratio:.2f} times that of the start; the limit is a factor of"
                f" {VOLUME:g}.",
                [],
                UNHELD if ratio > 1 else CRUSHED,
            )
        self._check_distances(step)
        if self._max_uncertainty is not None:
            self._check_certainty(step, self._max_uncertainty)

    def last_frames(self, alarm: Alarm) -> list[Atoms]:
        """Return the frames before an alarm, the offending atoms marked."""
        offending = np.isin(np.arange(len(self.atoms)), alarm.atoms)
        frames = []
        for frame in map(Frame._make, self.frames):
            atoms: Atoms = self.atoms.copy()
            atoms.set_constraint()
            atoms.arrays["positions"], atoms.arrays["momenta"], atoms.cell[:] = (
                frame.positions,
                frame.momenta,
                frame.cell,
            )
            atoms.set_array("offending", offending)
            atoms.info |= {"step": frame.step, "alarm": str(alarm)}
            atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.forces)
            frames.append(atoms)
        return frames

    def _check_certainty(self, step: int, limit: float) -> None:
        uncertain = self._calc.uncertainty.forces_eV_per_A
        if not uncertain.max() <= limit:
            atom = int(uncertain.argmax())
            self._raise(
                step,
                f"the force on {self._name(atom)} is uncertain by {uncertain[atom]:.2f} eV/Å; the"
                f" limit is {limit:g} eV/Å.",
                [atom],
                UNSURE,
            )

    def _set_limits(self, limits: Limits) -> None:
        self.limits, self._force_limit2 = limits, limits.force_eV_per_A**2

    def _look_at_each(self, step: int, energy: float, forces: Floats) -> None:
        if 3 * max(forces.max(), -forces.min()) ** 2 <= self._force_limit2 and -inf < energy < inf:
            return
        if not np.isfinite(energy) or not np.isfinite(forces).all():
            bad = np.nonzero(~np.isfinite(forces).all(1))[0]
            self._raise(step, f"the {'forces are' if len(bad) else 'energy is'} not finite.", bad)
        sizes = np.linalg.norm(forces, axis=1)
        atom = int(sizes.argmax())
        limit = self.limits.force_eV_per_A
        if sizes[atom] > limit:
            self._raise(
                step,
                f"the force on {self._name(atom)} is {sizes[atom]:.1f} eV/Å; the limit is"
                f" {limit:.1f} eV/Å.",
                [atom],
            )

    def _check_distances(self, step: int) -> None:
        """Look for atoms too close, for new bonds, and for bonds that are no more."""
        fresh = self._update_pairs()
        if fresh or self._bounds is None:
            self._bounds = self._bounds_of(*self._pairs)
        shortest, longest = self._bounds
        square = self._squares(*self._pairs)
        if not ((square >= shortest) & (square <= longest)).all():
            self._complain_of_distances(step)

    def _complain_of_distances(self, step: int) -> None:
        """Name the pair that is furthest beyond its bounds."""
        assert self._bounds is not None
        i, j, _ = self._pairs
        length, shortest = np.sqrt(self._squares(*self._pairs)), np.sqrt(self._bounds[0])
        if (close := length < shortest).any():
            pair = int(np.where(close, length - shortest, np.inf).argmin())
            a, b, distance = int(i[pair]), int(j[pair]), float(length[pair])
            what = "too close" if distance < self._closest(i, j)[pair] else "newly bonded"
            self._raise(
                step,
                f"{self._name(a)} and {self._name(b)} are {what}: {distance:.2f} Å apart.",
                [a, b],
            )
        if self._bonds is None:
            return
        pairs, shift = self._bonds
        length = np.sqrt(self._squares(pairs[:, 0], pairs[:, 1], shift))
        ratio = length / self._sums(pairs[:, 0], pairs[:, 1])
        if (ratio > BROKEN).any():
            worst = int(ratio.argmax())
            a, b = (int(n) for n in pairs[worst])
            self._raise(
                step,
                f"the bond between {self._name(a)} and {self._name(b)} broke: {length[worst]:.2f} Å"
                " apart.",
                [a, b],
            )

    def _bounds_of(self, i: Indices, j: Indices, shift: Floats) -> tuple[Floats, Floats]:
        """Squared distances between which each pair is no alarm: (P,), (P,) Å^2."""
        closest = self._closest(i, j)
        if self._bonds is None:
            return closest**2, np.full_like(closest, np.inf)
        pairs, at = self._bonds
        known = {*_keys(pairs[:, 0], pairs[:, 1], at), *_keys(pairs[:, 1], pairs[:, 0], -at)}
        bonded = np.array([key in known for key in _keys(i, j, shift)], dtype=np.bool_)
        sums = self._sums(i, j)
        shortest = np.where(bonded, closest, np.maximum(closest, FORMED * sums))
        longest = np.where(bonded, BROKEN * sums, np.inf)
        if bonded.sum() < len(pairs):  # the others are too long to be listed: have them named
            longest[:] = 0.0
        return shortest**2, longest**2

    def _find_bonds(self) -> tuple[Indices, Floats]:
        """List the bonds at the start: atoms (B, 2) and lattice shifts (B, 3)."""
        self._update_pairs()
        i, j, shift = self._pairs
        bonded = np.sqrt(self._squares(i, j, shift)) < BOND * self._sums(i, j)
        return np.stack([i, j], axis=1)[bonded], shift[bonded]

    def _update_pairs(self) -> bool:
        """List the pairs again if they have to be; say whether they were."""
        atoms = self.atoms
        fresh = self._neighbors.update(atoms.arrays["positions"], atoms.cell.array, atoms.pbc)
        if fresh:
            i, j, shift = (x.numpy() for x in self._neighbors.pairs)
            self._pairs = i, j, shift
        return fresh

    def _squares(self, i: Indices, j: Indices, shift: Floats) -> Floats:
        """Squared distances (P,) in Å^2."""
        positions = self.atoms.arrays["positions"]
        vectors = positions.take(j, 0) - positions.take(i, 0)
        if self._periodic:
            vectors += shift @ self.atoms.cell.array
        return np.asarray(np.einsum("pk,pk->p", vectors, vectors))

    def _sums(self, i: Indices, j: Indices) -> Floats:
        """Sums of covalent radii in Å."""
        return np.asarray(self._radii[i] + self._radii[j])

    def _closest(self, i: Indices, j: Indices) -> Floats:
        """Distances in Å below which pairs are too close."""
        return np.asarray(self._table[self.atoms.numbers[i], self.atoms.numbers[j]])

    def _volume_now(self) -> float:
        """Volume in Å^3; 1 where there is none."""
        return abs(float(np.linalg.det(self.atoms.cell.array))) or 1.0 if self._periodic else 1.0

    def _name(self, atom: int) -> str:
        return f"{self.atoms.symbols[atom]}{atom}"

    def _raise(
        self,
        step: int,
        what: str,
        atoms: Sequence[Any] | npt.NDArray[Any],
        advice: str = Alarm.advice,
    ) -> None:
        raise Alarmed(Alarm(step, what, tuple(int(atom) for atom in atoms), advice))


def _closest_distances(card: Card | None) -> Floats:
    """Tabulate the distance below which a pair of elements is too close: (Z, Z) Å."""
    table = np.zeros((len(chemical_symbols), len(chemical_symbols)))
    for names, distance in (card.closest_distances_A if card else {}).items():
        a, b = (NUMBER_OF[symbol] for symbol in names.split("-"))
        table[a, b] = table[b, a] = CLOSE * distance
    return table


def _keys(i: Indices, j: Indices, shift: Floats) -> list[tuple[int, ...]]:
    return [tuple(row) for row in np.column_stack([i, j, np.rint(shift)]).astype(np.int64).tolist()]
