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
from collections.abc import Mapping
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from polcalc.engines.native.export import export, tabulate
from polcalc.engines.native.states import attending, parts_of, totals
from polcalc.engines.native.supported import _native, check_supported
from potentials.parts.attention import ChargedAttention
from potentials.parts.conditioning import Species
from potentials.parts.electrons import LocalElectrons
from potentials.potential import Potential
from potentials.structure.graph import make_graph
from potentials.terms.charges import Charges
from potentials.terms.constants import StateEnergies

Floats = NDArray[np.float64]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], Floats | None]


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
        tables, cells, self.table_error = tabulate(exact, dtype)
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
            return attending(parts_of(n_atoms, total_charge, multiplicity, fragments))
        before, attended = self._attended
        if before != (n_atoms, total_charge, multiplicity):
            attended = attending(parts_of(n_atoms, total_charge, multiplicity, None))
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
            return totals(parts_of(n_atoms, total_charge, multiplicity, fragments))
        before, added_up = self._added_up
        if before != (n_atoms, total_charge, multiplicity):
            added_up = totals(parts_of(n_atoms, total_charge, multiplicity, None))
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
        states = parts_of(n_atoms, total_charge, multiplicity, fragments)
        shares = [
            term.shared(states.batch, states.total_charge, states.multiplicity)
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
        states = parts_of(n_atoms, total_charge, multiplicity, fragments)
        no_pairs = np.zeros(0, dtype=np.int64)
        graph = make_graph(
            0.0,
            fragments=states,
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


def _same(before: Any, now: Any) -> bool:
    if before is now:
        return True
    if isinstance(before, np.ndarray) or isinstance(now, np.ndarray):
        return before is not None and now is not None and np.array_equal(before, now)
    return bool(before == now)
