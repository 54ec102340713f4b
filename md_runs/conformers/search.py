"""Search the conformers of a molecule: embed, relax in flight, sort out, weigh."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms, units

from md_runs.conformers.distinct import Floats, Group, distinct
from md_runs.conformers.topology import Topology, configuration, embedded, rotors, turned
from md_runs.readable import readable
from md_runs.structures.symmetry import find_symmetry
from md_runs.surfaces.flight import Flight, Landed, in_flight
from md_runs.surfaces.relax import Relaxation, Saddles, relaxing

PER_BOND = 10  # geometries drawn for each bond that turns, and once more
FEWEST, MOST = 10, 150  # drawn
ALL_TURNS = 81  # combinations of anti and gauche that are all tried, as of four bonds
Landings = Iterable[Landed[Relaxation]]
Progress = Callable[[Landings, int], Landings]


class Settings(NamedTuple):
    """How conformers are searched."""

    embed: int | None = None  # geometries drawn, and turned at most; None: by the bonds that turn
    window_eV: float = 0.3  # conformers higher above the lowest are left out
    temperature_K: float = 298.15
    optimizer: str = "auto"
    fmax_eV_per_A: float = 0.005
    steps: int = 500
    seed: int = 0


class Conformer(NamedTuple):
    """A minimum."""

    atoms: Atoms
    energy_eV: float
    relative_eV: float  # over the lowest
    mirror_images: int  # 2 where its reflection is another geometry of the same molecule
    symmetry_number: int  # rotations that map it onto itself
    weight: float  # ∝ mirror_images / symmetry_number · exp(-E/kT), among all that were kept
    times_found: int


@readable
class Conformers(NamedTuple):
    """What a search found, and what it left out."""

    kept: list[Conformer]  # the lowest first
    embedded: int
    not_converged: int
    rearranged: int  # bonds broken or made
    inverted: int  # another stereoisomer
    saddles: int
    above_window: int

    def summary(self) -> dict[str, str]:
        """Say what was found."""
        first = self.kept[0] if self.kept else None
        return {
            "formula": first.atoms.get_chemical_formula() if first else "none",
            "conformers": str(len(self.kept)),
            "lowest": f"{first.energy_eV:.4f} eV" if first else "",
            "of": f"{self.embedded} embedded",
        }

    def left_out(self) -> str:
        """Say what was left out, and why; empty where nothing was."""
        counted = {
            "did not converge": self.not_converged,
            "changed bonds": self.rearranged,
            "changed configuration": self.inverted,
            "are saddles": self.saddles,
            "lie above the window": self.above_window,
        }
        return ", ".join(f"{number} {what}" for what, number in counted.items() if number)


def starts(topology: Topology, settings: Settings) -> list[Atoms]:
    """Draw geometries to start from, and turn their bonds; that of a structure is one of them.

    ETKDG draws what crystals prefer, and misses shapes that hydrogen bonds or chance prefer.
    """
    by_bonds = min(max(PER_BOND * (1 + len(rotors(topology))), FEWEST), MOST)
    drawn = embedded(topology, settings.embed or by_bonds, settings.seed + 1)
    more = turned(topology, drawn, settings.embed or max(by_bonds, ALL_TURNS), settings.seed + 2)
    positions = (topology.template.positions, *drawn, *more)
    return [_placed(topology.template, some) for some in positions]


def search(
    topology: Topology,
    frames: Sequence[Atoms],
    flight: Flight,
    settings: Settings,
    progress: Progress = lambda landings, total: landings,
) -> Conformers:
    """Relax geometries, and keep those that are different minima of the same molecule.

    Parameters
    ----------
    frames : list of Atoms   to start from, moved in place
    progress : Callable      goes through relaxations, told how many there are

    Raises
    ------
    Exception                what ended the first relaxation, where it ended all of them
    """
    same = _Isomer(topology)
    landed = _relax(frames, flight, settings, "ignore", progress)
    converged = [result for result in landed if result.converged]
    whole = [result.atoms for result in converged if not str(result.bonds)]
    right = [atoms for atoms in whole if same(atoms)]
    first = _groups(topology, right)
    lowest = [right[group.members[0]] for group in first]
    times = {id(atoms): len(group.members) for atoms, group in zip(lowest, first, strict=True)}
    looked_at = _relax(lowest, flight, settings, "leave")
    minima = [
        result.atoms
        for result in looked_at
        if result.converged and not result.on_saddle and same(result.atoms)
    ]
    groups = _groups(topology, minima)
    in_window = [
        group
        for group in groups
        if _energy(minima[group.members[0]]) - _energy(minima[groups[0].members[0]])
        <= settings.window_eV
    ]
    counts = [sum(times[id(minima[n])] for n in group.members) for group in in_window]
    return Conformers(
        _weighed([minima[g.members[0]] for g in in_window], in_window, counts, settings),
        embedded=len(frames),
        not_converged=len(frames) - len(converged),
        rearranged=len(converged) - len(whole),
        inverted=len(whole) - len(right),
        saddles=len(lowest) - len(minima),
        above_window=len(groups) - len(in_window),
    )


class _Isomer:
    """Whether a geometry is of the stereoisomer that was asked for."""

    def __init__(self, topology: Topology) -> None:
        self.molecule = topology.molecule
        self.wanted = configuration(self.molecule, topology.template.positions)

    def __call__(self, atoms: Atoms) -> bool:
        return configuration(self.molecule, atoms.positions) == self.wanted


def _relax(
    frames: Sequence[Atoms],
    flight: Flight,
    settings: Settings,
    saddles: Saddles,
    progress: Progress = lambda landings, total: landings,
) -> list[Relaxation]:
    """Relax structures in place, in flight; leave out those whose search ended with an error."""
    searches = (
        relaxing(
            atoms,
            optimizer=settings.optimizer,
            fmax_eV_per_A=settings.fmax_eV_per_A,
            steps=settings.steps,
            saddles=saddles,
        )
        for atoms in frames
    )
    landings = progress(in_flight(searches, flight.evaluate, flight.width), len(frames))
    landed = sorted(landings, key=lambda landing: landing.number)
    problems = [landing.problem for landing in landed if landing.problem is not None]
    if problems and len(problems) == len(landed):
        raise problems[0]
    return [landing.result for landing in landed if landing.result is not None]


def _groups(topology: Topology, frames: Sequence[Atoms]) -> list[Group]:
    positions = [atoms.positions for atoms in frames]
    return distinct(topology.molecule, positions, [_energy(atoms) for atoms in frames])


def _weighed(
    frames: Sequence[Atoms], groups: Sequence[Group], counts: Sequence[int], settings: Settings
) -> list[Conformer]:
    """Give conformers, the lowest first, their Boltzmann weights."""
    if not frames:
        return []
    energies = np.array([_energy(atoms) for atoms in frames])
    relative = energies - energies[0]
    images = [group.mirror_images for group in groups]
    turns = [find_symmetry(atoms).symmetry_number for atoms in frames]
    share = np.array(images) / turns * np.exp(-relative / (units.kB * settings.temperature_K))
    weights = (share / share.sum()).tolist()
    columns = frames, energies.tolist(), relative.tolist(), images, turns, weights, counts
    return [Conformer(*row) for row in zip(*columns, strict=True)]


def _energy(atoms: Atoms) -> float:
    return float(atoms.get_potential_energy())


def _placed(template: Atoms, positions: Floats) -> Atoms:
    atoms: Atoms = template.copy()
    atoms.positions = positions - positions.mean(0)
    return atoms
