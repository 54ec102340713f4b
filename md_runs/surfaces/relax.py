"""Relax one frame or many: for ``polcalc relax``, ``polcalc md --relax-first`` and the demo."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from md_runs.errors import InputError, NotConverged
from md_runs.readable import readable
from md_runs.structures.bonds import BondChanges, changed_bonds
from md_runs.surfaces.curvature import Curvature, beside, curving
from md_runs.surfaces.flight import Search, Told, alone, one_by_one

OPTIMIZERS: dict[str, Callable[..., Any]] = {"bfgs": BFGS, "lbfgs": LBFGS, "fire": FIRE}
DIAGONAL_ATOMS = 100  # up to here the (3N, 3N) matrix that BFGS diagonalises at each step is cheap
TOO_MANY_ATOMS = 1000  # from here one step takes longer than most relaxations
AT_REST_EV_PER_A = 0.05  # a larger force belongs to no stationary point
ATTEMPTS = 3  # at leaving a saddle
APART_FACTOR = 3.0  # of the volume at the start, and its inverse
FALL_EV_PER_ATOM = 10.0  # no bond is worth that

Saddles = Literal["leave", "keep", "ignore"]


class Step(NamedTuple):
    """One step of a relaxation."""

    step: int
    energy_eV: float
    fmax_eV_per_A: float  # with the cell: of forces and stress together, as the optimizer sees them


Watch = Callable[[Step], None]


def ignore(step: Step) -> None:
    """Watch nothing."""


@readable
class Relaxation(NamedTuple):
    """What became of one frame."""

    atoms: Atoms
    converged: bool
    steps: tuple[Step, ...]
    curvature: Curvature | None  # lowest; None where it was not looked at
    bonds: BondChanges
    hopeless: str  # why it was given up early; empty otherwise

    def summary(self) -> dict[str, str]:
        """Say where it ended."""
        ended = "in a minimum" if self.curvature is not None else "at rest"
        ended = "on a saddle" if self.on_saddle else ended
        return {
            "formula": self.atoms.get_chemical_formula(),
            "energy": f"{self.energy_eV:.4f} eV",
            "largest force": f"{self.fmax_eV_per_A:.4f} eV/Å",
            "steps": str(self.steps[-1].step),
            "ended": ended if self.converged else "before it converged",
            "lowest curvature": "" if self.curvature is None else f"{lowest(self.curvature)} eV/Å²",
            "bonds": str(self.bonds),
            "given up:": self.hopeless,
        }

    @property
    def energy_eV(self) -> float:
        """Energy at the end."""
        return self.steps[-1].energy_eV

    @property
    def fmax_eV_per_A(self) -> float:
        """Largest force at the end."""
        return self.steps[-1].fmax_eV_per_A

    @property
    def on_saddle(self) -> bool:
        """Whether it came to rest where the energy falls to two sides."""
        return self.curvature is not None and not self.curvature.is_minimum


class Hopeless(Exception):
    """A relaxation that can only get worse; ends the loop of ASE."""


def relax(
    atoms: Atoms,
    *,
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    cell: bool = False,
    saddles: Saddles = "leave",
    watch: Watch = ignore,
) -> Relaxation:
    """Relax a structure in place.

    Forces never break a symmetry. Where they vanish the lowest curvature tells a minimum from a
    saddle; a saddle is left to its lower side and the search goes on.

    Parameters
    ----------
    atoms : Atoms           with a calculator
    optimizer : str         name in `OPTIMIZERS`, or auto: what fits the number of atoms
    fmax_eV_per_A : float   converged below this, in eV/Å
    steps : int             at most
    cell : bool             relax the lattice vectors too
    saddles : str           "leave" them, "keep" the structure where it came to rest, or "ignore"
                            what the curvature is
    watch : Callable        told every step
    """
    calculator = atoms.calc
    search = relaxing(
        atoms,
        optimizer=optimizer,
        fmax_eV_per_A=fmax_eV_per_A,
        steps=steps,
        cell=cell,
        saddles=saddles,
        watch=watch,
    )
    try:
        result = alone(search, partial(one_by_one, calculator, stress=cell))
    finally:
        atoms.calc = calculator
    atoms.get_forces()  # of this geometry, not of one beside it
    return result


def relaxing(
    atoms: Atoms,
    *,
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    cell: bool = False,
    saddles: Saddles = "leave",
    watch: Watch = ignore,
) -> Search[Relaxation]:
    """Relax a structure in place as `relax`, asking for energies and forces.

    The structure is left with a calculator that repeats those of its end.
    """
    table: list[Step] = []
    start = atoms.copy()
    atoms.calc = told = Told()
    method = OPTIMIZERS[choose_optimizer(optimizer, len(atoms))]
    curvature, hopeless = None, ""
    for attempt in range(ATTEMPTS + 1):
        done = len(table)
        search = method(FrechetCellFilter(atoms) if cell else atoms, logfile=None)
        search.fmax = fmax_eV_per_A
        record = partial(_record, search, atoms, start, table, done, watch)
        try:
            converged = yield from _walk(search, atoms, told, max(steps - done, 0), record)
        except Hopeless as error:
            converged, hopeless = False, str(error)
        at_rest = converged and table[-1].fmax_eV_per_A <= AT_REST_EV_PER_A
        looks = at_rest and saddles != "ignore"
        curvature = (yield from _curvature(atoms)) if looks else None
        if curvature is None or curvature.is_minimum or saddles == "keep" or attempt == ATTEMPTS:
            break
        sides = beside(atoms, curvature)
        energies = [answer.energy_eV for answer in (yield sides)]
        atoms.positions = sides[int(np.argmin(energies))].positions
    return Relaxation(
        atoms, converged, tuple(table), curvature, changed_bonds(start, atoms), hopeless
    )


def _walk(
    search: Any, atoms: Atoms, told: Told, steps: int, record: Callable[[], None]
) -> Search[bool]:
    """Go downhill until the forces are small; say whether they got so."""
    while True:
        (told.answer,) = yield [atoms]
        with warnings.catch_warnings():
            # of the cell's logarithm, 1e-12 at every step
            warnings.filterwarnings("ignore", "logm result may be inaccurate")
            record()
            if search.converged():
                return True
            if search.nsteps >= steps:
                return False
            search.step()
            search.nsteps += 1


def _curvature(atoms: Atoms) -> Search[Curvature | None]:
    """Find the lowest curvature, of which forces alone are asked."""
    search = curving(atoms)
    try:
        frames = next(search)
        while True:
            frames = search.send([answer.forces for answer in (yield frames)])
    except StopIteration as end:
        found: Curvature | None = end.value
        return found


def choose_optimizer(name: str, n_atoms: int) -> str:
    """Name the optimizer: for auto, BFGS where diagonalising its matrix is cheap, else LBFGS.

    Raises
    ------
    InputError   BFGS for a structure whose (3N)² matrix takes minutes a step
    """
    if name == "bfgs" and n_atoms > TOO_MANY_ATOMS:
        raise InputError(
            f"`--optimizer` must be lbfgs or fire for more than {TOO_MANY_ATOMS} atoms, because"
            f" bfgs diagonalises a matrix of (3N)² at every step; got bfgs for {n_atoms} atoms."
            " Leave it out."
        )
    if name == "auto":
        return "bfgs" if n_atoms <= DIAGONAL_ATOMS else "lbfgs"
    return name


def _record(
    search: Any, atoms: Atoms, start: Atoms, table: list[Step], done: int, watch: Watch
) -> None:
    """Note a step, and give up where going on cannot help."""
    energy = float(atoms.get_potential_energy())
    largest = float(search.optimizable.gradient_norm(search.optimizable.get_gradient()))
    table.append(Step(done + search.nsteps, energy, largest))
    watch(table[-1])
    if not (np.isfinite(energy) and np.isfinite(largest)):
        raise Hopeless("energy or forces are not finite")
    fall = (table[0].energy_eV - energy) / len(atoms)
    if fall > FALL_EV_PER_ATOM:
        raise Hopeless(
            f"the energy fell by {fall:.0f} eV per atom, more than any bond is worth: the model"
            " does not know such structures"
        )
    if not start.pbc.all():
        return
    ratio = atoms.get_volume() / start.get_volume()
    if not 1 / APART_FACTOR < ratio < APART_FACTOR:
        what = "grew" if ratio > 1 else "shrank"
        raise Hopeless(f"the cell {what} to {ratio:.2g} times its volume: nothing holds it")


def check_relaxable(atoms: Atoms, fmax_eV_per_A: float, cell: bool) -> None:
    """Refuse what cannot be relaxed this way, before any work is done.

    Raises
    ------
    InputError   the cell of an open structure, a limit that is not positive
    """
    if not 0 < fmax_eV_per_A < np.inf:
        raise InputError(
            f"`--fmax-eV-per-A` must be positive and finite; got {fmax_eV_per_A} eV/Å. Take 0.01."
        )
    if cell and not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise InputError(
            "`--cell` must be used with a structure periodic in three directions. Drop it for a"
            " molecule."
        )


def remarks(result: Relaxation) -> Iterator[str]:
    """Say what a table of energies and forces does not show."""
    if result.hopeless:
        yield f"given up after {result.steps[-1].step} steps: {result.hopeless}"
    if result.on_saddle:
        yield (
            "a saddle, no minimum: the energy falls along one way to both sides (curvature"
            f" {lowest(result.curvature)} eV/Å²)"
        )
    if changes := str(result.bonds):
        yield f"bonds {changes}"


def lowest(curvature: Curvature | None) -> str:
    """Format the lowest curvature in eV/Å²."""
    return "–" if curvature is None else f"{curvature.eV_per_A2:.2f}"


class Ended(Protocol):
    """How a relaxation ended."""

    @property
    def converged(self) -> bool:
        """Whether the forces got small enough."""

    @property
    def on_saddle(self) -> bool:
        """Whether it came to rest on a saddle."""

    @property
    def hopeless(self) -> str:
        """Why it was given up early; empty otherwise."""


def check_minima(
    results: Sequence[Ended], fmax_eV_per_A: float, steps: int, saddles: Saddles
) -> None:
    """Refuse to call a relaxation done that ended elsewhere than in a minimum.

    Raises
    ------
    NotConverged
    """
    given_up = [r.hopeless for r in results if r.hopeless]
    n_open = sum(not r.converged and not r.hopeless for r in results)
    n_saddles = sum(r.on_saddle for r in results) if saddles == "leave" else 0
    wrong = []
    if given_up:
        first = f"{len(given_up)} of {len(results)} structures were given up, the first because"
        wrong.append(f"{first} {given_up[0]}")
    if n_open:
        wrong.append(
            f"{n_open} of {len(results)} structures did not reach {fmax_eV_per_A} eV/Å in {steps}"
            " steps"
        )
    if n_saddles:
        wrong.append(
            f"{n_saddles} of {len(results)} structures came to rest on a saddle, no minimum"
            " (--allow-saddle keeps it)"
        )
    if wrong:
        raise NotConverged("; ".join(wrong) + ".")
