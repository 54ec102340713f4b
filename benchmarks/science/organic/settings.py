"""What all parts of the benchmark of the default model are told, and what they share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.units import kcal, mol

from potentials.datasets import Frames

KCAL_PER_MOL = kcal / mol  # eV


class Settings(NamedTuple):
    """What all parts are told."""

    frames: Frames | None  # closed shells that no model learnt, grouped by molecule
    open_shells: Frames | None  # our own DFT, likewise
    conformations: int  # of each solvated amino acid
    molecules: int  # to relax
    runs: int  # of dynamics, of as many molecules, at each temperature
    length_ps: float  # of each
    water_ps: float  # of liquid water after its equilibration
    repeats: int  # timed calls
    store: Path


class Missing(Exception):
    """A part cannot be measured: its data are not on this machine, or a method has no answer."""


def there(frames: Frames | None, option: str) -> Frames:
    """Return frames.

    Raises
    ------
    Missing   there are none
    """
    if frames is None:
        raise Missing(f"no labels: pass {option}")
    return frames


def molecules_of(frames: Frames, n_wanted: int) -> Iterable[Atoms]:
    """Yield molecules: the frame of lowest energy in the ground state, without a partner."""
    assert frames.group is not None
    groups = np.random.default_rng(0).permutation(np.unique(frames.group))
    for group in groups[:n_wanted]:
        mine = np.flatnonzero(frames.group == group)
        single = mine[frames.n_atoms[mine] == frames.n_atoms[mine].min()]  # pairs are larger
        states = list(zip(frames.total_charge[single], frames.multiplicity[single], strict=True))
        ground = max(states, key=states.count)  # every geometry is labelled in it
        chosen = single[[state == ground for state in states]]
        atoms = frames.atoms(int(chosen[np.argmin(frames.energy[chosen])]))
        atoms.calc = None
        yield atoms
