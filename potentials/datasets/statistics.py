"""What training needs to know of labelled structures.

Reference energies, and the numbers of a model's card.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from potentials.card import by_pair, state_name
from potentials.datasets.checks.pair_distances import closest_distances, longest_bonds_of_states
from potentials.datasets.formats.units import HARTREE
from potentials.datasets.frames import Frames

Array = npt.NDArray[Any]


class Statistics(NamedTuple):
    """What a model's card tells of its training data."""

    n_structures: int
    elements: list[int]  # atomic numbers
    states: list[list[int]]  # [charge, multiplicity, number of structures]
    elements_of_ions: dict[str, list[int]]  # charge, as "-1" -> atomic numbers in such structures
    closest_distances_A: dict[str, float]  # "C-H" -> Å
    longest_bonds_A: dict[str, float]  # likewise, of nearest neighbours
    longest_bonds_of_states_A: dict[str, dict[str, float]]  # "+0/3", "+0/3 of two" -> likewise
    energy_range_eV: list[float]  # per atom, reference energies subtracted
    force_max_eV_per_A: float | None  # longest force vector
    n_atoms_max: int  # of the largest structure
    largest_of_states: dict[str, int]  # "+1/2", charge and multiplicity -> likewise
    periodic: bool  # whether any structure is


def statistics(frames: Frames, references: dict[int, float] | None = None) -> Statistics:
    """Sum up structures for a model's card.

    Parameters
    ----------
    frames : Frames
    references : dict   atomic number -> eV, subtracted from the energies; default: fitted to these
                        structures
    """
    atomic = fit_reference_energies(frames) if references is None else references
    remaining = subtract_reference_energies(frames, atomic) / frames.n_atoms
    forces = frames.known_forces
    longest_bonds = longest_bonds_of_states(frames)
    return Statistics(
        n_structures=len(frames),
        elements=np.unique(frames.atomic_numbers).tolist(),
        states=states(frames),
        elements_of_ions=elements_of_ions(frames),
        closest_distances_A=closest_distances(frames),
        longest_bonds_A=by_pair(max, list(longest_bonds.values())),
        longest_bonds_of_states_A=longest_bonds,
        energy_range_eV=[float(remaining.min()), float(remaining.max())],
        force_max_eV_per_A=None if forces is None else float(np.linalg.norm(forces, axis=1).max()),
        n_atoms_max=int(frames.n_atoms.max()),
        largest_of_states=largest_of_states(frames),
        periodic=bool(frames.pbc.any()),
    )


def states(frames: Frames) -> list[list[int]]:
    """Count structures by charge and multiplicity: ``[[charge, multiplicity, count], …]``."""
    pairs = np.stack([np.rint(frames.total_charge).astype(np.int64), frames.multiplicity], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    return np.column_stack([found, counts]).tolist()  # type: ignore[no-any-return]


def largest_of_states(frames: Frames) -> dict[str, int]:
    """Count the atoms of the largest structure in each state: ``{"+0/1": 60, "+1/2": 10, …}``."""
    found: dict[str, int] = {}
    charges = np.rint(frames.total_charge).astype(np.int64).tolist()
    of_frames = zip(charges, frames.multiplicity.tolist(), frames.n_atoms.tolist(), strict=True)
    for charge, multiplicity, n_atoms in of_frames:
        state = state_name(charge, multiplicity)
        found[state] = max(n_atoms, found.get(state, 0))
    return dict(sorted(found.items()))


def elements_of_ions(frames: Frames) -> dict[str, list[int]]:
    """List the elements in structures of each charge but 0: ``{"-1": [1, 6, 8], …}``."""
    charges = np.rint(frames.total_charge).astype(np.int64)
    of_atom = np.repeat(charges, frames.n_atoms)
    return {
        f"{charge:+d}": np.unique(frames.atomic_numbers[of_atom == charge]).tolist()
        for charge in np.unique(charges[charges != 0])
    }


def fit_reference_energies(frames: Frames) -> dict[int, float]:
    """Fit one energy per element to the energies, by least squares in float64.

    Elements whose free atoms the file holds have the energies of these.
    Where the compositions do not determine it (always so for one molecule), the solution closest to
    the energies of free atoms is taken, scaled to the size of the data.

    Returns
    -------
    dict            atomic number -> eV
    """
    return _fit(frames, np.zeros((len(frames), 0)))[0]


def fit_state_energies(frames: Frames) -> tuple[dict[int, float], dict[tuple[int, int], float]]:
    """Fit one energy per element and one per electronic state together.

    What a state costs beyond the neutral singlet.

    Returns
    -------
    references : dict   atomic number -> eV
    states : dict       (charge, multiplicity) -> eV, without the neutral singlet
    """
    known = [
        (charge, multiplicity)
        for charge, multiplicity, _ in states(frames)
        if (charge, multiplicity) != (0, 1)
    ]
    own = np.stack([np.rint(frames.total_charge), frames.multiplicity], axis=1)
    is_state = (
        np.array([(own == state).all(1) for state in known]).reshape(len(known), len(frames)).T
    )  # (S, states)
    references, energies = _fit(frames, is_state.astype(np.float64))
    return references, dict(zip(known, energies, strict=True))


def fit_electron_energies(frames: Frames) -> tuple[dict[int, float], dict[str, float]]:
    """Fit one energy per element and what charge and unpaired electrons cost together.

    A structure has Σ_i a x_i + b x_i² + c s_i beyond its elements, with the formal charges of its
    atoms where they are known, and the rest of its charge spread evenly.

    Returns
    -------
    references : dict   atomic number -> eV
    costs : dict        a, b and c in eV, by the arguments of the term `electron_energies`
    """
    formal = np.nan_to_num(frames.more.get("formal_charges", np.zeros(len(frames.positions))))
    charges, squares = (np.add.reduceat(x, frames.first[:-1]) for x in (formal, formal**2))
    rest = frames.total_charge - charges
    columns = [frames.total_charge, squares + rest**2 / frames.n_atoms, frames.multiplicity - 1]
    references, costs = _fit(frames, np.stack(columns, axis=1).astype(np.float64))
    names = ("charge_eV", "squared_charge_eV", "unpaired_electron_eV")
    return references, dict(zip(names, map(float, costs), strict=True))


def subtract_reference_energies(frames: Frames, references: dict[int, float]) -> Array:
    """Subtract an energy per element from each energy; eV (S,).

    Raises
    ------
    ValueError   an element without reference energy
    """
    counts, elements = _composition(frames)
    if missing := [chemical_symbols[z] for z in elements if int(z) not in references]:
        raise ValueError(
            f"`references` must hold every element; got none for {', '.join(missing)}. Fit them to"
            " these structures."
        )
    remaining: Array = frames.energy - counts @ np.array([references[int(z)] for z in elements])
    return remaining


def atom_energies(atomic_numbers: Array) -> Array:
    """Estimate total energies of neutral atoms, all electrons, in eV.

    -0.768745 Z^(7/3) + Z²/2 - 0.2699 Z^(5/3) hartree.

    Source: J. Schwinger, Phys. Rev. A 24, 2353 (1981): Thomas-Fermi energy with the corrections of
    Scott and Schwinger; 1 % from carbon on, 8 % for hydrogen.
    """
    z = np.asarray(atomic_numbers, dtype=np.float64)
    energies: Array = HARTREE * (-0.768745 * z ** (7 / 3) + z**2 / 2 - 0.2699 * z ** (5 / 3))
    return energies


def _fit(frames: Frames, others: Array) -> tuple[dict[int, float], list[float]]:
    """Fit energies of elements, and of other columns (S, K), near those of free atoms and zero."""
    counts, elements = _composition(frames)
    known = np.array([int(z) in frames.references for z in elements], dtype=bool)
    atoms = np.array([frames.references[int(z)] for z in elements[known]])
    counts, energy = counts[:, ~known], frames.energy - counts[:, known] @ atoms
    elements = elements[~known]
    guess = atom_energies(elements)
    total = counts @ guess
    guess = guess * ((total @ energy) / (total @ total) if len(elements) else 1.0)
    found = np.linalg.lstsq(np.hstack([counts, others]), energy - counts @ guess, rcond=None)[0]
    references = guess + found[: len(elements)]
    fitted = {int(z): float(e) for z, e in zip(elements, references, strict=True)}
    return frames.references | fitted, found[len(elements) :].tolist()


def _composition(frames: Frames) -> tuple[Array, Array]:
    """Count each element in each structure: (S, number of elements), and the elements."""
    elements, column = np.unique(frames.atomic_numbers, return_inverse=True)
    row = np.repeat(np.arange(len(frames)), frames.n_atoms)
    cells = np.bincount(row * len(elements) + column, minlength=len(frames) * len(elements))
    return cells.reshape(len(frames), len(elements)).astype(np.float64), elements
