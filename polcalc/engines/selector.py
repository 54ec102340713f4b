"""Who chooses how a potential is evaluated: a table of engines, the fastest first.

An engine is built from a potential and a device and turns a `Structure` into an `Evaluation`. Every
engine, the eager one included, is judged by eager in float64 on the first structure of each family
(elements, periodicity, state), and given up for it, with a reason, if it differs by more than
rounding or cannot serve. What was chosen for a family stays: numbers of one run come from one
engine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from polcalc.engines.base import Engine, Family, Structure, Unavailable
from polcalc.engines.by_expert import ByExpert
from polcalc.engines.cuda_graph import CudaGraph
from polcalc.engines.eager import Eager
from polcalc.engines.native.structures import Native
from polcalc.engines.neighbors import Reference
from polcalc.engines.tabulated import Tabulated
from potentials.card import html_table
from potentials.experts import Experts
from potentials.potential import Potential
from potentials.quantities import Evaluation


class Tolerance(NamedTuple):
    """How far an engine may be from eager in float64.

    Rounding of a network grows with its size and where the energy is steep: in float32 eager itself
    is 0.1 to 0.3 meV/Å off for hot aspirin. A wrong engine is off by far more.
    """

    energy_eV_per_atom: float
    force_eV_per_A: float
    of_largest_force: float


TOLERANCES = {
    torch.float32: Tolerance(5e-5, 1e-3, 1e-4),
    torch.float64: Tolerance(1e-6, 1e-5, 1e-6),
}
COMPARED_ATOMS = 1000  # a larger structure is compared on a piece of it

# the fastest first, `eager` last
ENGINES: dict[str, Callable[[Potential, torch.device], Engine]] = {
    "cuda-graph": CudaGraph,
    "native": Native,
    "tabulated": Tabulated,
    "eager": Eager,
}
# types of devices; elsewhere they are not tried, unless asked for by name
ONLY_ON = {"cuda-graph": "cuda", "native": "cpu"}


def make_engine(name: str, potential: Potential, device: torch.device) -> Engine:
    """Make the engine of a name, or one for each state where states have weights of their own.

    Only `eager` needs none.
    """
    if isinstance(potential, Experts) and name != "eager":
        return ByExpert(ENGINES[name], potential, device)
    return ENGINES[name](potential, device)


class Difference(NamedTuple):
    """Largest difference from eager in float64 on the structures that were compared."""

    energy_meV_per_atom: float
    forces_meV_per_A: float

    def __str__(self) -> str:
        """Both with their units."""
        return f"{self.energy_meV_per_atom:.1e} meV/atom, {self.forces_meV_per_A:.1e} meV/Å"


class Chosen(NamedTuple):
    """Which engine runs, why not a faster one, and how far it is from eager in float64."""

    name: str
    device: str
    difference: Difference | None
    skipped: dict[str, str]

    def __str__(self) -> str:
        """One line for people."""
        checked = f"; differs from eager in float64 by {self.difference}" if self.difference else ""
        return f"{self.name} on {self.device}{checked}" + "".join(
            f"; not {name}: {reason}" for name, reason in self.skipped.items()
        )

    def _repr_html_(self) -> str:
        """Lay the same out for a notebook."""
        compared = "" if self.difference is None else str(self.difference)
        return html_table(
            {"engine": f"{self.name} on {self.device}", "differs from eager in float64": compared}
            | {f"not {name}": reason for name, reason in self.skipped.items()}
        )


class Selector:
    """Evaluate with the fastest engine that is valid, or with the one asked for.

    Parameters
    ----------
    potential : Potential   on the device
    device : torch.device
    requested : str         a name in `ENGINES`, or "auto"

    Raises
    ------
    ValueError              unknown engine; or the engine asked for cannot serve, or differs from
                            eager in float64
    """

    def __init__(self, potential: Potential, device: torch.device, requested: str = "auto") -> None:
        if requested not in ("auto", *ENGINES):
            raise ValueError(
                f"`engine` must be one of auto, {', '.join(ENGINES)}; got {requested!r}. Pass one"
                " of these."
            )
        self.potential, self.device, self.requested = potential, device, requested
        self.eager = Eager(potential, device)
        exact = potential.dtype == torch.float64
        self.reference = self.eager if exact else Eager(_in_float64(potential), device)
        fitting = [name for name in ENGINES if ONLY_ON.get(name, device.type) == device.type]
        self._names = fitting if requested == "auto" else [requested]
        self._engines: dict[str, Engine] = {}
        self._skipped: dict[str, str] = {}
        self._difference: dict[str, Difference] = {}
        self._chosen: dict[Family, str] = {}  # of each family that was compared
        self._last: Engine | None = None

    @property
    def chosen(self) -> Chosen:
        """Describe the engine in use: the last one that evaluated, else the first to be tried."""
        name = next((n for n, e in self._engines.items() if e is self._last), "")
        name = name or self._first()
        skipped = {n: self._skipped[n] for n in self._names if n in self._skipped and n != name}
        return Chosen(name, str(self.device), self._difference.get(name), skipped)

    @property
    def searched_at(self) -> Reference | None:
        """Where the pairs in use were searched.

        None before the first evaluation, and where an engine keeps several lists.
        """
        neighbors = getattr(self._last, "neighbors", None)
        return None if neighbors is None or neighbors.static else neighbors.reference

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure; the first of a family is compared with eager in float64."""
        name = self._chosen.get(structure.family)
        if name is None:
            return self._choose(structure)
        try:
            self._last = self._engines[name]
            return self._last.evaluate(structure)
        except Unavailable as reason:
            self._give_up(name, str(reason))
            del self._chosen[structure.family]
            return self._choose(structure)

    def evaluate_many(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate several structures, those of one engine together.

        The first of each family are compared with eager in float64.
        """
        for structure in {s.family: s for s in structures}.values():
            if structure.family not in self._chosen:
                self._choose(structure)
        rows: dict[str, list[int]] = {}
        for n, structure in enumerate(structures):
            rows.setdefault(self._chosen[structure.family], []).append(n)
        results: dict[int, Evaluation] = {}
        for name, numbers in rows.items():
            self._last = self._engines[name]
            chosen = [structures[n] for n in numbers]
            results.update(zip(numbers, self._last.evaluate_many(chosen), strict=True))
        return [results[n] for n in range(len(structures))]

    def _choose(self, structure: Structure) -> Evaluation:
        """Try one engine after the other; keep for this family the first that is right."""
        for name in self._names:
            engine = self._engine(name)
            if engine is None:
                continue
            try:
                evaluation = engine.evaluate(structure)
            except Unavailable as reason:
                self._give_up(name, str(reason))
                continue
            if engine is not self.reference and (
                complaint := self._compare(name, structure, evaluation)
            ):
                self._give_up(name, complaint)
                continue
            self._chosen[structure.family], self._last = name, engine
            return evaluation
        # eager alone is left, and its float32 is farther off than rounding usually is
        self._chosen[structure.family], self._last = "eager", self.eager
        return self.eager.evaluate(structure)

    def _first(self) -> str:
        """Name the first engine that can be built."""
        return next(name for name in self._names if self._engine(name) is not None)

    def _engine(self, name: str) -> Engine | None:
        """Return an engine, built when first needed; None where it cannot be."""
        if name not in self._engines:
            if name in self._skipped:
                return None
            try:
                self._engines[name] = (
                    self.eager
                    if name == "eager"
                    else make_engine(name, self.potential, self.device)
                )
            except Unavailable as reason:
                self._give_up(name, str(reason))
                return None
        return self._engines[name]

    def _give_up(self, name: str, reason: str) -> None:
        """Remember why; an engine that was asked for has no next one."""
        if self.requested not in ("auto", "eager"):
            raise ValueError(
                f"`engine` must be one that can serve; got {name!r}: {reason}. Pass engine='auto'."
            )
        self._skipped[name] = reason

    def _compare(self, name: str, structure: Structure, evaluation: Evaluation) -> str | None:
        """Keep the difference from eager in float64, or say in one line what is wrong with it."""
        if len(structure.positions) > COMPARED_ATOMS:
            # eager takes a megabyte per atom; an engine of its own keeps the pair list in use
            structure = _cut_out(structure)
            evaluation = make_engine(name, self.potential, self.device).evaluate(structure)
        right, tolerance = self.reference.evaluate(structure), TOLERANCES[self.potential.dtype]
        steepness = tolerance.of_largest_force * np.abs(right.forces).max(initial=0.0)
        energy = abs(evaluation.energy - right.energy) / len(structure.positions)
        forces = np.abs(evaluation.forces - right.forces).max(initial=0.0)
        allowed = (
            energy <= tolerance.energy_eV_per_atom + steepness
            and forces <= tolerance.force_eV_per_A + steepness
        )  # false for NaN
        if allowed and right.stress is not None:
            # a stress times the volume is a sum of forces times distances, as an energy is
            volume = abs(np.linalg.det(structure.cell))
            virial = np.abs(np.asarray(evaluation.stress) - right.stress).max() * volume
            allowed = virial <= len(right.forces) * (tolerance.force_eV_per_A + steepness)
        if not allowed:
            return (
                f"differs from eager in float64 by {1e3 * energy:.1e} meV/atom,"
                f" {1e3 * forces:.1e} meV/Å"
            )
        before = self._difference.get(name, Difference(0.0, 0.0))
        self._difference[name] = Difference(
            max(before[0], 1e3 * float(energy)), max(before[1], 1e3 * float(forces))
        )
        return None


def _in_float64(potential: Potential) -> Potential:
    """Copy a potential, to be the judge of those in single precision."""
    return copy.deepcopy(potential).double()


def _cut_out(structure: Structure) -> Structure:
    """Take the atoms nearest to the first one, with open boundaries and the state of the whole."""
    distance = np.linalg.norm(structure.positions - structure.positions[0], axis=1)
    chosen = np.sort(np.argsort(distance, kind="stable")[:COMPARED_ATOMS])
    charges, states = structure.partial_charges, structure.fragments
    return structure._replace(
        atomic_numbers=structure.atomic_numbers[chosen],
        positions=structure.positions[chosen],
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
        partial_charges=None if charges is None else charges[chosen],
        fragments=None if states is None else states._replace(batch=states.batch[chosen]),
    )
