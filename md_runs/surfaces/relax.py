"""Relax one frame or many: for ``polcalc relax``, ``polcalc md --relax-first`` and the demo."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from md_runs.errors import InputError
from md_runs.records.structures import append_structure
from potentials.files import write_text

OPTIMIZERS: dict[str, Callable[..., Any]] = {"bfgs": BFGS, "lbfgs": LBFGS, "fire": FIRE}


class Step(NamedTuple):
    """One step of a relaxation."""

    step: int
    energy_eV: float
    fmax_eV_per_A: float  # with the cell: of forces and stress together, as the optimizer sees them


class Relaxation(NamedTuple):
    """What became of one frame."""

    atoms: Atoms
    converged: bool
    steps: tuple[Step, ...]

    @property
    def energy_eV(self) -> float:
        """Energy at the end."""
        return self.steps[-1].energy_eV

    @property
    def fmax_eV_per_A(self) -> float:
        """Largest force at the end."""
        return self.steps[-1].fmax_eV_per_A


def relax(
    atoms: Atoms,
    *,
    optimizer: str = "bfgs",
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    cell: bool = False,
) -> Relaxation:
    """Relax a structure in place.

    Parameters
    ----------
    atoms : Atoms           with a calculator
    optimizer : str         name in `OPTIMIZERS`
    fmax_eV_per_A : float   converged below this, in eV/Å
    steps : int             at most
    cell : bool             relax the lattice vectors too
    """
    table: list[Step] = []
    search = OPTIMIZERS[optimizer](FrechetCellFilter(atoms) if cell else atoms, logfile=None)

    def record() -> None:
        gradient = search.optimizable.get_gradient()
        table.append(
            Step(
                search.nsteps,
                float(atoms.get_potential_energy()),
                float(search.optimizable.gradient_norm(gradient)),
            )
        )

    search.attach(record)
    converged = bool(search.run(fmax=fmax_eV_per_A, steps=steps))
    return Relaxation(atoms, converged and bool(np.isfinite(table[-1].energy_eV)), tuple(table))


def check_relaxable(atoms: Atoms, fmax_eV_per_A: float, cell: bool) -> None:
    """Refuse what cannot be relaxed this way, before any work is done.

    Raises
    ------
    InputError   the cell of an open structure, a limit that is not positive
    """
    if not fmax_eV_per_A > 0:
        raise InputError(
            f"`--fmax-eV-per-A` must be positive; got {fmax_eV_per_A} eV/Å. Take 0.01."
        )
    if cell and not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise InputError(
            "`--cell` must be used with a structure periodic in three directions. Drop it for a"
            " molecule."
        )


def relax_all(
    frames: Sequence[Atoms],
    output: Path,
    watch: Callable[[Sequence[Atoms]], Iterable[Atoms]] = iter,
    **options: Any,
) -> list[Relaxation]:
    """Relax frame by frame into ``relaxed.extxyz`` (as soon as each is done) and ``relax.csv``."""
    results = []
    for atoms in watch(frames):
        atoms.calc.reset()  # partial charges are those of this molecule, not of an isomer before it
        result = relax(atoms, **options)
        results.append(result)
        atoms.info |= {"converged": result.converged, "relax_steps": result.steps[-1].step}
        append_structure(output / "relaxed.extxyz", atoms)
    write_text(output / "relax.csv", _table(results))
    return results


def _table(results: Sequence[Relaxation]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frame", *Step._fields])
    for frame, result in enumerate(results):
        writer.writerows(
            [frame, s.step, f"{s.energy_eV:.9f}", f"{s.fmax_eV_per_A:.6f}"] for s in result.steps
        )
    return text.getvalue()
