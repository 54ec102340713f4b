"""Errors of a model against reference energies and forces, overall and by electronic state.

Energies are compared as they are, per molecule, and once more without the offsets of elements that
fit the differences best: methods count energies from zeros of their own. Units: meV, meV/atom,
meV/Å (per force component).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import chemical_symbols

from md_runs.errors import InputError, as_input_error
from md_runs.records.figures import plot_parity
from md_runs.records.output import write_figure
from polcalc import PolarizedCalculator
from polcalc.calculator import electrons
from potentials.datasets import load_frames
from potentials.datasets.gaps import gap_errors, geometry_key
from potentials.deviations import summary
from potentials.quantities import QUANTITIES

BATCH_FRAMES = 100  # handed over at once; the calculator cuts them into batches that fit
Array = npt.NDArray[np.float64]


class Comparison(NamedTuple):
    """Reference and prediction of one frame."""

    charge: int  # e
    multiplicity: int  # 2S + 1
    energies: tuple[float, float]  # eV, reference and predicted
    forces: tuple[Array, Array] | None  # (N, 3) eV/Å, reference and predicted
    n_atoms: int
    # the same for frames that differ in their state alone; empty where that is not asked
    geometry: bytes = b""
    others: Mapping[str, tuple[Array, Array]] = {}  # further quantities, reference and predicted
    atomic_numbers: tuple[int, ...] = ()  # empty where offsets of elements are not asked


def read_labelled(data: str) -> list[Atoms]:
    """Read reference structures from a file or a known set.

    Raises
    ------
    InputError   not found, not readable, or empty
    """
    with as_input_error():
        frames = list(load_frames(data))
    if not frames:
        raise InputError(f"`--data` must hold structures; got {data} without any. Check the file.")
    return frames


def known_elements(
    frames: Sequence[Atoms], calculator: PolarizedCalculator
) -> tuple[list[Atoms], str]:
    """Leave out structures with elements that the model was not trained on, and say how many.

    Raises
    ------
    InputError   none is left
    """
    known = set(calculator.model.card.elements)
    covered = [atoms for atoms in frames if not known or known.issuperset(atoms.numbers.tolist())]
    if len(covered) == len(frames):
        return covered, ""
    others = {z for atoms in frames for z in atoms.numbers.tolist()} - known
    symbols = ", ".join(chemical_symbols[z] for z in sorted(others))
    if not covered:
        raise InputError(
            "`--data` must hold structures of elements that the model was trained on; got"
            f" {symbols} in each of {len(frames)}. Use a model trained on them."
        )
    return covered, (
        f"Left out: {len(frames) - len(covered)} of {len(frames)} structures, which hold elements"
        f" that the model was not trained on ({symbols})."
    )


def compare(
    calculator: PolarizedCalculator,
    frames: Sequence[Atoms],
    watch: Callable[[Sequence[Sequence[Atoms]]], Iterable[Sequence[Atoms]]] = iter,
) -> Iterator[Comparison]:
    """Evaluate labelled frames in batches; ``watch`` shows progress.

    Raises
    ------
    InputError   a frame that the model does not cover
    """
    for batch in watch(
        [frames[start : start + BATCH_FRAMES] for start in range(0, len(frames), BATCH_FRAMES)]
    ):
        with as_input_error():
            predicted = calculator.calculate_many(
                [_with_charges(atoms, calculator) for atoms in batch]
            )
        for atoms, results in zip(batch, predicted, strict=True):
            state = electrons.resolve(
                atoms, calculator.parameters["charge"], calculator.parameters["multiplicity"]
            )
            labels = atoms.calc.results
            forces = (
                (np.asarray(labels["forces"]), np.asarray(results["forces"]))
                if "forces" in labels
                else None
            )
            energies = labels["energy"], results["energy"]
            geometry = geometry_key(atoms.numbers, atoms.positions, atoms.cell.array)
            others = {
                q.name: (np.asarray(labels[q.ase]), np.asarray(results[q.ase]))
                for q in QUANTITIES.values()
                if q.ase in labels and q.ase in results and q.name not in ("energy", "forces")
            }
            yield Comparison(
                state.charge,
                state.multiplicity,
                energies,
                forces,
                len(atoms),
                geometry,
                others,
                tuple(atoms.numbers.tolist()),
            )


def metrics(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Sum up errors overall, ``by_state`` (charge and multiplicity) and of ``gaps``, if any.

    A gap needs several multiplicities of one geometry. ``without_offsets`` has the errors of
    energies that `without_offsets` leaves.
    """
    states = sorted({(c.charge, c.multiplicity) for c in comparisons})
    placed = [c for c in comparisons if c.geometry]
    return _metrics(comparisons) | {
        "without_offsets": without_offsets(comparisons),
        "gaps": gap_errors(
            [c.geometry for c in placed],
            [c.charge for c in placed],
            [c.multiplicity for c in placed],
            *np.array([c.energies for c in placed]).reshape(-1, 2).T,
        ),
        "by_state": [
            {"charge": charge, "multiplicity": multiplicity}
            | _metrics(
                [c for c in comparisons if (c.charge, c.multiplicity) == (charge, multiplicity)]
            )
            for charge, multiplicity in states
        ],
    }


def without_offsets(comparisons: Sequence[Comparison]) -> dict[str, Any] | None:
    """Sum up errors of energies less an offset for each element, fitted by least squares.

    Returns
    -------
    errors as in `metrics`, and ``offsets_eV`` by symbol, predicted minus reference, empty where the
    compositions do not tell elements apart; None where there are no more frames than offsets
    """
    elements = sorted({z for c in comparisons for z in c.atomic_numbers})
    counts = np.array([[c.atomic_numbers.count(z) for z in elements] for c in comparisons])
    differences = np.array([c.energies[1] - c.energies[0] for c in comparisons])
    rank = np.linalg.matrix_rank(counts) if elements else 0
    if not elements or len(comparisons) <= rank:
        return None
    offsets = np.linalg.lstsq(counts, differences, rcond=None)[0]
    left = summary(
        {"energy": differences - counts @ offsets}, np.array([c.n_atoms for c in comparisons])
    )
    symbols = [chemical_symbols[z] for z in elements]
    return {name: value for name, value in left.items() if name.startswith("energy_")} | {
        "offsets_eV": (
            dict(zip(symbols, offsets.tolist(), strict=True)) if rank == len(elements) else {}
        )
    }


def plot_states(comparisons: Sequence[Comparison], output: Path, title: str) -> list[Path]:
    """Draw a parity plot of all frames, and one for each electronic state if there are several."""
    states = sorted({(c.charge, c.multiplicity) for c in comparisons})
    groups = {"parity.png": (title, list(comparisons))}
    for charge, multiplicity in states if len(states) > 1 else ():
        group = [c for c in comparisons if (c.charge, c.multiplicity) == (charge, multiplicity)]
        groups[f"parity_charge{charge:+d}_multiplicity{multiplicity}.png"] = (
            f"{title}\ncharge {charge:+d}, multiplicity {multiplicity}",
            group,
        )
    for name, (heading, group) in groups.items():
        energy = np.array([c.energies for c in group]) / np.array([[c.n_atoms] for c in group])
        write_figure(
            output / name, plot_parity((energy[:, 0], energy[:, 1]), _components(group), heading)
        )
    return [output / name for name in groups]


def _with_charges(atoms: Atoms, calculator: PolarizedCalculator) -> Atoms:
    """Hand the partial charges of the data to a model that sees them, unless others were given."""
    charges = atoms.calc.results.get("charges")
    seen = calculator.model.potential.state_inputs
    if (
        charges is None
        or "partial_charges" not in seen
        or calculator.parameters["partial_charges"] is not None
    ):
        return atoms
    copy: Atoms = atoms.copy()
    copy.set_initial_charges(charges)
    return copy


def _metrics(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    pairs: dict[str, list[tuple[Array, Array]]] = defaultdict(list)
    for c in comparisons:
        pairs["energy"].append((np.atleast_1d(c.energies[0]), np.atleast_1d(c.energies[1])))
        if c.forces is not None:
            pairs["forces"].append(c.forces)
        for name, pair in c.others.items():
            pairs[name].append(pair)
    differences = {
        name: np.concatenate([(predicted - reference).ravel() for reference, predicted in values])
        for name, values in pairs.items()
    }
    return summary(differences, np.array([c.n_atoms for c in comparisons]))


def _components(comparisons: Sequence[Comparison]) -> tuple[Array, Array]:
    """Force components (3N,) of all frames that have reference forces."""
    pairs = [c.forces for c in comparisons if c.forces is not None]
    if not pairs:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([r.ravel() for r, _ in pairs]), np.concatenate(
        [p.ravel() for _, p in pairs]
    )
