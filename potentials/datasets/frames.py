"""Labelled structures in eV, Å and e.

What every reader returns and training, validation and statistics start from.

All structures lie one after the other in flat arrays, as in a batched graph; energies and geometry
are float64. Sizes in comments: S structures, N atoms of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from potentials.datasets.formats.units import EV_ANGSTROM, Units
from potentials.quantities import QUANTITIES, Targets
from potentials.structure.graph import AtomicGraph, make_graph
from potentials.structure.pairs import find_pairs

Array = npt.NDArray[Any]

PER_ATOM = ("atomic_numbers", "positions", "forces", "partial_charges", "magmoms")
PER_STRUCTURE = (
    "n_atoms",
    "energy",
    "cell",
    "pbc",
    "stress",
    "total_charge",
    "multiplicity",
    "group",
    "dipole",
    "spin_squared",
)


# labels of the table of quantities that have no field of their own, and where they belong
MORE = {
    q.label: q.per
    for q in QUANTITIES.values()
    if q.label and q.label not in (*PER_ATOM, *PER_STRUCTURE)
}

# labels that may be known of some atoms or structures alone: elsewhere they are NaN
PARTIAL = ("forces", "partial_charges", "dipole", "magmoms", "spin_squared", *MORE)


def is_per_atom(name: str) -> bool:
    """Whether an array has a row for each atom, and not for each structure."""
    return name in PER_ATOM or MORE.get(name) == "atom"


@dataclass(frozen=True)
class Provenance:
    """Where structures come from."""

    name: str = ""
    description: str = ""
    theory: str = ""  # level of theory of the labels
    licence: str = ""
    citation: str = ""
    url: str = ""
    sha256: dict[str, str] = field(default_factory=dict)  # file name -> checksum
    units: Units = EV_ANGSTROM  # what the file was written in; the arrays are converted
    quantity: str = ""  # what ``energy`` holds, with its unit; empty: the energy in eV


@dataclass(frozen=True, eq=False)
class Frames:
    """Structures with their labels. Iterating yields ASE atoms; ``select`` picks structures."""

    n_atoms: Array  # (S,) int64
    atomic_numbers: Array  # (N,) int64
    positions: Array  # (N, 3) Å, float64
    energy: Array  # (S,) eV, float64
    total_charge: Array  # (S,) e, float64
    multiplicity: Array  # (S,) int64, 2S + 1
    cell: Array  # (S, 3, 3) Å, rows are lattice vectors, zero where open
    pbc: Array  # (S, 3) bool
    forces: Array | None = None  # (N, 3) eV/Å
    stress: Array | None = None  # (S, 3, 3) eV/Å^3
    partial_charges: Array | None = None  # (N,) e
    group: Array | None = (
        None  # (S,) int64; structures of one parent share a number and stay together in a split
    )
    dipole: Array | None = None  # (S, 3) e Å, about the origin of the coordinates
    magmoms: Array | None = None  # (N,) μB, unpaired electrons
    spin_squared: Array | None = None  # (S,) <S²>
    more: Mapping[str, Array] = field(default_factory=dict)  # labels beyond these, by their names
    provenance: Provenance = Provenance()
    # atomic number -> eV, of free atoms that the file holds beside the structures
    references: dict[int, float] = field(default_factory=dict)
    remarks: Sequence[str] = ()  # what the file says and was not read

    def __post_init__(self) -> None:
        """Check that the arrays fit together, and that labels are finite or may be unknown."""
        n_structures, n_atoms = len(self.n_atoms), int(self.n_atoms.sum())
        for name, array in self.arrays().items():
            expected = n_atoms if is_per_atom(name) else n_structures
            if len(array) != expected:
                raise ValueError(
                    f"`{name}` must have {expected} rows; got {len(array)}. Check the file."
                )
            wrong = np.isinf(array) if name in PARTIAL else ~np.isfinite(array)
            if wrong.any():
                row = int(np.argmax(wrong.reshape(len(array), -1).any(1)))
                where = (
                    int(np.searchsorted(self.first, row, side="right") - 1)
                    if is_per_atom(name)
                    else row
                )
                raise ValueError(
                    f"`{name}` must be finite; got {array[row]} in structure {where}. Remove this"
                    " structure."
                )

    def __len__(self) -> int:
        """Return the number of structures."""
        return len(self.n_atoms)

    def __iter__(self) -> Iterator[Atoms]:
        """Yield ASE atoms with their labels, charge and multiplicity."""
        return (self.atoms(index) for index in range(len(self)))

    @cached_property
    def first(self) -> Array:
        """Position of each structure's first atom, and the number of all atoms (S + 1,)."""
        return np.concatenate([[0], np.cumsum(self.n_atoms)]).astype(np.int64)

    @property
    def known_forces(self) -> Array | None:
        """Forces (K, 3) eV/Å of the atoms that have some; None where no atom has."""
        known = None if self.forces is None else self.forces[~np.isnan(self.forces).any(1)]
        return None if known is None or not len(known) else known

    def arrays(self) -> dict[str, Array]:
        """Name every array that is there."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: x for name, x in own.items() if isinstance(x, np.ndarray)} | dict(self.more)

    def label(self, quantity: str) -> Array | None:
        """Return the labels of a quantity of `QUANTITIES`, or None where there are none."""
        name = QUANTITIES[quantity].label
        return self.arrays().get(name) if name else None

    def with_arrays(self, arrays: Mapping[str, Array]) -> Frames:
        """Replace arrays by others, by the names of `arrays`."""
        own: dict[str, Any] = {name: x for name, x in arrays.items() if name not in MORE}
        more = {name: x for name, x in arrays.items() if name in MORE}
        return replace(self, **own, more={**self.more, **more})

    def slice_of(self, index: int) -> slice:
        """Return where the atoms of one structure lie."""
        return slice(int(self.first[index]), int(self.first[index + 1]))

    def select(self, indices: Sequence[int] | Array | slice) -> Frames:
        """Pick structures by number, mask or slice, in this order."""
        chosen = np.arange(len(self))[
            indices if isinstance(indices, slice) or len(indices) else slice(0)
        ]
        rows = (
            np.concatenate([np.arange(self.first[i], self.first[i + 1]) for i in chosen])
            if len(chosen)
            else chosen
        )
        return self.with_arrays(
            {
                name: array[rows if is_per_atom(name) else chosen]
                for name, array in self.arrays().items()
            }
        )

    def without_labels(self) -> Frames:
        """Keep structures, states and energies; drop what not every set has."""
        return replace(
            self,
            forces=None,
            stress=None,
            partial_charges=None,
            group=None,
            dipole=None,
            magmoms=None,
            spin_squared=None,
            more={},
        )

    def atoms(self, index: int) -> Atoms:
        """Make ASE atoms of one structure.

        Labels in a single-point calculator, charge and multiplicity in ``info``.
        """
        rows, charge = self.slice_of(index), float(self.total_charge[index])
        atoms = Atoms(
            numbers=self.atomic_numbers[rows],
            positions=self.positions[rows],
            cell=self.cell[index],
            pbc=self.pbc[index],
        )
        atoms.info = {
            "charge": int(charge) if charge.is_integer() else charge,
            "multiplicity": int(self.multiplicity[index]),
        }
        labels: dict[str, Any] = {
            "energy": float(self.energy[index]),
            "free_energy": float(self.energy[index]),
        }
        if self.forces is not None and not np.isnan(self.forces[rows]).any():
            labels["forces"] = self.forces[rows].copy()
        if self.stress is not None:
            labels["stress"] = full_3x3_to_voigt_6_stress(self.stress[index])
        if self.partial_charges is not None:
            labels["charges"] = self.partial_charges[rows].copy()
        if self.dipole is not None:
            labels["dipole"] = self.dipole[index].copy()
        if self.magmoms is not None:
            labels["magmoms"] = self.magmoms[rows].copy()
        atoms.calc = SinglePointCalculator(atoms, **labels)
        return atoms


def make_frames(
    n_atoms: Array,
    atomic_numbers: Array,
    positions: Array,
    energy: Array,
    *,
    units: Units = EV_ANGSTROM,
    forces: Array | None = None,
    total_charge: Array | float = 0,
    multiplicity: Array | int | None = None,
    cell: Array | None = None,
    pbc: Array | None = None,
    stress: Array | None = None,
    partial_charges: Array | None = None,
    group: Array | None = None,
    dipole: Array | None = None,
    magmoms: Array | None = None,
    spin_squared: Array | None = None,
    more: Mapping[str, Array] | None = None,
    provenance: Provenance | None = None,
    references: dict[int, float] | None = None,
    remarks: Sequence[str] = (),
) -> Frames:
    """Convert flat arrays of a file to eV and Å.

    Parameters
    ----------
    n_atoms : (S,)              atoms per structure
    atomic_numbers : (N,)
    positions : (N, 3)          in ``units``, as everything else
    energy : (S,)
    total_charge : (S,) or one  e
    multiplicity : (S,), one, or None for the lowest that the electrons allow
    references : dict           atomic number -> eV, of free atoms
    remarks : list of str       what the file says and was not read
    """
    n_structures = len(n_atoms)
    counts, numbers = (
        np.asarray(n_atoms, dtype=np.int64),
        np.asarray(atomic_numbers, dtype=np.int64).ravel(),
    )
    charges = np.broadcast_to(np.asarray(total_charge, dtype=np.float64), n_structures).copy()
    lowest = lowest_multiplicity(counts, numbers, charges)
    return Frames(
        n_atoms=counts,
        atomic_numbers=numbers,
        positions=_scaled(positions, units.length_A, (-1, 3)),
        energy=_scaled(energy, units.energy_eV, (-1,)),
        total_charge=charges,
        multiplicity=(
            lowest
            if multiplicity is None
            else np.broadcast_to(np.asarray(multiplicity, dtype=np.int64), n_structures).copy()
        ),
        cell=(
            np.zeros((n_structures, 3, 3))
            if cell is None
            else _scaled(cell, units.length_A, (-1, 3, 3))
        ),
        pbc=np.zeros((n_structures, 3), dtype=bool) if pbc is None else np.asarray(pbc, dtype=bool),
        forces=None if forces is None else _scaled(forces, units.force_eV_per_A, (-1, 3)),
        stress=None if stress is None else _scaled(stress, units.stress_eV_per_A3, (-1, 3, 3)),
        partial_charges=None if partial_charges is None else _scaled(partial_charges, 1.0, (-1,)),
        group=None if group is None else np.asarray(group, dtype=np.int64),
        dipole=None if dipole is None else _scaled(dipole, units.length_A, (-1, 3)),
        magmoms=None if magmoms is None else _scaled(magmoms, 1.0, (-1,)),
        spin_squared=None if spin_squared is None else _scaled(spin_squared, 1.0, (-1,)),
        more={name: np.asarray(values, dtype=np.float64) for name, values in (more or {}).items()},
        provenance=replace(provenance or Provenance(), units=units),
        references=references or {},
        remarks=tuple(remarks),
    )


def lowest_multiplicity(n_atoms: Array, atomic_numbers: Array, total_charge: Array) -> Array:
    """Find the lowest 2S + 1 that the number of electrons allows: 1 or 2 (S,)."""
    electrons = count_electrons(n_atoms, atomic_numbers, total_charge)
    return 1 + np.rint(electrons).astype(np.int64) % 2


def count_electrons(n_atoms: Array, atomic_numbers: Array, total_charge: Array) -> Array:
    """Count the electrons of each structure (S,)."""
    structure = np.repeat(np.arange(len(n_atoms)), n_atoms)
    counted: Array = (
        np.bincount(structure, weights=atomic_numbers, minlength=len(n_atoms)) - total_charge
    )
    return counted


def graphs(frames: Frames, cutoff: float) -> list[AtomicGraph]:
    """Make a graph of each structure, with its pairs.

    Parameters
    ----------
    frames : Frames
    cutoff : float     Å, at least that of the potential
    """
    return [_graph(frames, index, cutoff) for index in range(len(frames))]


def targets(frames: Frames) -> Targets:
    """Return the labels of all structures as one batch; for one of them, select it first."""
    return Targets(**{name: _tensor(frames.label(name)) for name in QUANTITIES})


def join(parts: Sequence[Frames], provenance: Provenance | None = None) -> Frames:
    """Put structures of several sources one after the other.

    Of `PARTIAL` labels those that a source lacks are unknown; others must be there in all or none.
    """
    shapes = {name: array.shape[1:] for part in parts for name, array in part.arrays().items()}
    filled = [_with_unknown(part, shapes) for part in parts]
    for part in filled:
        if differing := shapes.keys() ^ part.arrays().keys():
            raise ValueError(
                f"`frames` must have the same labels; got {', '.join(sorted(differing))} in some"
                " only. Drop them first."
            )
    joined = {name: np.concatenate([part.arrays()[name] for part in filled]) for name in shapes}
    return replace(filled[0].with_arrays(joined), provenance=provenance or parts[0].provenance)


def _with_unknown(frames: Frames, shapes: Mapping[str, tuple[int, ...]]) -> Frames:
    """Fill in NaN for the labels that are not there and may be unknown."""
    n_rows = {True: int(frames.n_atoms.sum()), False: len(frames)}
    missing = [name for name in shapes if name in PARTIAL and name not in frames.arrays()]
    unknown = {
        name: np.full((n_rows[is_per_atom(name)], *shapes[name]), np.nan) for name in missing
    }
    return frames.with_arrays(unknown)


def _graph(frames: Frames, index: int, cutoff: float) -> AtomicGraph:
    rows = frames.slice_of(index)
    positions = torch.from_numpy(frames.positions[rows].copy())
    cell, pbc = (
        torch.from_numpy(frames.cell[index].copy()),
        torch.from_numpy(frames.pbc[index].copy()),
    )
    idx_i, idx_j, shift = find_pairs(positions, cell, pbc, cutoff)
    charges = None if frames.partial_charges is None else frames.partial_charges[rows]
    return make_graph(
        cutoff,
        atomic_numbers=frames.atomic_numbers[rows].copy(),
        positions=positions,
        cell=cell,
        pbc=pbc,
        idx_i=idx_i,
        idx_j=idx_j,
        shift=shift,
        total_charge=frames.total_charge[index],
        multiplicity=frames.multiplicity[index],
        partial_charges=None if charges is None else charges.copy(),
    )


def _tensor(array: Array | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array.copy())


def _scaled(values: Array, factor: float, shape: tuple[int, ...]) -> Array:
    scaled: Array = np.array(values, dtype=np.float64).reshape(shape)
    return scaled if factor == 1.0 else scaled * factor
