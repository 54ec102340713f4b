"""Look through labelled structures for what spoils training or its test.

Units, electrons, repeats, overlap, contacts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols, covalent_radii

from potentials.datasets.checks.pair_distances import nearest_neighbor_ratio
from potentials.datasets.checks.plausible import unit_problems
from potentials.datasets.checks.repeats import find_repeats
from potentials.datasets.frames import Frames, count_electrons
from potentials.datasets.statistics import atom_energies, statistics

Array = npt.NDArray[Any]

TOO_CLOSE = 0.5  # sums of covalent radii
NET_FORCE = 0.1  # eV/Å; converged calculations of molecules stay below
CONTRADICTION = 1e-3  # eV, between energies of the same structure and state
NAMED = 8  # structures listed in a message


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may be."""

    level: Literal["error", "warning"]
    code: str
    message: str
    structures: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What a set holds, and what is wrong with it."""

    name: str
    n_structures: int
    n_atoms: list[int]  # smallest and largest structure
    elements: list[str]
    labels: list[str]  # what there is beside the energy
    units: str  # that the file was read in
    states: list[list[int]]  # [charge, multiplicity, number of structures]
    energy_eV: list[float]  # lowest and highest
    energy_eV_per_atom: list[float]  # likewise, reference energies subtracted
    energy_over_free_atoms: float  # 1 for total energies of all electrons
    forces_rms_eV_per_A: float | None
    forces_max_eV_per_A: float | None
    closest_distances_A: dict[str, float]
    n_repeats: int  # structures that are the same as an earlier one, in the same state
    free_atoms_eV: dict[str, float]  # energies of isolated atoms that the file marks
    n_overlap: int | None  # structures that are in the other set too
    findings: list[Finding]

    @property
    def n_errors(self) -> int:
        """Number of findings that are errors."""
        return sum(f.level == "error" for f in self.findings)


def lint(frames: Frames, against: Frames | None = None) -> Report:
    """Look through structures.

    Parameters
    ----------
    frames : Frames
    against : Frames or None   another set that must not share structures, such as the test set
    """
    if not len(frames):
        raise ValueError("`frames` must hold structures; got none. Check the file.")
    numbers, forces = statistics(frames), frames.known_forces
    repeats = find_repeats(frames)
    overlap = None if against is None else np.unique([i for i, _ in find_repeats(frames, against)])
    return Report(
        name=frames.provenance.name,
        n_structures=len(frames),
        n_atoms=[int(frames.n_atoms.min()), int(frames.n_atoms.max())],
        elements=[chemical_symbols[z] for z in numbers.elements],
        labels=[
            name
            for name in ("forces", "stress", "partial_charges", "group")
            if getattr(frames, name) is not None
        ],
        units=str(frames.provenance.units),
        states=numbers.states,
        energy_eV=[float(frames.energy.min()), float(frames.energy.max())],
        energy_eV_per_atom=numbers.energy_range_eV,
        energy_over_free_atoms=float(
            np.median(
                frames.energy
                / np.add.reduceat(atom_energies(frames.atomic_numbers), frames.first[:-1])
            )
        ),
        forces_rms_eV_per_A=None if forces is None else float(np.sqrt(np.mean(forces**2))),
        forces_max_eV_per_A=numbers.force_max_eV_per_A,
        closest_distances_A=numbers.closest_distances_A,
        n_repeats=len({later for _, later in repeats}),
        free_atoms_eV={chemical_symbols[z]: energy for z, energy in frames.references.items()},
        n_overlap=None if overlap is None else len(overlap),
        findings=[
            *(Finding("error", "units", problem) for problem in unit_problems(frames)),
            *(Finding("warning", "not read", remark) for remark in frames.remarks),
            *_electrons(frames),
            *_repeats(frames, repeats),
            *_overlap(overlap, against),
            *_contacts(frames),
            *_net_forces(frames),
        ],
    )


def _electrons(frames: Frames) -> Iterator[Finding]:
    electrons = count_electrons(frames.n_atoms, frames.atomic_numbers, frames.total_charge)
    n, m = np.rint(electrons).astype(np.int64), frames.multiplicity
    fractional = np.flatnonzero(np.abs(electrons - n) > 1e-6)
    if len(fractional):
        yield Finding(
            "error",
            "charge",
            f"total charge is not a whole number in {_named(fractional)}",
            fractional.tolist(),
        )
    wrong = np.flatnonzero((m < 1) | (m > n + 1) | ((m + n) % 2 == 0))
    if len(wrong):
        i = int(wrong[0])
        example = f"{n[i]} electrons, charge {frames.total_charge[i]:+g}, multiplicity {m[i]}"
        yield Finding(
            "error",
            "electrons",
            f"impossible multiplicity in {_named(wrong)}; the first has {example}",
            wrong.tolist(),
        )


def _repeats(frames: Frames, repeats: list[tuple[int, int]]) -> Iterator[Finding]:
    if not repeats:
        return
    later = np.unique([b for _, b in repeats])
    yield Finding(
        "warning",
        "repeats",
        f"the same structure and state as an earlier one: {_named(later)}",
        later.tolist(),
    )
    differing = [b for a, b in repeats if abs(frames.energy[a] - frames.energy[b]) > CONTRADICTION]
    if differing:
        message = (
            f"the same structure and state with another energy: {_named(np.unique(differing))}"
        )
        yield Finding("error", "contradiction", message, np.unique(differing).tolist())


def _overlap(overlap: Array | None, against: Frames | None) -> Iterator[Finding]:
    if overlap is not None and against is not None and len(overlap):
        message = f"also in {against.provenance.name or 'the other set'}: {_named(overlap)}"
        yield Finding("error", "overlap", message, overlap.tolist())


def _contacts(frames: Frames) -> Iterator[Finding]:
    close = np.flatnonzero(nearest_neighbor_ratio(frames, covalent_radii) < TOO_CLOSE)
    where = np.unique(np.searchsorted(frames.first, close, side="right") - 1)
    if len(where):
        yield Finding(
            "warning",
            "contacts",
            f"atoms closer than half the sum of covalent radii in {_named(where)}",
            where.tolist(),
        )


def _net_forces(frames: Frames) -> Iterator[Finding]:
    if frames.forces is None:
        return
    net = np.linalg.norm(np.add.reduceat(frames.forces, frames.first[:-1], axis=0), axis=1)
    where = np.flatnonzero(net > NET_FORCE)
    if len(where):
        message = (
            f"forces do not add up to zero (up to {np.nanmax(net):.3g} eV/Å) in {_named(where)}"
        )
        yield Finding("warning", "net-force", message, where.tolist())


def _named(structures: Array) -> str:
    some = ", ".join(str(i) for i in structures[:NAMED])
    count = f"{len(structures)} structure{'s' if len(structures) > 1 else ''}"
    return f"{count} ({some}{', …' if len(structures) > NAMED else ''})"
