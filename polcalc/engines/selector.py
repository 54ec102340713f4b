"""How a potential is evaluated: a table of engines, the fastest first, and the one who chooses.

An engine is built from a potential and a device and turns a `Structure` into an `Evaluation`.
`eager` is the reference. Every other engine is compared with it on the first structure of each kind
and given up, with a reason, if it differs or cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from polcalc.engines.base import Engine, Kind, Structure, Unavailable
from polcalc.engines.cuda_graph import CudaGraph
from polcalc.engines.native.engine import NativeEngine, Unsupported
from polcalc.engines.neighbors import NeighborList, Reference
from polcalc.engines.tables import tabulated
from potentials.experts import Experts
from potentials.potential import Potential, predict
from potentials.quantities import QUANTITIES, Evaluation, named
from potentials.structure.graph import AtomicGraph, collate, to_device

State = tuple[int, int]  # charge in e, multiplicity

ENERGY_TOLERANCE = 2e-5  # eV per atom: ten times the float32 rounding of a network of usual size
FORCE_TOLERANCE = 2e-4  # eV/Å
STEEPNESS_TOLERANCE = 1e-5  # of the largest force: rounding grows where the energy is steep
COMPARED_ATOMS = 1000  # a larger structure is compared on a piece of it
BATCH_ATOMS = 2000  # atoms per batch; above it a CPU gains nothing and memory grows


class Eager(Engine):
    """The reference: `predict`, operation by operation.

    Parameters
    ----------
    potential : Potential
    device : torch.device
    skin : float            Å, of the pair list; longer pairs are dropped before they cost anything
    """

    def __init__(self, potential: Potential, device: torch.device, skin: float = 0.5) -> None:
        self.potential, self.device = potential, device
        self.neighbors = NeighborList(potential.cutoff, skin)

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure, with the pairs of the last one where they still hold."""
        self.neighbors.update(structure.positions, structure.cell, structure.pbc)
        graph = _graph(structure, self.neighbors)
        return self._predict(graph, structure.has_stress)[0]

    def evaluate_many(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate in batches, structures with and without stress apart."""
        found: dict[int, Evaluation] = {}
        for has_stress in (False, True):
            chosen = [
                n for n, structure in enumerate(structures) if structure.has_stress == has_stress
            ]
            for batch in _batches(chosen, [len(s.atomic_numbers) for s in structures]):
                graph = collate([self.graph_of(structures[n]) for n in batch])
                found.update(zip(batch, self._predict(graph, has_stress), strict=True))
        return [found[n] for n in range(len(structures))]

    def graph_of(self, structure: Structure) -> AtomicGraph:
        """Make the graph of one structure, with pairs of its own."""
        neighbors = NeighborList(self.potential.cutoff, skin=0)
        neighbors.update(structure.positions, structure.cell, structure.pbc)
        return _graph(structure, neighbors)

    def _predict(self, graph: AtomicGraph, stress: bool) -> list[Evaluation]:
        said = named(predict(self.potential, to_device(graph, self.device), stress=stress))
        ends = np.cumsum(np.bincount(graph.batch.numpy(), minlength=graph.n_structures))[:-1]
        rows = {}
        for name, values in said.items():
            array = values.double().cpu().numpy()
            rows[name] = np.split(array, ends) if QUANTITIES[name].per == "atom" else array
        rows["energy"] = [float(energy) for energy in rows["energy"]]
        return [
            Evaluation(**{name: values[n] for name, values in rows.items()})
            for n in range(graph.n_structures)
        ]


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


class Native(Engine):
    """TensorNet in compiled code on the CPU."""

    def __init__(self, potential: Potential, device: torch.device, skin: float = 0.5) -> None:
        if device.type != "cpu":
            raise Unavailable("it runs on the CPU")
        try:
            self.compiled = NativeEngine(
                potential, potential.dtype, n_threads=torch.get_num_threads()
            )
        except Unsupported as error:
            raise Unavailable(
                str(error).partition(": ")[2].removesuffix(". Use another engine.") or str(error)
            ) from error
        self.neighbors = NeighborList(potential.cutoff, skin)
        self._pairs = tuple(x.numpy() for x in self.neighbors.pairs)

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure; the compiled code skips pairs of the skin."""
        numbers, positions, cell, pbc, charge, multiplicity, partial_charges, parts, _ = structure
        if self.neighbors.update(positions, cell, pbc):
            self._pairs = tuple(x.numpy() for x in self.neighbors.pairs)
        idx_i, idx_j, shift = self._pairs
        answer = self.compiled.evaluate(
            numbers,
            positions,
            (idx_i, idx_j, shift @ cell if pbc.any() else None),
            charge if parts is None else parts.total_charge[parts.batch],
            multiplicity if parts is None else parts.multiplicity[parts.batch],
            np.zeros(len(numbers)) if partial_charges is None else partial_charges,
            groups=None if parts is None else parts.batch,
        )
        stress = answer.virial / abs(np.linalg.det(cell)) if structure.has_stress else None
        return Evaluation(
            energy=answer.energy, energies=answer.energies, forces=answer.forces, stress=stress
        )


class ByExpert(Engine):
    """One engine for each electronic state that has weights of its own, made when first needed.

    Parameters
    ----------
    make : callable        makes an engine of a potential
    potential : Experts
    """

    def __init__(
        self,
        make: Callable[[Potential, torch.device], Engine],
        potential: Experts,
        device: torch.device,
    ) -> None:
        self.make, self.potential, self.device = make, potential, device
        self._engines: dict[State | None, Engine] = {None: make(potential.shared, device)}
        self._last = self._engines[None]

    @property
    def neighbors(self) -> NeighborList | None:
        """The pair list of the last structure, where its engine keeps one."""
        return getattr(self._last, "neighbors", None)

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure."""
        self._last = self._engine(_expert_of(structure, self.potential))
        return self._last.evaluate(structure)

    def evaluate_many(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate the structures of each state together."""
        states = [_expert_of(structure, self.potential) for structure in structures]
        found: dict[int, Evaluation] = {}
        for state in dict.fromkeys(states):
            chosen = [n for n, other in enumerate(states) if other == state]
            found.update(
                zip(
                    chosen,
                    self._engine(state).evaluate_many([structures[n] for n in chosen]),
                    strict=True,
                )
            )
        return [found[n] for n in range(len(structures))]

    def _engine(self, state: State | None) -> Engine:
        if state not in self._engines:
            assert state is not None
            self._engines[state] = self.make(self.potential.of(*state), self.device)
        return self._engines[state]


def _expert_of(structure: Structure, potential: Experts) -> State | None:
    """Return the state whose weights answer; None: those that all states share."""
    state = structure.charge, structure.multiplicity
    return state if structure.fragments is None and potential.has(*state) else None


# the fastest first, `eager` last
ENGINES: dict[str, Callable[[Potential, torch.device], Engine]] = {
    "cuda-graph": CudaGraph,
    "native": Native,
    "tabulated": Tabulated,
    "eager": Eager,
}
ONLY_ON = {
    "cuda-graph": "cuda",
    "native": "cpu",
}  # types of devices; elsewhere they are not tried, unless asked for by name


def make_engine(name: str, potential: Potential, device: torch.device) -> Engine:
    """Make the engine of a name, or one for each state where states have weights of their own.

    Only `eager` needs none.
    """
    if isinstance(potential, Experts) and name != "eager":
        return ByExpert(ENGINES[name], potential, device)
    return ENGINES[name](potential, device)


class Difference(NamedTuple):
    """Largest difference from the eager engine on the structures that were compared."""

    energy_meV_per_atom: float
    forces_meV_per_A: float


class Chosen(NamedTuple):
    """Which engine runs, why not a faster one, and how far it is from the eager one."""

    name: str
    device: str
    difference: Difference | None
    skipped: dict[str, str]

    def __str__(self) -> str:
        """One line for people."""
        checked = (
            f"; differs from eager by {self.difference.energy_meV_per_atom:.1e} meV/atom,"
            f" {self.difference.forces_meV_per_A:.1e} meV/Å"
            if self.difference
            else ""
        )
        return f"{self.name} on {self.device}{checked}" + "".join(
            f"; not {name}: {reason}" for name, reason in self.skipped.items()
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
                            the eager one
    """

    def __init__(self, potential: Potential, device: torch.device, requested: str = "auto") -> None:
        if requested not in ("auto", *ENGINES):
            raise ValueError(
                f"`engine` must be one of auto, {', '.join(ENGINES)}; got {requested!r}. Pass one"
                " of these."
            )
        self.potential, self.device, self.requested = potential, device, requested
        self.eager = Eager(potential, device)
        fitting = [name for name in ENGINES if ONLY_ON.get(name, device.type) == device.type]
        self._names = fitting if requested == "auto" else [requested]  # the first is in use
        self._engine: Engine | None = None
        self._skipped: dict[str, str] = {}
        self._difference: Difference | None = None
        self._compared: set[Kind] = set()

    @property
    def chosen(self) -> Chosen:
        """Describe the engine in use."""
        self._current()
        return Chosen(self._names[0], str(self.device), self._difference, dict(self._skipped))

    @property
    def searched_at(self) -> Reference | None:
        """Where the pairs in use were searched.

        None before the first evaluation, and where an engine keeps several lists.
        """
        neighbors = getattr(self._engine, "neighbors", None)
        return None if neighbors is None or neighbors.static else neighbors.reference

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure; the first of a kind is compared with the eager engine."""
        engine = self._current()
        try:
            evaluation = engine.evaluate(structure)
        except Unavailable as reason:
            self._give_up(str(reason))
            return self.evaluate(structure)
        if engine is self.eager or structure.kind in self._compared:
            return evaluation
        if complaint := self._compare(structure, evaluation):
            self._give_up(complaint)
            return self.evaluate(structure)
        return evaluation

    def evaluate_many(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate several structures.

        The first of each kind are compared with the eager engine.
        """
        if self._current() is not self.eager:
            for structure in {s.kind: s for s in structures}.values():
                self.evaluate(structure)
        try:
            return self._current().evaluate_many(structures)
        except Unavailable as reason:
            self._give_up(str(reason))
            return self.evaluate_many(structures)

    def _current(self) -> Engine:
        """Return the engine in use, built when first needed."""
        while self._engine is None:
            try:
                name = self._names[0]
                self._engine = (
                    self.eager
                    if name == "eager"
                    else make_engine(name, self.potential, self.device)
                )
            except Unavailable as reason:
                self._give_up(str(reason))
        return self._engine

    def _give_up(self, reason: str) -> None:
        """Go on with the next engine; an engine that was asked for has no next one."""
        name = self._names[0]
        if self.requested != "auto":
            raise ValueError(
                f"`engine` must be one that can serve; got {name!r}: {reason}. Pass engine='auto'."
            )
        self._names, self._engine, self._difference = self._names[1:], None, None
        self._skipped[name] = reason
        self._compared.clear()

    def _compare(self, structure: Structure, evaluation: Evaluation) -> str | None:
        """Keep the difference from the eager engine, or say in one line what is wrong with it."""
        kind = structure.kind
        if (
            len(structure.positions) > COMPARED_ATOMS
        ):  # eager takes a megabyte per atom; an engine of its own keeps the pair list in use
            structure = _cut_out(structure)
            evaluation = make_engine(self._names[0], self.potential, self.device).evaluate(
                structure
            )
        reference = self.eager.evaluate(structure)
        steepness = STEEPNESS_TOLERANCE * np.abs(reference.forces).max(initial=0.0)
        energy = abs(evaluation.energy - reference.energy) / len(structure.positions)
        forces = np.abs(evaluation.forces - reference.forces).max(initial=0.0)
        allowed = (
            energy <= ENERGY_TOLERANCE + steepness and forces <= FORCE_TOLERANCE + steepness
        )  # false for NaN
        if allowed and reference.stress is not None:
            # a stress times the volume is a sum of forces times distances, as an energy is
            virial = np.abs(np.asarray(evaluation.stress) - reference.stress).max() * abs(
                np.linalg.det(structure.cell)
            )
            allowed = virial <= len(structure.positions) * (FORCE_TOLERANCE + steepness)
        if not allowed:
            return f"differs from eager by {1e3 * energy:.1e} meV/atom, {1e3 * forces:.1e} meV/Å"
        before = self._difference or Difference(0.0, 0.0)
        self._difference = Difference(
            max(before[0], 1e3 * float(energy)), max(before[1], 1e3 * float(forces))
        )
        self._compared.add(kind)
        return None


def _cut_out(structure: Structure) -> Structure:
    """Take the atoms nearest to the first one, with open boundaries and the state of the whole."""
    distance = np.linalg.norm(structure.positions - structure.positions[0], axis=1)
    chosen = np.sort(np.argsort(distance, kind="stable")[:COMPARED_ATOMS])
    charges, parts = structure.partial_charges, structure.fragments
    return structure._replace(
        atomic_numbers=structure.atomic_numbers[chosen],
        positions=structure.positions[chosen],
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
        partial_charges=None if charges is None else charges[chosen],
        fragments=None if parts is None else parts._replace(batch=parts.batch[chosen]),
    )


def _graph(structure: Structure, neighbors: NeighborList) -> AtomicGraph:
    pairs = neighbors.within(structure.positions, structure.cell)
    return structure.graph(pairs, neighbors.cutoff)


def _batches(chosen: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Cut a list of structures where a batch would grow above the limit of atoms."""
    batches: list[list[int]] = []
    atoms = BATCH_ATOMS
    for n in chosen:
        if atoms + sizes[n] > BATCH_ATOMS:
            batches.append([])
            atoms = 0
        batches[-1].append(n)
        atoms += sizes[n]
    return batches
