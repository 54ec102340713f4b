"""Sweeps over a grid of coordinates: rigid, or relaxed forth and back.

In a relaxed sweep each point starts from the one before. Of two coordinates the first is swept at
the start of the second, and from each point there a row along the second, all rows at once. The way
back begins where the way forth ended. Where both disagree there are several valleys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms

from md_runs.errors import InputError
from md_runs.readable import readable
from md_runs.scans.coordinates import Coordinate, group_of, held, set_to
from md_runs.surfaces.flight import Flight, Landed, Search, in_flight
from md_runs.surfaces.relax import relaxing

Floats = npt.NDArray[np.float64]
Directions = Literal["both", "forward"]

SET_TOLERANCE = 1e-3  # Å or degrees by which a coordinate may miss its value


class Point(NamedTuple):
    """One point of a sweep."""

    atoms: Atoms | None  # None where there is a problem
    energy_eV: float  # NaN where there is a problem
    converged: bool
    problem: str


Progress = Callable[[Iterable[Any], int], Iterable[Any]]
Points = dict[tuple[int, ...], Point]  # by the numbers of the values


@readable
class Scan(NamedTuple):
    """What was found at each point of the grid."""

    coordinates: tuple[Coordinate, ...]
    sweeps: dict[str, Points]  # "rigid", or "forward" and "backward"

    def summary(self) -> dict[str, str]:
        """Say what was scanned."""
        energies = self.energies()
        return {
            "scan of": " and ".join(map(str, self.coordinates)),
            "points": str(energies.size),
            "range": f"{np.nanmax(energies) - np.nanmin(energies):.4f} eV",
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each coordinate."""
        return tuple(len(one.values) for one in self.coordinates)

    def best(self, place: tuple[int, ...]) -> Point:
        """Return the lowest of the points at a place."""
        points = [sweep[place] for sweep in self.sweeps.values()]
        return min(points, key=lambda point: np.nan_to_num(point.energy_eV, nan=np.inf))

    def energies(self, sweep: str | None = None) -> Floats:
        """Energies on the grid in eV, of one sweep or the lowest; NaN where there is none."""
        energies = np.full(self.shape, np.nan)
        for place in np.ndindex(self.shape):
            point = self.best(place) if sweep is None else self.sweeps[sweep][place]
            energies[place] = point.energy_eV
        return energies

    def hysteresis_eV(self) -> float:
        """Largest difference of the ways forth and back; 0 where there is one way."""
        ways = [self.energies(name) for name in self.sweeps]
        difference = np.abs(ways[0] - ways[-1])
        return float(np.nanmax(difference)) if np.isfinite(difference).any() else 0.0


class Settings(NamedTuple):
    """How points are relaxed."""

    optimizer: str = "auto"
    fmax_eV_per_A: float = 0.01
    steps: int = 500


def rigid(
    atoms: Atoms, coordinates: Sequence[Coordinate], flight: Flight, progress: Progress
) -> Scan:
    """Evaluate a structure with other values of its coordinates, all else as it is.

    Raises
    ------
    InputError   a coordinate of a ring, or one that moves with the other
    """
    for one in coordinates:
        if not group_of(atoms, one):
            raise InputError(
                f"`--mode` must be relaxed for a coordinate of a ring; got rigid for {one}, behind"
                " which no group of atoms can move alone."
            )
    places = list(np.ndindex(*(len(one.values) for one in coordinates)))
    frames = [set_to(atoms, coordinates, _values(coordinates, place)) for place in places]
    for place, frame in ((places[0], frames[0]), (places[-1], frames[-1])):
        for one, value in zip(coordinates, _values(coordinates, place), strict=True):
            if abs(_miss(one, frame, value)) > SET_TOLERANCE:
                raise InputError(
                    f"`--mode` must be relaxed where one coordinate moves the other; got rigid for"
                    f" {one}, which the other one changes."
                )
    searches = (_standing(frame) for frame in frames)
    landed = progress(in_flight(searches, flight.evaluate, flight.width), len(places))
    points = {places[one.number]: _point(one) for one in landed}
    return Scan(tuple(coordinates), {"rigid": points})


def relaxed(
    atoms: Atoms,
    coordinates: Sequence[Coordinate],
    flight: Flight,
    settings: Settings,
    directions: Directions,
    progress: Progress,
) -> Scan:
    """Relax a structure at each point of the grid, forth and back."""
    shape = tuple(len(one.values) for one in coordinates)
    corner = tuple(n - 1 for n in shape)
    sweeps = {"forward": _sweep(atoms, coordinates, flight, settings, 1, progress)}
    if directions == "both":
        last = sweeps["forward"][corner].atoms
        start = atoms if last is None else last
        sweeps["backward"] = _sweep(start, coordinates, flight, settings, -1, progress)
    return Scan(tuple(coordinates), sweeps)


def _sweep(
    atoms: Atoms,
    coordinates: Sequence[Coordinate],
    flight: Flight,
    settings: Settings,
    step: int,
    progress: Progress,
) -> Points:
    """Go once over the grid: down the first coordinate, then along each row."""
    *columns, row = [list(range(len(one.values)))[::step] for one in coordinates]
    points: Points = {}
    heads = [(*some, row[0]) for some in product(*columns)]
    begun = [_walking(atoms, coordinates, heads, settings)]
    for landed in progress(in_flight(iter(begun), flight.evaluate, 1), 1):
        points |= _walked(landed, heads)
    starts = [points[head].atoms or atoms for head in heads]
    rests = [[(*head[:-1], n) for n in row[1:]] for head in heads]
    walks = (
        _walking(start, coordinates, rest, settings)
        for start, rest in zip(starts, rests, strict=True)
    )
    for landed in progress(in_flight(walks, flight.evaluate, flight.width), len(heads)):
        points |= _walked(landed, rests[landed.number])
    return points


def _walking(
    atoms: Atoms,
    coordinates: Sequence[Coordinate],
    places: Sequence[tuple[int, ...]],
    settings: Settings,
) -> Search[list[Point]]:
    """Relax a structure at one place after the other, each from the one before."""
    points = []
    for place in places:
        values = _values(coordinates, place)
        try:
            here = set_to(atoms, coordinates, values)
            here.set_constraint([*atoms.constraints, held(coordinates, values)])
            result = yield from relaxing(here, **settings._asdict(), saddles="ignore")
            here.set_constraint(atoms.constraints)
        except Exception as error:  # whatever a library raises costs this point, no other
            reason = " ".join(str(error).split()) or type(error).__name__
            points.append(Point(None, np.nan, False, reason))
            continue
        points.append(Point(here, result.energy_eV, result.converged, result.hopeless))
        atoms = here
    return points


def _standing(atoms: Atoms) -> Search[list[Point]]:
    (answer,) = yield [atoms]
    return [Point(atoms, answer.energy_eV, True, "")]


def _walked(landed: Landed[list[Point]], places: Sequence[tuple[int, ...]]) -> Points:
    assert landed.result is not None  # a walk catches what goes wrong on it
    return dict(zip(places, landed.result, strict=True))


def _point(landed: Landed[list[Point]]) -> Point:
    if landed.result is None:
        return Point(None, np.nan, False, " ".join(str(landed.problem).split()))
    return landed.result[0]


def _values(coordinates: Sequence[Coordinate], place: tuple[int, ...]) -> list[float]:
    return [float(one.values[n]) for one, n in zip(coordinates, place, strict=True)]


def _miss(coordinate: Coordinate, atoms: Atoms, value: float) -> float:
    difference = coordinate.of(atoms) - value
    return difference if coordinate.kind == "bond" else (difference + 180) % 360 - 180
