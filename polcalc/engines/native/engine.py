"""Evaluate TensorNet on the CPU, in compiled code with an explicit backward pass.

A potential is exported once: filters as tables of cubics in the distance, mixing matrices packed
for the processor, the species embedding as one row per element and direction. Charges and the
multiplicity enter each call as numbers, through the state factor; where they are embedded as well,
there is a row for each atom, made anew when the state or the atoms change. Where the electrons are
shared out, atoms begin as those of a neutral singlet, and the totals enter after the first layer.
Without the compiled extension everything else works; `NativeEngine` then says why it does not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from polcalc.engines.tables import Cells, tabulate_by_cells
from potentials.architectures.tensornet import symmetric_matrices
from potentials.experts import Experts
from potentials.parts.attention import ChargedAttention, shared_out
from potentials.parts.conditioning import (
    Species,
)
from potentials.parts.electrons import LocalElectrons
from potentials.parts.radial import RadialFilter
from potentials.potential import Potential
from potentials.structure.geometry import ENVELOPES, polynomial_envelope
from potentials.structure.graph import States, make_graph
from potentials.terms.charges import Charges, SplitCharges
from potentials.terms.constants import (
    ElectronEnergies,
    Offset,
    ReferenceEnergies,
    StateEnergies,
)
from potentials.terms.coulomb import Coulomb
from potentials.terms.dipole import Dipole, ShellDipole
from potentials.terms.dispersion import Dispersion
from potentials.terms.polarizability import Polarizability, of_roots
from potentials.terms.readout import Readout
from potentials.terms.shells import Shells
from potentials.terms.uncertainty import Uncertainty
from potentials.terms.zbl import ZBL

try:
    from polcalc.engines.native import _native as _native

    if getattr(_native, "interface", 1) != 7:  # built of older sources: build again
        raise ImportError
except ImportError:  # no compiler at installation
    _native = None  # type: ignore[assignment]

Floats = NDArray[np.float64]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], Floats | None]

# Of value and slope, relative to the largest at a length or beyond. Those of float32 keep forces
# within 0.01 meV/Å of float64, less than what float32 loses in the network.
TABLE_TOLERANCES = {torch.float32: (3e-8, 3e-7), torch.float64: (1e-10, 1e-9)}


# terms of which the engine takes one
ONE_OF: tuple[Any, ...] = (
    Charges | SplitCharges,
    Shells,
    Dipole | ShellDipole,
    Polarizability,
    ElectronEnergies,
    Coulomb,
    Dispersion,
)


class Unsupported(ValueError):
    """The native engine cannot evaluate this potential; the message says what is missing."""


class Answer(NamedTuple):
    """One structure, in float64."""

    energy: float  # eV
    energies: Floats  # (N,) eV
    forces: Floats  # (N, 3) eV/Å; (0, 3) when not asked for
    virial: Floats  # (3, 3) eV, dE/dstrain, symmetric; the stress is virial / volume
    # of no atoms where the potential predicts none
    charges: Floats  # (N,) e
    shells: Floats  # (N, 3) Å
    shell_charges: Floats  # (N,) e
    shared: Floats  # (4, N), `LocalElectrons.predicts` in this order
    dipoles: Floats  # (N, 3) e Å, of the atoms beside their charges and shells
    roots: Floats  # (N, 6) of polarizabilities: a number and five components of a tensor
    hidden: Floats  # (N, H), the hidden layer of the read-out


class NativeEngine:
    """Evaluate a TensorNet on the CPU.

    Parameters
    ----------
    potential : Potential
    dtype : torch.dtype      float32 or float64, of the network; geometry and sums are float64
    n_threads : int          threads of a call, the calling one included
    instruction_set : str    "avx512", "avx2" or "baseline"; empty: the best that the processor has

    Attributes
    ----------
    cutoff : float           Å
    table_error : TableError largest error of the tables in value and slope, each relative to the
                             largest magnitude

    Raises
    ------
    Unsupported              what the potential has and this engine has not
    """

    def __init__(
        self,
        potential: Potential,
        dtype: torch.dtype = torch.float32,
        n_threads: int = 1,
        instruction_set: str = "",
    ) -> None:
        check_supported(potential, dtype)
        exact = copy.deepcopy(potential).double().cpu()
        self.cutoff, self.dtype, self.n_threads = potential.cutoff, dtype, n_threads
        self.instruction_set = instruction_set or _native.instruction_set
        self._factor = exact.trunk.factor
        self._attentive = isinstance(exact.trunk.attention, ChargedAttention)
        self._local = isinstance(exact.trunk.electrons, LocalElectrons)
        self._has_parts = self._local or any(type(term) is Charges for term in exact.terms)
        # who attends to whom and what adds up to what, of the state asked for last
        self._attended: tuple[Any, Any] = (None, None)
        self._added_up: tuple[Any, dict[str, Any]] = (None, {})
        self._constants = [term for term in exact.terms if isinstance(term, StateEnergies)]
        self._shared: tuple[Any, Floats] = (None, np.zeros(0))
        tables, cells, self.table_error = _tabulate(exact, dtype)
        settings, arrays = export(exact, tables)
        settings |= {"n_intervals": sum(cells), "cells": cells, "crowding": 0.0}
        self._engine = _native.Engine(
            settings, arrays, dtype == torch.float64, n_threads, self.instruction_set
        )
        self._n_species = settings["n_species"]
        self._embedded = (
            _EmbeddedState(exact)
            if any(type(e) is not Species for e in exact.trunk.embeddings)
            else None
        )
        self._lock = Lock()
        self._content: tuple[int, bytes] | None = None
        # rows by element, and rows by atom
        self._species = self._places = np.zeros(0, dtype=np.int64)
        self._state: tuple[float, int] | None = None
        self._factors: Floats = np.ones((1, 1, 1))

    def evaluate(
        self,
        numbers: NDArray[np.int64],
        positions: Floats,
        pairs: Pairs,
        total_charge: float | Floats = 0.0,
        multiplicity: int | NDArray[np.int64] = 1,
        partial_charges: Floats | None = None,
        gradients: bool = True,
        fragments: NDArray[np.int64] | None = None,
        lattice: Floats | None = None,
        systems: NDArray[np.int64] | None = None,
        fields: Floats | None = None,
    ) -> Answer:
        """Evaluate one structure, or several open ones that see nothing of each other.

        Parameters
        ----------
        numbers : (N,)           atomic numbers
        positions : (N, 3)       Å
        pairs                    i (P,), j (P,), and the lattice shift of r_ij = r_j + shift - r_i
                                 in Å, (P, 3), or None where nothing is periodic. Each pair once;
                                 pairs beyond the cutoff are inert
        total_charge : float     e, or one for each atom, of its fragment
        multiplicity : int       2S + 1, likewise
        partial_charges : (N,)   e, only for models that use them
        gradients : bool         whether forces and virial are wanted
        fragments : (N,)         fragment of each atom, where charges and multiplicities are those
                                 of fragments
        lattice : (3, 3)         Å, rows are vectors, zero where open; only for what reaches beyond
                                 the cutoff
        systems : (N,)           structure of each atom, in ascending order, where there are several
        fields : (S, 3)          V/Å, electric field of each structure, all open; their energy is in
                                 the answer, what they induce is not
        """
        known = (0.0, 1) if self._local else (total_charge, multiplicity)  # from the start
        factors = self._state_factors(*known, partial_charges)
        rows = self._rows(numbers)
        idx_i, idx_j, shifts = pairs
        given: dict[str, Any] = {
            "species": rows,
            "positions": positions,
            "idx_i": idx_i,
            "idx_j": idx_j,
            "shifts": shifts,
            "factors": factors,
        }
        if self._attentive:
            molecules, shared_out = self._attending(
                len(numbers), total_charge, multiplicity, fragments
            )
            given |= {"molecules": molecules, "shared_out": shared_out}
        if systems is not None:
            lattices = np.zeros((int(systems[-1]) + 1 if len(systems) else 0, 3, 3))
            given |= {"systems": systems, "lattices": lattices}
        elif lattice is not None:
            given |= {"systems": np.zeros(len(numbers), np.int64), "lattices": lattice[None]}
        if fields is not None:
            given["fields"] = fields
        if self._has_parts:
            given |= self._totals(len(numbers), total_charge, multiplicity, fragments)
        if self._embedded is None:
            answer = self._answer(given | {"kinds": rows}, gradients)
        else:
            with self._lock:  # the table and the evaluation with it belong together
                table = self._embedded.table(rows, *known, partial_charges, fragments)
                if table is not None:
                    self._engine.set_species(table)
                if len(self._places) < len(rows):
                    self._places = np.arange(len(rows))
                answer = self._answer(given | {"kinds": self._places[: len(rows)]}, gradients)
        if not self._constants:
            return answer
        constants = self._constants_of(len(numbers), total_charge, multiplicity, fragments)
        return answer._replace(
            energy=answer.energy + float(constants.sum()), energies=answer.energies + constants
        )

    def _answer(self, given: dict[str, Any], gradients: bool) -> Answer:
        return Answer(*self._engine.evaluate(_native.Structure(**given), gradients))

    def _attending(
        self,
        n_atoms: int,
        total_charge: float | Floats,
        multiplicity: int | NDArray[np.int64],
        fragments: NDArray[np.int64] | None,
    ) -> tuple[NDArray[np.int64], Floats]:
        """Say which atoms attend to each other.

        Of a whole structure only where atoms or state have changed.
        """
        if fragments is not None:
            return attending(_parts(n_atoms, total_charge, multiplicity, fragments))
        before, attended = self._attended
        if before != (n_atoms, total_charge, multiplicity):
            attended = attending(_parts(n_atoms, total_charge, multiplicity, None))
            self._attended = (n_atoms, total_charge, multiplicity), attended
        found: tuple[NDArray[np.int64], Floats] = attended
        return found

    def _totals(
        self,
        n_atoms: int,
        total_charge: float | Floats,
        multiplicity: int | NDArray[np.int64],
        fragments: NDArray[np.int64] | None,
    ) -> dict[str, Any]:
        """Say what charges and unpaired electrons add up to, of a whole structure once."""
        if fragments is not None:
            return totals(_parts(n_atoms, total_charge, multiplicity, fragments))
        before, added_up = self._added_up
        if before != (n_atoms, total_charge, multiplicity):
            added_up = totals(_parts(n_atoms, total_charge, multiplicity, None))
            self._added_up = (n_atoms, total_charge, multiplicity), added_up
        return added_up

    @property
    def bytes(self) -> int:
        """Memory that the weights, tables and the workspace take."""
        return int(self._engine.bytes)

    def _rows(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the species tables; the last array is remembered."""
        # comparing these takes a tenth of the time of np.array_equal
        content = (len(numbers), numbers.tobytes())
        if content != self._content:
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < self._n_species:
                raise ValueError(
                    f"`numbers` must be atomic numbers below {self._n_species}; got"
                    f" {int(numbers.max())}. Check the structure."
                )
            self._species, self._content = np.array(numbers, dtype=np.int64), content
        return self._species

    def _state_factors(
        self,
        total_charge: float | Floats,
        multiplicity: int | NDArray[np.int64],
        partial_charges: Floats | None,
    ) -> Floats:
        """Compute a = 1 + Σ λ t for each layer: (L, N or 1, C or 1)."""
        attributes: Mapping[str, Any] = {
            "total_charge": total_charge,
            "unpaired_electrons": multiplicity - 1,
            "partial_charges": partial_charges,
        }
        if "partial_charges" not in self._factor.attributes:
            if isinstance(total_charge, np.ndarray) or isinstance(multiplicity, np.ndarray):
                return self._factor_of(attributes)
            if (total_charge, multiplicity) != self._state:
                self._factors, self._state = (
                    self._factor_of(attributes),
                    (total_charge, multiplicity),
                )
            return self._factors
        if partial_charges is None:
            raise ValueError(
                "`partial_charges` must be given: the model uses them; got none. Pass one charge"
                " per atom."
            )
        return self._factor_of(attributes)

    def _constants_of(
        self,
        n_atoms: int,
        total_charge: float | Floats,
        multiplicity: int | NDArray[np.int64],
        fragments: NDArray[np.int64] | None,
    ) -> Floats:
        """Share the energies of the electronic states over the atoms of their molecules: (N,) eV.

        Those of one molecule are remembered.
        """
        if fragments is None and (n_atoms, total_charge, multiplicity) == self._shared[0]:
            return self._shared[1]
        parts = _parts(n_atoms, total_charge, multiplicity, fragments)
        shares = [
            term.shared(parts.batch, parts.total_charge, parts.multiplicity)
            for term in self._constants
        ]
        constants: Floats = torch.stack(shares).sum(0).numpy()
        if fragments is None:
            self._shared = (n_atoms, total_charge, multiplicity), constants
        return constants

    def _factor_of(self, attributes: Mapping[str, Any]) -> Floats:
        strengths = self._factor.strengths.detach().numpy()  # (L, attributes, C or 1)
        factor = np.ones((len(strengths), 1, 1))
        for k, name in enumerate(self._factor.attributes):
            factor = factor + strengths[:, None, k] * np.atleast_1d(attributes[name])[:, None]
        return factor


class _EmbeddedState:
    """What embeddings make of the atoms and their state.

    Contributions as receiver and as sender, a row for each atom.
    """

    def __init__(self, exact: Potential) -> None:
        self._embeddings = exact.trunk.embeddings
        self._pair: nn.Linear = exact.trunk.architecture.embedding.pair
        self._known: list[Any] = []  # the atoms and the state of the last table

    @torch.no_grad()
    def table(
        self,
        numbers: NDArray[np.int64],
        total_charge: float | Floats,
        multiplicity: int | NDArray[np.int64],
        partial_charges: Floats | None,
        fragments: NDArray[np.int64] | None,
    ) -> Floats | None:
        """Return the table (N, 2, C), or None where it is that of the call before.

        An array of numbers must not change afterwards.
        """
        state = [numbers, total_charge, multiplicity, partial_charges, fragments]
        if self._known and all(map(_same, self._known, state)):
            return None
        n_atoms = len(numbers)
        parts = _parts(n_atoms, total_charge, multiplicity, fragments)
        no_pairs = np.zeros(0, dtype=np.int64)
        graph = make_graph(
            0.0,
            fragments=parts,
            atomic_numbers=numbers,
            positions=np.zeros((n_atoms, 3)),
            idx_i=no_pairs,
            idx_j=no_pairs,
            partial_charges=partial_charges,
        )
        scalars = torch.stack([embedding(graph) for embedding in self._embeddings]).sum(0)  # (N, C)
        central, neighbor = self._pair.weight.chunk(2, dim=1)
        table: Floats = torch.stack(
            [scalars @ central.T + self._pair.bias, scalars @ neighbor.T], dim=1
        ).numpy()
        self._known = [numbers, *(x.copy() if isinstance(x, np.ndarray) else x for x in state[1:])]
        return table


def _parts(
    n_atoms: int,
    total_charge: float | Floats,
    multiplicity: int | NDArray[np.int64],
    fragments: NDArray[np.int64] | None,
) -> States[Tensor]:
    """Say which atoms share a charge and a multiplicity: those of a group, or all."""
    batch = (
        torch.zeros(n_atoms, dtype=torch.int64)
        if fragments is None
        else torch.from_numpy(fragments)
    )
    first = (
        np.zeros(min(n_atoms, 1), dtype=np.int64)
        if fragments is None
        else np.unique(fragments, return_index=True)[1]
    )
    charges, multiplicities = (
        torch.from_numpy(np.broadcast_to(x, n_atoms)[first]) for x in (total_charge, multiplicity)
    )
    return States(batch, charges, multiplicities)


def _same(before: Any, now: Any) -> bool:
    if before is now:
        return True
    if isinstance(before, np.ndarray) or isinstance(now, np.ndarray):
        return before is not None and now is not None and np.array_equal(before, now)
    return bool(before == now)


def check_supported(potential: Potential, dtype: torch.dtype) -> None:
    """Raise `Unsupported` where the engine lacks what a potential has."""
    trunk = potential.trunk
    embeddings = [e for e in trunk.embeddings if not _is_compiled(e)]
    terms = [t for t in potential.terms if not _is_compiled(t)]
    reasons = {
        "the extension polcalc.engines.native._native was not compiled at installation, or of"
        " older sources": _native is None,
        f"its dtype must be float32 or float64, not {dtype}": dtype not in TABLE_TOLERANCES,
        f"the architecture is {type(trunk.architecture).__name__}, not TensorNet": (
            not _is_compiled(trunk.architecture)
        ),
        "its states have weights of their own": isinstance(potential, Experts),
        "the points move": not _is_compiled(trunk.points),
        "it shares out charge and spin over the atoms in another way": not _is_compiled(
            trunk.electrons
        ),
        "it has no embedding": not trunk.embeddings,
        f"it has an embedding that is not compiled: {_names(embeddings)}": bool(embeddings),
        "it needs exactly one read-out": sum(type(t) is Readout for t in potential.terms) != 1,
        f"it has an energy term that is not compiled: {_names(terms)}": bool(terms),
        "it has two terms of charges, dipoles, polarizabilities, Coulomb energy or dispersion": any(
            sum(isinstance(t, kinds) for t in potential.terms) > 1 for kinds in ONE_OF
        ),
        "its Coulomb energy is that of given charges, or without its shells": not _in_order(
            potential
        ),
        "its shells have no charges": (
            "shells" in potential.predicts and "charges" not in potential.predicts
        ),
        "it has polarizabilities without charges": (
            "polarizability" in potential.predicts and "charges" not in potential.predicts
        ),
        "its envelope is of its own": trunk.envelope not in ENVELOPES.values(),
        "it has more than 16 layers": getattr(trunk.architecture, "n_layers", 0) > 16,
        "it has attention between more than 8 layers": (
            isinstance(trunk.attention, ChargedAttention) and len(trunk.attention.layers) > 7
        ),
        "the state factor has an attribute that is not compiled": bool(
            set(trunk.factor.attributes) - {"total_charge", "unpaired_electrons", "partial_charges"}
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise Unsupported(
                f"`engine` must not be native for this potential: {reason}. Use another engine."
            )


def _is_compiled(part: object) -> bool:
    """Ask a part whether compiled code has it; what inherits from it must say so itself."""
    return bool(vars(type(part)).get("compiled", False))


def _in_order(potential: Potential) -> bool:
    """Whether charges, and shells where there are any, come before their Coulomb energy."""
    terms = list(potential.terms)
    end = next((n for n, term in enumerate(terms) if type(term) is Coulomb), None)
    if end is None:
        return True
    has_charges = any(isinstance(term, Charges | SplitCharges) for term in terms[:end])
    return has_charges and not any(isinstance(term, Shells) for term in terms[end:])


def _names(parts: Sequence[nn.Module]) -> str:
    return ", ".join(getattr(part, "name", "") or type(part).__name__ for part in parts)


class _Filter(nn.Module):
    """A radial filter times the envelope, as a function of the length alone: (P,) Å -> (P, 3 C)."""

    def __init__(self, network: nn.Module, exact: Potential) -> None:
        super().__init__()
        self.network, self.radial, self.envelope, self.cutoff = (
            network,
            exact.trunk.radial,
            exact.trunk.envelope,
            exact.cutoff,
        )

    def forward(self, length: Tensor) -> Tensor:
        value: Tensor = (
            self.network(self.radial(length)) * self.envelope(length, self.cutoff)[:, None]
        )
        return value


def _tabulate(exact: Potential, dtype: torch.dtype) -> Cells:
    """Tabulate the filters of the embedding and of the layers."""
    net = exact.trunk.architecture
    filters = [_Filter(part.filter.network, exact) for part in (net.embedding, *net.layers)]
    return tabulate_by_cells(filters, exact.cutoff, TABLE_TOLERANCES[dtype])


def _self_loop(radial_filter: RadialFilter, exact: Potential) -> Tensor:
    """Return the filter of a self loop, (3, C); no envelope acts on it."""
    values: Tensor = radial_filter.network(exact.trunk.radial(torch.zeros(1, dtype=torch.float64)))
    return values.view(3, -1)


@torch.no_grad()
def export(exact: Potential, tables: list[Tensor]) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Settings and arrays of the compiled engine, but for how the tables are divided.

    Its names follow the paper's order.
    """
    trunk, net = exact.trunk, exact.trunk.architecture
    readout = next(t for t in exact.terms if type(t) is Readout)
    head: Any = readout.network
    embeddings = [
        embedding.table.weight for embedding in trunk.embeddings if isinstance(embedding, Species)
    ]
    scalars = torch.stack(embeddings).sum(0)  # (Z, C)
    n_species, channels = scalars.shape
    central, neighbor = net.embedding.pair.weight.chunk(2, dim=1)
    species = torch.stack(
        [scalars @ central.T + net.embedding.pair.bias, scalars @ neighbor.T], dim=1
    )  # (Z, 2, C)
    tensors = {
        "species": species,
        **named_weights(exact),
        **{f"table.{k}": table for k, table in enumerate(tables)},
        "self.0": math.sqrt(3.0) * _self_loop(net.embedding.filter, exact)[0],
        **{
            f"self.{k}": _self_loop(layer.filter, exact)
            for k, layer in enumerate(net.layers, start=1)
        },
        "reference": sum(
            (t.table[:n_species] for t in exact.terms if type(t) is ReferenceEnergies),
            torch.zeros(n_species).double(),
        ),
    }
    zbl = [t for t in exact.terms if type(t) is ZBL]
    if zbl:
        numbers = torch.arange(n_species, dtype=torch.float64)
        tensors |= {
            "zbl.number": math.sqrt(len(zbl)) * numbers,
            "zbl.power": numbers**0.23,
            "zbl.radius": zbl[0].radii[:n_species],
        }
    dispersion = next((t for t in exact.terms if type(t) is Dispersion), None)
    if dispersion is not None:
        tensors |= dispersion_tables(dispersion, n_species)
    shells = next((t for t in exact.terms if type(t) is Shells), None)
    split = next((t for t in exact.terms if type(t) is SplitCharges), None)
    kinds = {type(t) for t in exact.terms}
    tensors |= strengths(exact)
    settings = {
        "channels": channels,
        "n_layers": net.n_layers,
        "n_species": n_species,
        "head": head[0].out_features,
        "n_heads": getattr(trunk.attention, "n_heads", 0),
        "n_values": getattr(trunk.attention, "n_values", 0),
        "one_sided": net.group == "SO(3)",
        "repulsion": bool(zbl),
        "charges": bool(kinds & {Charges, SplitCharges}),
        "electrons": isinstance(trunk.electrons, LocalElectrons),
        "costs": ElectronEnergies in kinds,
        "dipoles": Dipole in kinds,
        "polarizable": Polarizability in kinds,
        "hands_out_hidden": Uncertainty in kinds,
        "n_products": 0 if split is None else split.ends.out_features // 2,
        "polynomial": trunk.envelope is polynomial_envelope,
        "coulomb": Coulomb in kinds,
        "shells": shells is not None,
        "max_displacement": 1.0 if shells is None else shells.point.max_displacement,
        "references": 0 if dispersion is None else dispersion.coordination.shape[1],
        "cutoff": exact.cutoff,
        "scale": float(readout.scale),
        "offset": sum(float(t.energy) for t in exact.terms if type(t) is Offset),
    }
    return settings, {
        name: tensor.detach().double().contiguous().numpy() for name, tensor in tensors.items()
    }


def dispersion_tables(term: Dispersion, n_species: int) -> dict[str, Tensor]:
    """Return what the compiled code reads of the dispersion; an element without has the scale 0."""

    def filled(table: Tensor, n_axes: int) -> Tensor:
        shape = (*[n_species] * n_axes, *table.shape[n_axes:])
        whole = torch.zeros(shape, dtype=torch.float64)
        known = tuple(slice(len(table)) for _ in range(n_axes))
        whole[known] = table.double()
        return whole

    lengths = (term.cutoff_A, term.counting_A, term.switching_A)
    return {
        "d3.radius": filled(term.radii, 1),
        "d3.scale": filled(term.scales, 1),
        "d3.coordination": filled(term.coordination, 1),
        "d3.reference": filled(term.reference, 2),
        "d3.damping": torch.tensor([*term.damping, *lengths], dtype=torch.float64),
    }


def strengths(potential: Potential) -> dict[str, Tensor]:
    """Name λ of charge and unpaired electrons, (2, C), of layers whose atoms know their own."""
    factor, net = potential.trunk.factor, potential.trunk.architecture
    if not isinstance(potential.trunk.electrons, LocalElectrons):
        return {}
    none = factor.strengths.new_zeros(net.n_layers, 1)
    both = torch.stack(
        [
            (
                factor.strengths[:, factor.attributes.index(name)]
                if name in factor.attributes
                else none
            ).expand(-1, net.channels)
            for name in ("total_charge", "unpaired_electrons")
        ],
        dim=1,
    )  # (L, 2, C)
    return {f"strength.{k}": both[k - 1] for k in range(2, net.n_layers + 1)}


def polarizabilities(roots: Tensor) -> Tensor:
    """Return α_i (N, 3, 3) e Å²/V of an answer's roots (N, 6)."""
    return of_roots(roots[:, :1], symmetric_matrices(roots[:, 1:]))


def totals(states: States[Tensor]) -> dict[str, Any]:
    """Say what charges and unpaired electrons of which atoms add up to."""
    return {
        "parts": states.batch.numpy(),
        "part_charges": states.total_charge.double().numpy(),
        "part_unpaired": (states.multiplicity - 1).double().numpy(),
    }


def attending(states: States[Tensor]) -> tuple[NDArray[np.int64], Floats]:
    """Say which atoms attend to each other, and what they share out."""
    return states.batch.numpy(), shared_out(states).numpy()


def named_weights(potential: Potential) -> dict[str, Tensor]:
    """Name the weights that the engine is given as they are; its list of names is `weights.h`.

    A matrix for each of I, A and S goes by one name.
    """
    trunk, net = potential.trunk, potential.trunk.architecture
    head: Any = next(term for term in potential.terms if type(term) is Readout).network
    gates = net.embedding.gates
    modules = {
        "norm": net.embedding.norm,
        "gate_1": gates[0],
        "gate_2": gates[2],
        "read_norm": net.norm,
        "read": net.output,
        "head_1": head[0],
        "head_2": head[2],
    }
    beside: dict[str, Tensor] = {}
    for term in potential.terms:
        if type(term) is Charges:
            modules |= {"charge_1": term.network[0], "charge_2": term.network[2]}
        elif type(term) is SplitCharges:
            modules["ends"] = term.ends
        elif type(term) is Dipole:
            beside["dipole.weight"] = term.weights
        elif type(term) is Polarizability:
            modules |= {"root_1": term.network[0], "root_2": term.network[2]}
            beside["root_tensor.weight"] = term.mixture.weight
        elif type(term) is ElectronEnergies:
            beside["electron.cost"] = term.costs.weight
        elif type(term) is Coulomb:
            beside["coulomb.width"] = term.widths_A
        elif type(term) is Shells:
            beside["shell.weight"] = term.point.weights
            beside["shell.charge"] = term.log_charges.weight
    if isinstance(trunk.electrons, LocalElectrons):
        own: Any = trunk.electrons
        modules |= {
            "share_norm": own.network[0],
            "share_1": own.network[1],
            "share_2": own.network[3],
            "state_1": own.embedding[0],
            "state_2": own.embedding[2],
        }
    named: dict[str, Tensor] = {
        f"{name}.{kind}": weight
        for name, module in modules.items()
        for kind, weight in module.named_parameters()
    }
    named |= {"mix": net.embedding.mix.weight, **beside}
    for k, layer in enumerate(net.layers, start=1):
        named |= {f"mix_in.{k}": layer.mix_in.weight, f"mix_out.{k}": layer.mix_out.weight}
    for k, layer in enumerate(getattr(trunk.attention, "layers", ()), start=2):
        for part, module in layer.named_children():
            for kind, weight in module.named_parameters():
                named[f"attend_{part}.{k}.{kind}"] = weight
    return named
