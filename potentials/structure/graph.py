"""The container that every part of the package reads: structures with their pairs.

Conventions: always batched (one structure is S = 1). Each undirected pair is listed once and acts
both ways; ``r_ij = r_j + shift @ cell - r_i`` points from the central atom i to its neighbour j.
Geometry is float64 throughout, whatever the dtype of the network. Units: Å, eV, e.

The fields of `AtomicGraph` are the one schema of what enters a potential: constructor, joining,
selection and moving to a device follow from their annotations. An input per atom or structure is
added by one line there.

Sizes in comments: N atoms, S structures, F fragments, P pairs, M points, C channels, R radial
functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    TypeVar,
    get_type_hints,
)

import numpy as np
import torch
from torch import Tensor

from potentials.structure.pairs import find_pairs

if TYPE_CHECKING:
    from ase import Atoms

Array = TypeVar("Array")
Size = Literal["structure", "atom", "pair"]


class Field(NamedTuple):
    """What stands in one field of a graph."""

    per: Size
    dtype: torch.dtype
    shape: tuple[int, ...] = ()  # of one structure, atom or pair
    counts: Literal["", "structure", "atom"] = ""  # what its values number
    default: float | None = None  # None: it must be given
    info: bool = False  # users give it, under its name in ``atoms.info``


State = tuple[int, int]  # total charge in e and multiplicity 2S + 1 of one structure


class States(NamedTuple, Generic[Array]):
    """Total charge and multiplicity of parts of a structure, and the part of each atom.

    Parts are structures, or fragments of them that know their own state alone. Tensors within the
    network, numpy arrays outside.
    """

    batch: Array  # (N,) int64, part of each atom, in any order
    total_charge: Array  # (F,) e, float64
    multiplicity: Array  # (F,) int64, 2S + 1


class AtomicGraph(NamedTuple):
    """One or many structures with their pairs."""

    atomic_numbers: Annotated[Tensor, Field("atom", torch.int64)]  # (N,)
    positions: Annotated[Tensor, Field("atom", torch.float64, (3,))]  # (N, 3) Å
    # (S, 3, 3) Å, rows are lattice vectors, zero where open
    cell: Annotated[Tensor, Field("structure", torch.float64, (3, 3), default=0.0)]
    pbc: Annotated[Tensor, Field("structure", torch.bool, (3,), default=0.0)]  # (S, 3)
    # (N,) structure of each atom, sorted
    batch: Annotated[Tensor, Field("atom", torch.int64, counts="structure", default=0.0)]
    idx_i: Annotated[Tensor, Field("pair", torch.int64, counts="atom")]  # (P,)
    idx_j: Annotated[Tensor, Field("pair", torch.int64, counts="atom")]  # (P,)
    # (P, 3) lattice vectors crossed
    shift: Annotated[Tensor, Field("pair", torch.float64, (3,), default=0.0)]
    total_charge: Annotated[Tensor, Field("structure", torch.float64, default=0.0)]  # (S,) e
    multiplicity: Annotated[Tensor, Field("structure", torch.int64, default=1.0)]  # (S,) 2S + 1
    # (N,) e, fixed per molecule; zeros when unused
    partial_charges: Annotated[Tensor, Field("atom", torch.float64, default=0.0)]
    # (S, 3) V/Å, uniform; the physical sign: E - μ·F
    electric_field_V_per_A: Annotated[
        Tensor, Field("structure", torch.float64, (3,), default=0.0, info=True)
    ]
    cutoff: float  # Å, the pair list is complete up to here; longer pairs are inert
    fragments: States[Tensor] | None = None  # where atoms know the state of their part alone

    @property
    def states(self) -> States[Tensor]:
        """Charge and multiplicity that each atom knows: of its fragment, else its structure."""
        whole = States(self.batch, self.total_charge, self.multiplicity)
        return whole if self.fragments is None else self.fragments

    @property
    def n_structures(self) -> int:
        """Number of structures S."""
        return self.cell.shape[0]


SCHEMA: dict[str, Field] = {
    name: next(x for x in hint.__metadata__ if isinstance(x, Field))
    for name, hint in get_type_hints(AtomicGraph, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}
INFO_INPUTS = tuple(name for name, field in SCHEMA.items() if field.info)


def make_graph(
    cutoff: float,
    *,
    fragments: States[Tensor] | None = None,
    device: torch.device | str = "cpu",
    **given: Any,
) -> AtomicGraph:
    """Make the graph of one structure from its fields; what is not given takes its default.

    Parameters
    ----------
    cutoff : float       Å, up to which the pairs are complete
    fragments : States   where atoms know the state of their part alone
    given : array-like   fields of `AtomicGraph` by name; those per structure without the axis S
    """
    counts = {
        "structure": 1,
        "atom": len(given["positions"]),
        "pair": len(given["idx_i"]),
    }
    fields = {}
    for name, field in SCHEMA.items():
        shape = (counts[field.per], *field.shape)
        if given.get(name) is None:
            assert field.default is not None, f"{name} must be given"
            fields[name] = torch.full(shape, field.default, dtype=field.dtype, device=device)
        else:
            fields[name] = torch.as_tensor(given[name], dtype=field.dtype, device=device)
            fields[name] = fields[name].reshape(shape)
    return AtomicGraph(**fields, cutoff=float(cutoff), fragments=fragments)


def from_ase(
    atoms: Atoms,
    cutoff: float,
    *,
    charge: float = 0,
    multiplicity: int = 1,
    partial_charges: np.ndarray | None = None,
    **inputs: Any,
) -> AtomicGraph:
    """Make a graph of one structure, with its own pair list.

    Parameters
    ----------
    atoms : Atoms               positions in Å
    cutoff : float              Å, at least that of the potential
    charge : float              total charge in e
    multiplicity : int          2S + 1
    partial_charges : (N,)      e, per atom
    inputs : array-like         further fields of `AtomicGraph`
    """
    positions = torch.as_tensor(np.array(atoms.get_positions(), dtype=np.float64))
    cell = torch.as_tensor(np.array(atoms.cell.array, dtype=np.float64))
    pbc = torch.as_tensor(np.array(atoms.pbc, dtype=bool))
    idx_i, idx_j, shift = find_pairs(positions, cell, pbc, cutoff)
    return make_graph(
        cutoff,
        atomic_numbers=np.array(atoms.numbers),
        positions=positions,
        cell=cell,
        pbc=pbc,
        idx_i=idx_i,
        idx_j=idx_j,
        shift=shift,
        total_charge=charge,
        multiplicity=multiplicity,
        partial_charges=None if partial_charges is None else np.array(partial_charges),
        **inputs,
    )


def collate(graphs: Sequence[AtomicGraph]) -> AtomicGraph:
    """Join graphs into one batch; the cutoff is the smallest of theirs."""
    if not graphs:
        raise ValueError(
            "`graphs` must hold at least one graph; got none. Pass a non-empty sequence."
        )
    before = {
        "atom": _before([len(g.positions) for g in graphs]),
        "structure": _before([g.n_structures for g in graphs]),
    }
    fields = {
        name: torch.cat(
            [getattr(g, name) + n for g, n in zip(graphs, before[field.counts], strict=True)]
            if field.counts
            else [getattr(g, name) for g in graphs]
        )
        for name, field in SCHEMA.items()
    }
    return AtomicGraph(
        **fields, cutoff=min(g.cutoff for g in graphs), fragments=_joined_fragments(graphs)
    )


def take(
    graph: AtomicGraph,
    rows: Mapping[Size, Tensor],
    number: Mapping[str, Callable[[Tensor], Tensor]],
) -> AtomicGraph:
    """Take rows of a graph without fragments, numbered anew.

    Parameters
    ----------
    rows : size -> indices or mask   which structures, atoms and pairs
    number : counted -> function     from the old numbers of atoms and structures to the new ones
    """
    fields: dict[str, Any] = {}
    for name, field in SCHEMA.items():
        values = getattr(graph, name)[rows[field.per]]
        fields[name] = number[field.counts](values) if field.counts else values
    return graph._replace(**fields)


def select(graph: AtomicGraph, structures: Tensor) -> tuple[AtomicGraph, Tensor]:
    """Take structures (S,) bool out of a batch; return the numbers of their atoms as well."""
    if bool(structures.all()):
        return graph, torch.arange(len(graph.batch), device=graph.batch.device)
    of_atoms = structures[graph.batch]
    place = {"atom": of_atoms.cumsum(0) - 1, "structure": structures.cumsum(0) - 1}
    atoms, pairs = of_atoms.nonzero().flatten(), of_atoms[graph.idx_i].nonzero().flatten()
    rows: dict[Size, Tensor] = {"structure": structures, "atom": atoms, "pair": pairs}
    return take(graph, rows, {name: numbers.__getitem__ for name, numbers in place.items()}), atoms


def apart(graph: AtomicGraph) -> tuple[AtomicGraph, Tensor]:
    """Make every fragment a structure of its own, without the pairs between them.

    Returns
    -------
    graph : AtomicGraph   a structure for each fragment
    atoms : (N,)          the number that each of its atoms had
    """
    parts = graph.states
    atoms = torch.argsort(parts.batch, stable=True)
    place = torch.empty_like(atoms)
    place[atoms] = torch.arange(len(atoms), device=atoms.device)
    structure = torch.zeros_like(parts.multiplicity)  # of each fragment
    structure[parts.batch] = graph.batch
    inside = (parts.batch[graph.idx_i] == parts.batch[graph.idx_j]).nonzero().flatten()
    pairs = inside[torch.argsort(place[graph.idx_i[inside]], stable=True)]
    rows: dict[Size, Tensor] = {"structure": structure, "atom": atoms, "pair": pairs}
    numbers = {"atom": place.__getitem__, "structure": lambda _: parts.batch[atoms]}
    state: dict[str, Any] = {
        "total_charge": parts.total_charge,
        "multiplicity": parts.multiplicity,
    }
    return take(graph, rows, numbers)._replace(**state, fragments=None), atoms


def to_device(graph: AtomicGraph, device: torch.device | str) -> AtomicGraph:
    """Move every tensor of a graph."""
    moved: dict[str, Any] = {name: getattr(graph, name).to(device) for name in SCHEMA}
    fragments = graph.fragments
    if fragments is not None:
        fragments = States(*(x.to(device) for x in fragments))
    return graph._replace(**moved, fragments=fragments)


def _before(counts: Sequence[int]) -> list[int]:
    total: list[int] = np.cumsum([0, *counts]).tolist()
    return total[:-1]


def _joined_fragments(graphs: Sequence[AtomicGraph]) -> States[Tensor] | None:
    if all(g.fragments is None for g in graphs):
        return None
    states = [g.states for g in graphs]
    before = _before([len(s.total_charge) for s in states])
    return States(
        batch=torch.cat([s.batch + n for s, n in zip(states, before, strict=True)]),
        total_charge=torch.cat([s.total_charge for s in states]),
        multiplicity=torch.cat([s.multiplicity for s in states]),
    )
