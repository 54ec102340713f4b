"""The ASE calculator.

ASE asks the calculator several times a step whether the structure changed. Here that is one
comparison of bytes: numbers, positions, cell, pbc, the entries of ``atoms.info`` that say charge or
multiplicity, initial charges and magnetic moments.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    Parameters,
    PropertyNotImplementedError,
    all_changes,
)
from ase.outputs import Properties
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from polcalc.calculator import electrons
from polcalc.calculator import fragments as fragments_module
from polcalc.calculator.domain import Domain
from polcalc.calculator.electrons import ElectronicState
from polcalc.calculator.field import AMBIGUOUS, Vector, as_inputs, field_of, read_field
from polcalc.calculator.fragments import Fragment
from polcalc.calculator.further import Further
from polcalc.calculator.hessian import hessian
from polcalc.calculator.partial_charges import PartialCharges
from polcalc.calculator.response import by_positions
from polcalc.calculator.sharing import in_turn
from polcalc.calculator.uncertainty import ErrorBars, of_difference, of_share
from polcalc.engines.base import Structure
from polcalc.engines.neighbors import Reference
from polcalc.engines.selector import Chosen, Selector
from potentials.card import html_table
from potentials.checkpoint import Model, load
from potentials.quantities import QUANTITIES, Evaluation
from potentials.shipped import DEFAULT, available
from potentials.structure.graph import INFO_INPUTS, States, to_device
from potentials.structure.states import STATE_KEYS
from potentials.terms.field import FIELD

logger = logging.getLogger("polcalc")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
CHANGEABLE = ("charge", "multiplicity", FIELD)
BORN_CHARGES = "born_effective_charges"  # calculated where they are asked for
ASE_NAMES = tuple(q.ase for q in QUANTITIES.values())  # in the order of an evaluation
READ_KEYS = (*STATE_KEYS, *INFO_INPUTS, *AMBIGUOUS)  # of atoms.info
Fingerprint = tuple[Any, ...]
# in a fingerprint, in order
CHANGES = ("numbers", "positions", "cell", "pbc", "info", "initial_charges", "initial_magmoms")


class PolarizedCalculator(Further, Calculator):
    """Energies, forces and stresses of a trained potential, for one total charge and spin state.

    Parameters
    ----------
    model : str, Path, Model or None   a model file, the name of a shipped model, or one already
                                       loaded; None is `DEFAULT`, and says so
    device : str                 "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", …
    dtype : str                  "float32" or "float64", of the network; geometry and energy sums
                                 are float64
    charge : int or None         e; None reads it from the structure, see
                                 `polcalc.calculator.electrons`
    multiplicity : int or None   2S + 1; likewise
    engine : str                 "auto" or a name in `polcalc.engines.selector.ENGINES`
    partial_charges : (N,) or "gasteiger"   e, for models that see them, fixed while the molecule
                                            moves; None reads initial_charges
    fragments : list of dict     groups of atoms that know their own state alone, see
                                 `polcalc.calculator.fragments`
    electric_field_V_per_A : (3,)   uniform field, V/Å, of an open structure: E - μ·F; None reads
                                    atoms.info

    Raises
    ------
    FileNotFoundError, ValueError   no such model, device, dtype or engine; charges, fragments or a
                                    field that the model does not see
    """

    # of a model; each calculator has those of its own
    implemented_properties: list[str] = [q.ase for q in QUANTITIES.values() if q.ase]  # noqa: RUF012

    def __init__(
        self,
        model: str | Path | Model | None = None,
        device: str = "auto",
        dtype: str = "float32",
        charge: int | None = None,
        multiplicity: int | None = None,
        engine: str = "auto",
        partial_charges: str | Sequence[float] | np.ndarray | None = None,
        fragments: Sequence[Mapping[str, Any]] | None = None,
        electric_field_V_per_A: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        self.results: dict[str, Any] = {}
        self._fingerprint: Fingerprint | None = None
        self._evaluation = Evaluation()
        self._info: dict[str, Any] = {}  # what of atoms.info said charge or multiplicity
        self._resolved: tuple[Fingerprint, Resolved] | None = None
        self._device = _device(device)
        if dtype not in DTYPES:
            raise ValueError(
                f"`dtype` must be one of {', '.join(DTYPES)}; got {dtype!r}. Pass one of these."
            )
        asked, model = model, _default() if model is None else model
        self.model = (
            _placed(model, DTYPES[dtype], self._device)
            if isinstance(model, Model)
            else load(model, DTYPES[dtype], self._device)
        )
        predicts = self.model.potential.predicts
        if "energy" not in predicts:
            raise ValueError(
                f"`model` must predict energies; {asked} predicts: {', '.join(predicts)}. Use"
                " `potentials.potential.predict`."
            )
        if quantity := self.model.card.dataset.get("quantity"):
            raise ValueError(
                f"`model` must predict energies; {asked} predicts: {quantity}. Use"
                " `potentials.potential.predict`."
            )
        named_by_ase = [QUANTITIES[name].ase for name in predicts if QUANTITIES[name].ase]
        on_demand = [BORN_CHARGES] if "dipole" in predicts else []
        self.implemented_properties = [*named_by_ase, "free_energy", *on_demand]
        self._requested_engine = engine
        self._domain = Domain(self.model.card, self.model.potential)
        self.begin()
        if asked is None:
            _announce(DEFAULT)
        seen = self.model.potential.state_inputs
        self._partial_charges = PartialCharges(partial_charges, "partial_charges" in seen)
        self._fragments = _fragments(fragments, charge, multiplicity, seen)
        name = str(model.path) if isinstance(model, Model) else str(model)
        super().__init__()  # type: ignore[no-untyped-call]
        self.parameters = Parameters(
            model=name,
            sha256=self.model.sha256,
            device=str(self._device),
            dtype=dtype,
            charge=None,
            multiplicity=None,
            engine=engine,
            partial_charges=(
                partial_charges.tolist()
                if isinstance(partial_charges, np.ndarray)
                else partial_charges
            ),
            fragments=None if fragments is None else [dict(fragment) for fragment in fragments],
            electric_field_V_per_A=None,
        )
        self.set(
            charge=charge,
            multiplicity=multiplicity,
            electric_field_V_per_A=electric_field_V_per_A,
        )

    # what people see

    def __repr__(self) -> str:
        """Return one line: the model, how it runs, and the last state."""
        return f"PolarizedCalculator({', '.join(self._summary().values())})"

    def _repr_html_(self) -> str:
        """Lay out for a notebook what runs, what came of it, and where the model fails."""
        limits = {"where it fails": self.model.card.limits}
        return html_table(self._summary() | self._said_last() | limits)

    def _summary(self) -> dict[str, str]:
        precision = f"{self.parameters['dtype']} on {self.parameters['device']}"
        state = "no structure yet" if self.state is None else str(self.state)
        return {"model": str(self.parameters["model"]), "runs in": precision, "state": state}

    # what runs

    @property
    @in_turn
    def state(self) -> ElectronicState | None:
        """Charge and multiplicity of the last structure, and where they came from."""
        return None if self._resolved is None else self._resolved[1].state

    @in_turn
    def state_of(self, atoms: Atoms) -> ElectronicState:
        """Find charge and multiplicity of a structure without calculating it."""
        return self._resolve(atoms).state

    @property
    @in_turn
    def partial_charges(self) -> np.ndarray | None:
        """Partial charges of the last structure in e, (N,), a copy; None where there were none."""
        found = None if self._resolved is None else self._resolved[1].partial_charges
        return None if found is None else np.array(found)

    @property
    @in_turn
    def engine(self) -> Chosen:
        """The engine that runs, why no faster one, and how far it is from the eager one."""
        return self._engines.chosen

    @property
    @in_turn
    def searched_at(self) -> Reference | None:
        """Where the pairs in use were searched, or None.

        Who evaluates there first gets the same bits afterwards.
        """
        return self._engines.searched_at

    @in_turn
    def set(self, /, **arguments: Any) -> dict[str, Any]:
        """Change charge, multiplicity or field; the next call calculates anew.

        Returns
        -------
        what changed
        """
        for name in arguments:
            if name not in CHANGEABLE:
                raise ValueError(
                    f"`{name}` must stay as it was given; only {', '.join(CHANGEABLE)} can change."
                    " Make a new calculator."
                )
        field = {FIELD: self._field(arguments.pop(FIELD))} if FIELD in arguments else {}
        if self._fragments and any(value is not None for value in arguments.values()):
            raise ValueError(
                "`charge` and `multiplicity` must be left to the fragments. Make a new calculator."
            )
        values = field | {
            name: None if value is None else electrons.whole(name, value)
            for name, value in arguments.items()
        }
        changed = {name: value for name, value in values.items() if self.parameters[name] != value}
        self.parameters.update(changed)
        if changed.keys() - {FIELD}:
            self.reset()
        elif field:  # which may have been aimed elsewhere since
            self._forget()
        return changed

    @in_turn
    def aim_field(self, electric_field_V_per_A: Sequence[float]) -> None:
        """Put the next structure into another field (V/Å); what is known of the last one stays."""
        self.parameters[FIELD] = self._field(electric_field_V_per_A)

    # what ASE asks

    @in_turn
    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """Return one result, calculated if the structure changed.

        None where that is not allowed.
        """
        if name not in self.implemented_properties:
            raise PropertyNotImplementedError(f"{name} is not calculated by this potential")
        if self._is_stale(atoms):
            if not allow_calculation:
                self._forget()
                return None
            self.calculate(atoms)
        if name == BORN_CHARGES and allow_calculation:
            self._add_born_charges()
        value = self.results.get(name)
        if value is None and allow_calculation:
            raise PropertyNotImplementedError(
                f"{name} is not defined for this structure: it is not periodic"
            )
        return value.copy() if isinstance(value, np.ndarray) else value

    @in_turn
    def get_forces(self, atoms: Atoms | None = None) -> Any:
        """Return forces in eV/Å, (N, 3), a copy."""
        if self._is_stale(atoms):
            self.calculate(atoms)
        return self.results["forces"].copy()

    @in_turn
    def get_potential_energy(
        self, atoms: Atoms | None = None, force_consistent: bool = False
    ) -> Any:
        """Return the energy in eV.

        There is no electronic temperature, so the free energy is the same.
        """
        if self._is_stale(atoms):
            self.calculate(atoms)
        return self.results["energy"]

    @in_turn
    def get_polarizability(self, atoms: Atoms | None = None) -> Any:
        """Return the polarizability in e Å^2/V, (3, 3), a copy."""
        if self._is_stale(atoms):
            self.calculate(atoms)
        return self.polarizability

    @in_turn
    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Name what changed since the last calculation, `atoms.info` included."""
        if self._fingerprint is None:
            return [*all_changes, "info"]
        return [
            name
            for name, old, new in zip(CHANGES, self._fingerprint, _fingerprint(atoms), strict=True)
            if old != new
        ]

    @in_turn
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Calculate every property in one pass. An exception leaves no results behind."""
        atoms = self.atoms if atoms is None else atoms
        self._forget()
        if atoms is None:
            raise ValueError(
                "`atoms` must be given before the first calculation; got none. Pass the structure."
            )
        fingerprint = _fingerprint(atoms)
        structure = self._structure(atoms, fingerprint)
        self._domain.check_geometry(structure)
        evaluation = self._engines.evaluate(structure)
        self._domain.check_certainty(structure, evaluation)
        self.results = results_of(evaluation)
        self._evaluation = evaluation
        self._fingerprint = fingerprint
        self._info = {key: atoms.info[key] for key in READ_KEYS if key in atoms.info}
        if BORN_CHARGES in properties:
            self._add_born_charges()

    @in_turn
    def check(self, atoms: Atoms) -> ElectronicState:
        """Raise and warn as the first calculation of a structure would; return its state.

        Of what was warned before, for another structure, it is warned again.

        Raises
        ------
        ValueError   elements, a state or positions that cannot be calculated
        """
        self._domain.forget_warnings()
        resolved = self._resolve(atoms)
        self._domain.check_geometry(self._structure_of(atoms, resolved))
        return resolved.state

    @in_turn
    def calculate_many(self, structures: Sequence[Atoms]) -> list[dict[str, Any]]:
        """Calculate independent structures in batches.

        Returns
        -------
        results of each, as in `Calculator.results`; those of this calculator are left alone
        """
        return [results_of(evaluation) for evaluation in self.evaluate_many(structures)]

    @in_turn
    def evaluate_many(self, structures: Sequence[Atoms]) -> list[Evaluation]:
        """Calculate independent structures in batches; all that is predicted of each.

        What was calculated last by this calculator is left alone.
        """
        prepared = []
        for atoms in structures:
            structure = self._structure_of(atoms, self._resolve(atoms))
            self._domain.check_geometry(structure)
            prepared.append(structure)
        return self._engines.evaluate_many(prepared)

    @in_turn
    def get_hessian(self, atoms: Atoms, moving: Sequence[int] | None = None) -> np.ndarray:
        """Differentiate the energy twice, analytically, by positions: all, or those of ``moving``.

        Returns
        -------
        (n, 3, n, 3) eV/Å^2, of the moving atoms
        """
        structure = self._structure_of(atoms, self._resolve(atoms))
        self._domain.check_geometry(structure)
        eager = self._engines.eager
        found = (
            hessian(eager.potential, to_device(eager.graph_of(structure), self._device), moving)
            .cpu()
            .numpy()
        )
        n_moving = len(found) // 3
        return found.reshape(n_moving, 3, n_moving, 3)

    @in_turn
    def get_derivative(self, atoms: Atoms, quantity: str) -> np.ndarray:
        """Differentiate dipole or polarizability by the positions of the atoms, analytically.

        Parameters
        ----------
        quantity : str   a name in `QUANTITIES` that the model predicts for a structure

        Returns
        -------
        (N, 3, 3) e, or (N, 3, 3, 3) e Å/V: atom, its coordinate, component
        """
        if quantity not in self.model.potential.predicts:
            raise PropertyNotImplementedError(f"{quantity} is not predicted by this potential")
        structure = self._structure_of(atoms, self._resolve(atoms))
        eager = self._engines.eager
        graph = to_device(eager.graph_of(structure), self._device)
        return by_positions(eager.potential, graph, quantity).cpu().numpy()

    @in_turn
    def uncertainty_of_share(self, atoms: Atoms, percent: float) -> ErrorBars:
        """Return what errors of 50 or 95 % of new molecules lie within, in place of 68 %.

        Raises
        ------
        ValueError   another share
        """
        self.get_potential_energy(atoms)
        structure = self._structure_of(atoms, self._resolve(atoms))
        return of_share(self.model.potential, structure, self.uncertainty, percent)

    @in_turn
    def uncertainty_of_difference(self, a: Atoms, b: Atoms) -> float | None:
        """Return what 68 % of errors of E(b) - E(a) in eV lie within.

        Of two states of a geometry, of two geometries of a molecule, or of two molecules. None
        where the model is not calibrated.
        """
        eager = self._engines.eager
        first, second = (self._structure_of(atoms, self._resolve(atoms)) for atoms in (a, b))
        return of_difference(
            eager.potential,
            first,
            second,
            lambda structure: to_device(eager.graph_of(structure), self._device),
        )

    def _add_born_charges(self) -> None:
        """Add ∂μ_a/∂r_b (N, 3, 3) e to the results, row a of each atom, as ASE lays it out."""
        if BORN_CHARGES not in self.results:
            assert self.atoms is not None
            by_atom = self.get_derivative(self.atoms, "dipole")  # (N, b, a)
            self.results[BORN_CHARGES] = by_atom.transpose(0, 2, 1)

    # state

    @property
    @in_turn
    def atoms(self) -> Atoms | None:
        """The structure of the last calculation, a copy of what mattered."""
        if self._fingerprint is None:
            return None
        numbers, positions, cell, pbc, _, charges, magmoms = self._fingerprint
        atoms = Atoms(
            numbers=np.frombuffer(numbers, dtype=np.int64),
            positions=np.frombuffer(positions).reshape(-1, 3),
            cell=np.frombuffer(cell).reshape(3, 3),
            pbc=np.frombuffer(pbc, dtype=bool),
            info=dict(self._info),
        )
        if charges is not None:
            atoms.set_initial_charges(np.frombuffer(charges))
        if magmoms is not None:
            atoms.set_initial_magnetic_moments(np.frombuffer(magmoms))
        return atoms

    @atoms.setter
    def atoms(self, atoms: Atoms | None) -> None:
        if atoms is not None:
            raise ValueError("`atoms` must not be set on the calculator. Set atoms.calc instead.")
        self._forget()

    def export_properties(self) -> Properties:
        """Return the results in ASE's typed form."""
        return Properties(self.results)

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Return the arguments that make this calculator, as plain values."""
        return {
            name: value
            for name, value in self.parameters.items()
            if value is not None or not skip_default
        }

    @in_turn
    def reset(self) -> None:
        """Forget the last calculation, and which partial charges its molecule had."""
        self._forget()
        self._resolved = None

    # engines hold what cannot be pickled
    REMADE = Further.REMADE | {"_engines"}
    OF_TENSORS = frozenset({"model", "_domain"})

    def begin(self) -> None:
        """Make the engines, and forget the pairs: a thread may have been stopped among them."""
        super().begin()
        self._engines = Selector(self.model.potential, self._device, self._requested_engine)
        self._domain.reset()

    def _forget(self) -> None:
        self._fingerprint, self._evaluation = None, Evaluation()
        self.results, self._info = {}, {}

    def _is_stale(self, atoms: Atoms | None) -> bool:
        return self._fingerprint is None or (
            atoms is not None and _fingerprint(atoms) != self._fingerprint
        )

    def _structure(self, atoms: Atoms, fingerprint: Fingerprint) -> Structure:
        """Read a structure.

        Charge, multiplicity and elements are checked only where something that decides them
        changed.
        """
        decides = (
            fingerprint[0],
            *fingerprint[3:],
            self.parameters["charge"],
            self.parameters["multiplicity"],
        )
        if self._resolved is None or self._resolved[0] != decides:
            self._resolved = None
            resolved = self._resolve(atoms)
            self._domain.check_kept_charge(atoms.numbers, resolved.state)
            self._resolved = decides, resolved
        return self._structure_of(atoms, self._resolved[1])

    def _structure_of(self, atoms: Atoms, resolved: Resolved) -> Structure:
        field = field_of(atoms, self.parameters[FIELD], self.model.potential.inputs)
        return Structure(
            atomic_numbers=atoms.arrays["numbers"],
            positions=atoms.arrays["positions"],
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            charge=resolved.state.charge,
            multiplicity=resolved.state.multiplicity,
            partial_charges=resolved.partial_charges,
            fragments=resolved.parts,
            inputs=as_inputs(atoms, field, INFO_INPUTS),
        )

    def _field(self, given: Any) -> Vector | None:
        return read_field(given, self.model.potential.inputs)

    def _check_inputs(self, atoms: Atoms) -> None:
        """Refuse what the structure says and this model would ignore."""
        for name in INFO_INPUTS:
            if name in atoms.info and name not in self.model.potential.inputs:
                raise ValueError(
                    f"`{name}` must be left out of atoms.info for a model that does not answer to"
                    f" it; got {atoms.info[name]}. Remove it, or take a model that does."
                )

    def _resolve(self, atoms: Atoms) -> Resolved:
        self._check_inputs(atoms)
        parts, states = (
            fragments_module.states_of(self._fragments, atoms) if self._fragments else (None, [])
        )
        if states:
            state = fragments_module.whole_state(states)
        else:
            state = electrons.resolve(
                atoms, self.parameters["charge"], self.parameters["multiplicity"]
            )
            self._domain.check_said(atoms.numbers, state)
        self._domain.check_composition(atoms.numbers, state, bool(atoms.pbc.any()), states)
        return Resolved(state, parts, self._partial_charges.of(atoms, state.charge))


def _default() -> str:
    if DEFAULT not in available():
        raise FileNotFoundError(
            f"`model` must be given: {DEFAULT}, the default, is not shipped in this version. "
            f"Pass one of {', '.join(available()) or 'no shipped models'}, or a file."
        )
    return DEFAULT


@cache
def _announce(name: str) -> None:
    """Say once in a process which model answers those who named none."""
    logger.warning("no model was named; %s answers (polcalc info %s)", name, name)


class Resolved(NamedTuple):
    """What the network is told of the electrons of a structure."""

    state: ElectronicState
    parts: States[NDArray[Any]] | None
    partial_charges: np.ndarray | None  # (N,) e


def _fingerprint(atoms: Atoms) -> Fingerprint:
    """Return what decides the results, as values that compare at once."""
    arrays, info = atoms.arrays, atoms.info
    charges, magmoms = arrays.get("initial_charges"), arrays.get("initial_magmoms")
    return (
        arrays["numbers"].tobytes(),
        arrays["positions"].tobytes(),
        atoms.cell.array.tobytes(),
        atoms.pbc.tobytes(),
        tuple((key, repr(info[key])) for key in READ_KEYS if key in info) if info else (),
        None if charges is None else charges.tobytes(),
        None if magmoms is None else magmoms.tobytes(),
    )


def _fragments(
    given: Sequence[Mapping[str, Any]] | None,
    charge: int | None,
    multiplicity: int | None,
    seen: set[str],
) -> tuple[Fragment, ...]:
    """Read fragments, for a model that sees molecular states, where nothing else says them."""
    if given is None:
        return ()
    if not seen & {"total_charge", "unpaired_electrons"}:
        raise ValueError(
            "`fragments` must be for a model that sees total charge or unpaired electrons. Leave"
            " them out."
        )
    if charge is not None or multiplicity is not None:
        raise ValueError(
            "`fragments` must be given without charge and multiplicity: they add up to them. Leave"
            " out the latter."
        )
    return fragments_module.read_fragments(given)


def results_of(evaluation: Evaluation) -> dict[str, Any]:
    """Name the quantities of an evaluation as ASE does, in its conventions."""
    results = {
        ase: value
        for ase, value in zip(ASE_NAMES, evaluation, strict=True)
        if ase and value is not None
    }
    results["free_energy"] = results["energy"]
    if "stress" in results:
        results["stress"] = full_3x3_to_voigt_6_stress(results["stress"])
    return results


def _placed(model: Model, dtype: torch.dtype, device: torch.device) -> Model:
    """Copy a loaded model to a dtype and device; buffers of the energy terms stay float64."""
    potential = copy.deepcopy(model.potential)
    for parameter in potential.parameters():
        parameter.data = parameter.data.to(dtype)
    return model._replace(potential=potential.to(device).eval())


def _device(name: str) -> torch.device:
    """Read a device; "auto" is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"`device` must be auto, cpu or cuda; got {name!r}. Pass one of these."
        ) from error
    if device.type not in ("cpu", "cuda") or (
        device.type == "cuda" and not torch.cuda.is_available()
    ):
        raise ValueError(
            f"`device` must be one that this machine has; got {name!r}. Pass device='auto'."
        )
    return device
